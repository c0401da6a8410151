"""What a run found, and how it is written: figures with their spread, goals with met or missed.

Durations are float seconds and sizes bytes in here; units are chosen when a table is written.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

DIRECT = "direct"
NGINX, HAPROXY, ENVOY, CADDY, HESTIA = "nginx", "haproxy", "envoy", "caddy", "hestia"
ORDER = (DIRECT, NGINX, HAPROXY, ENVOY, CADDY, HESTIA)

Show = Callable[[float], str]


def micro(value: float) -> str:
    """Seconds as microseconds."""
    return f"{value * 1e6:.1f} µs"


def milli(value: float) -> str:
    """Seconds as milliseconds."""
    return f"{value * 1e3:.1f} ms"


def mebi(value: float) -> str:
    """Bytes as MiB."""
    return f"{value / 2**20:.1f} MiB"


def mebi_per_second(value: float) -> str:
    """Bytes a second as MiB/s."""
    return f"{value / 2**20:.0f} MiB/s"


def count(value: float) -> str:
    """A plain number."""
    return f"{value:,.0f}"


def share(value: float) -> str:
    """A share of one core."""
    return f"{value * 100:.1f} %"


@dataclass(frozen=True)
class Figure:
    """One thing measured for one program: the median of its samples, and how far they lie apart."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value that stands for all."""
        return statistics.median(self.samples)

    def text(self, show: Show) -> str:
        """`18.9 µs`, with the range behind it when there are several samples."""
        if len(self.samples) < 2:
            return show(self.median)
        low, high = show(min(self.samples)), show(max(self.samples))
        return f"{show(self.median)} ({low.split(' ')[0]}–{high.split(' ')[0]})"


@dataclass
class Row:
    """One thing measured for every program. ratio_to: the program the others are divided by, "" for none."""

    key: str
    title: str
    show: Show
    figures: dict[str, Figure] = field(default_factory=dict)
    ratio_to: str = ""

    def add(self, who: str, samples: Sequence[float]) -> None:
        """Take the samples of one program; none is no figure."""
        if samples:
            self.figures[who] = Figure(tuple(samples))

    def value(self, who: str) -> float | None:
        """The median for one program, None when it was not measured."""
        figure = self.figures.get(who)
        return None if figure is None else figure.median

    def ratio(self, who: str, to: str) -> float | None:
        """How many times `to` one program stands at, None when one of the two is missing."""
        one, other = self.value(who), self.value(to)
        return None if one is None or not other else one / other


@dataclass(frozen=True)
class Goal:
    """One number of SPEC 12. found None: it could not be measured in this run."""

    text: str
    found: float | None
    limit: float
    show: Show
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the run reached it; None when it was not measured."""
        if self.found is None:
            return None
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    @property
    def verdict(self) -> str:
        """`met`, `missed by 12 %` or `not measured`."""
        if self.found is None:
            return "not measured"
        if self.met:
            return "met"
        if not self.limit:
            return "**missed**"
        return f"**missed by {abs(self.found / self.limit - 1) * 100:.0f} %**"


def times(value: float) -> str:
    """A ratio."""
    return f"{value:.2f}×"
