"""`hestia demo` (FM-06): the whole cycle in under a minute, and nothing left of it, also after Ctrl-C."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pexpect
import psutil
import pytest

from tests.e2e.cli import environment, on_terminal
from tests.e2e.conftest import ROOT
from tests.fakes.programs import is_alive

pytestmark = pytest.mark.e2e

MINUTE = 60


class Place:
    """Where the demo runs: its own home, its own folder for temporary files, and nothing left in either."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = io.StringIO()
        for name in ("home", "tmp", "here"):
            (folder / name).mkdir()
        self.env = environment(HOME=str(folder / "home"), TMPDIR=str(folder / "tmp"), HESTIA_PORT="1")

    def play(self) -> pexpect.spawn:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        child = on_terminal(
            ["demo", "--port", str(port)], cwd=self.folder / "here", env=self.env, columns=100
        )
        child.timeout = MINUTE
        child.logfile_read = self.log
        return child

    @property
    def told(self) -> str:
        """What stood on the screen so far."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.log.getvalue()).replace("\r", "")

    def files(self) -> list[Path]:
        return [path for name in ("home", "tmp", "here") for path in (self.folder / name).rglob("*")]

    def programs(self) -> dict[int, str]:
        """Everything that runs with a file, folder or address of the demo: the gateway and its services."""
        found = {}
        for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
            words = " ".join(process.info["cmdline"] or [])
            if str(self.folder) in f"{words} {process.info['cwd']}":
                found[process.info["pid"]] = words
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    """A place that is as empty afterwards as before, of files and of programs."""
    with tempfile.TemporaryDirectory(prefix="h-") as folder:  # short: a unix socket will stand in there
        one = Place(Path(folder))
        sources = sources_now()
        yield one
        left = one.programs()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert left == {}
        assert one.files() == []
        assert sources_now() == sources, "no file beside the program either"


def sources_now() -> set[Path]:
    """Files of Hestia itself, but for what Python keeps of any program that runs."""
    return {path for path in (ROOT / "src").rglob("*") if "__pycache__" not in path.parts}


def ended(child: pexpect.spawn) -> int:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus if child.exitstatus is not None else -int(child.signalstatus)


def test_fm06_the_show_tells_cold_hot_idle_cold_and_leaves_nothing(place: Place) -> None:
    """Told in order, for both services, with the answers in between; then it stays until Ctrl-C."""
    child = place.play()
    child.expect(r"hestia status --url http://localhost:\d+")
    told = place.told
    assert re.findall(r"slow is (cold|starting|hot)", told) == ["cold", "starting", "hot", "cold"], told
    assert re.findall(r"quick is (cold|hot)", told) == ["cold", "hot", "cold"], (
        told
    )  # starts between two looks
    assert "the answer: hello from quick" in told
    assert "as it comes." in told.partition("the answer: I was asleep")[2], "the story streamed to its end"
    spent = re.search(r"That was all of it, in (\d+) s", told)
    assert spent, told
    assert int(spent[1]) < MINUTE, "what FM-06 promises to a newcomer"
    child.sendintr()
    assert ended(child) == 0
    assert "Every process and file of the demo is gone." in place.told


def test_fm06_ctrl_c_in_the_middle_leaves_nothing(place: Place) -> None:
    """At the worst moment: one service is hot and the other one starts."""
    child = place.play()
    child.expect(r"slow\S* is starting")
    running = place.programs()
    assert len(running) >= 3, "the demo, its gateway and a service"
    assert place.files()
    child.sendintr()
    child.expect("every process and file of the demo is gone")
    assert ended(child) == 130
    assert not any(is_alive(pid) for pid in running)
