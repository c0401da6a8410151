"""Sharing a machine, told as scripts: who gets room, who gives way, who waits (QF-05…08, EV)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hestia.core import effects as fx
from hestia.core.effects import Timer
from hestia.core.errors import EngineRefused, QueueTimeout, StartFailed
from hestia.core.idle import Busy
from hestia.core.lease import Lease
from hestia.core.lifecycle import State
from hestia.core.model import ServiceId
from tests.fakes.machines import GPU_1, busy, gpu, shared, sharing
from tests.fakes.runtime import A, B, Guest, PaperRuntime, service

ONE, TWO, THREE = (ServiceId(name) for name in ("one", "two", "three"))


def states(runtime: PaperRuntime) -> str:
    return " ".join(runtime.state(A, name) for name in runtime.world.services)


def serve(runtime: PaperRuntime, name: ServiceId) -> Lease:
    """A request that is served now, its start included."""
    lease = runtime.acquire(service=name)
    if lease is not None:
        return lease
    guest = runtime.join(service=name)
    runtime.ready(runtime.start_of(A, name))
    return guest.lease


def used(runtime: PaperRuntime, name: ServiceId) -> None:
    """It was hot and served somebody, and is idle now."""
    lease = serve(runtime, name)
    runtime.succeeded(lease)
    runtime.release(lease)


def stop_under_way(runtime: PaperRuntime) -> fx.RunStop:
    (only,) = runtime.stops.values()
    return only


def gone(runtime: PaperRuntime) -> None:
    """The one that is being stopped is confirmed gone."""
    runtime.stopped(stop_under_way(runtime))


# -- room for one ------------------------------------------------------------------------------------


def test_an_idle_instance_gives_way_and_the_other_starts_when_it_is_gone() -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    used(runtime, ONE)
    runtime.pass_time(40.0)
    guest = runtime.join(service=TWO)
    assert states(runtime) == "stopping starting"
    assert runtime.starts == {}, "not before the room is free"
    gone(runtime)
    runtime.ready(runtime.start_of(A, TWO))
    assert guest.lease
    assert [move.cause for move in runtime.moves if move.after == State.STOPPING] == ["evicted_for:two"]


def test_ev01_fifty_starts_into_room_for_three() -> None:
    names = [ServiceId(f"s{number}") for number in range(50)]
    runtime = sharing(*(shared(name) for name in names), instances=3)
    guests = [runtime.join(service=name, patience=10_000.0) for name in names]
    assert len(runtime.starts) == 3
    for _ in range(3000):
        for start in list(runtime.starts.values()):
            runtime.ready(start)
        for guest in guests:
            if guest.outcomes and isinstance(guest.outcome, Lease) and guest.lease in guest.lease.use.leases:
                runtime.release(guest.lease)
        for stop in list(runtime.stops.values()):
            runtime.stopped(stop)
        if all(guest.outcomes for guest in guests):
            break
        runtime.pass_time(1.0)
    assert [guest.lease.use.key.service for guest in guests] == names, "each had its turn"


@pytest.mark.parametrize("state", ["starting", "stopping", "stuck", "unknown"])
def test_ev02_what_is_not_confirmed_gone_has_room(state: str) -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    if state == "unknown":
        runtime.adopt(A, ONE)
        runtime.not_known(runtime.adoption_of(A, ONE))
    elif state == "starting":
        runtime.join(service=ONE)
    else:
        used(runtime, ONE)
        runtime.stop(ONE)
        if state == "stuck":
            runtime.stop_fails(stop_under_way(runtime))
    runtime.join(service=TWO)
    assert [start.service for start in runtime.starts if start.service == TWO] == []
    assert runtime.state(A, TWO) is State.STARTING


def test_ev02_the_successor_waits_for_a_stop_that_takes_long() -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    used(runtime, ONE)
    runtime.pass_time(40.0)
    runtime.join(service=TWO)
    runtime.pass_time(10.0)
    assert runtime.starts == {}
    gone(runtime)
    assert [key.service for key in runtime.starts] == [TWO]


def test_ev07_ol17408_a_victim_is_not_revived_by_its_own_request() -> None:
    """Ollama 17408: the victim came back while the successor waited; nothing moved for hours."""
    runtime = sharing(shared(ONE), shared(TWO))
    used(runtime, ONE)
    runtime.pass_time(40.0)
    second = runtime.join(service=TWO)
    again = runtime.join(service=ONE)
    assert runtime.acquire(service=ONE) is None
    gone(runtime)
    runtime.ready(runtime.start_of(A, TWO))
    runtime.release(second.lease)
    runtime.pass_time(40.0)
    runtime.stopped(runtime.stop_of(A, TWO))
    runtime.ready(runtime.start_of(A, ONE))
    assert again.lease.use.key.generation == 2


@pytest.mark.parametrize("first", ["lease", "eviction"])
def test_ev08_a_request_to_the_victim_in_the_tick_of_the_decision(first: str) -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    used(runtime, ONE)
    runtime.pass_time(40.0)
    if first == "lease":
        lease = runtime.acquire(service=ONE)
        runtime.join(service=TWO)
        assert runtime.state(A, ONE) is State.HOT
        assert lease is not None
        runtime.release(lease)
        assert runtime.state(A, ONE) is State.STOPPING, "idle now, and its min_hot is over"
    else:
        runtime.join(service=TWO)
        assert runtime.acquire(service=ONE) is None
        runtime.join(service=ONE)
        assert runtime.state(A, ONE) is State.STOPPING


def test_ev09_one_event_for_each_eviction_with_the_set_and_the_reason() -> None:
    runtime = sharing(shared(ONE), shared(TWO), shared(THREE), instances=2)
    used(runtime, ONE)
    runtime.pass_time(1.0)
    used(runtime, TWO)
    runtime.pass_time(40.0)
    runtime.join(service=THREE)
    made = [effect for effect in runtime.effects if isinstance(effect, fx.MadeRoom)]
    assert [(one.key.service, [key.service for key in one.victims]) for one in made] == [(THREE, [ONE])]
    assert made[0].told == ("one evicted after 41.0 s idle",)


def test_ev11_the_evicted_keeps_its_waiters_and_has_its_turn_again() -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    used(runtime, ONE)
    runtime.pass_time(40.0)
    two = runtime.join(service=TWO)
    waiting = [runtime.join(service=ONE) for _ in range(3)]
    gone(runtime)
    runtime.ready(runtime.start_of(A, TWO))
    runtime.release(two.lease)
    assert runtime.state(A, ONE) is State.STARTING
    runtime.pass_time(30.0)
    runtime.stopped(runtime.stop_of(A, TWO))
    runtime.ready(runtime.start_of(A, ONE))
    runtime.pass_time(2.0)
    assert all(guest.lease for guest in waiting)


def test_ev12_a_start_that_others_wait_for_is_not_cut_short_by_who_came_later() -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    first = runtime.join(service=ONE, patience=1000.0)
    runtime.pass_time(1.0)
    runtime.join(service=TWO, patience=1000.0)
    runtime.pass_time(200.0)
    assert runtime.count(fx.CancelStart) == 0
    runtime.ready(runtime.start_of(A, ONE))
    assert first.lease


def test_sf14_ev12_a_start_that_nobody_waits_for_any_more_makes_room() -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    runtime.leave(runtime.join(service=ONE))
    assert runtime.state(A, ONE) is State.STARTING, "it goes on as long as nobody wants its room"
    runtime.join(service=TWO)
    assert runtime.count(fx.CancelStart) == 1
    gone(runtime)
    assert [key.service for key in runtime.starts] == [TWO]


@pytest.mark.parametrize("how", ["leaves", "has waited long enough"])
def test_sf14_ev12_a_start_makes_room_when_the_last_who_waited_for_it_goes(how: str) -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    first = runtime.join(service=ONE, patience=20.0)
    runtime.join(service=TWO)
    assert runtime.count(fx.CancelStart) == 0
    if how == "leaves":
        runtime.leave(first)
    else:
        runtime.pass_time(20.0)
    assert runtime.count(fx.CancelStart) == 1


@pytest.mark.parametrize("how", ["leaves", "has waited long enough"])
def test_sf14_a_start_that_only_waits_for_room_ends_with_its_last_waiter(how: str) -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    lease = serve(runtime, ONE)
    guests = [runtime.join(service=TWO, patience=20.0) for _ in range(2)]
    if how == "leaves":
        runtime.leave(guests[0])
        assert runtime.state(A, TWO) is State.STARTING
        runtime.leave(guests[1])
    else:
        runtime.pass_time(20.0)
    assert runtime.walk(A, TWO) == "cold starting cold"
    runtime.release(lease)
    assert runtime.count(fx.RunStart) == 1
    assert runtime.state(A, ONE) is State.HOT


def test_sf14_a_start_that_only_waits_for_room_ends_when_another_instance_served_its_waiter() -> None:
    several = service(A, B, id=TWO)
    on_gpu = replace(several, instances=(replace(several.instances[0], machine=GPU_1), several.instances[1]))
    runtime = sharing(shared(ONE), on_gpu)
    serve(runtime, ONE)
    guest = runtime.join(A, service=TWO)
    assert runtime.state(A, TWO) is State.STARTING
    runtime.found(B, TWO)
    assert guest.waiter is not None
    guest.waiter.candidates = (A, B)
    runtime.perform(runtime.world.released(TWO, B, runtime.now))
    assert guest.lease.use.key.instance == B
    assert runtime.walk(A, TWO) == "cold starting cold"


def test_a_waiter_whose_time_is_over_is_told_who_has_the_room() -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    serve(runtime, ONE)
    guest = runtime.join(service=TWO, patience=20.0)
    runtime.pass_time(20.0)
    error = guest.error
    assert isinstance(error, QueueTimeout)
    assert (error.cause, error.stage) == ("no_room", "room")
    assert "one is busy (1 request)" in error.detail
    assert "hestia stop one" in error.remedy


# -- fairness --------------------------------------------------------------------------------------


def test_qf05_waiting_for_room_blocks_only_its_own_service() -> None:
    other = shared(THREE, needs={})
    runtime = sharing(shared(ONE), shared(TWO), other, instances=2)
    serve(runtime, ONE)
    runtime.succeeded(serve(runtime, THREE))
    runtime.join(service=TWO)
    assert runtime.state(A, TWO) is State.STARTING
    for _ in range(5):
        assert runtime.acquire(service=THREE) is not None, "hot services are not behind it"


def test_qf05_ol14578_what_fits_begins_although_somebody_else_waits() -> None:
    runtime = sharing(
        shared(ONE, needs={"vram": 20}),
        shared(TWO, needs={"vram": 14}),
        shared(THREE, needs={"vram": 4}),
        vram=24,
    )
    serve(runtime, ONE)
    runtime.join(service=TWO)
    runtime.join(service=THREE)
    assert [key.service for key in runtime.starts] == [THREE]


def test_qf06_ol14407_a_busy_resident_drains_for_who_has_waited_max_room_wait() -> None:
    """Ollama 14407: under steady load the resident was never idle."""
    runtime = sharing(shared(ONE, max_room_wait=30.0), shared(TWO, max_room_wait=30.0))
    lease = serve(runtime, ONE)
    runtime.succeeded(lease)
    guest = runtime.join(service=TWO)
    for _ in range(35):
        runtime.pass_time(1.0)
        following = runtime.acquire(service=ONE)
        if following is None:
            break
        runtime.release(lease)
        lease = following
    assert runtime.state(A, ONE) is State.DRAINING
    behind = runtime.join(service=ONE)
    runtime.release(lease)
    gone(runtime)
    runtime.ready(runtime.start_of(A, TWO))
    assert guest.lease
    assert not behind.outcomes, "its new requests wait behind"


def test_qf06_id10_the_drain_of_an_eviction_ends_in_an_abort() -> None:
    runtime = sharing(shared(ONE, drain_timeout=20.0), shared(TWO))
    serve(runtime, ONE)
    guest = runtime.join(service=TWO)
    runtime.pass_time(60.0)
    assert runtime.state(A, ONE) is State.DRAINING
    runtime.pass_time(20.0)
    assert len(runtime.aborted) == 1
    gone(runtime)
    runtime.ready(runtime.start_of(A, TWO))
    assert guest.lease


def test_qf06_those_who_had_waited_for_the_resident_do_not_get_it_back_first() -> None:
    """Its queue is older than the other's request, but it had its turn."""
    runtime = sharing(shared(ONE, max_in_flight=1), shared(TWO))
    first = serve(runtime, ONE)
    queue = [runtime.join(service=ONE, patience=1000.0) for _ in range(3)]
    runtime.pass_time(1.0)
    two = runtime.join(service=TWO)
    runtime.pass_time(60.0)
    runtime.release(first)
    gone(runtime)
    assert [key.service for key in runtime.starts] == [TWO]
    runtime.ready(runtime.start_of(A, TWO))
    runtime.release(two.lease)
    runtime.pass_time(30.0)
    runtime.stopped(runtime.stop_of(A, TWO))
    runtime.ready(runtime.start_of(A, ONE))
    assert queue[0].lease


