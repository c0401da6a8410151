"""Decisions of the world, told as scripts: what happens goes in, effects come out.

Starts and single flight (SF), clocks (CK), what one step promises. Failures, queue, idle and leases have
scripts of their own beside this file; the random walk is in `test_world_model`.
"""

from __future__ import annotations

import pytest

from hestia.core import effects as fx
from hestia.core import lifecycle as lc
from hestia.core.errors import (
    AlreadyRunning,
    GatewayDraining,
    InstanceNotFound,
    QueueTimeout,
    ServiceNotFound,
    StartFailed,
    StartStopped,
)
from hestia.core.lifecycle import State
from hestia.core.model import InstanceId, ServiceId
from tests.fakes.runtime import A, B, C, Guest, PaperRuntime, S, hot, service, starting

OTHER = ServiceId("other")


# -- single flight -----------------------------------------------------------------------------


def test_sf01_a_herd_makes_one_start_and_a_thousand_leases() -> None:
    runtime = PaperRuntime()
    guests = [runtime.join() for _ in range(500)]
    runtime.started()
    guests += [runtime.join() for _ in range(500)]
    runtime.ready()
    runtime.succeeded(guests[0].lease)
    assert runtime.count(fx.RunStart) == 1
    assert all(guest.lease.use.key.generation == 1 for guest in guests)


@pytest.mark.parametrize("seen", [False, True])
def test_sf02_ls946_a_request_during_a_stop_starts_the_next_generation(seen: bool) -> None:
    """llama-swap 946: a request saw "stopping", skipped the start and waited for ever."""
    runtime = hot()
    runtime.stop()
    if seen:
        runtime.gone()
    guest = runtime.join()
    assert runtime.count(fx.RunStart) == 1, "not before the old generation is gone (INV-1)"
    runtime.stopped()
    assert runtime.start_of().key.generation == 2
    runtime.ready()
    assert guest.lease.use.key.generation == 2


@pytest.mark.parametrize("when", ["before the engine answered", "after it", "in the tick of readiness"])
def test_sf03_the_first_of_three_waiters_leaves(when: str) -> None:
    runtime = PaperRuntime()
    first, *others = [runtime.join() for _ in range(3)]
    if when == "before the engine answered":
        runtime.leave(first)
    runtime.started()
    if when == "after it":
        runtime.leave(first)
    if when == "in the tick of readiness":
        others[0].reaction = None
        first.reaction = lambda guest: runtime.release(guest.lease)
    runtime.ready()
    runtime.pass_time(2.0)  # the warm-up gate opens
    assert runtime.count(fx.RunStart) == 1
    assert runtime.count(fx.CancelStart) == 0
    assert [len(guest.outcomes) for guest in others] == [1, 1]
    assert all(guest.lease for guest in others)


def test_sf04_waiters_that_leave_in_the_tick_of_readiness_stop_nobody() -> None:
    """Each one that is told makes its neighbour leave, whose lease may already be granted."""
    runtime = PaperRuntime(service(warm_concurrency=100))
    guests: list[Guest] = []

    def push_out(guest: Guest) -> None:
        runtime.leave(guests[guests.index(guest) + 1])

    guests.extend(runtime.join(reaction=reaction) for reaction in (push_out, None) * 5)
    runtime.ready()
    assert [len(guest.outcomes) for guest in guests] == [1, 0] * 5
    assert runtime.world.statistics().in_flight == 5, "leases of those that left were given back"


@pytest.mark.parametrize("state", [State.DRAINING, State.STOPPING])
def test_sf05_a_request_to_a_dying_generation_waits_for_the_next(state: State) -> None:
    runtime = hot()
    lease = runtime.acquire()
    assert lease is not None
    if state is State.STOPPING:
        runtime.release(lease)
    runtime.stop()
    assert runtime.state() is state
    guest = runtime.join()
    assert runtime.acquire() is None
    runtime.release(lease)
    runtime.stopped()
    runtime.ready()
    assert guest.lease.use.key.generation == 2


def test_sf06_id05_demand_in_the_tick_of_the_stop_lease_first() -> None:
    """The lease is granted and the stop is not decided."""
    runtime = hot(idle_timeout=60.0)
    runtime.now += 60.0
    lease = runtime.acquire()
    runtime.fire((S, A, fx.Timer.IDLE))
    assert lease is not None
    assert runtime.state() is State.HOT
    assert runtime.count(fx.RunStop) == 0


def test_sf06_id05_demand_in_the_tick_of_the_stop_stop_first() -> None:
    """The stop stands and the request waits for the next generation."""
    runtime = hot(idle_timeout=60.0)
    runtime.now += 60.0
    runtime.fire((S, A, fx.Timer.IDLE))
    assert runtime.acquire() is None
    guest = runtime.join()
    assert runtime.state() is State.STOPPING
    runtime.stopped()
    runtime.ready()
    assert guest.lease.use.key.generation == 2


