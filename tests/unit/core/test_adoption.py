"""Taking over what an earlier gateway started, as the world decides it; what survives of back-off and use."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from hestia.core.backoff import FRESH, BackoffState
from hestia.core.effects import Timer
from hestia.core.errors import HestiaError, StartFailed
from hestia.core.lifecycle import State
from hestia.core.steps import ADOPTED_GRACE
from hestia.runtime.memory import backoff_of, fact_of, grace_left, grace_of
from tests.fakes.runtime import A, PaperRuntime, S, service

IDLE = 120.0


class Restarts:
    """A service nobody uses under gateways that are started again and again: what is stored goes on."""

    def __init__(self, idle_timeout: float = IDLE) -> None:
        self.wall = 1_000_000.0  # is also the loop's clock here
        self.last_used = self.wall
        self.idle_timeout = idle_timeout
        self.grace: Mapping[str, object] | None = None

    def live(self, seconds: float) -> bool:
        """One gateway for so many seconds. Whether the service is still hot at its end."""
        runtime = PaperRuntime(service(idle_timeout=self.idle_timeout), now=self.wall)
        left = grace_left(self.grace, 1, self.last_used, self.wall)
        if left is None:
            self.grace, left = grace_of(1, self.wall), ADOPTED_GRACE
        runtime.adopt(last_used=self.last_used, grace_until=self.wall + left)
        runtime.taken_over()
        runtime.pass_time(seconds)
        self.wall = runtime.now
        return runtime.state() is State.HOT


def test_ad_12_restarts_in_a_row_keep_nothing_up() -> None:
    """Every 50 s, with an idle timeout of two minutes: it stops with the grace of the third life, which the
    fourth does not begin again."""
    restarts = Restarts()
    for _ in range(3):
        assert restarts.live(50)
    assert not restarts.live(50)


@pytest.mark.parametrize("pause", [10.0, 25.0, 59.0])
def test_ad_12_whatever_the_pause(pause: float) -> None:
    restarts = Restarts()
    while restarts.live(pause):
        assert restarts.wall - restarts.last_used < IDLE + ADOPTED_GRACE, "never stops"


def test_ad_12_long_away_leaves_a_minute() -> None:
    """Idle for long, but whoever used it before the restart gets a minute to come back."""
    restarts = Restarts()
    restarts.wall += 7200.0
    assert restarts.live(ADOPTED_GRACE - 1)


def test_ad_12_short_idle_timeout_is_no_longer_than_it_is() -> None:
    restarts = Restarts(idle_timeout=20.0)
    restarts.wall += 7200.0
    assert not restarts.live(21)


def test_ad_12_use_begins_another_grace() -> None:
    fact = grace_of(1, 1000.0)
    assert grace_left(fact, 1, 900.0, 1030.0) == ADOPTED_GRACE - 30
    assert grace_left(fact, 1, 1010.0, 1030.0) is None, "it was used since"
    assert grace_left(fact, 2, 900.0, 1030.0) is None, "of another generation"
    assert grace_left(fact, 1, 900.0, 1061.0) is None, "it is over"
    assert grace_left({"generation": 1, "until": "x"}, 1, None, 10.0) is None


def test_ck_03_instants_of_a_wrong_clock_are_clamped() -> None:
    """The clock was far ahead when they were written: nothing is locked for days, nothing stays for ever."""
    assert grace_left(grace_of(1, 1000.0), 1, 900.0, 10.0) is None
    year = 365 * 86400.0
    ahead = {"failures": [year], "retry_at": year, "open": True, "trips": 1}
    backoff = backoff_of(ahead, now=1000.0, wall=10.0)
    assert backoff.retry_at <= 1000.0 + 3600.0
    assert backoff.failures == (1000.0,)


def test_ad_10_what_is_unknown_refuses_until_it_is_known() -> None:
    runtime = PaperRuntime()
    runtime.adopt()
    guest = runtime.join()
    runtime.not_known()
    assert "nobody can say" in guest.error.detail
    with pytest.raises(HestiaError, match="nobody can say"):
        runtime.join()
    assert runtime.timer_at(Timer.STOP_RETRY) is not None
    runtime.pass_time(30)
    assert runtime.state() is State.STARTING
    runtime.taken_over()
    assert runtime.walk() == "cold starting failed starting hot"


def test_ad_10_force_gives_up_what_is_unknown() -> None:
    """A person says that it is gone: the next request starts the next generation."""
    runtime = PaperRuntime()
    runtime.adopt()
    runtime.not_known()
    runtime.stop(force=True)
    assert runtime.state() is State.COLD
    assert not runtime.stops
    assert not runtime.slot().record.stuck
    runtime.alive.clear()
    runtime.join()
    assert runtime.start_of().key.generation == 2


def test_ad_10_without_force_it_is_asked_to_stop() -> None:
    runtime = PaperRuntime()
    runtime.adopt()
    runtime.not_known()
    runtime.stop()
    assert runtime.state() is State.STOPPING
    runtime.stopped()
    assert runtime.state() is State.COLD


def test_ad_13_back_off_that_is_over_leaves_nothing_failed() -> None:
    """Its failures still count, and a start may be tried."""
    old = BackoffState(failures=(990.0,), retry_at=999.0)
    fact = fact_of(old, StartFailed("exit status 3"), now=995.0, wall=5000.0)
    assert fact is not None
    runtime = PaperRuntime()
    runtime.world.remember(S, A, backoff=backoff_of(fact, now=1000.0, wall=5010.0))
    assert runtime.state() is State.COLD
    assert len(runtime.slot().backoff.failures) == 1
    runtime.join()
    assert runtime.state() is State.STARTING


def test_ad_13_back_off_that_goes_on_refuses() -> None:
    runtime = PaperRuntime()
    still = BackoffState(failures=(1.0, 2.0, 3.0), retry_at=1020.0, open=True, trips=1)
    runtime.world.remember(S, A, backoff=still, error=StartFailed("exit status 3"))
    assert runtime.state() is State.FAILED
    with pytest.raises(HestiaError, match="exit status 3"):
        runtime.join()
    assert runtime.slot().backoff != FRESH


def test_ck_02_what_became_idle_in_sleep_stops_one_after_the_other() -> None:
    runtime = PaperRuntime(service(idle_timeout=600.0), jitter=0.5)
    runtime.start()
    runtime.ready()
    runtime.perform(runtime.world.slept(3600.0, runtime.now))
    assert runtime.timer_at(Timer.IDLE) == runtime.now + 5.0
    runtime.pass_time(6)
    assert runtime.state() is State.STOPPING
