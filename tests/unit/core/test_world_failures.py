"""What a failed start, a crash or a stop that fails leads to: RD-04 and the FB group, as scripts."""

from __future__ import annotations

import pytest

from hestia.core import effects as fx
from hestia.core.errors import (
    AlreadyRunning,
    BreakerOpen,
    EngineRefused,
    HestiaError,
    StartFailed,
    StoreUnavailable,
)
from hestia.core.lifecycle import State
from hestia.core.model import Backoff
from hestia.core.steps import EPISODE_STARTS, STOP_RETRY
from tests.fakes.runtime import A, B, PaperRuntime, hot, service, starting


def test_rd04_an_exit_answers_every_waiter_at_once_and_is_not_repeated() -> None:
    runtime = PaperRuntime()
    guests = [runtime.join() for _ in range(3)]
    runtime.fails(left_over=True)
    assert all(isinstance(guest.error, StartFailed) for guest in guests)
    runtime.stopped()
    runtime.pass_time(3600.0)
    assert runtime.walk() == "cold starting stopping failed"
    assert runtime.count(fx.RunStart) == 1


def test_rd04_not_now_is_tried_again_within_the_episode_and_its_budget() -> None:
    """Only an answer that says "not now" is repeated; the budget ends it (FB-04)."""
    runtime = PaperRuntime(service(restart_backoff=Backoff(intensity=100)))
    guest = runtime.join()
    episodes = set()
    for attempt in range(1, EPISODE_STARTS + 1):
        assert guest.outcome is None, f"given up after {attempt - 1} starts"
        episodes.add(runtime.start_of().episode)
        runtime.fails(error=EngineRefused("no room", permanent=False), again=True)
        runtime.pass_time(60.0)
    assert isinstance(guest.error, EngineRefused)
    assert len(episodes) == 1
    assert runtime.count(fx.RunStart) == EPISODE_STARTS


def test_inv6_a_start_that_could_not_be_written_down_is_no_failure_of_the_service() -> None:
    runtime = PaperRuntime(service(restart_backoff=Backoff(intensity=1)))
    for _ in range(5):
        guest = runtime.join()
        runtime.fails(error=StoreUnavailable("the disk is full"))
        assert isinstance(guest.error, StoreUnavailable)
    runtime.join()
    runtime.ready()
    assert runtime.state() is State.HOT


def test_fb03_the_next_start_waits_the_jittered_delay() -> None:
    runtime = PaperRuntime(service(restart_backoff=Backoff(base=8.0, intensity=10)), jitter=0.5)
    runtime.join()
    runtime.fails()
    runtime.join()
    assert runtime.timer_at(fx.Timer.RETRY) == runtime.now + 4.0
    runtime.pass_time(3.9)
    assert runtime.state() is State.FAILED
    runtime.pass_time(0.2)
    assert runtime.state() is State.STARTING


def test_fb05_fb18_the_breaker_answers_at_once_with_the_reason_then_lets_one_trial_through() -> None:
    runtime = PaperRuntime()
    for _ in range(3):
        runtime.join()
        runtime.fails(error=StartFailed("cannot read model.gguf", tail=("last line",)))
        runtime.pass_time(5.0)
    for _ in range(100):
        with pytest.raises(BreakerOpen, match=r"cannot read model\.gguf") as told:
            runtime.join()
        assert told.value.retry_after == pytest.approx(25.0)
        assert told.value.tail == ("last line",)
    assert runtime.count(fx.RunStart) == 3
    runtime.pass_time(26.0)
    runtime.join()
    assert runtime.count(fx.RunStart) == 4
    runtime.fails()
    runtime.pass_time(31.0)
    with pytest.raises(BreakerOpen):
        runtime.join()  # the cool-down has doubled


def test_fb05_the_breaker_opens_while_others_wait_and_answers_them() -> None:
    runtime = PaperRuntime()
    guest = runtime.join()
    for _ in range(3):
        runtime.fails(again=True)
        runtime.pass_time(10.0)
    assert isinstance(guest.error, StartFailed)
    assert runtime.state() is State.FAILED


def test_fb05_a_person_may_try_at_once() -> None:
    runtime = PaperRuntime()
    for _ in range(3):
        runtime.join()
        runtime.fails()
        runtime.pass_time(5.0)
    runtime.start()
    guest = runtime.join()
    runtime.ready()
    assert guest.lease


def test_fb06_a_generation_that_dies_young_counts_as_a_failed_start() -> None:
    runtime = PaperRuntime()
    for _ in range(3):
        guest = runtime.join()
        runtime.ready()
        runtime.release(guest.lease)
        runtime.gone(unstable=True)
        runtime.stopped()
        runtime.pass_time(4.0)
    with pytest.raises(BreakerOpen):
        runtime.join()


