"""The single writer of the world: takes events in, performs the effects, owns timers and jobs.

Effects are performed in the order in which the world gave them; performing one may produce events, whose
effects queue behind. Nothing here awaits between reading and deciding: what takes time is a job
(`runtime.starts`) and reports back. Anyone may read; only this class calls the world's writers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime

from hestia.core import effects as fx
from hestia.core import lifecycle as lc
from hestia.core.errors import (
    GatewayDraining,
    HandleUnknown,
    HestiaError,
    QueueFull,
    QueueTimeout,
    UpstreamDisconnected,
)
from hestia.core.lease import Lease
from hestia.core.lifecycle import State
from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId, Settings
from hestia.core.ports import Engine, Handle, Recorder, Row, Store
from hestia.core.queue import Outcome, Waiter
from hestia.core.world import World
from hestia.runtime.history import History, StageClock
from hestia.runtime.reconcile import Watcher
from hestia.runtime.starts import Jobs, StartJob
from hestia.runtime.status import Health, ServiceStatus
from hestia.runtime.tasks import Tasks
from hestia.runtime.views import Views

log = logging.getLogger(__name__)

LONGEST_TIMER = 20 * 86400.0  # seconds; longer ones are looked at again then (CK-11)
VIEWS = 200  # services described in one go when all are asked for: a few milliseconds
TimerKey = tuple[ServiceId, InstanceId | None, fx.Timer]


class Gateway:
    """Services as the data path and the control API see them. See the module docstring.

    engines: engine name → engine. closed: told the key of a generation whose endpoint is no longer used.
    version: of the program, for `health`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        gateway: GatewayId,
        engines: Mapping[str, Engine],
        store: Store,
        recorder: Recorder,
        tasks: Tasks,
        version: str,
        closed: Callable[[InstanceKey], None] = lambda _key: None,
    ) -> None:
        self.settings = settings
        self._tasks = tasks
        self._engines = engines
        self._store = store
        self._recorder = recorder
        self._version = version
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        episodes = itertools.count(1)
        prefix = f"ep_{int(time.time()):x}"
        self.world = World(
            gateway=gateway,
            services=settings.services,
            jitter=random.random,
            new_episode=lambda: f"{prefix}_{next(episodes)}",
        )
        self.acquire_nowait = self.world.acquire_nowait  # the hot path: nothing of ours in between
        self._jobs = Jobs(
            engines=engines,
            store=store,
            recorder=recorder,
            happened=self.happened,
            is_current=self.world.is_current,
        )
        self._pending: deque[fx.Effect] = deque()
        self._performing = False
        self._timers: dict[TimerKey, asyncio.TimerHandle] = {}
        self._starts: dict[tuple[ServiceId, InstanceId], StartJob] = {}
        self._handles: dict[tuple[ServiceId, InstanceId], Handle] = {}
        self._draining = False
        self._started_at = datetime.now(UTC)
        self.history = History()
        self._watcher = Watcher(
            world=self.world,
            engines=engines,
            jobs=self._jobs,
            starts=self._starts,
            happened=self.happened,
            tasks=tasks,
            clock=self._clock,
        )
        self._changed = asyncio.Event()
        self._views = Views(self.world, self.history, self._starts, self._clock)

    def watch_engines(self) -> None:
        """Start listening to what the engines see."""
        for name, engine in self._engines.items():
            self._tasks.spawn(self._watcher.watch(engine), f"watch {name}")

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
    ) -> Waiter:
        """Queue for a lease; appearing here is demand. `on_outcome` may be called before this returns.

        deadline: loop-clock seconds. quiet: it is no demand, and is refused while nothing is hot. Raises
        AdmissionError or StartError where waiting is no use.
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
        )
        try:
            self._perform(self.world.join(service, waiter, self._clock()))
        except QueueFull as full:
            full.retry_after = self._views.estimate(service) or full.retry_after
            raise
        return waiter

    def is_cold(self, service: ServiceId) -> bool:
        """Whether no instance is hot. Raises ServiceNotFound."""
        return not any(slot.state is State.HOT for slot in self.world.service(service).slots.values())

    def estimate(self, service: ServiceId) -> float | None:
        """Seconds until the service is ready, from earlier starts; None when unknown."""
        return self._views.estimate(service)

    def queued(self, service: ServiceId) -> int:
        """Waiters of the service. Raises ServiceNotFound."""
        return len(self.world.service(service).queue)

    def leave(self, service: ServiceId, waiter: Waiter) -> None:
        """The waiter's client left: its place is free at once."""
        self.world.leave(service, waiter)

    def release(self, lease: Lease) -> None:
        """Give a lease back. Idempotent."""
        if self.world.release(lease, self._clock()):
            key = lease.use.key
            self._perform(self.world.released(key.service, key.instance, self._clock()))

    def succeeded(self, lease: Lease) -> None:
        """A response head below 500 came: the warm-up gate of this generation opens."""
        if not lease.use.warm:
            self._perform(self.world.warmed(lease.use, self._clock()))

    def connect_failed(self, lease: Lease, error: HestiaError) -> None:
        """Nobody listens where a lease points. What nobody here started is gone then; else look."""
        key = lease.use.key
        slot = self.world.slot(key.service, key.instance)
        if not self.world.is_current(key) or slot.state is not State.HOT:
            return
        if slot.record.external or not slot.settings.managed:
            gone = UpstreamDisconnected(error.detail, cause="refused", service_id=key.service)
            self._watcher.gone(key, gone, unstable=False)
        elif not self._draining:
            self._tasks.spawn(self._watcher.inspect(slot, key), f"inspect {key}")

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

    def start(self, service: ServiceId, *, actor: str) -> None:
        """Raises ServiceNotFound, AlreadyRunning, GatewayDraining."""
        if self._draining:
            raise self._going_down(service)
        self._perform(self.world.start(service, self._clock(), cause="api", actor=actor))

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
            handle = slot.record.handle or self._handles.get((service, name))
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
        now, problems = self._clock(), []
        for service, record in self.world.services.items():
            first = record.queue.first
            if first is not None and first.deadline + 5.0 < now:
                problems.append(f"{service}: a waiter is past its deadline")
        return Health(
            ok=not problems,
            ready=not self._draining and not problems,
            problems=tuple(problems),
            version=self._version,
            started_at=self._started_at,
        )

    # -- shutdown ------------------------------------------------------------------------------

    def drain(self) -> None:
        """Answer the queue and let nothing start any more (DR-03, ID-17)."""
        self._draining = True
        self._perform(self.world.refuse_all(self._going_down("")))

    async def stop_all(self, *, timeout: float) -> list[str]:
        """Stop every instance this gateway started; what is left after `timeout` seconds is named."""
        for service in self.services():
            self._perform(self.world.stop(service, self._clock(), force=True, cause="shutdown"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._not_cold():
                    self._changed.clear()
                    await self._changed.wait()
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
        return self._not_cold()

    def hurry(self) -> None:
        """End the grace of every stop under way."""
        for service in self.services():
            self._perform(self.world.stop(service, self._clock(), force=True, cause="shutdown"))

    def _not_cold(self) -> list[str]:
        return [
            f"{slot.record.service}/{slot.record.id}"
            for record in self.world.services.values()
            for slot in record.slots.values()
            if slot.state not in (State.COLD, State.FAILED)
        ]

    def _going_down(self, service: str) -> GatewayDraining:
        return GatewayDraining(
            "The gateway is shutting down.",
            remedy="try again when it is back",
            service_id=service,
            retry_after=5.0,
        )

    # -- events and effects --------------------------------------------------------------------

    def happened(self, event: lc.Event) -> None:
        """Take an event into the world and perform what follows. A late or illegal one changes nothing."""
        try:
            effects = self.world.apply(event, self._clock())
        except lc.IllegalTransition as refused:
            log.warning(str(refused), extra={"event_type": "illegal_transition", "service_id": event.service})
            return
        self._perform(effects)

    def _perform(self, effects: list[fx.Effect]) -> None:
        self._pending.extend(effects)
        if self._performing:
            return
        self._performing = True
        try:
            while self._pending:
                self._perform_one(self._pending.popleft())
        finally:
            self._performing = False

    def _perform_one(self, effect: fx.Effect) -> None:
        """One effect; each branch starts something or tells somebody, and never waits."""
        match effect:
            case fx.Settle(waiter, outcome):
                self._settle(waiter, outcome)
            case fx.SetTimer(service, instance, kind, at):
                self._set_timer((service, instance, kind), at)
            case fx.RunStart(key, episode):
                self._run_start(key, episode)
            case fx.CancelStart(key):
                job = self._starts.get((key.service, key.instance))
                if job is not None and job.key == key and job.task is not None:
                    job.task.cancel()
            case fx.RunStop(key, handle, external):
                self._run_stop(key, handle, external)
            case fx.HurryStop(key):
                slot = self.world.slot(key.service, key.instance)
                if slot.record.handle and not slot.record.external:
                    self._tasks.spawn(
                        self._jobs.hurry(slot.settings, slot.record.handle), f"hurry stop {key}"
                    )
            case fx.CloseSockets(use):
                for lease in [lease for lease in use.leases if lease.is_socket]:
                    if lease.holder is not None:
                        lease.holder.close_socket()
            case fx.AbortLeases(use, reason):
                for lease in list(use.leases):
                    if lease.holder is not None:
                        lease.holder.abort(reason)
                    self.release(lease)
            case fx.EndpointOpened():
                pass
            case fx.EndpointClosed(key):
                self._closed(key)
            case fx.Moved():
                self._moved(effect)

    def _settle(self, waiter: Waiter, outcome: Outcome) -> None:
        """Tell a waiter. One that left gives its lease back; one that raises does not stop the others."""
        if isinstance(outcome, QueueTimeout):
            estimate = self._views.estimate(ServiceId(outcome.service_id))
            if estimate is not None:
                outcome.retry_after = estimate
                outcome.detail += f" By earlier starts about {estimate:.0f} s are left."
        if waiter.left:
            if isinstance(outcome, Lease):
                self.release(outcome)
            return
        try:
            waiter.on_outcome(outcome)
        except Exception:  # boundary: an exchange's own bug (SF-04)
            log.exception("A waiter failed on its outcome", extra={"event_type": "waiter_failed"})
            if isinstance(outcome, Lease):
                self.release(outcome)

    def _set_timer(self, key: TimerKey, at: float | None) -> None:
        if (old := self._timers.pop(key, None)) is not None:
            old.cancel()
        if at is not None:
            at = min(at, self._clock() + LONGEST_TIMER)
            self._timers[key] = self._loop.call_at(at, self._timer_fired, key)

    def _timer_fired(self, key: TimerKey) -> None:
        self._timers.pop(key, None)
        # the loop's clock may be a tick behind the instant a timer was set for
        self._perform(self.world.timer(*key, self._clock() + 0.001))

    def _run_start(self, key: InstanceKey, episode: str) -> None:
        record = self.world.service(key.service)
        job = StartJob(key, episode, self._clock())
        self._starts[key.service, key.instance] = job
        job.task = self._tasks.spawn(
            self._jobs.start(job, record.settings, record.slots[key.instance].settings), f"start {key}"
        )

    def _run_stop(self, key: InstanceKey, handle: Handle | None, external: bool) -> None:
        slot = self.world.slot(key.service, key.instance)
        start = self._starts.get((key.service, key.instance))
        if external:
            self.happened(
                lc.StopFinished(service=key.service, instance=key.instance, generation=key.generation)
            )
            return
        crash = slot.record.error if slot.record.cause == "exited" else None
        grace = slot.service.settings.stop_grace
        self._tasks.spawn(
            self._jobs.stop(
                key,
                slot.settings,
                handle=handle,
                start=start if start is not None and start.key == key else None,
                grace=grace,
                error=crash,
            ),
            f"stop {key}",
        )

    def _moved(self, moved: fx.Moved) -> None:
        """One transition: remember what is worth it, write its one row (INV-9)."""
        key = moved.key
        place = (key.service, key.instance)
        if moved.after is State.HOT and moved.before is State.STARTING:
            self._remember_start(place, self._starts.get(place))
        slot = self.world.slot(*place)
        if slot.record.handle:
            self._handles[place] = slot.record.handle
        data: dict[str, object] = {}
        if moved.error is not None:
            data = {"code": moved.error.code, "detail": moved.error.detail}
            self._views.note_error(place, moved.error)
        row = Row(
            at=time.time(),
            service=key.service,
            instance=key.instance,
            generation=key.generation,
            event=moved.event,
            before=moved.before,
            after=moved.after,
            cause=moved.cause,
            actor=moved.actor,
            episode=moved.episode,
            lasted=moved.lasted,
            data={**data, "open_leases": moved.open_leases, "forced": moved.forced},
        )
        self._store.append(row)
        self._recorder.transition(row)
        self._changed.set()

    def _remember_start(self, place: tuple[ServiceId, InstanceId], job: StartJob | None) -> None:
        if job is not None and not self.world.slot(*place).record.external:
            clock: StageClock = job.clock
            self.history.add(*place, clock)
