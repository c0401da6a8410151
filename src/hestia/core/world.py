"""Every record of the gateway and the one place that decides about them.

`World` is synchronous: between reading a record and writing it nothing else can happen. It takes events
in (`apply`) and hands effects out; it owns queues, use counters and back-off, and knows neither tasks nor
sockets. Plain calls (`acquire_nowait`, `release`, `leave`) are the hot path. Results of work carry the
generation they belong to; those of an older one change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hestia.core import lifecycle as lc
from hestia.core import reasons
from hestia.core.backoff import FRESH
from hestia.core.effects import (
    AbortLeases,
    CancelStart,
    CloseSockets,
    Effect,
    EndpointClosed,
    EndpointOpened,
    HurryStop,
    Moved,
    RunStart,
    RunStop,
    SetTimer,
    Settle,
    Timer,
)
from hestia.core.errors import (
    AlreadyRunning,
    EngineRefused,
    HestiaError,
    InstanceNotFound,
    ServiceNotFound,
)
from hestia.core.idle import next_look
from hestia.core.lease import Lease, Use
from hestia.core.lifecycle import Do, State
from hestia.core.model import (
    NEVER,
    GatewayId,
    InstanceId,
    InstanceKey,
    ServiceId,
    ServiceSettings,
)
from hestia.core.queue import Waiter
from hestia.core.records import ServiceRecord, Slot

WARM_WINDOW = 2.0  # seconds until the warm-up gate opens in any case (QF-02)
SOCKET_CLOSE = 6.0  # seconds silent sockets get to close: the close handshake of TO-14 and a tick
STOP_RETRY = 30.0  # seconds between attempts to stop what is stuck (FB-15)
EPISODE_STARTS = 4  # starts one episode may make (FB-04)
SERVED_STABLE = 10.0  # seconds hot after which one served response makes a generation stable (FB-06)


@dataclass(frozen=True, slots=True)
class WorldStatistics:
    """Counts of the whole world; all but `hot` are zero at rest (INV-10)."""

    queued: int
    in_flight: int
    hot: int
    starting: int


class World:
    """Services, instances, queues. See the module docstring for the rules.

    jitter: returns 0…1, for back-off. new_episode: returns a fresh episode id.
    """

    def __init__(
        self,
        *,
        gateway: GatewayId,
        services: Mapping[ServiceId, ServiceSettings],
        jitter: Callable[[], float],
        new_episode: Callable[[], str],
    ) -> None:
        self.gateway = gateway
        self._jitter = jitter
        self._new_episode = new_episode
        self.services: dict[ServiceId, ServiceRecord] = {
            key: ServiceRecord(settings) for key, settings in services.items()
        }
        self._effects: list[Effect] = []

    # -- reading -------------------------------------------------------------------------------

    def service(self, service: ServiceId) -> ServiceRecord:
        """Raises ServiceNotFound."""
        try:
            return self.services[service]
        except KeyError:
            raise ServiceNotFound(f'There is no service "{service}".', service_id=service) from None

    def slot(self, service: ServiceId, instance: InstanceId) -> Slot:
        """Raises ServiceNotFound, InstanceNotFound."""
        record = self.service(service)
        try:
            return record.slots[instance]
        except KeyError:
            raise InstanceNotFound(
                f'Service "{service}" has no instance "{instance}".', service_id=service
            ) from None

    def is_current(self, key: InstanceKey) -> bool:
        """Whether this generation is the one its instance is at."""
        record = self.services.get(key.service)
        slot = record.slots.get(key.instance) if record else None
        return slot is not None and slot.record.generation == key.generation

    def statistics(self) -> WorldStatistics:
        slots = [slot for service in self.services.values() for slot in service.slots.values()]
        return WorldStatistics(
            queued=sum(len(service.queue) for service in self.services.values()),
            in_flight=sum(slot.use.open for slot in slots if slot.use is not None),
            hot=sum(slot.state is State.HOT for slot in slots),
            starting=sum(slot.state is State.STARTING for slot in slots),
        )

    # -- the hot path --------------------------------------------------------------------------

    def acquire_nowait(
        self, service: ServiceId, candidates: tuple[InstanceId, ...] | None = None
    ) -> Lease | None:
        """Grant a lease on the first hot candidate with room, or None. Never overtakes the queue.

        Raises ServiceNotFound.
        """
        record = self.services.get(service)
        if record is None:
            raise ServiceNotFound(f'There is no service "{service}".', service_id=service)
        if record.queue.waiters:
            return None
        slots = record.slots
        for name in candidates or record.default:
            use = slots[name].use
            if use is not None and use.room:
                return use.grant()
        return None

    def release(self, lease: Lease, now: float) -> bool:
        """Give a lease back; idempotent. True when somebody must look: apply `released` then."""
        if not lease.close(now):
            return False
        slot: Slot = lease.use.owner
        return not lease.use.admitting or bool(slot.service.queue.waiters)

    # -- waiting -------------------------------------------------------------------------------

    def join(self, service: ServiceId, waiter: Waiter, now: float) -> list[Effect]:
        """Queue a waiter; its arrival is demand, unless it is quiet. `waiter.candidates` empty means all, in
        order.

        Raises ServiceNotFound, QueueFull, and the reason at once where no candidate can be hoped for.
        """
        record = self.service(service)
        if not waiter.candidates:
            waiter.candidates = record.default
        if len(record.queue) >= record.settings.queue_size:
            raise reasons.queue_full(record, now)
        if (refusal := self._hopeless(record, waiter, now)) is not None:
            raise refusal
        record.queue.join(waiter)
        self._demand(record, waiter, now)
        self._pump(record, now)
        if len(record.queue) and (record.queue_timer is None or waiter.deadline < record.queue_timer):
            self._arm_queue(record, waiter.deadline)
        return self._take()

    def leave(self, service: ServiceId, waiter: Waiter) -> None:
        """The waiter's client left. Its start, if any, goes on (SF-14)."""
        self.service(service).queue.leave(waiter)
        waiter.settled = waiter.left = True

    # -- events --------------------------------------------------------------------------------

    def apply(self, event: lc.Event, now: float) -> list[Effect]:
        """Take one event into the records. A result of an older generation changes nothing.

        Raises IllegalTransition, ServiceNotFound, InstanceNotFound; the records are then unchanged.
        """
        slot = self.slot(event.service, event.instance)
        if event.generation and event.generation != slot.record.generation:
            return []
        self._step(slot, event, now)
        return self._take()

    def start(
        self, service: ServiceId, now: float, *, cause: str, actor: str, instance: InstanceId | None = None
    ) -> list[Effect]:
        """Somebody asks for the service to run. Clears back-off.

        Raises ServiceNotFound, InstanceNotFound, AlreadyRunning, and the reason where it is stuck (FB-15).
        """
        record = self.service(service)
        slots = [self.slot(service, instance)] if instance else list(record.slots.values())
        for slot in slots:
            if slot.state in (State.STARTING, State.HOT):
                raise AlreadyRunning(
                    f'Service "{service}" is {"already hot" if slot.state is State.HOT else "starting"}.',
                    service_id=service,
                )
        free = [slot for slot in slots if not slot.record.stuck]
        if not free:
            raise reasons.not_now(slots[0], now)
        slot = next((slot for slot in free if slot.state in (State.COLD, State.FAILED)), free[0])
        slot.backoff = slot.backoff.forgiven()
        self._begin(slot, now, cause=cause, actor=actor)
        return self._take()

    def stop(
        self,
        service: ServiceId,
        now: float,
        *,
        force: bool = False,
        restart: bool = False,
        cause: str = "api",
        actor: str = "",
    ) -> list[Effect]:
        """Somebody asks for every instance of the service to stop. Raises ServiceNotFound.

        restart: what was starting or hot starts again when it is gone (where nothing was: the first), and
        whoever waits keeps waiting.
        """
        slots = list(self.service(service).slots.values())
        running = [slot for slot in slots if slot.state is not State.COLD]
        back = [slot for slot in running if slot.state in (State.STARTING, State.HOT)] or running[:1]
        for slot in running:
            event = lc.StopRequested(
                service=service,
                instance=slot.record.id,
                busy=slot.use is not None and slot.use.open > 0,
                force=force,
                restart=restart and slot in back,
                keep_waiters=restart,
                cause="restart" if restart and cause == "api" else cause,
                actor=actor,
            )
            self._step(slot, event, now)
        if restart and not running:
            slots[0].backoff = slots[0].backoff.forgiven()
            self._begin(slots[0], now, cause="restart", actor=actor)
        return self._take()

    def released(self, service: ServiceId, instance: InstanceId, now: float) -> list[Effect]:
        """A lease was given back where somebody waits or drains."""
        slot = self.slot(service, instance)
        if slot.state is State.DRAINING and slot.use is not None and not slot.use.open:
            self._step(slot, lc.Drained(service=service, instance=instance), now)
        self._pump(slot.service, now)
        return self._take()

    def warmed(self, use: Use, now: float) -> list[Effect]:
        """The first good answer of a generation was seen: the gate opens (QF-02)."""
        use.warm = True
        slot: Slot = use.owner
        self._pump(slot.service, now)
        return self._take()

    def timer(self, service: ServiceId, instance: InstanceId | None, kind: Timer, now: float) -> list[Effect]:
        """A timer that was asked for by `SetTimer` fired."""
        record = self.service(service)
        if instance is None:
            record.queue_timer = None
            self._expire(record, now)
            return self._take()
        slot = self.slot(service, instance)
        match kind:
            case Timer.IDLE:
                self._look_idle(slot, now)
            case Timer.DRAIN if slot.state is State.DRAINING:
                self._step(slot, lc.DrainElapsed(service=service, instance=instance), now)
            case Timer.WARM if slot.use is not None:
                slot.use.warm = True
                self._pump(record, now)
            case Timer.RETRY:
                self._recheck(record, now)
            case Timer.STOP_RETRY if slot.state is State.FAILED and slot.record.stuck:
                self._step(slot, lc.StopRetried(service=service, instance=instance), now)
            case _:
                pass
        return self._take()

    def refuse_all(self, error: HestiaError) -> list[Effect]:
        """Answer every waiter of every service, and forget restarts that were promised (DR-03, ID-17)."""
        for record in self.services.values():
            for waiter in record.queue:
                self._refuse(record, waiter, error)
            for slot in record.slots.values():
                slot.record = replace(slot.record, restart=False)
        return self._take()

    # -- deciding ------------------------------------------------------------------------------

    def _hopeless(self, record: ServiceRecord, waiter: Waiter, now: float) -> HestiaError | None:
        """The reason to refuse at once, or None while any candidate may still serve (FB-18)."""
        slots = [record.slots[name] for name in waiter.candidates]
        if any(slot.hoped_for(now) for slot in slots):
            return None
        return reasons.not_now(slots[0], now)

    def _demand(self, record: ServiceRecord, waiter: Waiter, now: float) -> None:
        """See to it that something is under way for this waiter (INV-2); at most one start (SF-16)."""
        slots = record.open_to(waiter)
        if waiter.quiet:
            if not any(slot.state is State.HOT for slot in slots):
                self._refuse(record, waiter, reasons.dormant(record.settings.id))
            return
        if any(slot.under_way for slot in slots):
            return
        ready = [slot for slot in slots if slot.may_begin(now)]
        if ready:  # who had no turn in this episode comes first (FB-07)
            slot = min(ready, key=lambda slot: slot.tried_at(record.episode))
            self._begin(slot, now, cause="demand", actor=waiter.request_id)
            return
        hoped = [slot for slot in slots if slot.hoped_for(now)]
        if hoped:
            soonest = min(hoped, key=lambda slot: slot.backoff.retry_at)
            self._timer(soonest, Timer.RETRY, soonest.backoff.retry_at)
        elif slots:
            self._refuse(record, waiter, reasons.not_now(slots[0], now))
        else:
            self._refuse(record, waiter, next(reversed(waiter.failed.values())))

    def _recheck(self, record: ServiceRecord, now: float) -> None:
        """Look at everybody who waits, in order; then grant what can be granted."""
        for waiter in record.queue:
            if not waiter.settled:
                self._demand(record, waiter, now)
        self._pump(record, now)
        if not len(record.queue) and not any(slot.state is State.STARTING for slot in record.slots.values()):
            record.episode, record.episode_starts = "", 0

    def _begin(self, slot: Slot, now: float, *, cause: str, actor: str) -> None:
        """Decide a start. The episode goes on while its attempts follow each other."""
        record = slot.service
        if not record.episode:
            record.episode, record.episode_starts = self._new_episode(), 0
        if slot.state in (State.COLD, State.FAILED):
            record.episode_starts += 1
        self._step(
            slot,
            lc.StartDecided(
                service=record.settings.id,
                instance=slot.record.id,
                cause=cause,
                actor=actor,
                episode=record.episode,
            ),
            now,
        )

    def _look_idle(self, slot: Slot, now: float) -> None:
        """The idle timer fired: stop, or look again later (ID-05: decide and move in one step)."""
        settings, use = slot.service.settings, slot.use
        if slot.state is not State.HOT or use is None:
            return
        waiting = sum(
            slot.record.id in waiter.candidates for waiter in slot.service.queue if not waiter.quiet
        )
        at = next_look(
            use,
            waiting=waiting,
            idle_timeout=settings.idle_timeout,
            sockets=settings.idle_websocket,
            now=now,
        )
        if at > now:
            self._timer(slot, Timer.IDLE, at)
            return
        event = lc.IdleElapsed(service=settings.id, instance=slot.record.id, sockets=use.open > 0)
        self._step(slot, event, now)

    def _pump(self, record: ServiceRecord, now: float) -> None:
        """Grant leases in order of arrival; a freed instance takes the first waiter that may use it."""
        if not len(record.queue) or not any(slot.use and slot.use.room for slot in record.slots.values()):
            return
        for waiter in record.queue:
            uses = (slot.use for slot in record.open_to(waiter))
            use = next((use for use in uses if use is not None and use.room), None)
            if use is not None:
                record.queue.leave(waiter)
                waiter.settled = True
                self._effects.append(Settle(waiter, use.grant()))
            if not any(slot.use and slot.use.room for slot in record.slots.values()):
                return

    def _refuse(self, record: ServiceRecord, waiter: Waiter, error: HestiaError) -> None:
        if record.queue.leave(waiter):
            waiter.settled = True
            self._effects.append(Settle(waiter, error))

    def _expire(self, record: ServiceRecord, now: float) -> None:
        """Answer everybody whose time is over; the start goes on (CK-05)."""
        for waiter in record.queue:
            if waiter.deadline <= now:
                self._refuse(record, waiter, reasons.queue_timeout(record, waiter, now))
        if (at := record.queue.next_deadline) is not None:
            self._arm_queue(record, at)

    # -- carrying a row out --------------------------------------------------------------------

    def _step(self, slot: Slot, event: lc.Event, now: float) -> None:
        before = slot.record
        moved, things = lc.step(before, event, now)
        slot.record = moved
        crashed = isinstance(event, lc.InstanceGone)
        if moved.state is not before.state:
            self._effects.append(
                Moved(
                    key=slot.key(self.gateway),
                    event=type(event).__name__,
                    before=before.state,
                    after=moved.state,
                    cause=moved.cause,
                    actor=moved.actor,
                    episode=moved.episode,
                    lasted=now - before.since if before.since else 0.0,
                    error=moved.error if crashed or moved.failed or moved.stuck else None,
                    forced=isinstance(event, lc.StopRequested) and event.force,
                    open_leases=slot.use.open if slot.use is not None else 0,
                )
            )
        for thing in things:
            self._do(slot, thing, event, now)

    def _do(self, slot: Slot, thing: Do, event: lc.Event, now: float) -> None:
        """Carry out one thing that a row names; a row a branch, nothing decided here."""
        record, emit = slot.record, self._effects.append
        match thing:
            case Do.RUN_START:
                emit(RunStart(slot.key(self.gateway), record.episode))
            case Do.CANCEL_START:
                emit(CancelStart(slot.key(self.gateway)))
            case Do.OPEN_ADMISSION:
                self._open_admission(slot, now)
            case Do.CLOSE_ADMISSION:
                self._close_admission(slot, now)
            case Do.COUNT_FAILURE:
                permanent = isinstance(record.error, EngineRefused) and record.error.permanent
                policy = slot.service.settings.restart_backoff
                slot.backoff = slot.backoff.failed(now, policy, jitter=self._jitter(), at_once=permanent)
                if record.error is not None and record.error.retry_after is None:
                    record.error.retry_after = max(0.0, slot.backoff.retry_at - now)
            case Do.FORGET_FAILURES:
                slot.backoff = FRESH
                slot.record = replace(record, error=None, failed=False)
            case Do.FAIL_WAITERS:
                if not self._tries_again(slot, event) and record.error is not None:
                    self._fail_waiters(slot, record.error, now)
            case Do.REFUSE_WAITERS:
                stopped = reasons.stopped_while_starting(record.service)
                for waiter in slot.service.queue:  # none goes on to the next candidate: that stops as well
                    if record.id in waiter.candidates:
                        self._refuse(slot.service, waiter, stopped)
            case Do.CLOSE_SOCKETS:
                if slot.use is not None and slot.use.sockets:
                    emit(CloseSockets(slot.use))
            case Do.ABORT_LEASES:
                if slot.use is not None and slot.use.open:
                    emit(AbortLeases(slot.use, reasons.cut(slot)))
            case Do.ARM_DRAIN:
                limit = SOCKET_CLOSE if record.abort_on_drain else slot.service.settings.drain_timeout
                self._timer(slot, Timer.DRAIN, now + limit)
            case Do.RUN_STOP:
                emit(RunStop(slot.key(self.gateway), record.handle, record.external))
            case Do.HURRY_STOP:
                emit(HurryStop(slot.key(self.gateway)))
            case Do.ARM_STOP_RETRY:
                self._timer(slot, Timer.STOP_RETRY, now + STOP_RETRY)
            case Do.RECHECK_DEMAND:
                self._settle_down(slot, now)

    def _open_admission(self, slot: Slot, now: float) -> None:
        settings = slot.service.settings
        endpoint = slot.record.endpoint
        assert endpoint is not None, "hot without an endpoint"
        if slot.use is not None and slot.use.key.generation == slot.record.generation:
            slot.use.admitting = True  # a drain that was given up
            slot.use.last_used = now
        else:
            slot.use = Use(
                slot.key(self.gateway),
                endpoint,
                limit=settings.max_in_flight,
                warm_limit=settings.warm_concurrency,
                now=now,
                owner=slot,
            )
        if not slot.use.warm:
            self._timer(slot, Timer.WARM, now + WARM_WINDOW)
        slot.service.episode, slot.service.episode_starts = "", 0
        self._effects.append(EndpointOpened(slot.use.key, endpoint))
        self._timer(slot, Timer.IDLE, now + settings.idle_timeout)
        for waiter in slot.service.queue:
            waiter.failed.pop(slot.record.id, None)  # it works now: arrival decides again (QF-01)
        self._pump(slot.service, now)

    def _close_admission(self, slot: Slot, now: float) -> None:
        use = slot.use
        assert use is not None, "hot without use counters"
        use.admitting = False
        self._timer(slot, Timer.IDLE, None)
        self._timer(slot, Timer.WARM, None)
        self._effects.append(EndpointClosed(use.key))
        hot_for = now - use.hot_since
        if hot_for >= slot.service.settings.stable_after or (use.warm and hot_for >= SERVED_STABLE):
            slot.backoff = FRESH

    def _settle_down(self, slot: Slot, now: float) -> None:
        """Nothing of the generation is left: drop what stood beside it, then look at demand."""
        if slot.use is not None and slot.use.granted:
            slot.last_used = slot.use.last_used
        slot.use = None  # leases of a crashed generation end with their sockets, nothing is cut short
        for kind in (Timer.DRAIN, Timer.RETRY, Timer.STOP_RETRY):
            self._timer(slot, kind, None)
        if slot.record.restart:
            slot.record = replace(slot.record, restart=False)
            self._begin(slot, now, cause="restart", actor=slot.record.actor)
        self._recheck(slot.service, now)

    @staticmethod
    def _tries_again(slot: Slot, event: lc.Event) -> bool:
        """Whether the waiters keep waiting for another attempt of the same episode (RD-04, FB-04)."""
        again = isinstance(event, lc.StartFailed) and event.again
        return again and slot.service.episode_starts < EPISODE_STARTS and not slot.backoff.open

    def _fail_waiters(self, slot: Slot, error: HestiaError, now: float) -> None:
        """Everybody whom this instance failed: on to the next candidate, or the one error for all (SF-10)."""
        record = slot.service
        spent = record.episode_starts >= EPISODE_STARTS
        for waiter in record.queue:
            if slot.record.id not in waiter.candidates:
                continue
            waiter.failed[slot.record.id] = error
            if spent and not any(other.under_way for other in record.open_to(waiter)):
                self._refuse(record, waiter, error)  # no further start for this episode (FB-04)
            else:
                self._demand(record, waiter, now)

    def _timer(self, slot: Slot, kind: Timer, at: float | None) -> None:
        at = None if at == NEVER else at
        self._effects.append(SetTimer(slot.record.service, slot.record.id, kind, at))

    def _arm_queue(self, record: ServiceRecord, at: float) -> None:
        record.queue_timer = at
        self._effects.append(SetTimer(record.settings.id, None, Timer.QUEUE, at))

    def _take(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
