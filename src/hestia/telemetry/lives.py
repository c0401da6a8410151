"""Numbers of the life cycle: starts, stops, failures, stages, time hot. A recorder that counts.

Owns what a transition counts as. Series are made at first use; a word that is not one of ours (an engine may
be anybody's) is `other` once there are many of them (OB-16).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hestia.core.lifecycle import State
from hestia.core.ports import Row
from hestia.telemetry.numbers import Counter, Histogram
from hestia.telemetry.traffic import OTHER, of

STAGES: Final = frozenset(("room", "machine", "engine", "boot", "probe"))
WORDS: Final = 64  # causes and codes that have a series of their own
RUNNING: Final = frozenset((State.STARTING, State.HOT, State.DRAINING))

Place = tuple[str, str]


class _Start:
    """A start under way. stages: what has begun, with its instant."""

    __slots__ = ("began", "stages")

    def __init__(self, began: float) -> None:
        self.began = began
        self.stages: list[tuple[str, float]] = []


class Lives:
    """Fits `core.ports.Recorder`. clock: monotonic seconds.

    starts, failures, stops, stop_failures: by service and word. hot: seconds, by service, of hot times that
    are over. took: whole starts, by service. stages: by service and stage. seen: services that ever moved.
    released: waiters that had been forgotten, by service. evictions: by the service that gave way.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.starts: dict[tuple[str, str], Counter] = {}
        self.failures: dict[tuple[str, str], Counter] = {}
        self.stops: dict[tuple[str, str], Counter] = {}
        self.stop_failures: dict[tuple[str, str], Counter] = {}
        self.hot: dict[str, Counter] = {}
        self.took: dict[str, Histogram] = {}
        self.stages: dict[tuple[str, str], Histogram] = {}
        self.seen: dict[str, None] = {}
        self.released: dict[str, Counter] = {}
        self.evictions: dict[str, Counter] = {}
        self.adoptions: dict[tuple[str, str], Counter] = {}
        self._adopting: set[Place] = set()
        self._under_way: dict[Place, _Start] = {}
        self._words: set[str] = set()

    def transition(self, row: Row) -> None:
        """Count one change of state."""
        if not row.after:
            if row.event == "MadeRoom":
                self._evicted(row)
            elif row.event == "WatchdogReleased":
                of(self.released, row.service, Counter).add(float(str(row.data.get("count", 1))), row.at)
            return
        self.seen.setdefault(row.service)
        place = (row.service, row.instance)
        if row.after == State.STARTING:
            if row.event == "AdoptionDecided":
                self._adopting.add(place)
            elif row.event == "StartDecided":
                self._count(self.starts, row, row.cause)
                self._under_way[place] = _Start(self._clock())
            return
        if place in self._adopting:
            self._adopting.discard(place)
            of(self.adoptions, (row.service, row.after), Counter).add(1, row.at)
        elif row.before == State.STARTING:
            self._start_ended(row, self._under_way.pop(place, None))
        elif row.before == State.HOT:
            of(self.hot, row.service, Counter).add(row.lasted, row.at)
        if row.event == "StopFailed":
            self._count(self.stop_failures, row, str(row.data.get("code", "")))
        elif row.before in RUNNING and row.after == State.STOPPING and row.event != "StartFailed":
            self._count(self.stops, row, row.cause)

    def stage(self, service: str, instance: str, name: str, text: str, episode: str) -> None:
        """A stage of a start begins, or says something new."""
        start = self._under_way.get((service, instance))
        if start is None or name == "output":
            return
        if not start.stages or start.stages[-1][0] != name:
            start.stages.append((name, self._clock()))

    def _start_ended(self, row: Row, start: _Start | None) -> None:
        """A start without stages found something that ran already: that is no cold start."""
        if row.event == "StartFailed":
            self._count(self.failures, row, str(row.data.get("code", "")))
        elif row.after == State.HOT and start is not None and start.stages:
            now = self._clock()
            of(self.took, row.service, Histogram).add((now - start.began) * 1000)
            ends = [at for _, at in start.stages[1:]] + [now]
            for (name, at), end in zip(start.stages, ends, strict=True):
                stage = name if name in STAGES else OTHER
                of(self.stages, (row.service, stage), Histogram).add((end - at) * 1000)

    def _evicted(self, row: Row) -> None:
        victims = row.data.get("victims")
        for victim in victims if isinstance(victims, list) else ():
            of(self.evictions, str(victim).partition("/")[0], Counter).add(1, row.at)

    def _count(self, numbers: dict[tuple[str, str], Counter], row: Row, word: str) -> None:
        word = word.partition(":")[0] or OTHER  # `evicted_for:x` is one reason, whoever x is
        if word not in self._words:
            if len(self._words) >= WORDS:
                word = OTHER
            self._words.add(word)
        of(numbers, (row.service, word), Counter).add(1, row.at)
