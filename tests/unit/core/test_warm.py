"""`keep_warm`: who starts without being asked, when again, and what a person's stop means (ID-16, FB-11)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hestia.core import effects as fx
from hestia.core.calendar import Window
from hestia.core.errors import GatewayDraining
from hestia.core.lifecycle import State
from hestia.core.model import Backoff
from tests.fakes.runtime import PaperRuntime, S, service

HOUR = 3600.0
NINE_TO_FIVE = (Window(tuple(range(7)), 9 * 60, 17 * 60, UTC),)
DAY = datetime(2026, 11, 24, tzinfo=UTC).timestamp()


def runtime_at(hour: float, *, usual: float | None = None, **settings: Any) -> PaperRuntime:
    """A runtime whose wall clock shows this hour; the calendar was looked at once."""
    settings = {"keep_warm": NINE_TO_FIVE, "idle_timeout": 60.0, **settings}
    runtime = PaperRuntime(service(**settings))
    runtime.usual = usual
    runtime.wall_ahead = DAY + hour * HOUR - runtime.now
    look(runtime)
    return runtime


def look(runtime: PaperRuntime) -> None:
    runtime.perform(runtime.world.look_at_calendars(runtime.now))


def test_id16_always_is_started_at_once_and_never_idle() -> None:
    runtime = runtime_at(3, keep_warm=True)
    assert runtime.moves[-1].cause == "keep_warm"
    runtime.ready()
    runtime.pass_time(24 * HOUR)
    assert runtime.walk() == "cold starting hot"


def test_id16_a_window_starts_it_and_ends_into_idleness() -> None:
    runtime = runtime_at(8)
    runtime.pass_time(HOUR - 1)
    assert runtime.state() is State.COLD
    runtime.pass_time(1)
    assert runtime.state() is State.STARTING
    runtime.ready()
    runtime.pass_time(8 * HOUR - 1)
    assert runtime.state() is State.HOT
    runtime.pass_time(1)
    assert runtime.walk() == "cold starting hot stopping"
    assert runtime.moves[-1].cause == "idle"
    runtime.stopped()
    runtime.pass_time(16 * HOUR)
    assert runtime.state() is State.STARTING, "the next day"


def test_id16_use_at_the_end_of_the_window_goes_on() -> None:
    runtime = runtime_at(16.9)
    runtime.ready()
    runtime.pass_time(0.1 * HOUR - 30)
    lease = runtime.acquire()
    assert lease is not None
    runtime.release(lease)
    runtime.pass_time(59)
    assert runtime.state() is State.HOT
    runtime.pass_time(1.5)
    assert runtime.state() is State.STOPPING


def test_id16_the_start_begins_as_early_as_starts_take() -> None:
    runtime = runtime_at(8, usual=600.0)
    runtime.pass_time(HOUR - 601)
    assert runtime.state() is State.COLD
    runtime.pass_time(1)
    assert runtime.state() is State.STARTING


def test_id16_a_start_that_is_faster_than_usual_keeps_it_warm_all_the_same() -> None:
    runtime = runtime_at(8.9, usual=600.0)
    assert runtime.state() is State.STARTING
    runtime.usual = 10.0
    runtime.ready()
    look(runtime)
    runtime.pass_time(8 * HOUR)
    assert runtime.state() is State.HOT


def test_id16_one_timer_and_it_is_set_to_the_next_edge() -> None:
    runtime = runtime_at(3)
    assert runtime.timers == {(S, None, fx.Timer.CALENDAR): runtime.now + 6 * HOUR}


def test_id16_a_wall_clock_that_was_set_is_followed() -> None:
    runtime = runtime_at(3)
    runtime.wall_ahead += 7 * HOUR
    look(runtime)
    assert runtime.state() is State.STARTING


def test_fb11_a_crash_is_followed_by_a_restart_under_the_back_off() -> None:
    runtime = runtime_at(10, restart_backoff=Backoff(base=8.0, intensity=3, cool_down=30.0))
    runtime.ready()
    runtime.gone(unstable=True)
    runtime.stopped()
    assert runtime.state() is State.FAILED
    assert runtime.timer_at(fx.Timer.RETRY) == runtime.now + 8.0
    runtime.pass_time(8.0)
    runtime.fails()
    runtime.pass_time(16.0)
    runtime.fails()
    assert runtime.slot().backoff.open
    runtime.pass_time(29.9)
    assert runtime.state() is State.FAILED
    runtime.pass_time(0.2)
    assert runtime.state() is State.STARTING, "one trial per cool-down"


def test_fb11_a_crash_of_a_stable_one_is_followed_by_a_restart_at_once() -> None:
    runtime = runtime_at(10)
    runtime.ready()
    runtime.gone()
    runtime.stopped()
    assert runtime.state() is State.STARTING


def test_fb11_without_keep_warm_a_crash_while_idle_waits_for_the_next_request() -> None:
    runtime = runtime_at(10, keep_warm=False)
    runtime.start()
    runtime.ready()
    runtime.gone()
    runtime.stopped()
    runtime.pass_time(24 * HOUR)
    assert runtime.state() is State.COLD
    runtime.join()
    assert runtime.state() is State.STARTING


def test_id16_what_a_person_stopped_stays_down_until_it_is_wanted_again() -> None:
    runtime = runtime_at(10)
    runtime.ready()
    runtime.stop()
    runtime.stopped()
    runtime.pass_time(HOUR)
    assert runtime.state() is State.COLD
    runtime.join()
    runtime.ready()
    runtime.pass_time(HOUR)
    assert runtime.state() is State.HOT


def test_id16_what_a_person_stopped_comes_back_with_the_next_window() -> None:
    runtime = runtime_at(10)
    runtime.ready()
    runtime.stop()
    runtime.stopped()
    runtime.pass_time(23 * HOUR + 1)
    assert runtime.state() is State.STARTING


def test_id16_a_restart_comes_back() -> None:
    runtime = runtime_at(10)
    runtime.ready()
    runtime.restart()
    runtime.stopped()
    assert runtime.state() is State.STARTING


def test_id17_nothing_starts_once_the_gateway_ends() -> None:
    runtime = runtime_at(8)
    runtime.perform(runtime.world.refuse_all(GatewayDraining("going down")))
    runtime.pass_time(2 * HOUR)
    assert runtime.state() is State.COLD
    runtime = runtime_at(10)
    runtime.ready()
    runtime.perform(runtime.world.refuse_all(GatewayDraining("going down")))
    runtime.gone()
    runtime.stopped()
    assert runtime.state() is State.COLD