def test_fb04_a_service_that_spent_its_budget_of_the_hour_answers_at_once_and_says_so() -> None:
    """Gets stable, crashes, and again: no failed starts, but no end either."""
    runtime = PaperRuntime(service(restart_backoff=Backoff(per_hour=3)))
    for _ in range(3):
        guest = runtime.join()
        runtime.ready()
        runtime.release(guest.lease)
        runtime.pass_time(60.0)
        runtime.gone()
        runtime.stopped()
    assert runtime.state() is State.COLD
    with pytest.raises(BreakerOpen, match=r"3 times within an hour \(restart_backoff\.per_hour\)") as told:
        runtime.join()
    assert told.value.retry_after == pytest.approx(3600.0 - 120.0)
    runtime.pass_time(3600.0 - 119.0)
    runtime.join()
    assert runtime.state() is State.STARTING


def test_fb04_the_budget_is_the_services_and_not_each_instances() -> None:
    backoff = Backoff(base=0.0, intensity=100, per_hour=3)
    runtime = PaperRuntime(service(A, B, restart_backoff=backoff))
    guest = runtime.join()
    for name in (A, B):
        runtime.fails(runtime.start_of(name))
    assert isinstance(guest.error, HestiaError)
    runtime.join()
    runtime.fails(runtime.start_of())
    with pytest.raises(BreakerOpen):
        runtime.join(B)
    assert runtime.count(fx.RunStart) == 3


def test_ad13_the_end_of_the_gateway_forgives_nobody() -> None:
    runtime = PaperRuntime()
    runtime.join()
    runtime.fails()
    before = runtime.slot().backoff
    runtime.perform(runtime.world.stop(runtime.record().settings.id, runtime.now, cause="shutdown"))
    assert runtime.slot().backoff == before
    assert runtime.state() is State.FAILED


def test_fb04_it_ends_the_wait_of_those_who_wait_for_a_retry() -> None:
    runtime = PaperRuntime(service(restart_backoff=Backoff(per_hour=2)))
    guest = runtime.join()
    runtime.fails(again=True)
    runtime.pass_time(2.0)
    runtime.fails(again=True)
    assert isinstance(guest.error, BreakerOpen)


def test_fb04_a_person_may_try_all_the_same() -> None:
    runtime = PaperRuntime(service(restart_backoff=Backoff(per_hour=1)))
    runtime.join()
    runtime.fails()
    runtime.start()
    guest = runtime.join()
    runtime.ready()
    assert guest.lease


def test_fb04_what_is_kept_warm_stops_trying_for_the_hour() -> None:
    runtime = PaperRuntime(service(keep_warm=True, restart_backoff=Backoff(base=0.0, per_hour=2)))
    runtime.perform(runtime.world.look_at_calendars(runtime.now))
    for _ in range(2):
        runtime.fails()
        runtime.pass_time(1.0)
    assert runtime.state() is State.FAILED
    runtime.pass_time(3500.0)
    assert runtime.count(fx.RunStart) == 2
    runtime.pass_time(200.0)
    assert runtime.count(fx.RunStart) == 3


@pytest.mark.parametrize(("seconds", "served", "kept"), [(29.0, False, 1), (30.0, False, 0), (10.0, True, 0)])
def test_fb06_a_stable_generation_forgets_earlier_failures(seconds: float, served: bool, kept: int) -> None:
    runtime = PaperRuntime()
    runtime.join()
    runtime.fails()
    runtime.pass_time(1.0)
    guest = runtime.join()
    runtime.ready()
    use = guest.lease.use
    runtime.release(guest.lease)
    runtime.pass_time(seconds)
    use.warm = served
    runtime.stop()
    assert len(runtime.slot().backoff.failures) == kept


def test_fb07_every_candidate_gets_its_turn_before_one_is_started_again() -> None:
    runtime = PaperRuntime(service(A, B, restart_backoff=Backoff(intensity=100)), jitter=0.0)
    guest = runtime.join()
    order = []
    for _ in range(EPISODE_STARTS):
        (start,) = runtime.starts.values()
        order.append(start.key.instance)
        runtime.now += 1.0
        runtime.fails(start, again=True)
    assert order == [A, B, A, B]
    assert isinstance(guest.error, StartFailed)


def test_fb07_the_next_candidate_is_started_when_one_failed_for_good() -> None:
    runtime = PaperRuntime(service(A, B))
    both, only_a = runtime.join(A, B), runtime.join(A)
    runtime.fails()
    assert isinstance(only_a.error, StartFailed)
    assert both.outcome is None
    runtime.ready(runtime.start_of(B))
    assert both.lease.use.key.instance == B


