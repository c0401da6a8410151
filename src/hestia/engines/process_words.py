"""Says in words how a program ended, what its last lines point to, and which name was probably meant."""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hestia.engines.process_exits import Exit

PORT_TAKEN: Final = re.compile(
    r"address (?:is )?(?:already )?in use|EADDRINUSE"
    r"|port (?:\d+ )?is (?:already )?(?:in use|allocated|taken)",
    re.IGNORECASE,
)
_SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
_SHORTEST_SECRET: Final = 4  # characters; shorter values would cut holes into ordinary words
_HINTS: Final = (
    (PORT_TAKEN, "another program holds its port: stop that one, or let the gateway pick with {port}"),
    (
        re.compile(r"CUDA|cuda.*out of memory|ggml_.*alloc.*failed", re.IGNORECASE),
        "the graphics card: see nvidia-smi",
    ),
    (re.compile(r"out of memory|MemoryError|cannot allocate", re.IGNORECASE), "memory: stop another service"),
    (
        re.compile(r"No such file|FileNotFound|cannot open|not found", re.IGNORECASE),
        "correct a path in `command`",
    ),
    (re.compile(r"permission denied|EACCES", re.IGNORECASE), "see who may read what it needs: ls -l"),
)
_CODES: Final = {
    126: "the shell found the program and may not execute it",
    127: "the shell did not find the program",
    137: "it, or a program it ran, was killed by SIGKILL: by somebody, or by the kernel for want of memory",
    143: "it, or a program it ran, was ended by SIGTERM",
}


def describe_exit(exited: Exit) -> str:
    """How it ended and, where that is known, why: "ended with exit status 127 (the shell did …)"."""
    if exited.signal is not None:
        how = f"was ended by {_signal_name(exited.signal)}"
    elif exited.status is not None:
        how = f"ended with exit status {exited.status}"
    else:
        how = "ended"
    why = explain_exit(exited)
    return f"{how} ({why})" if why else how


def explain_exit(exited: Exit) -> str:
    """What is known beyond exit status and signal; "" when there is nothing to add."""
    if exited.memory_killer:
        return "the kernel killed programs for want of memory meanwhile"
    if exited.signal == signal.SIGKILL and not exited.ours:
        return "not by the gateway: by somebody, or by the kernel for want of memory"
    if exited.signal is None and exited.status is None:
        return "its exit status went to the process that had started it"
    return _CODES.get(exited.status or 0, "")


def hint(lines: Sequence[str]) -> str:
    """What the last lines of output point to, as something to do; "" when nothing is recognised."""
    text = "\n".join(lines)
    return next((advice for pattern, advice in _HINTS if pattern.search(text)), "")


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; the nearest name is 'x'"`, or "" when nothing is near."""
    near = difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=0.7)
    return f"; the nearest name is {near[0]!r}" if near else ""


def secrets_of(env: Mapping[str, str]) -> tuple[str, ...]:
    """The values that must not be shown, by the names of their variables; the longest first."""
    values = {
        value for name, value in env.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
    }
    return tuple(sorted(values, key=len, reverse=True))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