def test_qf07_ls612_alternating_requests_do_not_swap_each_time() -> None:
    """`A B A A C A B C`, a second apart, with room for one."""
    runtime = sharing(shared(ONE), shared(TWO), shared(THREE))
    came: dict[int, float] = {}
    guests: list[Guest] = []
    served: dict[int, float] = {}

    def settle() -> None:
        """Work takes no time here: starts succeed, stops end, answers come at once."""
        while runtime.starts or runtime.stops:
            for stop in list(runtime.stops.values()):
                runtime.stopped(stop)
            for start in list(runtime.starts.values()):
                runtime.ready(start)
            release_all()

    def release_all() -> None:
        for at, guest in enumerate(guests):
            if guest.outcomes and at not in served:
                served[at] = runtime.now
                runtime.succeeded(guest.lease)
                runtime.release(guest.lease)

    for number, name in enumerate((ONE, TWO, ONE, ONE, THREE, ONE, TWO, THREE)):
        came[number] = runtime.now
        lease = runtime.acquire(service=name)
        if lease is not None:
            runtime.release(lease)
            guests.append(Guest(name, outcomes=[lease]))
            served[number] = runtime.now
        else:
            guests.append(runtime.join(service=name))
        settle()
        runtime.pass_time(1.0)
    for _ in range(200):
        settle()
        release_all()
        runtime.pass_time(1.0)
    assert len(served) == 8
    assert runtime.count(fx.RunStart) <= 1 + 3
    assert all(served[at] - came[at] <= 62.0 for at in came)


