"""Ends of programs in words, hints from their last lines, nearest names, secrets."""

from __future__ import annotations

import pytest

from hestia.engines.process_exits import Exit
from hestia.engines.process_words import describe_exit, explain_exit, hint, nearest, secrets_of


@pytest.mark.parametrize(
    ("exited", "text"),
    [
        (Exit(status=3), "ended with exit status 3"),
        (Exit(status=0), "ended with exit status 0"),
        (Exit(status=127), "ended with exit status 127 (the shell did not find the program)"),
        (Exit(signal=11), "was ended by SIGSEGV"),
        (Exit(signal=9, ours=True), "was ended by SIGKILL"),
        (
            Exit(signal=9),
            "was ended by SIGKILL (not by the gateway: by somebody, or by the kernel for want of memory)",
        ),
        (Exit(signal=64), "was ended by SIGRTMAX"),
        (Exit(signal=99), "was ended by signal 99"),
    ],
)
def test_an_exit_in_words(exited: Exit, text: str) -> None:
    assert describe_exit(exited) == text


def test_en14_the_kernel_s_memory_killer_is_named() -> None:
    assert "memory" in explain_exit(Exit(signal=9, memory_killer=True))
    assert explain_exit(Exit(status=1)) == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("OSError: [Errno 98] Address already in use", "{port}"),
        ("Error: listen EADDRINUSE: address already in use :::8080", "{port}"),
        ("bind: address in use", "{port}"),
        ("Bind for 0.0.0.0:80 failed: port is already allocated", "{port}"),
        ("CUDA error: out of memory", "nvidia-smi"),
        ("cat: x: No such file or directory", "`command`"),
        ("all is well", ""),
    ],
)
def test_a_hint_by_pattern(line: str, says: str) -> None:
    assert says in hint(["first", line])
    assert bool(hint(["first", line])) == bool(says)


def test_the_nearest_name() -> None:
    assert nearest("olama", ["cat", "ollama"]) == "; the nearest name is 'ollama'"
    assert nearest("olama", ["cat"]) == ""


def test_secrets_are_recognised_by_their_names() -> None:
    env = {"HF_TOKEN": "abcd", "API_KEY": "abcdef", "MODEL_PATH": "/models/x", "PASSWORD": "abc"}
    assert secrets_of(env) == ("abcdef", "abcd")
