"""What is counted: counters and durations, each a small object that only grows. No names, no output.

A duration falls into one of 210 buckets whose bounds grow by less than a tenth, so a percentile read from
them is off by at most 4.7 %, in memory that does not grow. The bounds shown to Prometheus are some of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

SHORTEST: Final = -1  # power of ten of the first bound, in milliseconds: a tenth
LONGEST: Final = 7  # of the last: ten thousand seconds


def _ladder() -> tuple[float, ...]:
    """Bounds in milliseconds: 10 steps from 1 to 2.5, 8 to 5, 8 to 10, and so in each power of ten."""
    bounds = []
    for power in range(SHORTEST, LONGEST):
        unit = 10.0**power
        bounds += [unit * 2.5 ** (step / 10) for step in range(10)]
        bounds += [unit * 2.5 * 2 ** (step / 8) for step in range(8)]
        bounds += [unit * 5.0 * 2 ** (step / 8) for step in range(8)]
    return (*bounds, 10.0**LONGEST)


BOUNDS: Final = _ladder()  # upper, inclusive, in milliseconds; what is beyond has one more bucket
SHOWN: Final = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6)
_SHOWN_AT: Final = tuple(BOUNDS.index(bound) for bound in SHOWN)


class Counter:
    """value: how many so far. at: wall-clock seconds of the last time, 0.0 for never."""

    __slots__ = ("at", "value")

    def __init__(self, value: float = 0.0, at: float = 0.0) -> None:
        self.value = value
        self.at = at

    def add(self, amount: float, at: float) -> None:
        self.value += amount
        if at > self.at:
            self.at = at


class Histogram:
    """Durations in milliseconds. buckets: how many fell into each of `BOUNDS`, and beyond the last."""

    __slots__ = ("buckets", "least", "most", "total")

    def __init__(self) -> None:
        self.buckets: list[int] = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self.least = float("inf")
        self.most = 0.0

    def add(self, ms: float) -> None:
        self.buckets[bisect_left(BOUNDS, ms)] += 1
        self.total += ms
        if ms < self.least:
            self.least = ms
        if ms > self.most:
            self.most = ms

    @property
    def count(self) -> int:
        return sum(self.buckets)

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        """One histogram of all that is in these."""
        whole, all_of_them = cls(), list(parts)
        if all_of_them:
            whole.buckets = [
                sum(column) for column in zip(*(part.buckets for part in all_of_them), strict=True)
            ]
        for part in all_of_them:
            whole.total += part.total
            whole.least = min(whole.least, part.least)
            whole.most = max(whole.most, part.most)
        return whole

    def quantiles(self, shares: Iterable[float]) -> list[float]:
        """The durations that these shares (ascending, 0…1) did not exceed, within 4.7 %; 0.0 for none."""
        found, seen, at, count = [], 0, -1, self.count
        for share in shares:
            rank = share * count
            while at < len(BOUNDS) and (seen < rank or at < 0):
                at += 1
                seen += self.buckets[at]
            found.append(self._within(at) if count else 0.0)
        return found

    def _within(self, at: int) -> float:
        """The middle of a bucket as a ratio, but nothing that was never seen."""
        lower = BOUNDS[at - 1] if at else 0.0
        upper = BOUNDS[at] if at < len(BOUNDS) else self.most
        middle: float = (lower * upper) ** 0.5
        return min(max(middle, self.least), self.most)

    def cumulative(self) -> list[int]:
        """How many did not exceed each of `SHOWN`."""
        rows, seen, done = [], 0, 0
        for at in _SHOWN_AT:
            seen += sum(self.buckets[done : at + 1])
            done = at + 1
            rows.append(seen)
        return rows
