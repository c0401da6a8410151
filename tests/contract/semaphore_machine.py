"""A stand-in Semaphore and what its playbooks start: listeners of this process, known by their key."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hestia.core.model import InstanceKey
from hestia.core.ports import EngineContext, Handle, StartSpec
from hestia.engines.semaphore import SemaphoreEngine
from hestia.engines.semaphore.options import SemaphoreOptions
from tests.contract.engine_contract import GATEWAY
from tests.contract.process_machine import free_port
from tests.fakes.semaphore import Run, Scene, Semaphore, Version, furnish
from tests.fakes.semaphore.records import Task

SETTLE = 0.3  # seconds in which a task of the stand-in is to be seen, if it was made at all


class SemaphoreMachine:
    """`async with`: a server, a project, and a new address for each `spec`.

    services: what runs, by key. started, ended: keys in the order in which plays were run for them.
    """

    def __init__(self, version: Version, folder: Path, *, group: bool = True) -> None:
        self.server = Semaphore(version, tick=0)
        self.scene: Scene = furnish(self.server.world, group=group)
        self.server.plays = {"start": self.start, "stop": self.stop}
        self.folder = folder
        self.services: dict[str, asyncio.Server] = {}
        self.started: list[str] = []
        self.ended: list[str] = []

    async def __aenter__(self) -> SemaphoreMachine:
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for key in list(self.services):
            self._end(key)
        await self.server.__aexit__(*exc)

    # -- what a test asks for ----------------------------------------------------------------------

    def options(self, **more: object) -> SemaphoreOptions:
        """Options that lead to the stand-in."""
        told = {
            "machine_id": "gpu-1",
            "start_template": self.scene.templates["start"],
            "stop_template": "stop",
            "base_url": self.server.url,
            "project": "hestia",
            "api_key": self.scene.token,
            "poll_interval": 0.05,
            "task_timeout": 10,
            "timeout": 5,
            **more,
        }
        return SemaphoreOptions.model_validate(told)

    def engine(self, **more: object) -> SemaphoreEngine:
        context = EngineContext(GATEWAY, str(self.folder), configured=lambda: [self.options(**more)])
        return SemaphoreEngine(context, settle=SETTLE)

    def spec(self, note: str = "", *, health_url: str = "", **more: object) -> StartSpec:
        return StartSpec(
            options=self.options(**({"variables": {"note": note}} if note else {}), **more),
            options_hash=f"hash-{note}",
            base_url=f"http://127.0.0.1:{free_port()}",
            health_url=health_url,
        )

    async def crash(self, handle: Handle) -> None:
        self._end(str(handle["key"]))

    def living(self, instance: InstanceKey) -> int:
        return int(str(instance) in self.services)

    def anything_left(self) -> list[str]:
        return list(self.services)

    def tasks(self) -> list[Task]:
        """Every record, oldest first."""
        return list(self.server.world.tasks.values())

    # -- the playbooks -----------------------------------------------------------------------------

    async def start(self, run: Run) -> int:
        key = run.variables["hestia_instance_key"]
        run.say(f"hello {run.variables.get('note', '')}".strip())
        self.started.append(key)
        if key not in self.services:  # bears being run twice
            port = int(run.variables["hestia_port"])
            self.services[key] = await asyncio.start_server(_hang_up, "127.0.0.1", port)
        return 0

    async def stop(self, run: Run) -> int:
        key = run.variables["hestia_instance_key"]
        run.say("goodbye")
        self.ended.append(key)
        self._end(key)
        return 0

    def _end(self, key: str) -> None:
        if key in self.services:
            self.services.pop(key).close()


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