def test_ol17408_demand_for_a_stopping_instance_does_not_resurrect_it() -> None:
    """Ollama 17408: the victim was revived while its stop was under way; nothing moved for hours."""
    runtime = hot(idle_timeout=60.0)
    runtime.pass_time(60.0)
    guests = [runtime.join() for _ in range(3)]
    runtime.pass_time(5.0)
    assert runtime.walk() == "cold starting hot stopping"
    runtime.stopped()
    runtime.ready()
    runtime.succeeded(guests[0].lease)
    assert [guest.lease.use.key.generation for guest in guests] == [2, 2, 2]


@pytest.mark.parametrize("stage", ["decided", "handle made", "engine answered", "failing"])
def test_sf07_a_stop_at_each_stage_of_a_start(stage: str) -> None:
    runtime = starting()
    early = runtime.join()
    if stage == "handle made":
        runtime.made()
    if stage in ("engine answered", "failing"):
        runtime.started()
    if stage == "failing":
        runtime.fails(left_over=True, again=True)
        assert runtime.state() is State.STOPPING
        runtime.stopped()
        assert runtime.state() is State.FAILED
        runtime.stop()
    else:
        runtime.stop()
        assert runtime.start_of().given_up
        runtime.stopped()
    assert isinstance(early.error, StartStopped)
    assert runtime.state() is State.COLD
    assert runtime.count(fx.RunStart) == 1, "a stop starts nothing"
    late = runtime.join()
    runtime.ready()
    assert late.lease.use.key.generation == 2


def test_sf07_a_request_after_the_stop_starts_afresh() -> None:
    runtime = starting()
    runtime.stop()
    late = runtime.join()
    assert late.outcome is None
    runtime.stopped()
    runtime.ready()
    assert late.lease.use.key.generation == 2


@pytest.mark.parametrize("names", [(A, B), (B, A)])
def test_sf07_a_stop_does_not_start_the_next_candidate(names: tuple[InstanceId, ...]) -> None:
    runtime = PaperRuntime(service(A, B))
    guest = runtime.join(*names)
    runtime.stop()
    assert isinstance(guest.error, StartStopped)
    assert runtime.count(fx.RunStart) == 1
    assert {runtime.state(name) for name in names} == {State.STOPPING, State.COLD}


@pytest.mark.parametrize("stage", ["starting", "back-off"])
def test_sf07_a_restart_keeps_the_waiters(stage: str) -> None:
    runtime = starting()
    guest = runtime.join()
    if stage == "back-off":
        runtime.fails(again=True)
        assert runtime.state() is State.FAILED
    runtime.restart()
    if stage == "starting":
        assert runtime.count(fx.RunStart) == 1
        runtime.stopped()
    assert runtime.start_of().key.generation == 2
    assert guest.outcome is None
    runtime.ready()
    runtime.pass_time(2.0)
    assert guest.lease


def test_sf07_a_restart_keeps_the_waiters_of_every_instance() -> None:
    runtime = PaperRuntime(service(A, B))
    guests = [runtime.join(A), runtime.join(B)]
    runtime.restart()
    for name in (A, B):
        runtime.stopped(runtime.stop_of(name))
        runtime.ready(runtime.start_of(name))
    assert all(guest.lease for guest in guests)


def test_sf08_a_start_that_was_given_up_reports_success_late() -> None:
    runtime = starting()
    runtime.stop()
    start = runtime.start_of()
    late = runtime.join()
    runtime.started(start)
    runtime.ready(start)
    assert runtime.count(fx.EndpointOpened) == 0, "its endpoint is never published"
    assert runtime.slot().record.handle == {"generation": 1}, "the stop can use its handle"
    assert late.outcome is None
    runtime.stopped()
    runtime.ready()
    assert late.lease.use.key.generation == 2


@pytest.mark.parametrize("report", ["made", "started"])
def test_sf08_a_start_that_outlives_its_stop_is_stopped_again(report: str) -> None:
    """The stop could not wait for it any longer; what it made in the end must not run unseen."""
    runtime = starting()
    runtime.stop()
    start = runtime.start_of()
    runtime.stopped(start_goes_on=True)
    assert runtime.state() is State.COLD
    if report == "made":
        runtime.made(start)
    else:
        runtime.started(start)
    assert runtime.state() is State.STOPPING
    assert runtime.stop_of().handle == {"generation": 1}
    assert runtime.count(fx.EndpointOpened) == 0
    runtime.stopped()
    assert runtime.state() is State.COLD


