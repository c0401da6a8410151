"""`load_balancer`: spreads requests over instances that are alike.

Hot ones come first and share the requests by `method`; one that is cold is started when none is hot, or when
all are as busy as `spill_over` says. Those that keep failing come last.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import ClassVar, Final

from pydantic import Field, model_validator

from hestia.core.model import InstanceId, InstanceSettings
from hestia.core.strategy import Asked, Candidate, Ejection, Ranking, Reads, Sticky
from hestia.strategies.options import EjectOptions, Name, Options, StickyOptions, Text

Order = Callable[[Sequence[Candidate]], Sequence[Candidate]]


class Method(StrEnum):
    ROUND_ROBIN = "round_robin"
    WEIGHTED = "weighted"
    LEAST_IN_FLIGHT = "least_in_flight"
    RANDOM_TWO = "random_two"


class LoadBalancerOptions(Options):
    """`routing` of a service with the strategy `load_balancer`."""

    method: Method = Field(
        default=Method.ROUND_ROBIN,
        description="Who is next: round_robin (each in turn), weighted (by `weight`, evenly mixed), "
        "least_in_flight (by `weight` too), random_two (the less busy of two drawn by lot).",
    )
    region: Text = Field(default="", description="Instances with this `region` come first.", examples=["eu"])
    region_header: Name = Field(
        default="",
        validate_default=False,
        description="A header that names the region instead: X-Region.",
    )
    sticky: StickyOptions | None = Field(
        default=None, description="Keep a client at its instance as long as that is hot."
    )
    eject: EjectOptions = Field(
        default=EjectOptions(), description="When an instance that keeps failing is left out."
    )
    spill_over: int | None = Field(
        default=None,
        ge=1,
        description="Start one more instance when every hot one serves that many requests.",
    )

    @model_validator(mode="after")
    def _one_way_to_stick(self) -> LoadBalancerOptions:
        if self.sticky is not None and bool(self.sticky.cookie) == bool(self.sticky.header):
            raise ValueError("sticky needs either cookie or header: {cookie: hestia_instance}")
        return self


class LoadBalancer:
    """The strategy of one service. Owns the turn of each method and nothing else."""

    name: ClassVar[str] = "load_balancer"
    version: ClassVar[str] = "1.0.0"
    features: ClassVar[tuple[str, ...]] = (
        "round_robin_selection",
        "health_tracking",
        "weighted_selection",
        "least_in_flight_selection",
        "random_two_selection",
        "region_preference",
        "sticky_sessions",
        "passive_ejection",
        "spill_over",
    )
    Options: ClassVar[type[LoadBalancerOptions]] = LoadBalancerOptions

    def __init__(self, options: LoadBalancerOptions, instances: Sequence[InstanceSettings]) -> None:
        self.reads: Reads | None = None
        self.ejection: Ejection | None = options.eject.made()
        self._options = options
        self._sticky = options.sticky
        self._cookie = options.sticky.cookie if options.sticky is not None else ""
        self._regions = bool(options.region or options.region_header)
        self._turn = 0
        self._credit: dict[InstanceId, float] = {}
        self._values: dict[InstanceId, str] = {}
        self._order: Order = {
            Method.ROUND_ROBIN: self._round_robin,
            Method.WEIGHTED: self._weighted,
            Method.LEAST_IN_FLIGHT: self._least_in_flight,
            Method.RANDOM_TWO: self._random_two,
        }[options.method]
        self._why: Final = {
            count: f"{options.method} over {count} hot" for count in range(64)
        }  # told of each request

    def rank(self, asked: Asked, candidates: Sequence[Candidate]) -> Ranking:
        """The instances that may serve, best first; `base_url` beside them only when all of them failed."""
        return self.among(asked, candidates)

    def among(self, asked: Asked, candidates: Sequence[Candidate], why: str = "") -> Ranking:
        """As `rank`, for some of the candidates. why: they were taken, before the rest of the reason."""
        hot, other, out, last = [], [], [], []
        for one in candidates:
            if one.is_last:
                last.append(one)
            elif one.doubtful:
                out.append(one)
            elif one.is_hot:
                hot.append(one)
            else:
                other.append(one)
        if not (hot or other or out):  # there is nothing but base_url
            return Ranking(tuple([one.id for one in last]), (), why)
        first = self._order(hot) if len(hot) > 1 else hot
        if self._regions:
            first, other = self._near(asked, first), list(self._near(asked, other))
        sticky: Sticky | None = None
        if self._sticky is not None:
            first = self._stay(asked, first)
            if self._cookie:
                sticky = self._remember(asked, candidates)
        wake = self._spills(hot, other)
        return Ranking(
            tuple([one.id for one in (*first, *other, *out)]),
            tuple([one.id for one in last]),
            why + (self._why.get(len(hot)) or str(self._options.method)),
            wake,
            sticky,
        )

    def _spills(self, hot: Sequence[Candidate], other: Sequence[Candidate]) -> InstanceId | None:
        limit = self._options.spill_over
        if limit is None or not hot or not other or any(one.in_flight < limit for one in hot):
            return None
        return other[0].id

    # -- methods ---------------------------------------------------------------------------------

    def _round_robin(self, hot: Sequence[Candidate]) -> Sequence[Candidate]:
        self._turn += 1
        at = self._turn % len(hot)
        return [*hot[at:], *hot[:at]]

    def _weighted(self, hot: Sequence[Candidate]) -> Sequence[Candidate]:
        """Smooth: each gains its weight, the richest serves and pays all of what was gained."""
        credit, total, best = self._credit, 0.0, hot[0]
        for one in hot:
            total += one.weight
            credit[one.id] = credit.get(one.id, 0.0) + one.weight
            if credit[one.id] > credit[best.id]:
                best = one
        credit[best.id] -= total
        return [best, *[one for one in hot if one is not best]]

    def _least_in_flight(self, hot: Sequence[Candidate]) -> Sequence[Candidate]:
        """By requests per weight; those that are equal take turns."""
        return sorted(self._round_robin(hot), key=_busy)

    def _random_two(self, hot: Sequence[Candidate]) -> Sequence[Candidate]:
        first, second = random.sample(hot, 2)
        if _busy(second) < _busy(first):
            first, second = second, first
        return [first, second, *[one for one in hot if one is not first and one is not second]]

    def _near(self, asked: Asked, ones: Sequence[Candidate]) -> Sequence[Candidate]:
        """Those of the region first, in the order they are in."""
        header = self._options.region_header
        region = (asked.header(header) if header else None) or self._options.region
        if not region:
            return ones
        return sorted(ones, key=lambda one: one.region != region)

    # -- sticky ----------------------------------------------------------------------------------

    def _stay(self, asked: Asked, hot: Sequence[Candidate]) -> Sequence[Candidate]:
        """The client's own instance first, if it is among these."""
        assert self._sticky is not None
        if self._cookie:
            came = asked.cookie(self._cookie)
            own = next((one for one in hot if came is not None and self._value(one.id) == came), None)
        else:
            value = asked.header(self._sticky.header)
            own = max(hot, key=lambda one: _digest(value, one.id), default=None) if value else None
        return hot if own is None else [own, *[one for one in hot if one is not own]]

    def _remember(self, asked: Asked, candidates: Sequence[Candidate]) -> Sticky:
        assert self._sticky is not None
        values = {one.id: self._value(one.id) for one in candidates}
        return Sticky(self._cookie, values, asked.cookie(self._cookie), round(self._sticky.max_age))

    def _value(self, name: InstanceId) -> str:
        """Stands for an instance in a cookie."""
        value = self._values.get(name)
        if value is None:
            value = self._values[name] = _digest("", name).hex()
        return value


def _busy(one: Candidate) -> float:
    return one.in_flight / one.weight


def _digest(text: str, name: InstanceId) -> bytes:
    return hashlib.blake2b(f"{name}\0{text}".encode("utf-8", "replace"), digest_size=8).digest()
