"""When a service is kept warm: windows of the week in their time zones. Pure; wall-clock time is an argument.

A window begins on its days at `begins` and ends at `ends`, on the next day where that is not later (over
midnight). Clock times are those on the wall of its zone. On the days on which clocks change, a time that
occurs twice begins a window the first time and ends it the second; one that is skipped means the instant at
which it would have been (ID-16).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final

MIDNIGHT: Final = 24 * 60
_BEFORE, _AFTER = 2, 9  # days around now that are looked at: each window begins within a week


@dataclass(frozen=True, slots=True)
class Window:
    """One window. days: 0 is Monday. begins, ends: minutes since midnight, `ends` up to 1440.

    zone: None is that of the machine.
    """

    days: tuple[int, ...]
    begins: int
    ends: int
    zone: tzinfo | None = None
    zone_name: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the calendar says. until: wall-clock seconds of the next change; None where there is none."""

    warm: bool
    until: float | None


def look(windows: tuple[Window, ...], wall: float, *, lead: float) -> Looked:
    """Whether to be warm at `wall` (seconds since 1970), and until when that holds.

    lead: seconds by which a window begins earlier, so that the service is hot when it should be.
    """
    warm, edge = False, wall
    spans = sorted((begin - lead, end) for window in windows for begin, end in _spans(window, wall))
    for begin, end in spans:
        if end <= edge:
            continue
        if begin > edge:
            return Looked(warm, edge) if warm else Looked(False, begin)
        warm, edge = True, end  # windows that meet are one
    return Looked(warm, edge if warm else None)


def _spans(window: Window, wall: float) -> Iterator[tuple[float, float]]:
    """Begin and end of the window on each of its days around `wall`."""
    today = datetime.fromtimestamp(wall, window.zone).date()
    for offset in range(-_BEFORE, _AFTER):
        day = today + timedelta(days=offset)
        if day.weekday() not in window.days:
            continue
        last = day if window.ends > window.begins else day + timedelta(days=1)
        begin = _instant(day, window.begins, window.zone, fold=0)
        ends = [_instant(last, window.ends, window.zone, fold=fold) for fold in (0, 1)]
        yield begin, max(ends)


def _instant(day: date, minutes: int, zone: tzinfo | None, *, fold: int) -> float:
    """Seconds since 1970 of a time on the wall. Without a zone `datetime` takes the machine's."""
    day += timedelta(days=minutes // MIDNIGHT)
    hour, minute = divmod(minutes % MIDNIGHT, 60)
    return datetime.combine(day, time(hour, minute, fold=fold), zone).timestamp()
