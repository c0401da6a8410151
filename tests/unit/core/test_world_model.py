"""A random walk over the world: demand, results of work, crashes, people and clocks in any order.

Between any two steps anything may happen, so every await point of the real gateway is covered: a job's
result is just one more step. The invariants of the life cycle are asserted after each step; at the end
everything outstanding is delivered and every request must have had exactly one outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hestia.core import reservations
from hestia.core.calendar import Window
from hestia.core.effects import Moved, RunStart, RunStop, Timer
from hestia.core.errors import EngineRefused, GatewayDraining, HestiaError, QueueFull, StartFailed
from hestia.core.idle import Busy
from hestia.core.lease import Lease
from hestia.core.lifecycle import State
from hestia.core.model import (
    NEVER,
    Backoff,
    BusyProbe,
    IdleWebSocket,
    InstanceId,
    Machine,
    MachineId,
    ServiceId,
    ServiceSettings,
)
from hestia.core.queue import Waiter
from hestia.core.records import ServiceRecord, Slot
from hestia.core.room import INSTANCES, fits, limits, total
from tests.fakes.runtime import A, B, C, Guest, PaperRuntime, StartPaper, service

NAMES = (A, B, C)
HOURLY = tuple(Window(tuple(range(7)), hour * 60, hour * 60 + 30, UTC) for hour in range(24))

MACHINE = MachineId("shared")

services = st.builds(
    lambda number, **more: (number, more),
    st.integers(1, 3),
    max_in_flight=st.sampled_from([None, 1, 2]),
    warm_concurrency=st.sampled_from([1, 2]),
    queue_size=st.sampled_from([2, 4, 50]),
    idle_timeout=st.sampled_from([NEVER, 5.0, 60.0]),
    idle_websocket=st.sampled_from(list(IdleWebSocket)),
    busy_probe=st.sampled_from([None, BusyProbe(command="busy")]),
    busy_probe_max=st.sampled_from([20.0, 86400.0]),
    keep_warm=st.sampled_from([False, False, True, HOURLY]),
    drain_timeout=st.sampled_from([3.0, 300.0]),
    pin=st.sampled_from([False, False, False, True]),
    exclusive=st.booleans(),
    priority=st.sampled_from([0, 0, 5]),
    max_room_wait=st.sampled_from([0.0, 10.0, 60.0]),
    min_hot=st.sampled_from([None, 0.0, 5.0]),
    needs=st.sampled_from([{}, {"vram": 1}, {"vram": 3}]),
    depends=st.booleans(),
    restart_backoff=st.sampled_from(
        [Backoff(), Backoff(base=4.0, intensity=2, period=60.0), Backoff(base=0), Backoff(per_hour=2)]
    ),
)


machines = st.builds(
    Machine,
    id=st.just(MACHINE),
    max_instances=st.sampled_from([None, None, 1, 2]),
    resources=st.sampled_from([{}, {}, {"vram": 3}, {"vram": 4}]),
)


def build(index: int, number: int, more: dict[str, Any]) -> ServiceSettings:
    needed = (ServiceId("s0"),) if more.pop("depends") and index else ()
    one = service(*NAMES[:number], id=ServiceId(f"s{index}"), depends_on=needed, **more)
    return replace(one, instances=tuple(replace(each, machine=MACHINE) for each in one.instances))


def holds(machine: Machine, services: Sequence[ServiceSettings]) -> bool:
    """Whether a service fits there beside what it needs: else the configuration is refused."""
    by_name = {one.id: one for one in services}
    together = [[one, *(by_name[name] for name in one.depends_on)] for one in services if one.depends_on]
    wanted = [total({**one.needs, INSTANCES: 1} for one in group) for group in together]
    return all(fits(each, limits(machine)) for each in wanted)


class WorldWalk(RuleBasedStateMachine):
    """Rules are what can happen to a gateway; a rule without an object to work on is not offered."""

    def __init__(self) -> None:
        super().__init__()
        self.runtime = PaperRuntime()
        self.guests: list[Guest] = []
        self.leases: list[Lease] = []

    @initialize(drawn=st.lists(services, min_size=1, max_size=3), machine=machines)
    def configure(self, drawn: list[tuple[int, dict[str, Any]]], machine: Machine) -> None:
        everything = [build(index, number, more) for index, (number, more) in enumerate(drawn)]
        assume(holds(machine, everything))
        self.runtime = PaperRuntime(*everything, machines=[machine])
        self.calendars_are_looked_at(0.0)

    # -- what clients do -----------------------------------------------------------------------

    @rule(
        data=st.data(),
        patience=st.sampled_from([1.0, 20.0, 300.0]),
        reaction=st.sampled_from(["hold", "hold", "socket", "socket", "release", "again", "others leave"]),
    )
    def demand(self, data: st.DataObject, patience: float, reaction: str) -> None:
        """A request: a lease at once, or a place in the queue, or a refusal."""
        record = data.draw(st.sampled_from(self.records))
        names = data.draw(st.lists(st.sampled_from(list(record.slots)), unique=True, max_size=3))
        self.arrive(record, tuple(names), patience, reaction)

    def arrive(
        self, record: ServiceRecord, names: tuple[InstanceId, ...], patience: float, reaction: str
    ) -> None:
        lease = self.runtime.acquire(*names, service=record.settings.id)
        if lease is not None:
            may_use = lease.use.key.instance
            assert not any(may_use in waiter.candidates for waiter in record.queue), "overtook the queue"
            self.hold(lease, reaction)
            return
        guest = Guest(record.settings.id)
        guest.reaction = lambda guest: self.react(guest, record, names, patience, reaction)
        waiting = len(record.queue)
        try:
            self.join(guest, names, patience)
        except QueueFull:
            assert waiting == record.settings.queue_size
        except HestiaError:
            assert not guest.outcomes, "refused twice"
            slots = [record.slots[name] for name in names or record.default]
            spent = record.free_at(self.runtime.now) > self.runtime.now
            failed = all(slot.state is State.FAILED or slot.barred_by for slot in slots)
            assert spent or failed, "refused while there was hope (FB-18)"

    def join(self, guest: Guest, names: tuple[InstanceId, ...], patience: float) -> None:
        now = self.runtime.now
        guest.waiter = Waiter(names, guest.told, arrived=now, deadline=now + patience)
        self.guests.append(guest)
        try:
            self.runtime.perform(self.runtime.world.join(guest.service, guest.waiter, now))
        except HestiaError:
            self.guests.remove(guest)
            raise

    def react(
        self,
        guest: Guest,
        record: ServiceRecord,
        names: tuple[InstanceId, ...],
        patience: float,
        reaction: str,
    ) -> None:
        """What a client does in the very tick in which it is told."""
        assert len(guest.outcomes) == 1, "told twice"
        self.check_order(guest, record)
        if isinstance(guest.outcome, Lease):
            if reaction == "release":
                self.runtime.release(guest.outcome)
            else:
                self.hold(guest.outcome, reaction)
        if reaction == "again":
            self.arrive(record, names, patience, "hold")
        if reaction == "others leave":
            for other in self.waiting[:2]:
                self.runtime.leave(other)

    def hold(self, lease: Lease, reaction: str) -> None:
        self.leases.append(lease)
        if reaction == "socket":
            self.runtime.became_socket(lease)

    def check_order(self, guest: Guest, record: ServiceRecord) -> None:
        """FIFO: nobody who arrived earlier and may use the instance still waits (QF-01)."""
        if not isinstance(guest.outcome, Lease) or guest.waiter is None:
            return
        name = guest.outcome.use.key.instance
        for other in record.queue:
            overtaken = other.number < guest.waiter.number and name in other.candidates
            assert not overtaken, f"{guest.waiter!r} overtook {other!r}"

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        self.runtime.leave(data.draw(st.sampled_from(self.waiting)))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), served=st.booleans())
    def exchange_ends(self, data: st.DataObject, served: bool) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        if served:
            self.runtime.succeeded(lease)
        self.leases.remove(lease)
        self.runtime.release(lease)
        self.runtime.release(lease)  # a second time changes nothing

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), what=st.sampled_from(["socket", "frame", "head"]))
    def exchange_goes_on(self, data: st.DataObject, what: str) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        if what == "socket":
            self.runtime.became_socket(lease)
        elif what == "frame":
            lease.touched(self.runtime.now)
        else:
            self.runtime.succeeded(lease)

    @precondition(lambda self: self.runtime.closing)
    @rule()
    def socket_closes(self) -> None:
        lease = self.runtime.closing.pop(0)
        self.runtime.release(lease)

    # -- results of work -----------------------------------------------------------------------

    @precondition(lambda self: self.runtime.stops or self.current_starts)
    @rule(data=st.data())
    def work_succeeds(self, data: st.DataObject) -> None:
        """The ordinary course of things, so that walks get far."""
        if self.runtime.stops:
            self.runtime.stopped(data.draw(st.sampled_from(list(self.runtime.stops.values()))))
        else:
            self.runtime.ready(data.draw(st.sampled_from(self.current_starts)))

    @precondition(lambda self: self.runtime.starts)
    @rule(data=st.data(), what=st.sampled_from(["made", "started", "ready", "ready"]))
    def start_goes_on(self, data: st.DataObject, what: str) -> None:
        """Also of starts that were given up, and of those whose instance was thought gone."""
        start = data.draw(st.sampled_from(list(self.runtime.starts.values())))
        state = self.runtime.state(start.key.instance, start.key.service)
        if what == "made":
            self.runtime.made(start)
        elif what == "started" or not self.runtime.world.is_current(start.key):
            self.runtime.started(start)
        elif state in (State.STARTING, State.STOPPING):
            self.runtime.ready(start)
        else:
            self.runtime.started(start)

    @precondition(lambda self: self.runtime.starts)
    @rule(
        data=st.data(),
        left_over=st.booleans(),
        again=st.booleans(),
        permanent=st.booleans(),
        jitter=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def start_fails(
        self, data: st.DataObject, left_over: bool, again: bool, permanent: bool, jitter: float
    ) -> None:
        start = data.draw(st.sampled_from(list(self.runtime.starts.values())))
        self.runtime.jitter = jitter
        current = self.runtime.world.is_current(start.key)
        state = self.runtime.state(start.key.instance, start.key.service)
        if current and state not in (State.STARTING, State.STOPPING):
            return  # refused by the table; see test_lifecycle
        error = EngineRefused("no", permanent=True) if permanent else StartFailed("exit status 1")
        self.runtime.fails(start, error=error, left_over=left_over, again=again and not permanent)

    @precondition(lambda self: self.slots_in(*set(State) - {State.STARTING}))
    @rule(data=st.data(), unstable=st.booleans(), older=st.booleans())
    def instance_ends(self, data: st.DataObject, unstable: bool, older: bool) -> None:
        """It crashed; or news of an older generation arrives, or of one that is known to be over."""
        slots = self.slots_in(*set(State) - {State.STARTING})
        slot = data.draw(st.sampled_from(slots))
        key = slot.key(self.runtime.world.gateway)
        if older and key.generation > 1:
            before = slot.record
            self.runtime.gone(key=type(key)(key.gateway, key.service, key.instance, key.generation - 1))
            assert slot.record is before, "an older generation changed something"
        elif key.generation:
            self.runtime.gone(key=key, unstable=unstable)

    @precondition(lambda self: self.runtime.stops)
    @rule(data=st.data(), gone=st.booleans(), start_goes_on=st.booleans())
    def stop_ends(self, data: st.DataObject, gone: bool, start_goes_on: bool) -> None:
        stop = data.draw(st.sampled_from(list(self.runtime.stops.values())))
        if gone:
            self.runtime.stopped(stop, start_goes_on=start_goes_on)
        else:
            self.runtime.stop_fails(stop, start_goes_on=start_goes_on)

    @precondition(lambda self: self.slots_in(State.COLD, State.FAILED))
    @rule(data=st.data())
    def found_running(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.slots_in(State.COLD, State.FAILED)))
        if not slot.record.stuck:
            self.runtime.found(slot.record.id, slot.record.service)

    @precondition(lambda self: self.runtime.asked)
    @rule(data=st.data(), said=st.sampled_from(list(Busy)))
    def busy_probe_ends(self, data: st.DataObject, said: Busy) -> None:
        self.runtime.busy(said, data.draw(st.sampled_from(self.runtime.asked)))

    @precondition(lambda self: self.runtime.probed)
    @rule(data=st.data(), alive=st.booleans(), refused=st.booleans())
    def liveness_probe_ends(self, data: st.DataObject, alive: bool, refused: bool) -> None:
        probe = data.draw(st.sampled_from(self.runtime.probed))
        self.runtime.lives(alive, probe, refused=refused and not alive)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), what=st.sampled_from(["let down", "refused"]))
    def request_fails(self, data: st.DataObject, what: str) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        if what == "refused":
            self.runtime.refuses(lease)
        else:
            self.runtime.let_down(lease)

    # -- people and clocks ---------------------------------------------------------------------

    @rule(data=st.data(), what=st.sampled_from(["start", "start one", "stop", "stop", "force", "restart"]))
    def person(self, data: st.DataObject, what: str) -> None:
        record = data.draw(st.sampled_from(self.records))
        name = record.settings.id
        waiting, came = list(record.queue), len(self.guests)
        try:
            match what:
                case "start":
                    self.runtime.start(name)
                case "start one":
                    self.runtime.start(name, data.draw(st.sampled_from(list(record.slots))))
                case "restart":
                    self.runtime.restart(name)
                    assert not any(waiter.settled for waiter in waiting), "a restart answered a waiter"
                case _:
                    self.runtime.stop(name, force=what == "force")
                    hot = self.slots_in(State.HOT, State.STARTING)
                    runs = any(slot.service is record for slot in hot)
                    assert not runs or len(self.guests) > came, "runs on after a stop that nobody came after"
        except HestiaError:
            assert what in ("start", "start one")

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 31.0, 700.0]))
    def clock_jumps(self, seconds: float) -> None:
        """Timers that are due may fire late, after other things happened."""
        self.runtime.now += seconds

    @rule(seconds=st.sampled_from([-1800.0, 600.0, 1800.0]))
    def calendars_are_looked_at(self, seconds: float) -> None:
        """Somebody set the clock on the wall."""
        self.runtime.wall_ahead += seconds
        self.runtime.perform(self.runtime.world.look_at_calendars(self.runtime.now))

    @precondition(lambda self: self.runtime.timers)
    @rule(data=st.data())
    def timer_fires(self, data: st.DataObject) -> None:
        """Any that is due; where none is, time passes until the next."""
        due = self.runtime.due()
        if due:
            self.runtime.fire(data.draw(st.sampled_from(due)))
            return
        key = self.runtime.next_timer()
        assert key is not None
        self.runtime.now = max(self.runtime.now, self.runtime.timers[key])
        self.runtime.fire(key)

    @rule(machine=machines)
    def capacity_changes(self, machine: Machine) -> None:
        """A reload: nothing is killed, and who waits may begin (EV-13)."""
        self.runtime.fitted.clear()
        everything = [one.settings for one in self.records]
        assume(holds(machine, everything))
        before = {slot.record.id: slot.state for slot in self.slots_in(State.HOT, State.STARTING)}
        self.runtime.reload(*everything, machines=[machine])
        assert before is not None

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def inv1_one_generation(self) -> None:
        for place, generations in self.runtime.alive.items():
            assert len(generations) <= 1, f"INV-1: {place} has {generations}"

    @invariant()
    def inv2_a_waiter_waits_for_something(self) -> None:
        for record in self.records:
            for waiter in record.queue:
                assert not waiter.settled
                at = self.runtime.timer_at(Timer.QUEUE, None, record.settings.id)
                assert at is not None, "INV-2: nothing ends the wait"
                assert at <= waiter.deadline, "INV-2: the wait ends too late"
                slots = [record.slots[name] for name in waiter.candidates if name not in waiter.failed]
                assert any(self.under_way(slot) for slot in slots), f"INV-2: {waiter!r} in {record!r}"
                for slot in slots:
                    assert slot.use is None or not slot.use.room, f"{waiter!r} waits beside {slot!r}"

    def under_way(self, slot: Slot) -> bool:
        """Whether something that ends by itself is going on for this instance."""
        key = slot.key(self.runtime.world.gateway)
        place = (slot.record.id, slot.record.service)
        match slot.state:
            case State.STARTING if slot.awaiting:
                return any(self.under_way(other) or other.state is State.HOT for other in self.needed(slot))
            case State.STARTING if slot.seek is not None:
                return True  # the waiter's own deadline ends it, see above
            case State.STARTING:
                return key in self.runtime.starts and not self.runtime.starts[key].given_up
            case State.HOT:
                return slot.use is not None and slot.use.open > 0
            case State.DRAINING:
                open_leases = slot.use is not None and slot.use.open > 0
                return open_leases and self.runtime.timer_at(Timer.DRAIN, *place) is not None
            case State.STOPPING:
                return key in self.runtime.stops
            case State.FAILED:
                at = self.runtime.timer_at(Timer.RETRY, *place)
                return not slot.record.stuck and at is not None and at <= slot.backoff.retry_at
            case _:
                return False

    def needed(self, slot: Slot) -> list[Slot]:
        """Instances of the services that this one needs."""
        names = slot.service.settings.depends_on
        return [other for name in names for other in self.runtime.record(name).slots.values()]

    @invariant()
    def sf12_what_runs_was_started_after_what_it_needs(self) -> None:
        for key, start in self.runtime.starts.items():
            if self.runtime.world.is_current(key) and not start.given_up:
                assert not self.runtime.slot(key.instance, key.service).awaiting, f"SF-12: {key} has a job"

    @invariant()
    def inv3_leases_belong_to_hot_instances(self) -> None:
        for slot in self.slots_in(*State):
            admitting = slot.use is not None and slot.use.admitting
            assert admitting == (slot.state is State.HOT), f"INV-3: {slot!r}"
            if slot.use is None:
                continue
            assert slot.use.open <= slot.use.limit
            assert 0 <= slot.use.sockets <= slot.use.open
            assert slot.use.sockets == sum(lease.is_socket for lease in slot.use.leases)
        open_here = {lease for slot in self.slots_in(*State) if slot.use for lease in slot.use.leases}
        held = {lease for lease in self.leases if lease in lease.use.leases}
        assert open_here <= held, "a lease is open that nobody holds"

    @invariant()
    def inv5_reservations_are_generations_that_are_not_gone(self) -> None:
        for slot in self.slots_in(*State):
            match slot.state:
                case State.COLD:
                    there = False
                case State.FAILED:
                    there = slot.record.stuck
                case State.STARTING:
                    there = not slot.held_back
                case State.STOPPING:
                    continue  # of a start that never began nothing is there
                case _:
                    there = True
            assert (slot.reservation is not None) == there, f"INV-5: {slot!r} has {slot.reservation}"
            assert slot.seek is None or slot.state is State.STARTING

    @invariant()
    def nobody_waits_for_room_that_there_is(self) -> None:
        """What is decided at rest is nothing: every event led to a look (EV-07, OL17408)."""
        steps = self.runtime.world._steps
        for name in steps.tenants:
            before = len(steps.effects)
            reservations.look(steps, name, self.runtime.now)
            done = [one for one in steps.effects[before:] if isinstance(one, RunStart | RunStop | Moved)]
            due = any(at <= self.runtime.now for at in self.runtime.timers.values())
            assert not done or due, f"{name} was forgotten: {done}"
            self.runtime.perform(steps.take())

    @invariant()
    def inv7_cold_means_nothing(self) -> None:
        for slot in self.slots_in(State.COLD):
            assert slot.use is None, "INV-7: use counters left"
            place = (slot.record.service, slot.record.id)
            kept = slot.service.settings.keep_warm  # then it starts again when its budget has room
            allowed = {Timer.RETRY} if kept else set()
            timers = [key for key in self.runtime.timers if key[:2] == place and key[2] not in allowed]
            assert not timers, f"INV-7: timers left: {timers}"
            assert slot.key(self.runtime.world.gateway) not in self.runtime.stops, "INV-7: stop job left"
            assert slot.record.handle is None
            assert slot.record.endpoint is None

    @invariant()
    def inv9_every_change_was_told(self) -> None:
        for slot in self.slots_in(*State):
            walk = self.runtime.walk(slot.record.id, slot.record.service)
            assert walk.split()[-1] == slot.state, f"INV-9: told {walk}, is {slot.state}"

    @invariant()
    def demand_never_starts_before_its_time(self) -> None:
        """FB-03, FB-05: after a failure no start by demand within back-off or cool-down."""
        for slot in self.slots_in(State.STARTING):
            key = slot.key(self.runtime.world.gateway)
            decided = next(move for move in reversed(self.runtime.moves) if move.key == key)
            if decided.cause in ("demand", "keep_warm") and decided.before == State.FAILED:
                assert slot.backoff.retry_at <= slot.record.since

    @invariant()
    def an_idle_timer_watches_every_hot_instance(self) -> None:
        for slot in self.slots_in(State.HOT):
            limit = slot.service.settings.idle_timeout
            at = self.runtime.timer_at(Timer.IDLE, slot.record.id, slot.record.service)
            assert (at is None) <= (limit == NEVER or slot.asking)
            assert at is None or at <= self.runtime.now + limit

    @invariant()
    def a_suspect_is_looked_at_again(self) -> None:
        """RD-11: by a probe under way, or at an instant that is set."""
        for slot in self.slots_in(State.HOT):
            place = (slot.record.id, slot.record.service)
            assert slot.pulse.asking == any(
                probe.key == slot.key(self.runtime.world.gateway) for probe in self.runtime.probed
            )
            if slot.use is not None and slot.use.suspect:
                assert slot.pulse.asking or self.runtime.timer_at(Timer.LIVENESS, *place) is not None

    @invariant()
    def guests_are_told_once(self) -> None:
        for guest in self.guests:
            assert guest.waiter is not None
            assert len(guest.outcomes) <= 1
            queued = guest.waiter in list(self.runtime.record(guest.service).queue)
            assert queued == (not guest.outcomes and not guest.waiter.left)

    # -- the end -------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Liveness: deliver what is outstanding, let time pass; everybody gets an outcome, all is quiet."""
        self.finish(lambda: not self.waiting, "a waiter was never answered")
        self.runtime.perform(self.runtime.world.refuse_all(GatewayDraining("the end")))
        for record in self.records:
            self.runtime.stop(record.settings.id)
        self.finish(lambda: not self.slots_in(*set(State) - {State.COLD, State.FAILED}), "does not settle")
        for record in self.records:
            self.runtime.stop(record.settings.id)
        self.finish(lambda: len(self.slots_in(State.COLD)) == len(self.slots_in(*State)), "is not cold")
        counts = self.runtime.world.statistics()
        assert (counts.queued, counts.in_flight, counts.hot, counts.starting) == (0, 0, 0, 0), "INV-10"
        self.inv7_cold_means_nothing()
        self.guests_are_told_once()

    def finish(self, done: Any, complaint: str) -> None:
        for _ in range(1000):
            if done():
                return
            if self.leases:
                self.runtime.release(self.leases.pop())
            elif self.runtime.stops:
                self.runtime.stopped(next(iter(self.runtime.stops.values())))
            elif self.current_starts:
                self.runtime.ready(self.current_starts[0])
            elif (key := self.runtime.next_timer()) is not None:
                self.runtime.now = max(self.runtime.now, self.runtime.timers[key])
                self.runtime.fire(key)
            else:
                break
        assert done(), complaint

    # -- looking -------------------------------------------------------------------------------

    @property
    def current_starts(self) -> list[StartPaper]:
        """Start jobs whose instance waits for them."""
        return [
            start
            for start in self.runtime.starts.values()
            if self.runtime.world.is_current(start.key)
            and self.runtime.state(start.key.instance, start.key.service) is State.STARTING
        ]

    @property
    def records(self) -> list[ServiceRecord]:
        return list(self.runtime.world.services.values())

    @property
    def waiting(self) -> list[Guest]:
        return [
            guest for guest in self.guests if guest.waiter and not guest.outcomes and not guest.waiter.left
        ]

    def slots_in(self, *states: State) -> list[Slot]:
        return [slot for record in self.records for slot in record.slots.values() if slot.state in states]


TestWorldWalk = pytest.mark.timeout(900)(WorldWalk.TestCase)  # the thorough walk takes minutes
