"""A real `hestia serve` in a process of its own: makes it, reads its log, knows what it started.

Owns the gateway's process and folder. Whatever a test does, the gateway is gone afterwards and so is every
program that it started (those carry its id in HESTIA_KEY).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.e2e.cli import PROGRAM, environment
from tests.fakes.client import Client
from tests.fakes.facts import PATIENCE, eventually

Document = dict[str, Any]  # JSON as the gateway writes it


class Served:
    """One running gateway. folder: where it was called; its configuration, state and log are in there."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.port = 0
        self.http = httpx.AsyncClient(timeout=PATIENCE, trust_env=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- what it says --------------------------------------------------------------------------

    @property
    def said(self) -> str:
        """Standard error so far."""
        return (self.folder / "stderr").read_text()

    def lines(self, event: str = "", service: str = "") -> list[Document]:
        """Log lines in the order of their time stamps, only of one event type and service if given."""
        found = [json.loads(line) for line in self.said.splitlines(keepends=True) if line.endswith("\n")]
        found.sort(key=lambda line: str(line["timestamp"]))
        return [
            line
            for line in found
            if event in ("", line["event_type"]) and service in ("", line.get("service_id"))
        ]

    def transitions(self, service: str) -> list[str]:
        """States that the log says a service went to."""
        return [str(line["to"]) for line in self.lines(service=service) if "to" in line]

    async def until_line(self, event: str, service: str = "", *, count: int = 1) -> Document:
        """Wait until the log has `count` lines of an event; the last of these."""
        await eventually(
            lambda: len(self.lines(event, service)) >= count,
            lambda: f"{count} × {event} of {service} in:\n{self.said[-4000:]}",
        )
        return self.lines(event, service)[count - 1]

    async def get(self, path: str, *, host: str = "") -> httpx.Response:
        """What a browser gets at http://HOST:PORT/path: the answer, which must be a 200. host: a name."""
        fields = {"Host": f"{host}:{self.port}"} if host else {}
        answer = await self.http.get(self.url + path, headers=fields)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
        return answer

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A raw connection; closed when the block ends."""
        one = await Client.connect(("127.0.0.1", self.port))
        try:
            yield one
        finally:
            await one.close()

    # -- what it knows -------------------------------------------------------------------------

    async def status(self, service: str) -> Document:
        answer = await self.http.get(f"{self.url}/v1/services/{service}/status")
        assert answer.status_code == 200, answer.text
        found: Document = answer.json()
        return found

    async def until_phase(self, phase: str, service: str) -> Document:
        """Wait until the status shows a phase; that status."""
        seen = await self.status(service)
        try:
            async with asyncio.timeout(PATIENCE):
                while seen["phase"] != phase:
                    await asyncio.sleep(0.02)
                    seen = await self.status(service)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {service} to be {phase}; it is {seen}") from None
        return seen

    def programs(self) -> set[int]:
        """Pids of every program that this gateway started and that still runs, children included."""
        id_file = self.folder / "state" / "gateway_id"
        own = id_file.read_text().strip() if id_file.exists() else "\0"
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if (
                    own in process.environ().get("HESTIA_KEY", "")
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.add(process.pid)
        return found

    # -- its end -------------------------------------------------------------------------------

    async def ended(self) -> int:
        """Wait until the process has ended; its exit code."""
        await eventually(lambda: self.process.poll() is not None, "the gateway to end", timeout=60)
        return int(self.process.returncode)

    async def stop(self) -> int:
        """SIGTERM, then its exit code. Safe to call twice."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.ended()


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    configuration: Mapping[str, Any] | None,
    *arguments: str,
    program: Sequence[str] = (),
    **more: str,
) -> AsyncIterator[Served]:
    """A gateway on a free port. configuration: the file (any keys); None for none. program: as `launch` has
    it. more: environment."""
    served = launch(folder, configuration, *arguments, program=program, **more)
    try:
        started = await served.until_line("gateway_started")
        served.port = int(started["listening"].rpartition(":")[2])
        yield served
        assert await served.stop() == 0, served.said[-4000:]
        assert served.programs() == set()
    finally:
        await served.http.aclose()
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait()
        for pid in served.programs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def launch(
    folder: Path,
    configuration: Mapping[str, Any] | None,
    *arguments: str,
    program: Sequence[str] = (),
    **more: str,
) -> Served:
    """Start `hestia serve` (or another program in its place) in a folder without waiting for anything."""
    folder.mkdir(exist_ok=True)
    if configuration is not None:
        (folder / "hestia_config.yml").write_text(yaml.safe_dump(dict(configuration), sort_keys=False))
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            program or [*PROGRAM, "serve", "--port", "0", *arguments],
            cwd=folder,
            env=environment(
                **{"HESTIA_STATE_DIR": str(folder / "state"), "HESTIA_ENV_SERVICES": "off", **more}
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    return Served(folder, process)
