"""`busy_probe`: a service that works on something that makes no traffic is not stopped (ID-07)."""

from __future__ import annotations

import pytest

from hestia.core import effects as fx
from hestia.core.idle import Busy
from hestia.core.lifecycle import State
from hestia.core.model import NEVER, BusyProbe
from tests.fakes.runtime import PaperRuntime, hot

IDLE = 60.0
PROBE = BusyProbe(url="http://127.0.0.1:{port}/busy")


def asked(**settings: object) -> PaperRuntime:
    """A runtime whose instance was idle for its timeout and is being asked."""
    runtime = hot(**{"idle_timeout": IDLE, "busy_probe": PROBE, **settings})
    runtime.pass_time(IDLE)
    assert len(runtime.asked) == 1
    assert runtime.state() is State.HOT
    return runtime


def test_id07_free_stops_it_at_once() -> None:
    runtime = asked()
    runtime.busy(Busy.FREE)
    assert runtime.state() is State.STOPPING
    assert runtime.moves[-1].cause == "idle"


def test_id07_busy_for_three_timeouts_keeps_it_and_is_asked_each_quarter() -> None:
    runtime = asked()
    for _ in range(12):
        runtime.busy(Busy.BUSY)
        runtime.pass_time(IDLE / 4 - 0.1)
        assert runtime.asked == []
        runtime.pass_time(0.1)
    assert runtime.state() is State.HOT
    runtime.busy(Busy.FREE)
    assert runtime.state() is State.STOPPING


def test_id07_a_probe_without_an_answer_means_busy_for_so_long_and_then_the_stop_says_so() -> None:
    runtime = asked(busy_probe_max=100.0)
    began = runtime.now
    while runtime.state() is State.HOT:
        if runtime.asked:
            runtime.busy(Busy.UNKNOWN)
        else:
            runtime.pass_time(1.0)
    assert runtime.moves[-1].cause == "busy_unknown"
    assert runtime.now - began == pytest.approx(100.0)


def test_id07_an_answer_in_between_begins_the_count_anew() -> None:
    runtime = asked(busy_probe_max=40.0)
    for said in (Busy.UNKNOWN, Busy.UNKNOWN, Busy.BUSY, Busy.UNKNOWN, Busy.UNKNOWN):
        runtime.busy(said)
        runtime.pass_time(IDLE / 4)
    assert runtime.state() is State.HOT


def test_id07_use_in_between_begins_the_count_anew() -> None:
    runtime = asked(busy_probe_max=40.0)
    runtime.busy(Busy.UNKNOWN)
    lease = runtime.acquire()
    assert lease is not None
    runtime.pass_time(1000.0)
    runtime.release(lease)
    runtime.pass_time(IDLE)
    runtime.busy(Busy.UNKNOWN)
    assert runtime.state() is State.HOT


@pytest.mark.parametrize("said", list(Busy))
def test_id07_a_request_that_came_and_went_while_it_was_asked_makes_the_answer_void(said: Busy) -> None:
    runtime = asked()
    lease = runtime.acquire()
    assert lease is not None
    runtime.release(lease)
    runtime.busy(said)
    assert runtime.state() is State.HOT
    assert runtime.timer_at(fx.Timer.IDLE) == runtime.now + IDLE


def test_id07_a_frame_while_it_was_asked_makes_the_answer_void() -> None:
    runtime = hot(idle_timeout=IDLE, busy_probe=PROBE)
    lease = runtime.acquire()
    assert lease is not None
    lease.became_socket()
    runtime.pass_time(IDLE)
    runtime.now += 1.0
    lease.touched(runtime.now)
    runtime.busy(Busy.FREE)
    assert runtime.state() is State.HOT


def test_id07_the_answer_of_an_older_generation_changes_nothing() -> None:
    runtime = asked()
    late = runtime.asked[0]
    runtime.stop()
    runtime.stopped()
    runtime.start()
    runtime.ready()
    runtime.busy(Busy.FREE, late)
    assert runtime.state() is State.HOT
    assert runtime.timer_at(fx.Timer.IDLE) == runtime.now + IDLE


def test_id07_an_answer_after_a_drain_that_was_given_up_still_counts() -> None:
    runtime = hot(idle_timeout=IDLE, busy_probe=PROBE, drain_timeout=1.0, max_in_flight=None)
    runtime.pass_time(IDLE)
    lease = runtime.acquire()
    assert lease is not None
    runtime.stop()
    runtime.pass_time(1.0)
    assert runtime.state() is State.HOT
    runtime.release(lease)
    runtime.busy(Busy.FREE)
    assert runtime.state() is State.HOT
    runtime.pass_time(IDLE)
    runtime.busy(Busy.FREE)
    assert runtime.state() is State.STOPPING


def test_id08_without_an_idle_timeout_nobody_is_asked() -> None:
    runtime = hot(idle_timeout=NEVER, busy_probe=PROBE)
    runtime.pass_time(1e6)
    assert runtime.asked == []
