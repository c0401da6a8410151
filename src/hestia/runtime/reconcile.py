"""What the engines and the network say about instances, brought to the world as events.

Watches every engine, asks it when a connect failed, and looks at the addresses of services for which
nobody told us (RD-15).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from hestia.core import lifecycle as lc
from hestia.core.errors import EngineError, HestiaError, StartFailed, UpstreamDisconnected
from hestia.core.lifecycle import State
from hestia.core.model import External, InstanceId, InstanceKey, ServiceId
from hestia.core.ports import Engine, Observed, Presence
from hestia.core.records import ServiceRecord, Slot
from hestia.core.world import World
from hestia.runtime.probes import exit_error
from hestia.runtime.starts import Jobs, StartJob
from hestia.runtime.tasks import Tasks

LOOK_CACHE = 1.0  # seconds for which a look at an address answers further questions (RD-15)
LOOKS_BEGUN = 50  # looks begun in one go where all services are asked for: a few milliseconds
LOOKS_OPEN = 1000  # looks that may be under way then: each has a socket


class Watcher:
    """Turns observations into events.

    starts: the running or last start job of each instance. is_pending: whether it is not known yet what of an
    engine runs, so that nobody who answers at an address may be taken for somebody else's.
    """

    def __init__(
        self,
        *,
        world: World,
        engines: Mapping[str, Engine],
        jobs: Jobs,
        starts: Mapping[tuple[ServiceId, InstanceId], StartJob],
        happened: Callable[[lc.Event], None],
        tasks: Tasks,
        clock: Callable[[], float],
        is_pending: Callable[[str], bool],
    ) -> None:
        self._world = world
        self._engines = engines
        self._jobs = jobs
        self._starts = starts
        self._happened = happened
        self._tasks = tasks
        self._clock = clock
        self._is_pending = is_pending
        self._looks: dict[ServiceId, tuple[float, asyncio.Task[None]]] = {}

    async def watch(self, engine: Engine) -> None:
        async for observed in engine.watch():
            if observed.presence is Presence.GONE:
                self._observed_gone(observed)

    def _observed_gone(self, observed: Observed) -> None:
        key = observed.key
        if key is None or not self._world.is_current(key):
            return
        job = self._starts.get((key.service, key.instance))
        slot = self._world.slot(key.service, key.instance)
        if slot.state is State.STARTING and job is not None and job.key == key:
            if not job.exited.done():
                job.exited.set_result(observed)
            return
        if slot.state not in (State.HOT, State.DRAINING):
            return
        self.gone(key, self._crash(slot, observed), unstable=not slot.is_stable(self._clock()))

    def _crash(self, slot: Slot, observed: Observed) -> HestiaError:
        error = exit_error(observed)
        error.detail = error.detail.replace(" before it was ready", " while it was in service")
        error.service_id = slot.record.service
        if isinstance(error, StartFailed):
            error.stage = ""
            error.remedy = f"hestia logs {slot.record.service}"
        return error

    def gone(self, key: InstanceKey, error: HestiaError, *, unstable: bool) -> None:
        self._happened(
            lc.InstanceGone(
                service=key.service,
                instance=key.instance,
                generation=key.generation,
                error=error,
                unstable=unstable,
            )
        )

    async def inspect(self, slot: Slot, key: InstanceKey) -> None:
        """A connect failed though the engine said nothing: ask it."""
        handle = slot.record.handle
        if not handle:
            return
        try:
            observed = await self._engines[slot.settings.engine].inspect(handle)
        except EngineError:
            return
        if observed.presence is Presence.GONE and self._world.is_current(key) and slot.state is State.HOT:
            self.gone(key, self._crash(slot, observed), unstable=not slot.is_stable(self._clock()))

    # -- truth about what others started (RD-15) -----------------------------------------------

    async def look(self, service: ServiceId) -> None:
        """Look at the address of a service, at most once a second, one look for everybody who asks."""
        task = self._looking(service)
        if not task.done():
            await asyncio.wait({task})

    async def look_at_all(self, services: Sequence[ServiceId]) -> None:
        """The same for many, begun little by little, so that requests pass in between."""
        under_way: deque[set[asyncio.Task[None]]] = deque()
        for first in range(0, len(services), LOOKS_BEGUN):
            under_way.append({self._looking(service) for service in services[first : first + LOOKS_BEGUN]})
            await asyncio.sleep(0)
            if len(under_way) > LOOKS_OPEN // LOOKS_BEGUN:
                await asyncio.wait(under_way.popleft())
        for looks in under_way:
            await asyncio.wait(looks)

    def _looking(self, service: ServiceId) -> asyncio.Task[None]:
        """The look under way, or that of just now, or a new one."""
        at, task = self._looks.get(service, (-LOOK_CACHE, None))
        if task is None or (task.done() and self._clock() - at >= LOOK_CACHE):
            task = self._tasks.spawn(self._look_now(service), f"look {service}")
            self._looks[service] = (self._clock(), task)
        return task

    async def _look_now(self, service: ServiceId) -> None:
        record = self._world.services.get(service)
        if record is None:  # taken out of the configuration meanwhile
            return
        slots = list(record.slots.values())
        if len(slots) == 1:
            await self._look_at(record, slots[0])
            return
        async with asyncio.TaskGroup() as group:  # none waits for another that does not answer
            for slot in slots:
                group.create_task(self._look_at(record, slot), name=f"look {service}/{slot.record.id}")

    async def _look_at(self, record: ServiceRecord, slot: Slot) -> None:
        watched = slot.state is State.HOT and (slot.record.external or not slot.settings.managed)
        if not watched and slot.state not in (State.COLD, State.FAILED):
            return
        if slot.settings.managed and self._is_pending(slot.settings.engine):
            return
        if slot.settings.managed and record.settings.external is External.IGNORE:
            return
        key = slot.key(self._world.gateway)
        found = await self._jobs.look(record.settings, slot.settings)
        if found is None or not self._world.is_current(key):
            return
        answer = found.answer
        if answer.ready and slot.state in (State.COLD, State.FAILED) and not slot.record.stuck:
            self._happened(
                lc.FoundRunning(service=key.service, instance=slot.record.id, endpoint=found.endpoint)
            )
        elif answer.refused and slot.state is State.HOT:
            gone = UpstreamDisconnected(
                f"Nothing answers at {found.target.url} any more ({answer.text}).",
                cause="refused",
                service_id=key.service,
            )
            self.gone(key, gone, unstable=False)