def test_qf07_a_start_longer_than_max_room_wait_serves_all_who_had_waited_for_it() -> None:
    """Or two herds would swap for every single request, each time for the length of a start."""
    runtime = sharing(shared(ONE, max_in_flight=1), shared(TWO, max_in_flight=1))
    herd = [runtime.join(service=ONE, patience=1000.0) for _ in range(3)]
    other = runtime.join(service=TWO, patience=1000.0)
    runtime.pass_time(90.0)
    runtime.ready(runtime.start_of(A, ONE))
    runtime.pass_time(1.0)
    late = runtime.join(service=ONE, patience=1000.0)
    for guest in herd:
        runtime.pass_time(10.0)
        runtime.succeeded(guest.lease)
        runtime.release(guest.lease)
    gone(runtime)
    runtime.ready(runtime.start_of(A, TWO))
    assert other.lease
    assert not late.outcomes


def test_qf06_the_turn_of_those_who_had_waited_for_a_start_ends_with_min_hot() -> None:
    runtime = sharing(shared(ONE, max_in_flight=1, min_hot=40.0), shared(TWO))
    herd = [runtime.join(service=ONE, patience=1000.0) for _ in range(3)]
    other = runtime.join(service=TWO, patience=1000.0)
    runtime.pass_time(90.0)
    runtime.ready(runtime.start_of(A, ONE))
    runtime.pass_time(39.0)
    assert runtime.state(A, ONE) is State.HOT
    runtime.pass_time(1.0)
    assert runtime.state(A, ONE) is State.DRAINING
    runtime.release(herd[0].lease)
    gone(runtime)
    runtime.ready(runtime.start_of(A, TWO))
    assert other.lease
    assert not herd[1].outcomes