def test_sf08_results_of_an_older_generation_change_nothing() -> None:
    runtime = starting()
    old = runtime.start_of()
    runtime.stop()
    runtime.stopped(start_goes_on=True)
    runtime.join()
    before, effects = runtime.slot().record, len(runtime.effects)
    runtime.started(old)
    runtime.ready(old)
    runtime.fails(old)
    runtime.gone(key=old.key, unstable=True)
    assert runtime.slot().record is before
    assert len(runtime.effects) == effects
    assert not runtime.world.is_current(old.key)


def test_sf10_all_waiters_of_a_failed_start_get_the_same_error_once() -> None:
    runtime = PaperRuntime()
    guests = [runtime.join() for _ in range(5)]
    error = StartFailed("exit status 3", exit_status=3)
    runtime.fails(error=error)
    assert all(guest.outcomes == [error] for guest in guests)


def test_sf10_fail_wait_succeed() -> None:
    """The next request sees back-off, not the stale result."""
    runtime = starting()
    runtime.fails()
    guest = runtime.join()
    assert guest.outcome is None
    assert runtime.count(fx.RunStart) == 1
    runtime.pass_time(1.0)
    runtime.ready()
    assert guest.lease
    assert runtime.slot().record.error is None


def test_sf13_a_request_and_an_api_start_in_the_same_tick_are_one_start() -> None:
    for first, second in (("join", "start"), ("start", "join")):
        runtime = PaperRuntime()
        for what in (first, second):
            if what == "join":
                runtime.join()
            elif first == "start":
                runtime.start()
            else:
                with pytest.raises(AlreadyRunning, match="starting"):
                    runtime.start()
        assert runtime.count(fx.RunStart) == 1


def test_sf13_start_of_a_hot_service_is_refused_and_changes_nothing() -> None:
    runtime = hot()
    before, effects = runtime.slot().record, len(runtime.effects)
    with pytest.raises(AlreadyRunning, match="already hot"):
        runtime.start()
    assert runtime.slot().record is before
    assert len(runtime.effects) == effects


def test_sf14_the_last_waiter_leaves_and_the_start_goes_on() -> None:
    runtime = PaperRuntime()
    guest = runtime.join()
    runtime.leave(guest)
    assert not runtime.start_of().given_up
    runtime.ready()
    assert runtime.state() is State.HOT
    assert guest.outcomes == []


def test_sf16_fifty_requests_over_two_cold_instances_start_one() -> None:
    runtime = PaperRuntime(service(A, B))
    guests = [runtime.join(*((A, B) if number % 2 else (B, A))) for number in range(50)]
    assert runtime.count(fx.RunStart) == 1
    assert runtime.start_of(B)
    runtime.ready(runtime.start_of(B))
    runtime.pass_time(2.0)
    assert {guest.lease.use.key.instance for guest in guests} == {B}


def test_start_during_a_stop_starts_when_it_is_gone() -> None:
    runtime = hot()
    runtime.stop()
    runtime.start()
    assert runtime.count(fx.RunStart) == 1
    runtime.stopped()
    assert runtime.state() is State.STARTING


def test_start_during_a_stop_is_taken_back_by_the_next_stop() -> None:
    runtime = hot()
    runtime.stop()
    runtime.start()
    runtime.stop()
    runtime.stopped()
    assert runtime.walk() == "cold starting hot stopping cold"


def test_a_restart_brings_back_what_ran_and_only_that() -> None:
    runtime = PaperRuntime(service(A, B, C))
    for name in (A, B):
        guest = runtime.join(name)
        runtime.ready(runtime.start_of(name))
        runtime.release(guest.lease)
    runtime.restart()
    for name in (A, B):
        runtime.stopped(runtime.stop_of(name))
    assert [runtime.state(name) for name in (A, B, C)] == [State.STARTING, State.STARTING, State.COLD]


def test_a_restart_of_what_is_cold_starts_it() -> None:
    runtime = PaperRuntime(service(A, B))
    runtime.restart()
    assert (runtime.state(A), runtime.state(B)) == (State.STARTING, State.COLD)
    assert runtime.moves[-1].cause == "restart"


# -- instances somebody else started -----------------------------------------------------------


def test_rd15_what_somebody_else_started_is_hot_and_serves_the_waiters() -> None:
    runtime = PaperRuntime()
    guest = runtime.join()
    runtime.fails(again=True)
    runtime.found()
    assert guest.lease.use.key.generation == 2
    assert runtime.slot().record.external
    runtime.stop()
    runtime.release(guest.lease)
    assert runtime.stop_of().external, "the runtime decides what stopping it means"
    runtime.stopped()
    assert not runtime.slot().record.external


# -- clocks, deadlines, shutdown ---------------------------------------------------------------


