"""`hestia serve` with a fault: at a named point it writes a file and stays there until it is killed.

    faulty_gateway.py POINT FILE

Called in a folder with a configuration, as `hestia serve` is. Points: `intent` (committed, the engine is not
called yet), `made` (the program runs, its handle is nowhere), `commit` (the handle's commit is under way),
`discover` (the engine does not say what runs; the gateway itself goes on), `frozen` (it does not while FILE
is there), `broken` (asking it raises), `slow` (every commit takes a tenth of a second). The product
knows nothing of this: its ports are wrapped here.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parents[3]))

from pydantic import BaseModel

from hestia import running
from hestia.app import Hestia
from hestia.cli import banner
from hestia.cli.configuration import load_settings
from hestia.core.model import GatewayId, InstanceKey
from hestia.core.ports import (
    Discovered,
    Engine,
    EngineContext,
    Handle,
    Intent,
    Observed,
    Report,
    Started,
    StartSpec,
)
from hestia.engines.process import ProcessEngine
from hestia.engines.process_options import ProcessOptions
from hestia.engines.semaphore import SemaphoreEngine
from hestia.store.choose import database_path
from hestia.store.sqlite import SqliteStore
from tests.fakes.stores import SlowDisk

POINT, FILE = sys.argv[1], Path(sys.argv[2])

log = logging.getLogger(__name__)


def here() -> None:
    """Say that the point is reached, and hold the whole thread there."""
    FILE.touch()
    while True:
        time.sleep(60)


class FaultyReport:
    """Holds, or tells the disk to hang, when the engine has made something."""

    def __init__(self, report: Report, disk: SlowDisk) -> None:
        self._report = report
        self._disk = disk
        self.stage, self.line = report.stage, report.line

    def made(self, handle: Handle) -> None:
        """The handle, which nobody ever hears of."""
        if POINT == "made":
            here()
        if POINT == "commit":
            self._disk.gate.clear()
            FILE.touch()
        self._report.made(handle)


class FaultyEngine:
    """An engine that may not answer."""

    name: ClassVar[str] = "process"
    settle_time: ClassVar[float] = 0.0

    def __init__(self, engine: Engine, disk: SlowDisk) -> None:
        self._engine = engine
        self._disk = disk

    async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
        return await self._engine.start(spec, key, FaultyReport(report, self._disk))

    async def stop(self, handle: Handle, *, grace: float) -> None:
        await self._engine.stop(handle, grace=grace)

    async def inspect(self, handle: Handle) -> Observed:
        await self._answering()
        return await self._engine.inspect(handle)

    async def discover(self, owner: GatewayId) -> Discovered:
        await self._answering()
        return await self._engine.discover(owner)

    async def _answering(self) -> None:
        if POINT == "broken":
            raise RuntimeError("a bug of an engine")
        if POINT == "discover":
            FILE.touch()
            await asyncio.Event().wait()
        while POINT == "frozen" and FILE.exists():
            await asyncio.sleep(0.02)

    def watch(self) -> AsyncIterator[Observed]:
        return self._engine.watch()

    def logs(self, handle: Handle, *, follow: bool) -> AsyncIterator[bytes]:
        return self._engine.logs(handle, follow=follow)

    async def aclose(self) -> None:
        await self._engine.aclose()


class FaultyStore(SqliteStore):
    """The store, after whose intent nothing comes."""

    async def intend(self, intent: Intent) -> None:
        await super().intend(intent)
        if POINT == "intent":
            here()


class FaultySemaphore(FaultyEngine):
    """The same by its own name."""

    name: ClassVar[str] = "semaphore"


class Plugin:
    """Makes the engine `process`."""

    name: ClassVar[str] = "process"
    settle_time: ClassVar[float] = 0.0
    Options: ClassVar[type[BaseModel]] = ProcessOptions

    def __init__(self, disk: SlowDisk) -> None:
        self._disk = disk

    def __call__(self, context: EngineContext) -> FaultyEngine:
        return FaultyEngine(ProcessEngine(context), self._disk)


class SemaphorePlugin(Plugin):
    """Makes the engine `semaphore`."""

    name: ClassVar[str] = "semaphore"
    Options: ClassVar[type[BaseModel]] = SemaphoreEngine.Options

    def __call__(self, context: EngineContext) -> FaultyEngine:
        return FaultySemaphore(SemaphoreEngine(context, settle=0.5), self._disk)


def main() -> int:
    settings = load_settings(None, {"port": 0})
    path = database_path(settings.gateway)
    disk = SlowDisk(path or Path(), delay=0.1 if POINT == "slow" else 0.0)

    def say(hestia: Hestia, phases: object) -> None:
        fields = banner.event(settings, settings.gateway.host, hestia.address[1], phases)  # type: ignore[arg-type]
        log.info("listens", extra=fields)

    return running.serve(
        settings,
        lambda stream, given: Hestia(
            settings,
            access_log=stream,
            reload_from=lambda: load_settings(None, {"port": 0}),
            given=given,
            plugins={"process": Plugin(disk), "semaphore": SemaphorePlugin(disk)},
            store=FaultyStore(disk) if path is not None else None,
        ),
        say,
    )


sys.exit(main())