def test_qf07_a_fresh_instance_stays_for_as_long_as_its_start_took() -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    guest = runtime.join(service=ONE)
    runtime.pass_time(50.0)
    runtime.ready(runtime.start_of(A, ONE))
    runtime.release(guest.lease)
    runtime.join(service=TWO)
    runtime.pass_time(49.0)
    assert runtime.state(A, ONE) is State.HOT
    runtime.pass_time(1.0)
    assert runtime.state(A, ONE) is State.STOPPING


def test_qf07_min_hot_guards_against_eviction_only_and_not_against_who_waited_long() -> None:
    runtime = sharing(shared(ONE, min_hot=500.0, idle_timeout=100.0), shared(TWO, max_room_wait=30.0))
    used(runtime, ONE)
    runtime.join(service=TWO)
    runtime.pass_time(29.0)
    assert runtime.state(A, ONE) is State.HOT
    runtime.pass_time(1.0)
    assert runtime.state(A, ONE) is State.STOPPING


def test_qf08_equal_priority_is_served_in_order_of_arrival() -> None:
    runtime = sharing(shared(ONE), shared(TWO), shared(THREE))
    lease = serve(runtime, ONE)
    runtime.join(service=THREE)
    runtime.pass_time(1.0)
    runtime.join(service=TWO)
    runtime.pass_time(31.0)
    runtime.release(lease)
    gone(runtime)
    assert [key.service for key in runtime.starts] == [THREE]


