"""Restart back-off and breaker of one instance, with time and jitter as arguments."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.core.backoff import COOL_DOWN_CAP, FRESH, BackoffState
from hestia.core.model import Backoff

POLICY = Backoff(base=1.0, factor=2.0, cap=60.0, intensity=100, period=600.0, cool_down=30.0)


def fail(times: int, policy: Backoff, *, jitter: float = 1.0, every: float = 1.0) -> BackoffState:
    """The state after that many failures in a row, `every` seconds apart; the last one at 0."""
    state = FRESH
    for number in range(times):
        state = state.failed((number - times + 1) * every, policy, jitter=jitter)
    return state


@pytest.mark.parametrize(("times", "delay"), [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (50, 60.0)])
def test_fb03_the_delay_doubles_up_to_the_cap(times: int, delay: float) -> None:
    assert fail(times, POLICY).retry_at == delay


@given(jitter=st.floats(0.0, 1.0), times=st.integers(1, 20))
def test_fb03_jitter_is_full(jitter: float, times: int) -> None:
    """Anything between at once and the whole delay."""
    whole = fail(times, POLICY).retry_at
    assert fail(times, POLICY, jitter=jitter).retry_at == pytest.approx(jitter * whole)


def test_fb03_only_failures_within_the_period_count() -> None:
    assert fail(5, POLICY, every=600.0).retry_at == 1.0
    assert len(fail(5, POLICY, every=200.0).failures) == 3


def test_fb05_the_breaker_opens_at_the_intensity() -> None:
    policy = Backoff(intensity=3, cool_down=30.0)
    assert not fail(2, policy).open
    opened = fail(3, policy)
    assert (opened.open, opened.retry_at) == (True, 30.0)
    assert not opened.may_start(29.9)
    assert opened.may_start(30.0)


def test_fb05_a_failed_trial_doubles_the_cool_down_up_to_ten_minutes() -> None:
    state, now, pauses = FRESH, 0.0, []
    for _ in range(10):
        state = state.failed(now, Backoff(intensity=1, cool_down=30.0), jitter=1.0)
        pauses.append(state.retry_at - now)
        now = state.retry_at
    assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, *[COOL_DOWN_CAP] * 5]


def test_fb05_a_trial_that_fails_late_still_finds_the_breaker_open() -> None:
    """Its earlier failures left the period meanwhile; the breaker is closed by success alone."""
    opened = fail(3, Backoff(intensity=3, period=10.0))
    later = opened.failed(500.0, Backoff(intensity=3, period=10.0), jitter=1.0)
    assert later.open
    assert later.retry_at == 560.0


def test_fb05_a_person_may_try_now_and_failures_go_on_counting() -> None:
    forgiven = fail(3, Backoff(intensity=3)).forgiven()
    assert forgiven.may_start(1.0)
    assert not forgiven.open
    assert forgiven.failed(1.0, Backoff(intensity=3), jitter=1.0).open


def test_a_failure_that_costs_nothing_waits_for_nothing_but_counts() -> None:
    state = FRESH.failed(0.0, POLICY, jitter=1.0, at_once=True)
    assert state.may_start(0.0)
    assert len(state.failures) == 1


def test_a_service_that_fails_for_ever_never_overflows() -> None:
    """2.0 ** 1024 is an OverflowError: a week of trials used to end in one."""
    state, now = FRESH, 0.0
    for _ in range(3000):
        state = state.failed(now, Backoff(intensity=1, cool_down=0.01, period=1.0), jitter=1.0)
        now = state.retry_at
        assert math.isfinite(now)
    assert math.isfinite(fail(1500, Backoff(intensity=10_000), every=0.001).retry_at)
