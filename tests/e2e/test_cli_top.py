"""`hestia top` on a terminal, in a pipe, with every way to end it (CL-22)."""

from __future__ import annotations

import asyncio
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from hestia.cli.client import Client
from hestia.cli.target import find_target
from hestia.cli.top.wake import Wake
from tests.e2e import served as real
from tests.e2e.cli import environment, on_terminal
from tests.e2e.test_serve import small
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


async def test_cl_22_keys_at_a_real_gateway(tmp_path: Path) -> None:
    """Choose, start, read its output, explain, filter, stop with a yes: all without leaving the table."""
    program = {
        "type": "process",
        "command": [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}"],
    }
    services = {
        "first": {"base_url": "http://127.0.0.1:9"},
        "second": {"engine": program, "idle_timeout": "never"},
    }
    async with real.serving(tmp_path / "a", {"services": services}) as served:
        child = on_terminal(["top", "--url", served.url], cwd=tmp_path, env=environment(NO_COLOR="1"))
        await asyncio.to_thread(_started_and_read, child)
        assert (await served.status("second"))["phase"] == "hot"
        await asyncio.to_thread(_stopped, child)
        assert (await served.until_phase("cold", "second"))["phase"] == "cold"
        child.send("\x1b")  # Esc: all again
        await asyncio.to_thread(child.expect, "first")
        child.send("q")
        assert await asyncio.to_thread(closed, child) == 0


async def test_cl_22_what_happens_at_the_gateway_is_news_at_once(tmp_path: Path) -> None:
    async with real.serving(tmp_path / "a", small()) as served:
        with Wake(Client(find_target(served.url, {}, tmp_path))) as wake:
            await asyncio.to_thread(_followed, wake, served.url)


def _followed(wake: Wake, url: str) -> None:
    """Things happen, again and again until the thread has its stream, and one of them is news."""
    client = Client(find_target(url, {}, Path()))
    for _ in range(600):
        client.act("a", "stop")
        client.act("a", "start")
        if select.select([wake.reader], [], [], 0.1)[0]:
            break
    assert wake.taken()


def _started_and_read(child: pexpect.spawn) -> None:
    child.expect(">first")
    child.send("\x1b[B")  # arrow down
    child.expect(">second")
    child.send("k")
    child.expect(">first")
    child.send("js")
    child.expect("second is told to start")
    child.expect("second +● hot")
    child.send("e")
    child.expect("second: why, and what next")
    child.expect("asked for")
    child.send("q")
    child.expect("s start")
    child.send("l")
    child.expect("second: output")
    child.send("\x1b")
    child.expect("s start")
    child.send("?")
    child.expect("The keys of hestia top")
    child.send("q")
    child.expect("s start")


def _stopped(child: pexpect.spawn) -> None:
    child.send("/sec\r")
    child.expect('1 with "sec"')
    child.send("x")
    child.expect(r"Stop second\? y/n")
    child.send("n")
    child.expect("Nothing was changed")
    child.send("x")
    child.expect("y/n")
    child.send("y")
    child.expect("second is told to stop")
