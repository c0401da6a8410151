"""What follows from one step of one record: the rows' things are done, demand is seen to, leases are granted.

The inner half of the one place that decides (`core.world` is the outer: its calls are what others see).
Works on the records it is given, and collects effects until `take`. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from hestia.core import dependencies, liveness, reasons, reconfigure, reservations, warm
from hestia.core import lifecycle as lc
from hestia.core.backoff import FRESH, BackoffState, Spent, spend
from hestia.core.effects import (
    AbortLeases,
    CancelStart,
    CloseSockets,
    Effect,
    EndpointClosed,
    EndpointOpened,
    HurryStop,
    KeepBackoff,
    KeepSpent,
    Moved,
    RunAdoption,
    RunStop,
    SetTimer,
    Settle,
    Timer,
)
from hestia.core.errors import (
    EngineRefused,
    HestiaError,
    StoreUnavailable,
)
from hestia.core.lease import Use
from hestia.core.lifecycle import Do, State
from hestia.core.model import (
    NEVER,
    GatewayId,
    InstanceId,
    Machine,
    MachineId,
    ServiceId,
)
from hestia.core.ports import Handle
from hestia.core.queue import Waiter
from hestia.core.records import Numbers, Pulse, ServiceRecord, Slot

WARM_WINDOW = 2.0  # seconds until the warm-up gate opens in any case (QF-02)
SOCKET_CLOSE = 6.0  # seconds silent sockets get to close: the close handshake of TO-14 and a tick
STOP_RETRY = 30.0  # seconds between attempts to stop what is stuck (FB-15)
ADOPTED_GRACE = 60.0  # seconds an adopted instance stays at least, as long as its idle timeout allows (AD-12)
EPISODE_STARTS = 4  # starts one episode may make (FB-04)


class Steps:
    """Steps records and does what their rows name. See the module docstring.

    jitter: returns 0…1, for back-off. new_episode: returns a fresh episode id. wall: seconds since 1970.
    usual: seconds that starts of an instance took. closing: nothing starts any more.
    """

    def __init__(
        self,
        gateway: GatewayId,
        *,
        jitter: Callable[[], float],
        new_episode: Callable[[], str],
        wall: Callable[[], float],
        usual: Callable[[ServiceId, InstanceId], float | None],
    ) -> None:
        self.gateway = gateway
        self.services: Mapping[ServiceId, ServiceRecord] = {}
        self.dependants: dependencies.Dependants = {}
        self.machines: Mapping[MachineId, Machine] = {}
        self.tenants: reservations.Tenants = {}  # of machines with limits
        self.wanted: set[MachineId] = set()  # machines of which somebody wants room
        self.seeks = 0  # starts that ever waited for room
        self.looking: dict[MachineId, bool] = {}  # machines that are looked at; whether once more afterwards
        self.numbers: Numbers = {}  # of instances that have no record now
        self.effects: list[Effect] = []
        self._jitter = jitter
        self._new_episode = new_episode
        self.wall = wall
        self.usual = usual
        self.closing = False

    def chance(self) -> float:
        """A draw from 0…1."""
        return self._jitter()

    def spread(self) -> float:
        """A factor of 0.9…1.1, so that what is done again and again does not fall together (CK-09)."""
        return 0.9 + 0.2 * self._jitter()

    # -- deciding ------------------------------------------------------------------------------

    def hopeless(self, record: ServiceRecord, waiter: Waiter, now: float) -> HestiaError | None:
        """The reason to refuse at once, or None while any candidate may still serve (FB-18)."""
        slots = [record.slots[name] for name in waiter.candidates]
        if any(slot.hoped_for(now) for slot in slots):
            return None
        if waiter.widen():
            return self.hopeless(record, waiter, now)
        return reasons.not_now(slots[0], now)

    def demand(self, record: ServiceRecord, waiter: Waiter, now: float) -> None:
        """See to it that something is under way for this waiter (INV-2); at most one start (SF-16)."""
        slots = record.open_to(waiter)
        if waiter.quiet:
            if not any(slot.state is State.HOT for slot in slots):
                self.refuse(record, waiter, reasons.dormant(record.settings.id))
            return
        if any(slot.under_way for slot in slots):
            return
        ready = [slot for slot in slots if slot.may_begin(now)]
        if ready:  # who had no turn in this episode comes first (FB-07), then who need not wait for room
            slot = min(
                ready, key=lambda slot: (slot.tried_at(record.episode), reservations.is_full(self, slot))
            )
            self.begin(slot, now, cause="demand", actor=waiter.request_id)
            return
        if waiter.widen():  # rather than to wait until one may be tried again
            self.demand(record, waiter, now)
            return
        hoped = [slot for slot in slots if slot.hoped_for(now)]
        if hoped:
            soonest = min(hoped, key=lambda slot: slot.ready_at(now))
            self.timer(soonest, Timer.RETRY, soonest.ready_at(now))
        elif slots:
            self.refuse(record, waiter, reasons.not_now(slots[0], now))
        else:
            self.refuse(record, waiter, next(reversed(waiter.failed.values())))

    def recheck(self, record: ServiceRecord, now: float) -> None:
        """Look at everybody who waits, in order; then grant what can be granted."""
        for waiter in record.queue:
            if not waiter.settled:
                self.demand(record, waiter, now)
        self.pump(record, now)
        if not len(record.queue) and not any(slot.state is State.STARTING for slot in record.slots.values()):
            record.episode, record.episode_starts = "", 0
        if record.settings.id in self.dependants:
            dependencies.recheck(self, record, now)
        if record.warm or record.settings.id in self.dependants:
            warm.keep(self, record, now)

    def begin(self, slot: Slot, now: float, *, cause: str, actor: str) -> None:
        """Decide a start. The episode goes on while its attempts follow each other."""
        record = slot.service
        if slot.state in (State.COLD, State.FAILED) and slot.barred_by is not None:
            return  # it has its turn when that one is gone
        record.let_down = False
        if not record.episode:
            record.episode, record.episode_starts = self._new_episode(), 0
        if slot.state in (State.COLD, State.FAILED):
            record.episode_starts += 1
        self.step(
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

    def adopt(self, slot: Slot, now: float, *, generation: int, handle: Handle | None) -> None:
        """Decide to find out about a generation of an earlier gateway."""
        record = slot.record
        event = lc.AdoptionDecided(
            service=record.service,
            instance=record.id,
            number=generation,
            handle=handle,
            episode=self._new_episode(),
        )
        self.step(slot, event, now)

    def pump(self, record: ServiceRecord, now: float) -> None:
        """Grant leases in order of arrival; a freed instance takes the first waiter that may use it."""
        if not len(record.queue) or not any(slot.use and slot.use.room for slot in record.slots.values()):
            return
        waiting = len(record.queue)
        for waiter in record.queue:
            uses = (slot.use for slot in record.open_to(waiter))
            free = [use for use in uses if use is not None and use.room]
            use = next((use for use in free if not use.suspect), free[0] if free else None)
            if use is not None:
                record.queue.leave(waiter)
                waiter.settled = True
                self.effects.append(Settle(waiter, use.grant()))
            if not any(slot.use and slot.use.room for slot in record.slots.values()):
                break
        if len(record.queue) != waiting:
            reservations.queue_changed(self, record, now)

    def refuse(self, record: ServiceRecord, waiter: Waiter, error: HestiaError) -> None:
        """Answer one waiter with an error, once."""
        if record.queue.leave(waiter):
            waiter.settled = True
            self.effects.append(Settle(waiter, error))

    def expire(self, record: ServiceRecord, now: float) -> None:
        """Answer everybody whose time is over; the start goes on (CK-05)."""
        for waiter in record.queue:
            if waiter.deadline <= now:
                self.refuse(record, waiter, reasons.queue_timeout(record, waiter, now))
        if (at := record.queue.next_deadline) is not None:
            self.arm_queue(record, at)
        reservations.queue_changed(self, record, now)

    # -- carrying a row out --------------------------------------------------------------------

    def step(self, slot: Slot, event: lc.Event, now: float) -> None:
        """Advance one record by one event. Raises IllegalTransition and changes nothing."""
        before = slot.record
        moved, things = lc.step(before, event, now)
        slot.record = moved
        changed, crashed = moved.state is not before.state, isinstance(event, lc.InstanceGone)
        place = reservations.moved(self, slot, before.state, now) if changed else None
        if changed:
            self.effects.append(
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
                    handle=moved.handle,
                    stuck=moved.stuck,
                    ended=moved.error if moved.state is State.COLD and moved.cause == "exited" else None,
                    several=len(slot.service.slots) > 1,
                )
            )
        if crashed and changed and Do.COUNT_FAILURE not in things:
            self._count_crash(slot, now)
        for thing in things:
            self._do(slot, thing, event, now)
        if place is not None:
            reservations.look(self, place, now)
            reservations.queue_changed(self, slot.service, now)  # others of it may wait for nobody now

    def make_room(self, slot: Slot, now: float) -> None:
        """What a start needs of other services is there: it begins as soon as there is room for it."""
        reservations.begin(self, slot, now)

    def _count_crash(self, slot: Slot, now: float) -> None:
        """A stable instance crashed: no failed start, yet it may not go on like that for ever (FB-04)."""
        if slot.settings.managed and not slot.record.external:
            policy = slot.service.settings.restart_backoff
            self.set_spent(slot.service, spend(slot.service.spent, now, policy))

    def _do(self, slot: Slot, thing: Do, event: lc.Event, now: float) -> None:
        """Carry out one thing that a row names; a row a branch, nothing decided here."""
        record, emit = slot.record, self.effects.append
        match thing:
            case Do.RUN_START:
                dependencies.begin(self, slot, now)
            case Do.RUN_ADOPTION:
                slot.awaiting = False
                reservations.reserve(slot, now)
                emit(RunAdoption(slot.key(self.gateway), record.episode, record.handle))
            case Do.CANCEL_START:
                emit(CancelStart(slot.key(self.gateway)))
            case Do.OPEN_ADMISSION:
                self._open_admission(slot, now)
            case Do.CLOSE_ADMISSION:
                self._close_admission(slot, now)
            case Do.COUNT_FAILURE if _is_not_its_own(record.error):
                slot.again_at = now + warm.PAUSE  # the service did nothing wrong: who asks need not wait
            case Do.COUNT_FAILURE:
                permanent = isinstance(record.error, EngineRefused) and record.error.permanent
                policy = slot.service.settings.restart_backoff
                if slot.settings.managed or len(slot.service.slots) == 1:  # nobody here started it
                    self.set_spent(slot.service, spend(slot.service.spent, now, policy))
                failed = slot.backoff.failed(now, policy, jitter=self._jitter(), at_once=permanent)
                self.set_backoff(slot, failed)
                if record.error is not None and record.error.retry_after is None:
                    record.error.retry_after = max(0.0, slot.ready_at(now) - now)
            case Do.FORGET_FAILURES:
                self.set_backoff(slot, FRESH)
                slot.record = replace(record, error=None, failed=False)
            case Do.FAIL_WAITERS:
                if not self._tries_again(slot, event) and record.error is not None:
                    self._fail_waiters(slot, record.error, now)
                    dependencies.failed(self, slot, record.error, now)
            case Do.REFUSE_WAITERS:
                stopped = reasons.stopped_while_starting(record.service)
                dependencies.failed(self, slot, stopped, now, final=True)
                for waiter in slot.service.queue:  # none goes on to the next candidate: that stops as well
                    if record.id in waiter.candidates:
                        self.refuse(slot.service, waiter, stopped)
            case Do.CLOSE_SOCKETS:
                if slot.use is not None and slot.use.sockets:
                    emit(CloseSockets(slot.use))
            case Do.ABORT_LEASES:
                if slot.use is not None and slot.use.open:
                    emit(AbortLeases(slot.use, reasons.cut(slot)))
            case Do.ARM_DRAIN:
                limit = SOCKET_CLOSE if record.abort_on_drain else slot.service.settings.drain_timeout
                self.timer(slot, Timer.DRAIN, now + limit)
            case Do.RUN_STOP:
                emit(RunStop(slot.key(self.gateway), record.handle, record.external))
            case Do.HURRY_STOP:
                emit(HurryStop(slot.key(self.gateway)))
            case Do.ARM_STOP_RETRY | Do.ARM_ADOPTION_RETRY:
                self.timer(slot, Timer.STOP_RETRY, now + STOP_RETRY)
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
            slot.asking, slot.unanswered_since, slot.pulse = False, None, Pulse()
        if not slot.use.warm:
            self.timer(slot, Timer.WARM, now + WARM_WINDOW)
        slot.service.episode, slot.service.episode_starts = "", 0
        self.effects.append(EndpointOpened(slot.use.key, endpoint))
        if slot.record.cause == "adopted" and slot.last_used is not None:
            slot.use.last_used = min(now, max(slot.last_used, slot.grace_until - slot.idle_timeout))
        self.timer(slot, Timer.IDLE, slot.use.last_used + slot.idle_timeout)
        liveness.arm(self, slot, now)
        for waiter in slot.service.queue:
            waiter.failed.pop(slot.record.id, None)  # it works now: arrival decides again (QF-01)
        self.pump(slot.service, now)
        dependencies.became_hot(self, slot.service, now)
        for name in slot.service.settings.depends_on:  # one that was adopted holds what it needs as well
            if not slot.record.external and name in self.services:
                warm.keep(self, self.services[name], now)

    def _close_admission(self, slot: Slot, now: float) -> None:
        use = slot.use
        assert use is not None, "hot without use counters"
        use.admitting = False
        self.timer(slot, Timer.IDLE, None)
        self.timer(slot, Timer.WARM, None)
        self.timer(slot, Timer.LIVENESS, None)
        slot.pulse.asking = False  # its probe, if any, is given up with the endpoint
        self.effects.append(EndpointClosed(use.key))
        if slot.is_stable(now):
            self.set_backoff(slot, FRESH)

    def set_backoff(self, slot: Slot, backoff: BackoffState) -> None:
        """Change the back-off of an instance; one that changes is to be kept (AD-13)."""
        if backoff != slot.backoff:
            slot.backoff = backoff
            record = slot.record
            self.effects.append(KeepBackoff(record.service, record.id, backoff, record.error))

    def set_spent(self, record: ServiceRecord, spent: Spent) -> None:
        """Change what a service has spent of its budget; it is to be kept (FB-04)."""
        if spent != record.spent:
            record.spent = spent
            self.effects.append(KeepSpent(record.settings.id, spent))

    def _settle_down(self, slot: Slot, now: float) -> None:
        """Nothing of the generation is left: drop what stood beside it, then look at demand."""
        if slot.use is not None and slot.use.granted:
            slot.last_used = slot.use.last_used
        slot.outdated = False
        if slot.pending is not None:
            moves = slot.pending.machine != slot.settings.machine
            slot.settings, slot.pending = slot.pending, None
            if moves:
                self.tenants = reservations.index(self.services, self.machines)
        dependencies.let_go(self, slot.service, now)
        slot.use = None  # leases of a crashed generation end with their sockets, nothing is cut short
        for kind in (Timer.DRAIN, Timer.RETRY, Timer.STOP_RETRY):
            self.timer(slot, kind, None)
        if slot.record.restart:
            slot.record = replace(slot.record, restart=False)
            self.begin(slot, now, cause="restart", actor=slot.record.actor)
        self.recheck(slot.service, now)
        reconfigure.forget_if_gone(self, slot.service)

    @staticmethod
    def _tries_again(slot: Slot, event: lc.Event) -> bool:
        """Whether the waiters keep waiting for another attempt of the same episode (RD-04, FB-04)."""
        again = isinstance(event, lc.StartFailed) and event.again
        return again and slot.service.episode_starts < EPISODE_STARTS and not slot.backoff.open

    def _fail_waiters(self, slot: Slot, error: HestiaError, now: float) -> None:
        """Everybody whom this instance failed: on to the next candidate, or the one error for all (SF-10)."""
        record = slot.service
        spent = record.episode_starts >= max(EPISODE_STARTS, len(record.slots))
        failed = {slot.record.id}
        if error.stage == reasons.DEPENDENCY:  # whichever is started lacks the same
            failed |= {other.record.id for other in record.slots.values() if other.settings.managed}
        for waiter in record.queue:
            if slot.record.id not in waiter.candidates:
                continue
            waiter.failed.update(dict.fromkeys(failed, error))
            if not any(other.under_way for other in record.open_to(waiter)) and spent:
                waiter.widen()
            if spent and not any(other.under_way for other in record.open_to(waiter)):
                self.refuse(record, waiter, error)  # no further start for this episode (FB-04)
            else:
                self.demand(record, waiter, now)

    def timer(self, slot: Slot, kind: Timer, at: float | None) -> None:
        """Ask for a timer of this instance; None or never takes it away."""
        at = None if at == NEVER else at
        if kind is Timer.IDLE:
            slot.looked_at = at
        self.effects.append(SetTimer(slot.record.service, slot.record.id, kind, at))

    def arm_queue(self, record: ServiceRecord, at: float) -> None:
        """Ask for the one timer of a queue."""
        record.queue_timer = at
        self.effects.append(SetTimer(record.settings.id, None, Timer.QUEUE, at))

    def take(self) -> list[Effect]:
        """The effects since the last call."""
        effects, self.effects = self.effects, []
        return effects


def _is_not_its_own(error: HestiaError | None) -> bool:
    """Whether a start failed through no fault of the service: it counts against nobody's back-off."""
    blameless = (reasons.DEPENDENCY, reasons.ROOM)
    return isinstance(error, StoreUnavailable) or (error is not None and error.stage in blameless)