def test_qf08_higher_priority_goes_first_and_low_priority_is_served_all_the_same() -> None:
    names = [ServiceId(f"high{number}") for number in range(20)]
    low = ServiceId("low")
    runtime = sharing(
        shared(ONE), shared(low, min_hot=0.0), *(shared(name, priority=10, min_hot=0.0) for name in names)
    )
    lease = serve(runtime, ONE)
    runtime.pass_time(40.0)
    guest = runtime.join(service=low)
    waited_since = runtime.now
    highs = iter(names)
    current: Lease | None = lease
    while not guest.outcomes:
        assert runtime.now - waited_since < 100.0, "starved"
        runtime.join(service=next(highs), patience=5000.0)
        runtime.pass_time(6.0)
        if current is not None and current in current.use.leases:
            runtime.release(current)
        for stop in list(runtime.stops.values()):
            runtime.stopped(stop)
        for start in list(runtime.starts.values()):
            runtime.ready(start)
        hot = next((one for one in runtime.world.services if runtime.state(A, one) is State.HOT), None)
        use = runtime.slot(A, hot).use if hot else None
        current = next(iter(use.leases), None) if use is not None else None
    assert next(highs) != names[1], "others with a higher priority had gone first"


# -- who gives way ---------------------------------------------------------------------------------


def test_ev05_least_recently_used_first_and_lower_priority_before_that() -> None:
    runtime = sharing(shared(ONE, priority=1), shared(TWO), shared(THREE), instances=2)
    used(runtime, ONE)
    runtime.pass_time(5.0)
    used(runtime, TWO)
    runtime.pass_time(40.0)
    runtime.join(service=THREE)
    assert states(runtime) == "hot stopping starting"


