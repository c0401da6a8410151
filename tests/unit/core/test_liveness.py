"""Liveness of what is hot: suspects, hung instances, listeners that come and go (RD-10, RD-11, CK-02)."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from hestia.core import effects as fx
from hestia.core.lifecycle import State
from hestia.core.model import NEVER, InstanceSettings, ServiceSettings
from tests.fakes.runtime import A, B, PaperRuntime, S, hot, service

EVERY = 15.0


def watched(**settings: Any) -> ServiceSettings:
    """A service whose instance has a health_url."""
    plain = service(**settings)
    one = dataclasses.replace(plain.instances[0], health_url="http://127.0.0.1:{port}/health")
    return dataclasses.replace(plain, instances=(one,))


def serving(settings: ServiceSettings) -> PaperRuntime:
    """Its instance is hot and has answered."""
    runtime = PaperRuntime(settings, jitter=0.5)  # without spread
    runtime.start()
    runtime.ready()
    lease = runtime.acquire()
    assert lease is not None
    runtime.succeeded(lease)
    runtime.release(lease)
    return runtime


def suspect(runtime: PaperRuntime) -> bool:
    use = runtime.slot().use
    return use is not None and use.suspect


def test_rd16_what_is_hot_is_asked_once_in_its_interval() -> None:
    runtime = serving(watched())
    runtime.pass_time(EVERY - 0.1)
    assert runtime.probed == []
    runtime.pass_time(0.2)
    assert len(runtime.probed) == 1
    runtime.pass_time(60.0)
    assert len(runtime.probed) == 1
    runtime.lives(True)
    assert not suspect(runtime)
    assert runtime.doubts == []


def test_rd16_what_nobody_uses_is_asked_ever_more_rarely() -> None:
    runtime = serving(watched())
    began, asked = runtime.now, []
    for _ in range(20):
        at = runtime.timer_at(fx.Timer.LIVENESS)
        assert at is not None
        runtime.pass_time(at - runtime.now)
        asked.append(runtime.now - began)
        runtime.lives(True)
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert gaps == sorted(gaps)
    assert gaps[0] == pytest.approx(EVERY)
    assert gaps[-1] == pytest.approx(300.0)


def test_rd16_requests_that_were_answered_take_the_place_of_probes() -> None:
    runtime = serving(watched())
    for _ in range(20):
        runtime.pass_time(EVERY / 2)
        lease = runtime.acquire()
        assert lease is not None
        runtime.release(lease)
    assert runtime.count(fx.RunLivenessProbe) == 0


def test_rd16_what_an_engine_watches_and_has_no_health_url_is_not_asked() -> None:
    runtime = serving(service())
    runtime.pass_time(3600.0)
    assert runtime.count(fx.RunLivenessProbe) == 0


def test_rd16_never_asks_only_after_a_request_was_let_down() -> None:
    runtime = serving(watched(health_interval=NEVER))
    runtime.pass_time(3600.0)
    assert runtime.probed == []
    lease = runtime.acquire()
    assert lease is not None
    runtime.let_down(lease)
    assert len(runtime.probed) == 1


def test_rd11_idle_and_suspect_three_failures_with_back_off_then_stop_and_cold() -> None:
    runtime = serving(watched())
    runtime.pass_time(EVERY)
    runtime.lives(False)
    assert suspect(runtime)
    assert [doubt.suspect for doubt in runtime.doubts] == [True]
    for pause in (1.0, 2.0):
        assert runtime.state() is State.HOT
        runtime.pass_time(pause - 0.01)
        assert runtime.probed == []
        runtime.pass_time(0.02)
        runtime.lives(False)
    assert runtime.state() is State.STOPPING
    assert runtime.moves[-1].cause == "hung"
    assert runtime.moves[-1].error is not None
    assert "no answer within 5 s" in runtime.moves[-1].error.detail
    runtime.stopped()
    assert runtime.state() in (State.COLD, State.FAILED)


def test_rd11_one_that_was_stable_is_cold_and_starts_at_once_on_the_next_request() -> None:
    runtime = serving(watched())
    runtime.pass_time(EVERY)
    for pause in (1.0, 2.0, 0.0):
        runtime.lives(False)
        runtime.pass_time(pause + 0.01)
    runtime.stopped()
    assert runtime.state() is State.COLD
    runtime.join()
    assert runtime.state() is State.STARTING


def test_rd11_while_a_lease_is_open_only_gone_ends_it() -> None:
    runtime = serving(watched())
    lease = runtime.acquire()
    assert lease is not None
    runtime.pass_time(EVERY)
    for _ in range(20):
        runtime.lives(False)
        runtime.pass_time(10.0)
    assert runtime.state() is State.HOT
    assert suspect(runtime)
    runtime.gone()
    assert runtime.state() is State.STOPPING


def test_rd11_its_answer_after_60_s_makes_it_a_suspect_no_more() -> None:
    """A server that answers nothing but its 60 s generation."""
    runtime = serving(watched())
    lease = runtime.acquire()
    assert lease is not None
    runtime.pass_time(EVERY)
    for _ in range(6):
        runtime.lives(False)
        runtime.pass_time(10.0)
    runtime.succeeded(lease)
    assert not suspect(runtime)
    assert [doubt.suspect for doubt in runtime.doubts] == [True, False]
    runtime.release(lease)
    assert runtime.state() is State.HOT


def test_rd11_a_suspect_whose_last_lease_ends_is_asked_at_once() -> None:
    runtime = serving(watched())
    lease = runtime.acquire()
    assert lease is not None
    runtime.pass_time(EVERY)
    for _ in range(3):
        runtime.lives(False)
        runtime.pass_time(10.0)
    runtime.lives(False)
    assert runtime.probed == []
    runtime.release(lease)
    assert len(runtime.probed) == 1
    runtime.lives(False)
    assert runtime.state() is State.STOPPING


def test_rd11_one_that_answers_nobody_for_longer_than_an_answer_may_take_drains() -> None:
    runtime = serving(watched(response_timeout=60.0))
    hung = runtime.acquire()
    assert hung is not None
    runtime.pass_time(EVERY)
    while runtime.state() is State.HOT:
        runtime.lives(False)
        runtime.pass_time(10.5)
    assert runtime.state() is State.DRAINING
    assert runtime.moves[-1].cause == "hung"
    guest = runtime.join()
    runtime.release(hung)
    runtime.stopped()
    runtime.ready()
    assert guest.lease.use.key.generation == 2


def test_rd11_a_suspect_gets_a_lease_only_where_no_other_has_room() -> None:
    runtime = PaperRuntime(service(A, B, max_in_flight=1), jitter=0.5)
    for name in (A, B):
        runtime.start(instance=name)
        runtime.ready(runtime.start_of(name))
    use = runtime.slot(A).use
    assert use is not None
    lease = runtime.acquire(A)
    assert lease is not None
    runtime.let_down(lease)
    runtime.release(lease)
    runtime.lives(False)
    first, second = runtime.acquire(), runtime.acquire()
    assert first is not None
    assert second is not None
    assert [first.use.key.instance, second.use.key.instance] == [B, A]


def test_rd11_waiters_go_to_another_instance_first() -> None:
    runtime = PaperRuntime(service(A, B, max_in_flight=1), jitter=0.5)
    for name in (A, B):
        runtime.start(instance=name)
        runtime.ready(runtime.start_of(name))
    held = [runtime.acquire(A), runtime.acquire(B)]
    assert held[0] is not None
    assert held[1] is not None
    runtime.let_down(held[0])
    runtime.lives(False)
    guest = runtime.join()
    runtime.release(held[1])
    assert guest.lease.use.key.instance == B


def test_rd11_the_answer_of_an_older_generation_changes_nothing() -> None:
    runtime = serving(watched())
    runtime.pass_time(EVERY)
    late = runtime.probed[0]
    runtime.stop()
    runtime.stopped()
    runtime.start()
    runtime.ready()
    runtime.lives(False, late)
    assert not suspect(runtime)


def test_rd11_what_somebody_else_started_and_refuses_is_cold_at_once() -> None:
    settings = dataclasses.replace(
        service(), instances=(InstanceSettings(id=A, base_url="http://127.0.0.1:9"),)
    )
    runtime = PaperRuntime(settings, jitter=0.5)
    runtime.found()
    runtime.pass_time(EVERY)
    runtime.lives(False, refused=True)
    assert runtime.walk() == "cold hot stopping"
    runtime.stopped()
    assert runtime.state() is State.COLD


def test_rd11_requests_that_fail_bring_about_one_probe_a_second() -> None:
    runtime = serving(watched())
    lease = runtime.acquire()
    assert lease is not None
    runtime.let_down(lease)
    runtime.lives(True)
    for _ in range(100):
        runtime.let_down(lease)
    assert runtime.probed == []
    runtime.pass_time(1.0)
    assert len(runtime.probed) == 1


def test_rd10_a_listener_that_goes_away_right_after_ready_is_probed_again() -> None:
    runtime = hot()
    lease = runtime.acquire()
    assert lease is not None
    runtime.refuses(lease)
    assert suspect(runtime)
    assert runtime.probed[0].patience > 0
    runtime.refuses(lease)  # another request in the same gap
    runtime.lives(True)
    assert runtime.state() is State.HOT
    assert not suspect(runtime)


def test_rd10_the_third_time_in_one_generation_is_a_crash() -> None:
    runtime = hot()
    lease = runtime.acquire()
    assert lease is not None
    for _ in range(2):
        runtime.refuses(lease)
        runtime.lives(True)
    assert runtime.state() is State.HOT
    runtime.refuses(lease)
    assert runtime.state() is State.STOPPING
    assert runtime.slot().backoff.failures
    assert runtime.moves[-1].error is not None
    assert "3 times" in runtime.moves[-1].error.detail


def test_ck02_after_a_suspend_all_that_is_hot_is_suspect_and_asked_soon() -> None:
    runtime = serving(watched())
    runtime.perform(runtime.world.slept(3600.0, runtime.now))
    assert suspect(runtime)
    runtime.pass_time(2.1)
    assert len(runtime.probed) == 1
    runtime.lives(True)
    assert not suspect(runtime)
    assert runtime.doubts == []


def test_inv7_what_stops_is_asked_no_more() -> None:
    runtime = serving(watched())
    runtime.stop()
    assert runtime.timer_at(fx.Timer.LIVENESS) is None
    runtime.stopped()
    runtime.pass_time(3600.0)
    assert runtime.probed == []
    assert runtime.state(A, S) is State.COLD
