"""Counters and histograms: what they promise about percentiles, and that their bounds fit together."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.telemetry.numbers import BOUNDS, SHOWN, Counter, Histogram

ERROR = 0.048


def test_bounds_rise_by_less_than_a_tenth_and_hold_those_that_are_shown() -> None:
    assert all(1.0 < upper / lower < 1.1 for lower, upper in itertools.pairwise(BOUNDS))
    assert set(SHOWN) <= set(BOUNDS)


@given(st.lists(st.floats(0.1, 9_000_000.0), min_size=1, max_size=300))
def test_percentiles_are_within_five_percent_of_one_that_was_seen(durations: list[float]) -> None:
    histogram = Histogram()
    for ms in durations:
        histogram.add(ms)
    ordered = sorted(durations)
    for share, found in zip((0.5, 0.95, 0.99), histogram.quantiles((0.5, 0.95, 0.99)), strict=True):
        true = ordered[max(0, math.ceil(share * len(ordered)) - 1)]
        assert found == pytest.approx(true, rel=ERROR)
    assert (histogram.count, histogram.least, histogram.most) == (len(ordered), ordered[0], ordered[-1])
    assert histogram.total == pytest.approx(sum(ordered))


def test_nothing_and_what_is_beyond_the_bounds_have_percentiles_too() -> None:
    assert Histogram().quantiles((0.5, 0.99)) == [0.0, 0.0]
    beyond = Histogram()
    beyond.add(0.0)
    beyond.add(5e7)
    low, high = beyond.quantiles((0.5, 1.0))
    assert low <= BOUNDS[0]
    assert BOUNDS[-1] <= high <= 5e7


@given(st.lists(st.sampled_from([*SHOWN, 0.0, 0.7, 3.0, 99.0, 2e6]), max_size=50))
def test_cumulative_counts_what_does_not_exceed_each_bound(durations: list[float]) -> None:
    histogram = Histogram()
    for ms in durations:
        histogram.add(ms)
    assert histogram.cumulative() == [sum(ms <= bound for ms in durations) for bound in SHOWN]


def test_merged_is_as_if_all_had_gone_into_one() -> None:
    one, other, both = Histogram(), Histogram(), Histogram()
    for number in range(1, 40):
        (one if number % 3 else other).add(number * 1.7)
        both.add(number * 1.7)
    merged = Histogram.merged((one, other))
    assert (merged.buckets, merged.least, merged.most) == (both.buckets, both.least, both.most)
    assert merged.total == pytest.approx(both.total)
    assert Histogram.merged(()).count == 0


def test_a_counter_keeps_the_latest_instant() -> None:
    counter = Counter()
    counter.add(1, 20.0)
    counter.add(2.5, 10.0)
    assert (counter.value, counter.at) == (3.5, 20.0)