@pytest.mark.parametrize("firm", ["pin", "external", "stuck"])
def test_ev05_some_never_give_way(firm: str) -> None:
    runtime = sharing(shared(ONE, pin=firm == "pin"), shared(TWO, request_timeout=500.0))
    if firm == "external":
        runtime.found(A, ONE)
    else:
        used(runtime, ONE)
    if firm == "stuck":
        runtime.stop(ONE)
        runtime.stop_fails(stop_under_way(runtime))
    runtime.pass_time(20.0)
    guest = runtime.join(service=TWO, patience=200.0)
    runtime.pass_time(25.0)
    assert runtime.starts == {}
    assert not guest.outcomes


def test_ev06_nothing_is_evicted_in_vain() -> None:
    runtime = sharing(
        shared(ONE, needs={"vram": 4}),
        shared(TWO, needs={"vram": 18}, pin=True),
        shared(THREE, needs={"vram": 10}),
        vram=24,
    )
    used(runtime, ONE)
    used(runtime, TWO)
    runtime.pass_time(40.0)
    runtime.join(service=THREE, patience=500.0)
    runtime.pass_time(100.0)
    assert states(runtime) == "hot hot starting"
    assert runtime.count(fx.MadeRoom) == 0


def test_ev06_what_never_fits_is_refused_at_once() -> None:
    runtime = sharing(shared(ONE, needs={"vram": 40}), vram=24)
    guest = runtime.join(service=ONE)
    assert isinstance(guest.error, EngineRefused)
    assert guest.error.permanent
    assert "it needs 40 of 24 vram" in guest.error.detail
    assert runtime.slot(A, ONE).backoff.failures == (), "that is no failure of the service"


def test_ev10_all_resources_of_a_start_are_taken_at_once_or_none() -> None:
    runtime = sharing(
        shared(ONE, needs={"gpus": 1, "ram": 8}),
        shared(TWO, needs={"gpus": 1, "ram": 8}),
        gpus=2,
        ram=8,
    )
    serve(runtime, ONE)
    runtime.join(service=TWO)
    assert runtime.slot(A, TWO).reservation is None


def test_ev13_less_capacity_kills_nothing_and_new_starts_wait() -> None:
    services = shared(ONE), shared(TWO), shared(THREE)
    runtime = sharing(*services, instances=2)
    used(runtime, ONE)
    busy_lease = serve(runtime, TWO)
    runtime.pass_time(40.0)
    runtime.reload(*services, machines=[gpu(instances=1)])
    assert states(runtime) == "hot hot cold"
    guest = runtime.join(service=THREE, patience=1000.0)
    assert states(runtime) == "hot hot starting", "to evict one would not be enough"
    runtime.release(busy_lease)
    assert states(runtime) == "stopping stopping starting"
    runtime.stopped(runtime.stop_of(A, ONE))
    assert runtime.starts == {}
    runtime.stopped(runtime.stop_of(A, TWO))
    runtime.ready(runtime.start_of(A, THREE))
    assert guest.lease


def test_ev13_more_capacity_lets_who_waits_begin() -> None:
    services = shared(ONE), shared(TWO)
    runtime = sharing(*services)
    serve(runtime, ONE)
    runtime.join(service=TWO)
    runtime.reload(*services, machines=[gpu(instances=2)])
    assert [key.service for key in runtime.starts] == [TWO]


def test_ev13_a_machine_without_limits_lets_everybody_begin() -> None:
    services = shared(ONE), shared(TWO)
    runtime = sharing(*services)
    serve(runtime, ONE)
    runtime.join(service=TWO)
    runtime.reload(*services, machines=[])
    assert [key.service for key in runtime.starts] == [TWO]


