"""Words for people: safe text, durations, instants, cutting, nearest names.

Owns formatting of single values; `table` puts them into columns, `screen` knows the terminal.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime

_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(text: str) -> str:
    """Text from elsewhere with its control characters escaped: it cannot drive a terminal (CL-26)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _harmless(char) else _escape(char) for char in text)


def _harmless(char: str) -> bool:
    return (char.isprintable() or char in "\t\u00a0\u3000") and char not in _BIDI


def _escape(char: str) -> str:
    number = ord(char)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def duration(seconds: float) -> str:
    """At most two units (CL-15): `0.4 s`, `41 s`, `4 min 5 s`, `2 h 3 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def countdown(seconds: float) -> str:
    """One unit, for a table: `41 s`, `3 min`, `2 h`; never negative."""
    whole = max(int(seconds + 0.5), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= 2 * size or (whole >= size and unit != "min"):
            return f"{whole // size} {unit}"
    return f"{whole} s"


def instant(text: object) -> datetime | None:
    """An RFC 3339 instant of the API; None for null or anything else."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def ago(then: datetime, now: datetime) -> str:
    """`4 min ago`."""
    return f"{countdown((now - then).total_seconds())} ago"


def within(then: datetime, now: datetime) -> str:
    """`in 41 s`, at least `in 1 s`; `now` when the instant has passed."""
    seconds = (then - now).total_seconds()
    return f"in {countdown(max(seconds, 1.0))}" if seconds > 0 else "now"


def clock(then: datetime, now: datetime) -> str:
    """Local time of day, with the date when it is another day."""
    local = then.astimezone()
    same_day = local.date() == now.astimezone().date()
    return local.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M")


def counted(count: int, thing: str) -> str:
    """`1 service`, `2 services`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def span(ms: float) -> str:
    """A duration that is mostly short: `8 ms`, `1.2 s`."""
    return f"{ms:.0f} ms" if ms < 999.5 else duration(ms / 1000)


def wrapped(line: str, width: int | None, *, indent: int) -> list[str]:
    """A line as lines of at most `width` characters, those after the first one indented; None: as it is."""
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent,
        replace_whitespace=False,
        drop_whitespace=True,
        break_on_hyphens=False,
    )


def cut_middle(text: str, width: int, *, ellipsis: str = "…") -> str:
    """Text of at most `width` characters; what is too long loses its middle (CL-14)."""
    if len(text) <= width:
        return text
    room = width - len(ellipsis)
    if room < 2:
        return text[:width]
    front = (room + 1) // 2
    return text[:front] + ellipsis + text[len(text) - (room - front) :]


def cut_end(text: str, width: int, *, ellipsis: str = "…") -> str:
    """Text of at most `width` characters; what is too long loses its end."""
    if len(text) <= width:
        return text
    return text[: max(width - len(ellipsis), 0)] + ellipsis if width > len(ellipsis) else text[:width]


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Known names that were probably meant: edit distance up to 2, or begun alike (CL-09). Best first."""
    wanted = name.lower()
    found: list[tuple[int, str]] = []
    for item in known:
        other = item.lower()
        if len(wanted) >= 2 and other.startswith(wanted):
            found.append((0, item))
        elif (away := _distance(wanted, other)) <= min(2, len(wanted) - 1):
            found.append((away, item))
    return [item for _, item in sorted(found)][:3]


def _distance(one: str, other: str) -> int:
    """Edit distance where two swapped neighbours count once (optimal string alignment); over 2 is 3."""
    if abs(len(one) - len(other)) > 2:
        return 3
    before: list[int] = []
    above = list(range(len(other) + 1))
    for row, char in enumerate(one, 1):
        line = [row]
        for column, char_other in enumerate(other, 1):
            same = char == char_other
            best = min(above[column] + 1, line[-1] + 1, above[column - 1] + (not same))
            if row > 1 and column > 1 and char == other[column - 2] and one[row - 2] == char_other:
                best = min(best, before[column - 2] + 1)
            line.append(best)
        before, above = above, line
    return min(above[-1], 3)
