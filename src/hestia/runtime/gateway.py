"""The single writer of the world: takes events in, performs the effects, owns timers and jobs.

Effects are performed in the order in which the world gave them; performing one may produce events, whose
effects queue behind. Nothing here awaits between reading and deciding: what takes time is a job
(`runtime.starts`) and reports back. Anyone may read; only this class calls the world's writers.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from datetime import UTC, datetime

from hestia.core.difference import Difference
from hestia.core.errors import (
    GatewayDraining,
    HandleUnknown,
    HestiaError,
    QueueFull,
    UpstreamDisconnected,
)
from hestia.core.lease import Lease
from hestia.core.lifecycle import State
from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId, Settings
from hestia.core.ports import Engine, Memory, Recorder, Store
from hestia.core.queue import Outcome, Waiter
from hestia.core.secrets import Secrets
from hestia.core.world import World
from hestia.runtime.ending import Ending
from hestia.runtime.held import InUse, hold, in_use
from hestia.runtime.history import History
from hestia.runtime.machines import MachineStatus, machine_statuses
from hestia.runtime.memory import error_of, failed_at, place_of, stages_of
from hestia.runtime.performer import Performer
from hestia.runtime.progress import Progress
from hestia.runtime.reconcile import Watcher
from hestia.runtime.several import Several
from hestia.runtime.starts import StartJob
from hestia.runtime.status import Health, ServiceStatus
from hestia.runtime.sweep import Sweep
from hestia.runtime.tasks import Tasks
from hestia.runtime.views import Views
from hestia.runtime.visits import Visits

log = logging.getLogger(__name__)

VIEWS = 200  # services described in one go when all are asked for: a few milliseconds


class Gateway:
    """Services as the data path and the control API see them. See the module docstring.

    engines: engine name → engine. closed: told the key of a generation whose endpoint is no longer used.
    version: of the program, for `health`. boot_clock: seconds that go on while the machine sleeps.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        gateway: GatewayId,
        engines: dict[str, Engine],
        store: Store,
        recorder: Recorder,
        tasks: Tasks,
        version: str,
        closed: Callable[[InstanceKey], None] = lambda _key: None,
        lag: Callable[[], float] = lambda: 0.0,
        boot_clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self.settings = settings
        self._tasks = tasks
        self._engines = engines
        self._version = version
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        episodes = itertools.count(1)
        prefix = f"ep_{int(time.time()):x}"
        self.history = History()
        self.world = World(
            gateway=gateway,
            services=settings.services,
            machines=settings.machines,
            jitter=random.random,
            new_episode=lambda: f"{prefix}_{next(episodes)}",
            wall=time.time,
            usual=self.history.usual,
        )
        self.acquire_nowait = self.world.acquire_nowait  # the hot path: nothing of ours in between
        self._draining = False
        self._started_at = datetime.now(UTC)
        self._secrets = Secrets(settings.secrets)
        starts: dict[tuple[ServiceId, InstanceId], StartJob] = {}
        self._views = Views(self.world, self.history, starts, engines, self._clock)
        self._performer = Performer(
            self.world,
            engines=engines,
            store=store,
            recorder=recorder,
            tasks=tasks,
            clock=self._clock,
            closed=closed,
            history=self.history,
            starts=starts,
            estimate=self._views.estimate,
            on_error=self._views.note_error,
            orphan_policy=settings.gateway.orphan_policy,
            secrets=self._secrets,
        )
        self._perform = self._performer.perform
        self.happened = self._performer.happened
        self.note = self._performer.note  # an event that is no transition
        self.feed = self._performer.feed
        self.release = self._performer.release
        self.released = self._performer.released
        self._watcher = Watcher(
            world=self.world,
            engines=engines,
            jobs=self._performer.jobs,
            starts=starts,
            happened=self.happened,
            tasks=tasks,
            clock=self._clock,
            is_pending=self._performer.adoption.is_pending,
        )
        self.progress = Progress(
            self.world,
            starts,
            store,
            clock=self._clock,
            perform=self._perform,
            note=self.note,
            lag=lag,
        )
        self.sweep = Sweep(
            world=self.world,
            adoption=self._performer.adoption,
            watcher=self._watcher,
            note_use=self._performer.note_use,
            perform=self._perform,
            clock=self._clock,
            boot_clock=boot_clock,
            progress=self.progress,
            note=self.note,
        )

        self.several = Several(
            self.world,
            look=self._watcher.look,
            perform=self._perform,
            clock=self._clock,
            is_draining=lambda: self._draining,
        )
        self.visits = Visits(
            self.world,
            self.history,
            self,
            release=self.release,
            error=self._views.last_error,
            clock=self._clock,
        )
        self._ending = Ending(self.world, self._performer, clock=self._clock)

    def restore(self, memory: Memory) -> None:
        """Put back what an earlier gateway knew; before anything else (AD-11)."""
        for (kind, name), fact in memory.facts.items():
            place = place_of(name)
            if kind == "history":
                self.history.restore(*place, stages_of(fact))
            elif kind == "backoff" and (error := error_of(fact, place[0])) is not None:
                at = datetime.fromtimestamp(failed_at(fact, time.time()), UTC)
                self._views.note_error(place, error, at)
        self._performer.adoption.restore(memory)

    def watch_engines(self) -> None:
        """Start listening to what the engines see, and ask them what runs."""
        self._performer.adoption.begin()
        for name, engine in self._engines.items():
            self._tasks.spawn(self._watcher.watch(engine), f"watch {name}")
        self._tasks.spawn(self.sweep.run(), "sweep")
        self._perform(self.world.look_at_calendars(self._clock()))

    def reconfigure(self, new: Settings, found: Difference) -> None:
        """Take new settings: only services that differ are touched. found: how they differ."""
        self.settings = new
        self._secrets.take(new.secrets)
        self._performer.adoption.orphans.policy = new.gateway.orphan_policy
        taken = self.world.reconfigure(new.services, found, self._clock(), machines=new.machines)
        self._perform(taken)
        self.several.reconfigured()
        self._performer.adoption.take_back()  # before a start that this brings has its turn

    def use_engine(self, name: str, engine: Engine) -> None:
        """An engine that a new configuration needs."""
        self._engines[name] = engine
        self._performer.adoption.begin_with(name)
        self._tasks.spawn(self._watcher.watch(engine), f"watch {name}")

    @property
    def engines(self) -> Collection[str]:
        """Names of those that are there."""
        return self._engines.keys()

    # -- the data path -------------------------------------------------------------------------

    def wait(
        self,
        service: ServiceId,
        on_outcome: Callable[[Outcome], None],
        *,
        candidates: tuple[InstanceId, ...] | None = None,
        deadline: float,
        request_id: str = "",
        quiet: bool = False,
        then: tuple[InstanceId, ...] = (),
    ) -> Waiter:
        """Queue for a lease; appearing here is demand. `on_outcome` may be called before this returns.

        deadline: loop-clock seconds. quiet: it is no demand, and is refused while nothing is hot. then: what
        it may use when none of the candidates can be hoped for. Raises AdmissionError or StartError where
        waiting is no use.
        """
        if self._draining:
            raise self._going_down(service)
        waiter = Waiter(
            candidates or (),
            on_outcome,
            arrived=self._clock(),
            deadline=deadline,
            request_id=request_id,
            quiet=quiet,
            then=then,
        )
        try:
            self._perform(self.world.join(service, waiter, self._clock()))
        except QueueFull as full:
            full.retry_after = self._views.estimate(service) or full.retry_after
            raise
        return waiter

    def is_cold(self, service: ServiceId, candidates: tuple[InstanceId, ...] | None = None) -> bool:
        """Whether no instance (or none of these) is hot. Raises ServiceNotFound."""
        slots = self.world.service(service).slots
        return not any(
            slot.state is State.HOT for name, slot in slots.items() if not candidates or name in candidates
        )

    def estimate(self, service: ServiceId) -> float | None:
        """Seconds until the service is ready, from earlier starts; None when unknown."""
        return self._views.estimate(service)

    def queued(self, service: ServiceId) -> int:
        """Waiters of the service. Raises ServiceNotFound."""
        return len(self.world.service(service).queue)

    def leave(self, service: ServiceId, waiter: Waiter) -> None:
        """The waiter's client left: its place is free at once."""
        self._perform(self.world.leave(service, waiter, self._clock()))

    def succeeded(self, lease: Lease) -> None:
        """A response head below 500 came where one was awaited (`Use.awaited`)."""
        if lease.use.awaited:
            self._perform(self.world.warmed(lease.use, self._clock()))

    def became_socket(self, lease: Lease) -> None:
        """Its exchange is a spliced WebSocket from here on."""
        if lease.became_socket():
            self._performer.released(lease)

    def connect_failed(self, lease: Lease, error: HestiaError) -> None:
        """Nobody listens where a lease points. What nobody here started is gone then; else look."""
        key = lease.use.key
        if not self.world.is_current(key):
            return
        slot = self.world.slot(key.service, key.instance)
        if slot.state is not State.HOT:
            return
        if slot.record.external or not slot.settings.managed:
            gone = UpstreamDisconnected(error.detail, cause="refused", service_id=key.service)
            self._watcher.gone(key, gone, unstable=False)
        elif not self._draining:
            self._tasks.spawn(self._watcher.inspect(slot, key), f"inspect {key}")
            self._perform(self.world.doubt(key, self._clock()))

    def refused(self, lease: Lease, error: HestiaError) -> None:
        """Nobody listens where a start was ready a moment ago, and the request knocks on (RD-10)."""
        self._perform(self.world.refused(lease.use.key, error.detail, self._clock()))

    def let_down(self, lease: Lease) -> None:
        """A request got no answer there: see whether it lives (RD-11)."""
        self._perform(self.world.doubt(lease.use.key, self._clock()))

    # -- control -------------------------------------------------------------------------------

    def services(self) -> list[ServiceId]:
        return list(self.world.services)

    async def status(self, service: ServiceId, *, probe: bool = True) -> ServiceStatus:
        """What is true now, a look at the address included (RD-15). Raises ServiceNotFound."""
        self.world.service(service)
        if probe and not self._draining:
            await self._watcher.look(service)
        return self._views.service(service)

    async def statuses(self) -> list[ServiceStatus]:
        """All of them, in the order of the configuration. Many do not hold the loop."""
        found, services = [], self.services()
        if not self._draining:
            await self._watcher.look_at_all(services)
        for first in range(0, len(services), VIEWS):
            batch = services[first : first + VIEWS]
            found += [self._views.service(service) for service in batch if service in self.world.services]
            await asyncio.sleep(0)
        return found

    def machines(self) -> list[MachineStatus]:
        """All of them: what they have, who has it, who waits."""
        return machine_statuses(self.world, self._clock())

    def start(self, service: ServiceId, *, actor: str, instance: InstanceId | None = None) -> None:
        """Raises ServiceNotFound, AlreadyRunning, GatewayDraining."""
        if self._draining:
            raise self._going_down(service)
        effects = self.world.start(service, self._clock(), cause="api", actor=actor, instance=instance)
        self._perform(effects)

    async def wait_hot(self, service: ServiceId, *, timeout: float) -> None:
        """Return when the service is hot. timeout in seconds. Raises what a request would be answered."""
        future: asyncio.Future[Outcome] = self._loop.create_future()

        def settle(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)
            elif isinstance(outcome, Lease):
                self.release(outcome)

        lease = self.acquire_nowait(service)
        if lease is not None:
            self.release(lease)
            return
        waiter = self.wait(service, settle, deadline=self._clock() + timeout, request_id="wait_hot")
        try:
            outcome = await future
        except asyncio.CancelledError:
            self.leave(service, waiter)
            raise
        if isinstance(outcome, Lease):
            self.release(outcome)
        else:
            raise outcome

    def stop(self, service: ServiceId, *, force: bool, actor: str) -> None:
        """Raises ServiceNotFound."""
        self._perform(self.world.stop(service, self._clock(), force=force, actor=actor))
        if force:
            self._performer.adoption.orphans.give_up(service)

    def restart(self, service: ServiceId, *, force: bool, actor: str) -> None:
        """Raises ServiceNotFound."""
        self._perform(self.world.stop(service, self._clock(), force=force, restart=True, actor=actor))

    async def logs(
        self, service: ServiceId, *, instance: str = "", follow: bool = False
    ) -> AsyncIterator[bytes]:
        """Output of an instance (the first that has any). Raises ServiceNotFound, HandleUnknown."""
        record = self.world.service(service)
        names = [InstanceId(instance)] if instance else list(record.slots)
        for name in names:
            slot = self.world.slot(service, name)
            handle = slot.record.handle or self._performer.handles.get((service, name))
            if handle:
                async for piece in self._engines[slot.settings.engine].logs(handle, follow=follow):
                    yield piece
                return
        raise HandleUnknown(
            f'There is no output of "{service}": this gateway has not started it yet.',
            remedy=f"hestia start {service}",
            cause="not_found",
        )

    def health(self) -> Health:
        """Does everything move that should (OB-10)."""
        problems = self.progress.problems()
        return Health(
            ok=not problems,
            ready=not self._draining and not any(self.progress.stuck()),  # what is hot needs no store
            problems=tuple(problems),
            version=self._version,
            started_at=self._started_at,
        )

    # -- shutdown ------------------------------------------------------------------------------

    def drain(self) -> None:
        """Answer the queue and let nothing start any more (DR-03, ID-17)."""
        self._draining = True
        self.feed.close()
        self._perform(self.world.refuse_all(self._going_down("")))

    def is_waking(self) -> bool:
        """Whether somebody waits for a start that is under way."""
        return any(
            record.queue.waiters and any(slot.state is State.STARTING for slot in record.slots.values())
            for record in self.world.services.values()
        )

    def waiting(self) -> int:
        """Waiters of all services."""
        return sum(len(record.queue) for record in self.world.services.values())

    def freeze(self) -> list[InUse]:
        """Leave everything as it is to another gateway; what is open here goes on, and is told."""
        self.drain()
        self._performer.freeze()
        return in_use(self.world)

    async def hold(self, used: Iterable[InUse], until: Awaitable[object]) -> None:
        """Count what an earlier gateway still relays as use, until it is over (see `runtime.held`)."""
        await hold(self.world, used, until, changed=self._performer.changed, release=self.release)

    async def stop_all(self, *, timeout: float, everything: bool = False) -> list[str]:
        """Stop what does not stay when the gateway ends; what is left after `timeout` seconds is named.

        A service whose `on_exit` is `keep` stays, unless `everything`: what is hot, what starts and has an
        address already, and what an earlier gateway started and is being looked for (ID-17, AD-15).
        """
        return await self._ending.stop_all(timeout=timeout, everything=everything)

    def hurry(self, *, everything: bool = False) -> None:
        """End the grace of every stop under way. everything: as for `stop_all`."""
        self._ending.hurry(everything=everything)

    def staying(self) -> list[str]:
        """What runs on without a gateway, as `service/instance`."""
        return self._ending.staying()

    def _going_down(self, service: str) -> GatewayDraining:
        return GatewayDraining(
            "The gateway is shutting down.",
            remedy="try again when it is back",
            service_id=service,
            retry_after=5.0,
        )