def test_ev14_what_adoption_found_is_kept_and_nothing_new_starts_there() -> None:
    runtime = sharing(shared(ONE), shared(TWO), shared(THREE))
    for name in (ONE, TWO):
        runtime.adopt(A, name)
    guest = runtime.join(service=THREE, patience=1000.0)
    for name in (ONE, TWO):
        runtime.taken_over(runtime.adoption_of(A, name))
    assert states(runtime) == "stopping stopping starting", "both are idle, and both are in the way"
    assert runtime.starts == {}
    runtime.stopped(runtime.stop_of(A, ONE))
    runtime.stopped(runtime.stop_of(A, TWO))
    runtime.ready(runtime.start_of(A, THREE))
    assert guest.lease


def test_ev15_no_reservation_outlives_its_generation() -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    used(runtime, ONE)
    runtime.stop(ONE)
    gone(runtime)
    assert runtime.slot(A, ONE).reservation is None
    runtime.join(service=ONE)
    runtime.fails(runtime.start_of(A, ONE))
    assert runtime.slot(A, ONE).reservation is None


@pytest.mark.parametrize("first", [ONE, TWO])
def test_ev16_one_at_a_time_holds_both_ways_and_for_what_starts(first: ServiceId) -> None:
    second = TWO if first == ONE else ONE
    runtime = sharing(shared(ONE), shared(TWO))
    runtime.join(service=first)
    runtime.join(service=second)
    assert [key.service for key in runtime.starts] == [first]


def test_sf08_room_of_a_late_success_is_kept_until_it_is_gone() -> None:
    runtime = sharing(shared(ONE), shared(TWO))
    runtime.join(service=ONE)
    late = runtime.start_of(A, ONE)
    runtime.stop(ONE)
    runtime.stopped(stop_under_way(runtime), start_goes_on=True)
    runtime.started(late)
    assert runtime.state(A, ONE) is State.STOPPING
    runtime.join(service=TWO)
    assert runtime.state(A, TWO) is State.STARTING
    assert [key.service for key in runtime.starts if key.service == TWO] == []
    gone(runtime)
    assert [key.service for key in runtime.starts if key.service == TWO] == [TWO]


# -- things that make no traffic, sockets, people, calendars ---------------------------------------


def test_id07_a_busy_probe_is_asked_before_an_eviction() -> None:
    runtime = sharing(shared(ONE, **busy()), shared(TWO))
    used(runtime, ONE)
    runtime.pass_time(10.0)
    runtime.join(service=TWO)
    assert runtime.asked == [], "not while its min_hot protects it anyway"
    runtime.pass_time(20.0)
    runtime.busy(Busy.BUSY)
    assert runtime.state(A, ONE) is State.HOT
    runtime.pass_time(14.0)
    assert runtime.asked == []
    runtime.pass_time(1.0)
    runtime.busy(Busy.FREE)
    assert runtime.state(A, ONE) is State.STOPPING


def test_id07_an_answer_counts_only_for_the_use_it_was_asked_at() -> None:
    runtime = sharing(shared(ONE, **busy()), shared(TWO))
    used(runtime, ONE)
    runtime.pass_time(40.0)
    runtime.join(service=TWO)
    runtime.release(serve(runtime, ONE))
    runtime.busy(Busy.FREE)
    assert runtime.state(A, ONE) is State.HOT
    runtime.busy(Busy.FREE)
    assert runtime.state(A, ONE) is State.STOPPING


def test_qf06_a_busy_probe_does_not_hold_the_room_for_ever() -> None:
    runtime = sharing(shared(ONE, **busy()), shared(TWO))
    used(runtime, ONE)
    runtime.pass_time(40.0)
    runtime.join(service=TWO)
    runtime.pass_time(60.0)
    assert runtime.state(A, ONE) is State.STOPPING


def test_id03_silent_sockets_do_not_keep_the_room_and_are_closed_first() -> None:
    runtime = sharing(shared(ONE, idle_timeout=50.0), shared(TWO))
    lease = serve(runtime, ONE)
    lease.became_socket()
    runtime.pass_time(40.0)
    runtime.join(service=TWO)
    assert runtime.state(A, ONE) is State.HOT, "data passed within its idle timeout"
    runtime.pass_time(10.0)
    assert runtime.state(A, ONE) is State.DRAINING
    assert runtime.closing == [lease]
    runtime.release(lease)
    gone(runtime)
    assert [key.service for key in runtime.starts] == [TWO]


