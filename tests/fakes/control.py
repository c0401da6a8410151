"""FakeControl: the control side of a gateway whose services change only when a test says so."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from hestia.api.control import Reload
from hestia.config import Problem
from hestia.core.difference import Difference
from hestia.core.errors import AlreadyRunning, HestiaError, QueueTimeout, ServiceNotFound
from hestia.core.model import ServiceId
from hestia.runtime.machines import MachineStatus, Resident, Resource, Waiting
from hestia.runtime.status import ErrorStatus, Health, InstanceStatus, ServiceStatus, StageStatus

MOMENT = datetime(2026, 1, 31, 12, 3, 4, 120_000, tzinfo=UTC)


def instance_status(name: str, phase: str = "cold") -> InstanceStatus:
    """One instance with nothing special about it."""
    return InstanceStatus(
        id=name,
        phase=phase,
        machine="local",
        engine="process",
        address="http://127.0.0.1:11434",
        generation=3,
        in_flight=0,
        since=MOMENT,
        started_at=MOMENT if phase == "hot" else None,
        last_used_at=MOMENT,
        idle_stop_at=None,
        retry_at=None,
        external=False,
        stages=(StageStatus(name="boot", text="waiting for port 11434", seconds=1.5, done=False),),
        last_error=None,
    )


def service_status(name: str, phase: str = "cold") -> ServiceStatus:
    """One service with one instance."""
    failed = ErrorStatus(
        code="service_start_failed",
        detail=f"{name} exited with status 3.",
        cause="exited",
        stage="boot",
        remedy=f"hestia logs {name}",
        at=MOMENT,
        tail=("no such model",),
    )
    return ServiceStatus(
        id=name,
        phase=phase,
        machine="local",
        engine="process",
        queue=2 if phase == "starting" else 0,
        in_flight=0,
        last_used_at=MOMENT,
        idle_stop_at=MOMENT if phase == "hot" else None,
        started_at=MOMENT if phase == "hot" else None,
        since=MOMENT,
        retry_at=MOMENT if phase == "failed" else None,
        estimated_ready=2.5 if phase == "starting" else None,
        episode="ep_1",
        idle_timeout=math.inf if phase == "cold" else 1800.0,
        last_error=failed if phase == "failed" else None,
        instances=(instance_status(name, phase),),
    )


def machine_status(name: str, *, busy: bool = True) -> MachineStatus:
    """A machine with 24 GiB of which one service has 14, and for which another one waits."""
    resident = Resident(
        service="comfyui",
        instance="main",
        phase="hot",
        since=MOMENT,
        takes={"vram": 14 * 2**30},
        gives_way="after_wait",
        why="is busy (2 requests)",
    )
    waiting = Waiting(
        service="sdxl",
        instance="main",
        since=MOMENT,
        needs={"vram": 20 * 2**30},
        text="comfyui is busy (2 requests)",
    )
    return MachineStatus(
        id=name,
        address="gpu.lan" if busy else "",
        role="gpu" if busy else "",
        tags=("big",) if busy else (),
        declared=busy,
        services=3,
        running=1 if busy else 0,
        max_instances=2 if busy else None,
        resources={"vram": Resource(total=24 * 2**30, used=14 * 2**30, is_size=True)} if busy else {},
        residents=(resident,) if busy else (),
        waiting=(waiting,) if busy else (),
    )


class FakeControl:
    """Fits `api.control.Control`. `calls` records every change asked for, as (call, service, details).

    refuse: raised by start, stop and restart. start_result: raised by wait_hot, or None for hot.
    output: pieces that `logs` gives; with follow it then waits for `more`.
    """

    def __init__(self, *services: ServiceStatus) -> None:
        self.known = {ServiceId(service.id): service for service in services}
        self.calls: list[tuple[str, str, object]] = []
        self.probes: list[bool] = []
        self.refuse: HestiaError | None = None
        self.bug: Exception | None = None
        self.start_result: HestiaError | None = None
        self.never_hot = False
        self.output: list[bytes] = []
        self.output_error: HestiaError | None = None
        self.more: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.logs_open = 0
        self.own_machines = [machine_status("gpu-1"), machine_status("local", busy=False)]
        self.own = Health(ok=True, ready=True, problems=(), version="0.1.0", started_at=MOMENT)

    def services(self) -> list[ServiceId]:
        return list(self.known)

    async def status(self, service: ServiceId, *, probe: bool = True) -> ServiceStatus:
        if self.bug is not None:
            raise self.bug
        self.probes.append(probe)
        if service not in self.known:
            raise ServiceNotFound(f"There is no service {service}.", service_id=service)
        return self.known[service]

    async def statuses(self) -> list[ServiceStatus]:
        return list(self.known.values())

    def machines(self) -> list[MachineStatus]:
        return self.own_machines

    def start(self, service: ServiceId, *, actor: str) -> None:
        self._record("start", service, actor)
        if self.known[service].phase in {"starting", "hot"}:
            raise AlreadyRunning(f"{service} is {self.known[service].phase} already.", service_id=service)
        self._become(service, "starting")

    async def wait_hot(self, service: ServiceId, *, timeout: float) -> None:
        self.calls.append(("wait_hot", service, timeout))
        if self.start_result is not None:
            raise self.start_result
        if self.never_hot:
            raise QueueTimeout(f"{service} was not hot within {timeout:g} s.", retry_after=5.0)
        self._become(service, "hot")

    def stop(self, service: ServiceId, *, force: bool, actor: str) -> None:
        self._record("stop", service, (force, actor))
        self._become(service, "stopping" if force else "draining")

    def restart(self, service: ServiceId, *, force: bool, actor: str) -> None:
        self._record("restart", service, (force, actor))
        self._become(service, "draining")

    async def logs(
        self, service: ServiceId, *, instance: str = "", follow: bool = False
    ) -> AsyncIterator[bytes]:
        self.calls.append(("logs", service, (instance, follow)))
        self.logs_open += 1
        try:
            if self.output_error is not None:
                raise self.output_error
            for piece in self.output:
                yield piece
            while follow and (piece_or_end := await self.more.get()) is not None:
                yield piece_or_end
        finally:
            self.logs_open -= 1

    def health(self) -> Health:
        return self.own

    def _record(self, call: str, service: ServiceId, details: object) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.calls.append((call, service, details))

    def _become(self, service: ServiceId, phase: str) -> None:
        self.known[service] = service_status(service, phase)


class FakeReloads:
    """Takes every configuration, or refuses it with `problems`."""

    def __init__(self) -> None:
        self.problems: tuple[Problem, ...] = ()
        self.last_reload: Reload | None = None

    async def reload(self, actor: str) -> Reload:
        found = Difference(waiting=("port",)) if self.problems else Difference(added=(ServiceId("new"),))
        self.last_reload = Reload(at=MOMENT.timestamp(), actor=actor, problems=self.problems, found=found)
        return self.last_reload