def test_ck05_a_waiter_is_answered_at_its_deadline_and_the_start_goes_on() -> None:
    runtime = PaperRuntime(service(request_timeout=5.0))
    short, long = runtime.join(patience=5.0), runtime.join(patience=50.0)
    runtime.pass_time(5.0)
    assert isinstance(short.error, QueueTimeout)
    assert "request_timeout" in str(short.error)
    assert long.outcome is None
    assert not runtime.start_of().given_up
    runtime.ready()
    assert long.lease


def test_qf10_ck10_one_deadline_covers_all_attempts() -> None:
    runtime = PaperRuntime(service(A, B))
    guest = runtime.join(patience=10.0)
    runtime.pass_time(6.0)
    runtime.fails()
    runtime.pass_time(3.9)
    assert guest.outcome is None
    runtime.pass_time(0.2)
    assert isinstance(guest.error, QueueTimeout)


def test_ck01_a_jump_of_the_clock_fires_in_a_bunch_and_answers_everybody() -> None:
    runtime = PaperRuntime(service(idle_timeout=60.0))
    guests = [runtime.join(patience=float(number)) for number in range(1, 20)]
    runtime.now += 3600.0
    for key in list(runtime.due()):
        runtime.fire(key)
    assert all(isinstance(guest.error, QueueTimeout) for guest in guests)


def test_ck11_a_limit_of_never_arms_no_timer() -> None:
    runtime = hot(drain_timeout=float("inf"))
    assert runtime.timer_at(fx.Timer.IDLE) is None
    assert runtime.acquire()
    runtime.stop()
    assert runtime.state() is State.DRAINING
    assert runtime.timer_at(fx.Timer.DRAIN) is None


def test_dr03_id17_going_down_answers_everybody_and_no_promised_restart_follows() -> None:
    runtime = PaperRuntime()
    guests = [runtime.join() for _ in range(3)]
    runtime.restart()
    going = GatewayDraining("The gateway is shutting down.")
    runtime.perform(runtime.world.refuse_all(going))
    assert all(guest.error is going for guest in guests)
    runtime.stopped()
    assert runtime.state() is State.COLD
    assert runtime.count(fx.RunStart) == 1


# -- one step ----------------------------------------------------------------------------------


def test_inv7_cold_leaves_no_timer_behind() -> None:
    runtime = hot(idle_timeout=60.0)
    assert runtime.acquire()
    runtime.stop()
    runtime.stop(force=True)
    runtime.stop_fails()
    runtime.stop()
    runtime.stopped()
    assert runtime.state() is State.COLD
    assert runtime.timers == {}
    assert runtime.slot().use is None


def test_inv9_each_transition_is_told_once_with_cause_actor_and_generation() -> None:
    runtime = hot()
    runtime.pass_time(7.0)
    runtime.stop(force=True)
    runtime.stopped()
    told = [(move.after, move.cause, move.actor, move.key.generation) for move in runtime.moves]
    assert told == [
        ("starting", "api", "me", 1),
        ("hot", "api", "me", 1),
        ("stopping", "api", "me", 1),
        ("cold", "api", "me", 1),
    ]
    assert runtime.moves[2].lasted == 7.0
    assert runtime.moves[2].forced
    assert len({move.episode for move in runtime.moves}) == 1


def test_an_illegal_event_raises_and_changes_nothing() -> None:
    runtime = hot()
    before, effects = runtime.slot().record, len(runtime.effects)
    with pytest.raises(lc.IllegalTransition):
        runtime.world.apply(lc.StopFinished(service=S, instance=A, generation=1), runtime.now)
    assert runtime.slot().record is before
    assert runtime.world.apply(lc.ProbePassed(service=S, instance=A, generation=99), runtime.now) == []
    assert len(runtime.effects) == effects


def test_unknown_names_are_refused_by_name() -> None:
    runtime = PaperRuntime()
    with pytest.raises(ServiceNotFound, match="nosuch"):
        runtime.join(service=ServiceId("nosuch"))
    with pytest.raises(ServiceNotFound, match="nosuch"):
        runtime.acquire(service=ServiceId("nosuch"))
    with pytest.raises(InstanceNotFound, match="zz"):
        runtime.start(instance=InstanceId("zz"))


def test_qf05_services_do_not_wait_for_each_other() -> None:
    runtime = PaperRuntime(service(), service(id=OTHER))
    runtime.join()
    runtime.join(service=OTHER)
    runtime.ready(runtime.start_of(service=OTHER))
    assert runtime.state(service=OTHER) is State.HOT
    assert runtime.acquire(service=OTHER) is None, "its own warm-up gate"
    runtime.pass_time(2.0)
    assert runtime.acquire(service=OTHER)
    assert runtime.state() is State.STARTING