def test_what_is_kept_warm_goes_only_for_who_waited_long_and_evicts_nobody_itself() -> None:
    runtime = sharing(shared(ONE, keep_warm=True), shared(TWO))
    runtime.perform(runtime.world.look_at_calendars(runtime.now))
    runtime.ready(runtime.start_of(A, ONE))
    guest = runtime.join(service=TWO)
    runtime.pass_time(59.0)
    assert runtime.state(A, ONE) is State.HOT
    runtime.pass_time(1.0)
    gone(runtime)
    runtime.ready(runtime.start_of(A, TWO))
    runtime.release(guest.lease)
    assert runtime.state(A, ONE) is State.STARTING
    runtime.pass_time(1000.0)
    assert states(runtime) == "starting hot"
    runtime.stop(TWO)
    gone(runtime)
    assert [key.service for key in runtime.starts] == [ONE]


def test_a_start_by_a_person_makes_room_and_is_given_up_in_the_end() -> None:
    runtime = sharing(shared(ONE, pin=True), shared(TWO))
    used(runtime, ONE)
    runtime.start(TWO)
    runtime.pass_time(300.0)
    error = runtime.slot(A, TWO).record.error
    assert runtime.walk(A, TWO) == "cold starting failed"
    assert isinstance(error, StartFailed)
    assert "one is pinned" in error.detail
    assert runtime.timer_at(Timer.ROOM, A, TWO) is None


# -- never a second copy ---------------------------------------------------------------------------


def test_fb09_what_is_exclusive_is_not_started_elsewhere_while_the_first_may_run() -> None:
    runtime = PaperRuntime(service(A, B, exclusive=True))
    runtime.adopt(A)
    runtime.not_known()
    with pytest.raises(StartFailed) as told:
        runtime.join(B)
    assert "exclusive" in told.value.detail
    assert told.value.remedy.endswith("hestia stop s --force")
    with pytest.raises(StartFailed):
        runtime.start(instance=B)
    runtime.stop(force=True)
    runtime.join(B)
    assert [key.instance for key in runtime.starts] == [B]


def test_who_asks_for_what_is_kept_warm_makes_its_start_urgent() -> None:
    runtime = sharing(shared(ONE), shared(TWO, keep_warm=True))
    used(runtime, ONE)
    runtime.pass_time(40.0)
    runtime.perform(runtime.world.look_at_calendars(runtime.now))
    assert states(runtime) == "hot starting"
    runtime.join(service=TWO)
    assert states(runtime) == "stopping starting"


def test_ev19_an_instance_that_need_not_wait_for_room_is_started_first() -> None:
    several = service(A, B, id=TWO)
    on_gpu = replace(several, instances=(replace(several.instances[0], machine=GPU_1), several.instances[1]))
    runtime = sharing(shared(ONE), on_gpu)
    serve(runtime, ONE)
    runtime.join(service=TWO)
    assert [(key.service, key.instance) for key in runtime.starts] == [(TWO, B)]


def test_ev06_sf12_a_start_does_not_evict_what_it_needs() -> None:
    """It would wait for it again, and evict it again, until its client leaves (found by the random walk)."""
    runtime = sharing(
        shared(ONE), shared(TWO, depends_on=(ONE,), max_room_wait=0.0), shared(THREE, pin=True), instances=2
    )
    serve(runtime, THREE)
    guest = runtime.join(service=TWO, patience=20.0)
    runtime.ready(runtime.start_of(A, ONE))
    assert states(runtime) == "hot starting hot"
    runtime.pass_time(20.0)
    assert isinstance(guest.error, QueueTimeout)
    assert states(runtime) == "hot cold hot"
    assert runtime.count(fx.RunStop) == 0
