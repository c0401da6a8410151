"""`hestia top` on a terminal, in a pipe, with every way to end it (CL-22)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.e2e.cli import environment, on_terminal
from tests.fakes.api_server import FakeApi, serving, status

pytestmark = pytest.mark.e2e


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving(FakeApi()) as fake:
        fake.add(status("sdxl", "hot"))
        fake.add(status("whisper"))
        yield fake


def opened(api: FakeApi, folder: Path, *, columns: int = 80) -> pexpect.spawn:
    """A terminal that shows the table."""
    child = on_terminal(["top", "--url", api.url], cwd=folder, columns=columns)
    child.expect_exact("\x1b[?1049h")
    child.expect("2 services: 1 hot")
    child.expect("sdxl")
    child.expect("whisper")
    child.expect("q quit")
    return child


def closed(child: pexpect.spawn) -> int:
    """The exit code; the screen was given back."""
    child.expect_exact("\x1b[?1049l")
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus if child.exitstatus is not None else -int(child.signalstatus)


def test_cl_22_q_ctrl_c_and_sigterm_give_the_screen_back(api: FakeApi, tmp_path: Path) -> None:
    child = opened(api, tmp_path)
    child.send("q")
    assert closed(child) == 0
    child = opened(api, tmp_path)
    child.sendintr()
    assert closed(child) == 130
    child = opened(api, tmp_path, columns=60)
    child.kill(signal.SIGTERM)
    assert closed(child) == 128 + signal.SIGTERM


def test_cl_22_another_size_is_drawn_at_once(api: FakeApi, tmp_path: Path) -> None:
    child = opened(api, tmp_path)
    child.setwinsize(4, 60)
    child.expect("too low")
    child.setwinsize(20, 100)
    child.expect("whisper")
    child.send("q")
    assert closed(child) == 0


def test_cl_22_in_a_pipe_and_with_once_it_is_printed_once(api: FakeApi, tmp_path: Path) -> None:
    child = on_terminal(["top", "--once", "--url", api.url], cwd=tmp_path, env=environment(NO_COLOR="1"))
    child.expect("sdxl")
    child.expect(pexpect.EOF)
    assert "\x1b" not in (child.before or "")
    child.close()
    assert child.exitstatus == 0