def test_fb07_the_last_error_is_told_when_all_candidates_failed() -> None:
    runtime = PaperRuntime(service(A, B))
    guest = runtime.join()
    runtime.fails()
    last = StartFailed("B is broken as well")
    runtime.fails(runtime.start_of(B), error=last)
    assert guest.error is last


def test_fb08_what_is_left_over_is_cleaned_up_before_the_next_start() -> None:
    runtime = starting()
    runtime.started()
    runtime.fails(left_over=True, again=True)
    assert runtime.stop_of().handle == {"generation": 1}
    runtime.pass_time(60.0)
    assert runtime.count(fx.RunStart) == 1, "not while the first is not confirmed gone (INV-1)"
    runtime.stopped()
    assert runtime.start_of().key.generation == 2


def test_fb10_fb12_a_crash_keeps_the_queue_and_one_restart_follows() -> None:
    runtime = hot(max_in_flight=1)
    lease = runtime.acquire()
    guests = [runtime.join() for _ in range(5)]
    runtime.gone(unstable=False)
    runtime.stopped()
    assert runtime.count(fx.RunStart) == 2
    assert all(guest.outcome is None for guest in guests)
    runtime.ready()
    assert guests[0].lease
    assert lease is not None
    runtime.release(lease)
    assert runtime.world.statistics().in_flight == 1, "the crashed generation's lease counts nowhere"


def test_fb11_a_crash_while_idle_starts_nothing() -> None:
    runtime = hot()
    runtime.gone(unstable=True)
    runtime.stopped()
    runtime.pass_time(3600.0)
    assert runtime.walk() == "cold starting hot stopping failed"


def test_fb12_a_crash_while_draining_is_counted_as_one() -> None:
    runtime = hot()
    assert runtime.acquire()
    runtime.stop()
    runtime.gone(unstable=True)
    assert len(runtime.slot().backoff.failures) == 1
    runtime.stopped()
    assert runtime.state() is State.FAILED


def test_news_of_a_crash_after_it_was_cleaned_up_changes_nothing() -> None:
    runtime = hot()
    runtime.gone()
    runtime.stopped()
    runtime.gone()
    assert runtime.walk() == "cold starting hot stopping cold"


def test_fb15_a_stop_that_fails_leaves_it_stuck_and_a_start_is_refused_with_the_reason() -> None:
    runtime = hot()
    runtime.stop()
    guest = runtime.join()
    runtime.stop_fails()
    assert guest.error.detail == "still there after KILL"
    before = runtime.slot().record
    for attempt in (runtime.join, runtime.start, lambda: runtime.start(instance=A)):
        with pytest.raises(HestiaError, match="still there after KILL"):
            attempt()
    assert runtime.slot().record is before
    assert runtime.count(fx.RunStart) == 1


def test_fb15_what_is_stuck_is_stopped_again_until_it_is_gone() -> None:
    runtime = hot()
    runtime.stop()
    runtime.stop_fails()
    runtime.pass_time(STOP_RETRY)
    runtime.stop_fails()
    runtime.pass_time(STOP_RETRY)
    runtime.stopped()
    assert runtime.walk() == "cold starting hot stopping failed stopping failed stopping cold"
    guest = runtime.join()
    runtime.ready()
    assert guest.lease


def test_fb15_another_instance_serves_while_one_is_stuck() -> None:
    runtime = hot(A, B)
    runtime.stop()
    guest = runtime.join()
    runtime.stop_fails()
    runtime.ready(runtime.start_of(B))
    assert guest.lease.use.key.instance == B
    with pytest.raises(AlreadyRunning):
        runtime.start()


def test_fb15_a_restart_that_got_stuck_is_carried_out_once_it_is_gone() -> None:
    runtime = hot()
    runtime.restart()
    runtime.stop_fails()
    runtime.pass_time(STOP_RETRY)
    runtime.stopped()
    assert runtime.state() is State.STARTING


def test_fb18_one_hopeless_candidate_does_not_refuse_while_another_may_serve() -> None:
    runtime = PaperRuntime(service(A, B, restart_backoff=Backoff(intensity=1)))
    guest = runtime.join(A)
    runtime.fails()
    assert isinstance(guest.error, StartFailed)
    with pytest.raises(BreakerOpen):
        runtime.join(A)
    both = runtime.join(A, B)
    runtime.ready(runtime.start_of(B))
    assert both.lease.use.key.instance == B


def test_a_permanent_refusal_costs_no_delay_but_counts() -> None:
    runtime = PaperRuntime()
    runtime.join()
    runtime.fails(error=EngineRefused("no such image", permanent=True))
    runtime.join()
    assert runtime.count(fx.RunStart) == 2
