"""Every record of the gateway and the one place that decides about them.

`World` is synchronous: between reading a record and writing it nothing else can happen. It takes events
in (`apply`) and hands effects out; it owns queues, use counters and back-off, and knows neither tasks nor
sockets. Plain calls (`acquire_nowait`, `release`, `leave`) are the hot path. Results of work carry the
generation they belong to; those of an older one change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Final

from hestia.core import (
    dependencies,
    liveness,
    reasons,
    reconfigure,
    reservations,
    residents,
    rest,
    warm,
)
from hestia.core import lifecycle as lc
from hestia.core.backoff import FRESH, BackoffState, Spent
from hestia.core.difference import Difference
from hestia.core.effects import (
    Effect,
    Timer,
)
from hestia.core.errors import (
    AlreadyRunning,
    HestiaError,
    InstanceNotFound,
    ServiceNotFound,
)
from hestia.core.idle import Busy, Sequence
from hestia.core.lease import Lease, Use
from hestia.core.lifecycle import State
from hestia.core.model import (
    GatewayId,
    InstanceId,
    InstanceKey,
    Machine,
    MachineId,
    ServiceId,
    ServiceSettings,
)
from hestia.core.ports import Handle
from hestia.core.queue import Waiter
from hestia.core.records import ServiceRecord, Slot, WorldStatistics
from hestia.core.room import Stay
from hestia.core.steps import Steps

NO_MACHINES: Final[Mapping[MachineId, Machine]] = {}
SPREAD = 10.0  # seconds over which stops are spread that would all fall into one tick


class World:
    """Services, instances, queues. See the module docstring for the rules.

    jitter: returns 0…1, for back-off. new_episode: returns a fresh episode id. wall: seconds since 1970.
    usual: seconds that starts of an instance took, None where nothing is known.
    """

    def __init__(
        self,
        *,
        gateway: GatewayId,
        services: Mapping[ServiceId, ServiceSettings],
        machines: Mapping[MachineId, Machine] = NO_MACHINES,
        jitter: Callable[[], float],
        new_episode: Callable[[], str],
        wall: Callable[[], float],
        usual: Callable[[ServiceId, InstanceId], float | None],
    ) -> None:
        self.gateway = gateway
        self._jitter = jitter
        self._steps = Steps(gateway, jitter=jitter, new_episode=new_episode, wall=wall, usual=usual)
        self.services: dict[ServiceId, ServiceRecord] = {
            key: ServiceRecord(settings) for key, settings in services.items()
        }

        self._steps.services = self.services
        self._steps.dependants = dependencies.index(self.services)
        self._steps.machines = machines
        self._steps.tenants = reservations.index(self.services, machines)

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

    def serves_elsewhere(self, key: InstanceKey) -> bool:
        """Whether another instance of the service is hot, or its fallback stands behind it (RD-17)."""
        record = self.services.get(key.service)
        if record is not None and record.settings.fallback_url:
            return True
        slots = record.slots.items() if record is not None else ()
        return any(name != key.instance and slot.state is State.HOT for name, slot in slots)

    def stays(self, slot: Slot) -> bool:
        """Whether idleness does not stop this instance now: it is kept warm, or others need it."""
        return warm.holds(slot) or dependencies.holds(self._steps, slot.service)

    def needed(self, service: ServiceId) -> bool:
        """Whether a service that needs this one is not cold."""
        return dependencies.holds(self._steps, self.service(service))

    def kept_for(self, slot: Slot) -> list[ServiceId]:
        """The services that need this one and keep it up, as long as they are not cold."""
        return dependencies.holders(self._steps, slot.service)

    def kept_warm(self, slot: Slot) -> bool:
        """Whether its `keep_warm` keeps this instance up now."""
        return warm.holds(slot)

    @property
    def machines(self) -> Mapping[MachineId, Machine]:
        """Every machine that is configured, or that a service names."""
        return self._steps.machines

    def stay(self, slot: Slot, now: float) -> tuple[Stay, str]:
        """How firmly an instance has its room, and a word for why (`core.residents`)."""
        return residents.stay(self._steps, slot, now)

    def statistics(self) -> WorldStatistics:
        slots = [slot for service in self.services.values() for slot in service.slots.values()]
        return WorldStatistics(
            queued=sum(len(service.queue) for service in self.services.values()),
            in_flight=sum(slot.use.open for slot in slots if slot.use is not None),
            hot=sum(slot.state is State.HOT for slot in slots),
            starting=sum(slot.state is State.STARTING for slot in slots),
        )

    # -- after a restart -----------------------------------------------------------------------

    def remember(
        self,
        service: ServiceId,
        instance: InstanceId,
        *,
        generation: int = 0,
        backoff: BackoffState = FRESH,
        error: HestiaError | None = None,
    ) -> None:
        """What an earlier gateway knew of an instance that does not run (AD-13). Before anything happens.

        generation: the highest number ever used. error: why the last start failed. Only what may not be
        started yet is `failed`: what failed once and may be tried is `cold`, with its failures still counted.
        """
        record = self.services.get(service)
        slot = record.slots.get(instance) if record is not None else None
        if slot is None:  # not configured now; a later configuration may bring it back
            self._steps.numbers[(service, instance)] = generation
            return
        slot.record = replace(slot.record, generation=max(slot.record.generation, generation))
        if backoff.failures:
            slot.backoff = backoff
            slot.record = replace(slot.record, error=error)
        if backoff.retry_at:
            slot.record = replace(slot.record, state=State.FAILED, failed=True, cause="remembered")

    def remember_spent(self, service: ServiceId, spent: Spent) -> None:
        """What an earlier gateway knew of the failures of a service (FB-04). Before anything happens."""
        if service in self.services:
            self.services[service].spent = spent

    def adopt(
        self,
        service: ServiceId,
        instance: InstanceId,
        now: float,
        *,
        generation: int,
        handle: Handle | None,
        last_used: float | None = None,
        grace_until: float = 0.0,
    ) -> list[Effect]:
        """A generation of an earlier gateway may still run: it is `starting` until somebody knows (AD-11).

        last_used, and grace_until, until when it stays in any case: loop-clock seconds. Raises
        IllegalTransition where something is under way already.
        """
        slot = self.slot(service, instance)
        slot.last_used, slot.grace_until = last_used, grace_until
        if slot.state is State.FAILED and not slot.record.stuck:  # it failed before: what runs matters more
            slot.record = replace(slot.record, state=State.COLD)
        self._steps.adopt(slot, now, generation=generation, handle=handle)
        return self._steps.take()

    def outdate(self, service: ServiceId, instance: InstanceId, now: float) -> list[Effect]:
        """What runs was started with other options than are configured now: it stops when unused (AD-17)."""
        slot = self.slot(service, instance)
        slot.outdated = True
        if slot.state is State.HOT:
            rest.look_idle(self._steps, slot, now)
        return self._steps.take()

    def slept(self, seconds: float, now: float) -> list[Effect]:
        """The machine was suspended: the clock stood still, and that time counts as idle (CK-02).

        What has become idle stops one after the other, not all in one tick.
        """
        for record in self.services.values():
            for slot in record.slots.values():
                if slot.state is State.HOT and slot.use is not None:
                    slot.use.last_used -= seconds
                    liveness.suspect_all(self._steps, slot, now)
                    due = slot.use.last_used + slot.idle_timeout
                    spread = min(SPREAD, slot.idle_timeout) * self._jitter()
                    if not slot.asking:
                        self._steps.timer(slot, Timer.IDLE, max(now + spread, due))
        return self._steps.take() + self.look_at_calendars(now)

    def look_at_calendars(self, now: float, *, only: ServiceId | None = None) -> list[Effect]:
        """Start what should be warm: at the beginning, when the wall clock was set, and when it is known
        how long a start takes (ID-16)."""
        for service, record in self.services.items():
            if only in (None, service) and (record.settings.keep_warm or record.warm):
                self._look_at_calendar(record, now)
        return self._steps.take()

    def _look_at_calendar(self, record: ServiceRecord, now: float) -> None:
        warm.look(self._steps, record, now)
        reservations.queue_changed(self._steps, record, now)  # what is kept warm no more may go

    def reconfigure(
        self,
        services: Mapping[ServiceId, ServiceSettings],
        difference: Difference,
        now: float,
        *,
        machines: Mapping[MachineId, Machine] = NO_MACHINES,
    ) -> list[Effect]:
        """Take a new configuration; only services that differ are touched. services, machines: all of it."""
        reconfigure.take(self._steps, self.services, services, machines, difference, now)
        return self._steps.take()

    def forget(self, service: ServiceId) -> None:
        """Drop the record of a service that is configured no more and of which nothing is left."""
        record = self.services.get(service)
        if record is not None and record.retired:
            for slot in self.services.pop(service).slots.values():
                reconfigure.forget_slot(self._steps, slot)
            self._steps.services = self.services
        self._steps.dependants = dependencies.index(self.services)
        self._steps.tenants = reservations.index(self.services, self._steps.machines)

    # -- the hot path --------------------------------------------------------------------------

    def acquire_nowait(
        self, service: ServiceId, candidates: tuple[InstanceId, ...] | None = None
    ) -> Lease | None:
        """Grant a lease on the first hot candidate with room, or None. Never overtakes the queue.

        A suspect comes after all others (RD-11).

        Raises ServiceNotFound.
        """
        record = self.services.get(service)
        if record is None:
            raise ServiceNotFound(f'There is no service "{service}".', service_id=service)
        if record.queue.waiters:
            return None
        slots = record.slots
        spare: Use | None = None
        for name in record.known(candidates) if candidates else record.default:
            use = slots[name].use
            if use is not None and use.room:
                if not use.suspect:
                    return use.grant()
                spare = spare or use
        return spare.grant() if spare is not None else None

    def release(self, lease: Lease, now: float) -> bool:
        """Give a lease back; idempotent. True when somebody must look: apply `released` then."""
        return lease.close(now)

    # -- waiting -------------------------------------------------------------------------------

    def join(self, service: ServiceId, waiter: Waiter, now: float) -> list[Effect]:
        """Queue a waiter; its arrival is demand, unless it is quiet. `waiter.candidates` empty means all, in
        order.

        Raises ServiceNotFound, QueueFull, and the reason at once where no candidate can be hoped for.
        """
        record = self.service(service)
        self._not_retired(record)
        waiter.candidates = record.known(waiter.candidates) or record.default
        if waiter.then:
            waiter.then = record.known(waiter.then)
        if len(record.queue) >= record.settings.queue_size:
            raise reasons.queue_full(record, now)
        if (refusal := self._steps.hopeless(record, waiter, now)) is not None:
            raise refusal
        record.queue.join(waiter)
        self._steps.demand(record, waiter, now)
        self._steps.pump(record, now)
        reservations.queue_changed(self._steps, record, now)
        if len(record.queue) and (record.queue_timer is None or waiter.deadline < record.queue_timer):
            self._steps.arm_queue(record, waiter.deadline)
        return self._steps.take()

    @staticmethod
    def _not_retired(record: ServiceRecord) -> None:
        if record.retired:
            service = record.settings.id
            raise ServiceNotFound(f'There is no service "{service}" any more.', service_id=service)

    def leave(self, service: ServiceId, waiter: Waiter, now: float) -> list[Effect]:
        """The waiter's client left. Its start, if any, goes on, unless it only waits for room (SF-14)."""
        record, waiter.settled, waiter.left = self.services.get(service), True, True
        if record is not None and record.queue.leave(waiter):
            reservations.queue_changed(self._steps, record, now)
        return self._steps.take()

    # -- events --------------------------------------------------------------------------------

    def apply(self, event: lc.Event, now: float) -> list[Effect]:
        """Take one event into the records. A result of an older generation changes nothing.

        Raises IllegalTransition, ServiceNotFound, InstanceNotFound; the records are then unchanged.
        """
        slot = self.slot(event.service, event.instance)
        if event.generation and event.generation != slot.record.generation:
            return []
        self._steps.step(slot, event, now)
        return self._steps.take()

    def start(
        self, service: ServiceId, now: float, *, cause: str, actor: str, instance: InstanceId | None = None
    ) -> list[Effect]:
        """Somebody asks for the service to run. Clears back-off.

        Raises ServiceNotFound, InstanceNotFound, AlreadyRunning, and the reason where it is stuck (FB-15).
        """
        record = self.service(service)
        self._not_retired(record)
        slots = [self.slot(service, instance)] if instance else list(record.slots.values())
        for slot in slots:
            if slot.state in (State.STARTING, State.HOT):
                raise AlreadyRunning(
                    f'Service "{service}" is {"already hot" if slot.state is State.HOT else "starting"}.',
                    service_id=service,
                )
        free = [slot for slot in slots if not slot.record.stuck and slot.barred_by is None]
        if not free:
            raise reasons.not_now(slots[0], now)
        slot = next((slot for slot in free if slot.state in (State.COLD, State.FAILED)), free[0])
        self._steps.set_backoff(slot, slot.backoff.forgiven())
        self._steps.set_spent(record, ())
        self._steps.begin(slot, now, cause=cause, actor=actor)
        return self._steps.take()

    def spill_over(self, service: ServiceId, instance: InstanceId, now: float, *, actor: str) -> list[Effect]:
        """A strategy wants one more instance beside those that serve; nothing while a start is under way
        (SF-16), or where it may not be started now. Raises ServiceNotFound, InstanceNotFound."""
        slot = self.slot(service, instance)
        record = slot.service
        busy = any(one.state is State.STARTING for one in record.slots.values())
        if not (busy or record.retired) and slot.may_begin(now):
            self._steps.begin(slot, now, cause="spill_over", actor=actor)
        return self._steps.take()

    def stop(
        self,
        service: ServiceId,
        now: float,
        *,
        force: bool = False,
        restart: bool = False,
        cause: str = "api",
        actor: str = "",
        only: Collection[InstanceId] | None = None,
    ) -> list[Effect]:
        """Somebody asks for every instance of the service (or `only` these) to stop. Raises ServiceNotFound.

        restart: what was starting or hot starts again when it is gone (where nothing was: the first), and
        whoever waits keeps waiting.
        """
        record = self.service(service)
        record.let_down = not restart
        slots = [slot for name, slot in record.slots.items() if only is None or name in only]
        running = [slot for slot in slots if slot.state is not State.COLD]
        if cause == "shutdown":  # that forgives nobody: what failed is known to the next gateway (AD-13)
            running = [slot for slot in running if slot.state is not State.FAILED or slot.record.stuck]
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
            self._steps.step(slot, event, now)
        if restart and not running:
            self._steps.set_backoff(slots[0], slots[0].backoff.forgiven())
            self._steps.set_spent(record, ())
            self._steps.begin(slots[0], now, cause="restart", actor=actor)
        return self._steps.take()

    def released(self, service: ServiceId, instance: InstanceId, now: float) -> list[Effect]:
        """A lease was given back, or became a socket, where somebody waits or drains."""
        slot = self.slot(service, instance)
        if slot.state is State.DRAINING and slot.use is not None and not slot.use.open:
            self._steps.step(slot, lc.Drained(service=service, instance=instance), now)
        if slot.use is not None and not slot.use.open:
            liveness.released(self._steps, slot, now)
        self._steps.pump(slot.service, now)
        reservations.released(self._steps, slot, now)
        return self._steps.take()

    def warmed(self, use: Use, now: float) -> list[Effect]:
        """A good answer that was awaited came: the warm-up gate opens (QF-02), a suspect is none any more."""
        use.warm, use.awaited = True, False
        slot: Slot = use.owner
        if slot.use is use and use.suspect:
            liveness.trust(self._steps, slot, use, now)
        self._steps.pump(slot.service, now)
        return self._steps.take()

    def liveness(
        self, key: InstanceKey, said: str, now: float, *, alive: bool, refused: bool
    ) -> list[Effect]:
        """What a liveness probe got; that of an older generation changes nothing."""
        if self.is_current(key):
            slot = self.slot(key.service, key.instance)
            liveness.answered(self._steps, slot, said, now, alive=alive, refused=refused)
        return self._steps.take()

    def doubt(self, key: InstanceKey, now: float) -> list[Effect]:
        """A request was let down by a generation: it timed out, or its connection broke."""
        if self.is_current(key):
            liveness.doubt(self._steps, self.slot(key.service, key.instance), now)
        return self._steps.take()

    def refused(self, key: InstanceKey, detail: str, now: float) -> list[Effect]:
        """Nobody listens where a generation was ready a moment ago (RD-10)."""
        if self.is_current(key):
            liveness.refused(self._steps, self.slot(key.service, key.instance), detail, now)
        return self._steps.take()

    def busy(self, key: InstanceKey, said: Busy, sequence: Sequence, now: float) -> list[Effect]:
        """What a busy probe said; that of an older generation changes nothing."""
        if self.is_current(key):
            rest.answered(self._steps, self.slot(key.service, key.instance), said, sequence, now)
        return self._steps.take()

    def timer(self, service: ServiceId, instance: InstanceId | None, kind: Timer, now: float) -> list[Effect]:
        """A timer that was asked for by `SetTimer` fired."""
        record = self.service(service)
        if kind is Timer.CALENDAR:
            self._look_at_calendar(record, now)
            return self._steps.take()
        if instance is None:
            record.queue_timer = None
            self._steps.expire(record, now)
            return self._steps.take()
        slot = self.slot(service, instance)
        match kind:
            case Timer.IDLE:
                rest.look_idle(self._steps, slot, now)
            case Timer.DRAIN if slot.state is State.DRAINING:
                self._steps.step(slot, lc.DrainElapsed(service=service, instance=instance), now)
            case Timer.LIVENESS:
                liveness.look(self._steps, slot, now)
            case Timer.WARM if slot.use is not None:
                slot.use.warm, slot.use.awaited = True, slot.use.suspect
                self._steps.pump(record, now)
            case Timer.ROOM:
                reservations.look(self._steps, slot.settings.machine, now)
            case Timer.RETRY:
                self._steps.recheck(record, now)
            case Timer.STOP_RETRY if slot.state is State.FAILED and slot.record.unknown:
                self._steps.adopt(slot, now, generation=slot.record.generation, handle=slot.record.handle)
            case Timer.STOP_RETRY if slot.state is State.FAILED and slot.record.stuck:
                self._steps.step(slot, lc.StopRetried(service=service, instance=instance), now)
            case _:
                pass
        return self._steps.take()

    def refuse_all(self, error: HestiaError) -> list[Effect]:
        """Answer every waiter of every service, and forget restarts that were promised (DR-03, ID-17)."""
        self._steps.closing = True
        for record in self.services.values():
            for waiter in record.queue:
                self._steps.refuse(record, waiter, error)
            for slot in record.slots.values():
                slot.record = replace(slot.record, restart=False)
        return self._steps.take()
