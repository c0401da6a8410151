"""A gateway that lives several lives: one folder, one state, killed and started again.

Owns what is looked at between two lives: programs by their key in /proc, rows of the database. Whatever a
test does, nothing runs afterwards.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.served import Served, launch
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command
from tests.fakes.stores import ask
from tests.fakes.wire import request

FAULTY = Path(__file__).parent / "programs" / "faulty_gateway.py"
Configuration = Mapping[str, Any]


class Lives:
    """See the module docstring. now: the running gateway. more: environment of every life."""

    now: Served

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        self.gate = folder / "gate"
        self.point = folder / "point"  # is written where a fault is reached
        self.configuration: dict[str, Any] = {"services": {"one": self.service()}}
        self._more = {"HESTIA_ON_EXIT": "keep", **more}
        self._all: list[Served] = []
        self._clients: list[Client] = []
        folder.mkdir(exist_ok=True)

    # -- what it is given ----------------------------------------------------------------------

    def service(self, *words: str, gated: bool = False, **settings: Any) -> dict[str, Any]:
        """A small service of the process engine. words: of its command line. settings: keys of the file."""
        gate = ("--gate", str(self.gate)) if gated else ()
        return {
            "engine": {
                "type": "process",
                "command": small_command("--journal", str(self.folder / "journal"), *gate, *words),
            },
            "health_url": "http://127.0.0.1:{port}/health",
            **settings,
        }

    def set(self, **services: Configuration) -> None:
        """From the next life on, these are the services."""
        self.configuration["services"] = services

    # -- life and death ------------------------------------------------------------------------

    async def boot(self, *, at: str = "", **more: str) -> Served:
        """Begin a life and wait until it listens. at: the fault it will have."""
        self.begin(at=at, **more)
        started = await self.now.until_line("gateway_started")
        self.now.port = int(started["listening"].rpartition(":")[2])
        return self.now

    def begin(self, *, at: str = "", **more: str) -> Served:
        """The same without waiting."""
        self.point.unlink(missing_ok=True)
        program = [sys.executable, str(FAULTY), at, str(self.point)] if at else []
        self.now = launch(self.folder, self.configuration, program=program, **{**self._more, **more})
        self._all.append(self.now)
        return self.now

    async def reaches_the_point(self) -> None:
        """Wait until the fault is reached."""
        await eventually(self.point.exists, lambda: f"the fault in:\n{self.now.said[-2000:]}")

    def kill(self) -> None:
        """kill -9 of the gateway."""
        self.now.process.kill()
        self.now.process.wait()

    async def send(self, path: str) -> Client:
        """A request whose answer nobody waits for here."""
        client = await Client.connect(("127.0.0.1", self.now.port))
        self._clients.append(client)
        await client.send(request("GET", path))
        return client

    async def stream(self) -> Client:
        """A stream of the service `one` that goes on for minutes and has begun."""
        client = await self.send("/services/one/stream?100000")
        await client.until(lambda: b"event 3" in client.received, "the stream to begin")
        return client

    # -- what is true --------------------------------------------------------------------------

    def programs(self) -> dict[int, str]:
        """Key of every program that was started here and still runs, by its pid."""
        id_file = self.folder / "state" / "gateway_id"
        own = f"hestia:{id_file.read_text().strip()}/" if id_file.exists() else "\0"
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                key = process.environ().get("HESTIA_KEY", "")
                if key.startswith(own) and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = key
        return found

    def program(self) -> int:
        """The one that runs."""
        (pid,) = self.programs()
        return pid

    def starts(self) -> list[int]:
        """Pids of all that ever started."""
        journal = self.folder / "journal"
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith("started ")]

    @property
    def database(self) -> Path:
        return self.folder / "state" / "hestia.db"

    def rows(self) -> list[tuple[object, ...]]:
        """What the store thinks that may run: service, state, handle."""
        return ask(self.database, "SELECT service, state, handle FROM generations")

    async def until_gone(self) -> None:
        """Wait until nothing that was started here runs."""
        await eventually(lambda: not self.programs(), lambda: f"nothing to run, but {self.programs()}")

    async def is_true(self, phase: str, *, pid: int | None = None, service: str = "one") -> None:
        """The status says so, /proc agrees, a request is answered by the one copy there is (AD-01).

        pid: the program that must have been taken over.
        """
        await self.now.until_phase(phase, service)
        if phase == "hot":
            assert len(self.programs()) == 1
            assert pid in (None, self.program())
        else:
            assert not self.programs()
        answer = await self.now.get(f"/services/{service}/true")
        assert answer.json()["pid"] == self.program()
        assert pid in (None, self.program())

    async def end(self) -> None:
        """Stop everything in order: nothing runs, and no row is open."""
        for name in self.configuration["services"]:
            await self.now.http.post(f"{self.now.url}/v1/services/{name}/stop?force=true")
        await self.until_gone()
        assert await self.now.stop() == 0, self.now.said[-4000:]
        assert self.rows() == []

    async def aclose(self) -> None:
        """Leave nothing behind."""
        for client in self._clients:
            await client.close()
        for one in self._all:
            await one.http.aclose()
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()
        for pid in self.programs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def lives(folder: Path, **more: str) -> AsyncIterator[Lives]:
    """A gateway to be killed. more: environment of every life."""
    one = Lives(folder, **more)
    try:
        yield one
    finally:
        await one.aclose()


@contextlib.contextmanager
def foreign_program() -> Iterator[psutil.Process]:
    """A program that nobody here started, and that nobody may touch."""
    with psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        try:
            yield process
        finally:
            process.kill()
