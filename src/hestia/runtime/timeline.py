"""What each service did lately, moment by moment: so that a wait can be told as what it was a wait for.

Owns a bounded memory of changes of state and stages of starts, on the loop's clock. A recorder; it decides
nothing and is asked only when somebody wants to know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from hestia.core.lifecycle import State
from hestia.core.ports import Row

KEPT: Final = 400  # marks of one service
LEADS: Final = frozenset((State.STARTING, State.HOT))  # these speak for the service, whichever instance it is


class Mark(NamedTuple):
    """From `at` (loop-clock seconds) on, an instance was in `state`, or in a stage of its start.

    stage: "" for a change of state. text: of the stage, or the code and words of a failure. usual: how long
    the stage takes by earlier starts, or None.
    """

    at: float
    instance: str
    generation: int
    state: str
    stage: str
    text: str
    cause: str
    actor: str
    episode: str


class Timeline:
    """Fits `core.ports.Recorder`. clock: loop-clock seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._marks: dict[str, deque[Mark]] = {}

    def transition(self, row: Row) -> None:
        """An instance changed its state."""
        if not row.after:
            return
        text = str(row.data.get("detail", ""))
        self._add(
            row.service,
            Mark(
                self._clock(),
                row.instance,
                row.generation,
                row.after,
                "",
                text,
                row.cause,
                row.actor,
                row.episode,
            ),
        )

    def stage(self, service: str, instance: str, name: str, text: str, episode: str) -> None:
        """A part of a start began."""
        last = self._last(service, instance)
        if name == "output" or last is None:
            return
        if last.stage == name:  # it says something new
            text, at = text or last.text, last.at
            self._marks[service].remove(last)
        else:
            at = self._clock()
        self._add(service, last._replace(at=at, state=State.STARTING, stage=name, text=text))

    def instances(self, service: str) -> frozenset[str]:
        """Those of the service that have marks."""
        return frozenset(mark.instance for mark in self._marks.get(service, ()))

    def _last(self, service: str, instance: str) -> Mark | None:
        marks = self._marks.get(service, ())
        return next((mark for mark in reversed(marks) if mark.instance == instance), None)

    def _add(self, service: str, mark: Mark) -> None:
        marks = self._marks.get(service)
        if marks is None:
            marks = self._marks[service] = deque(maxlen=KEPT)
        marks.append(mark)

    def between(self, service: str, begin: float, end: float) -> list[tuple[float, float, Mark | None]]:
        """What the service was doing from `begin` to `end`, without gaps; None where that is not known:
        before its first move, and where it is forgotten.

        One instance speaks for it at a time: the one that starts or is hot, until it is gone.
        """
        before: Mark | None = None
        spoken: list[Mark] = []
        for mark in self._marks.get(service, ()):
            if mark.at >= end:
                break
            last = spoken[-1] if spoken else before
            if last is None or mark.instance == last.instance or mark.state in LEADS or _is_over(last):
                if mark.at <= begin:
                    before = mark
                else:
                    spoken.append(mark)
        points: list[tuple[float, Mark | None]] = [(begin, before), *((mark.at, mark) for mark in spoken)]
        ends = [at for at, _ in points[1:]] + [end]
        return [(at, until, mark) for (at, mark), until in zip(points, ends, strict=True) if until > at]

    def begun(self, service: str, episode: str) -> Mark | None:
        """How an episode began: its first mark that is remembered."""
        return next((mark for mark in self._marks.get(service, ()) if mark.episode == episode), None)


def _is_over(mark: Mark) -> bool:
    return mark.state in (State.COLD, State.FAILED)
