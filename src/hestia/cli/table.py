"""Tables: aligned and fitted to a terminal, tab-separated and uncut in a pipe (CL-14)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hestia.cli.screen import Screen
from hestia.cli.text import cut_end, cut_middle

GAP = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One column. When a row is too long, columns shrink by rank; when that is not enough, one vanishes.

    shrink: rank of giving up width, 0 never. least: characters that stay when shrunk.
    drop: rank of vanishing altogether, 0 never. middle: cut in the middle (names), else at the end.
    """

    title: str
    right: bool = False
    shrink: int = 0
    least: int = 4
    drop: int = 0
    middle: bool = False


Row = Sequence[str]
Paint = Callable[[int, int, str], str]  # row, column, padded cell → the cell with colour


def _unpainted(_row: int, _column: int, cell: str) -> str:
    return cell


def render(
    columns: Sequence[Column],
    rows: Sequence[Row],
    screen: Screen,
    *,
    header: bool = True,
    paint: Paint = _unpainted,
) -> list[str]:
    """The lines of the table, without newlines. Cells are safe text without newlines or tabs."""
    titles = [column.title for column in columns]
    if screen.width is None:
        return ["\t".join(row) for row in ([titles] if header else []) + [list(row) for row in rows]]
    shown = [titles, *rows] if header else list(rows)
    widths = _fit(columns, shown, screen.width)
    lines = []
    for number, row in enumerate(rows):
        cells = [
            paint(number, place, _cell(column, row[place], widths[place], screen.ellipsis))
            for place, column in enumerate(columns)
            if widths[place]
        ]
        lines.append((" " * GAP).join(cells).rstrip())
    if header:
        cells = [
            _cell(column, column.title, widths[place], screen.ellipsis)
            for place, column in enumerate(columns)
            if widths[place]
        ]
        lines.insert(0, screen.painted((" " * GAP).join(cells).rstrip(), "1"))
    return lines


def _cell(column: Column, text: str, width: int, ellipsis: str) -> str:
    short = (cut_middle if column.middle else cut_end)(text, width, ellipsis=ellipsis)
    return short.rjust(width) if column.right else short.ljust(width)


def _fit(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[int]:
    """A width for each column, 0 for one that vanishes: as many columns as fit when shrunk."""
    natural = [max((len(row[place]) for row in rows), default=0) for place in range(len(columns))]
    leaving = [place for _, place in sorted((c.drop, place) for place, c in enumerate(columns) if c.drop)]
    widths = natural
    for count in range(len(leaving) + 1):
        gone = leaving[:count]
        widths = _shrunk(columns, [0 if place in gone else size for place, size in enumerate(natural)], width)
        if _excess(widths, width) <= 0:
            break
    return widths


def _shrunk(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    for _, place in sorted((c.shrink, place) for place, c in enumerate(columns) if c.shrink):
        if (over := _excess(widths, width)) > 0 and widths[place]:
            widths[place] = max(widths[place] - over, min(columns[place].least, widths[place]))
    return widths


def _excess(widths: Sequence[int], width: int) -> int:
    shown = [size for size in widths if size]
    return sum(shown) + GAP * (len(shown) - 1) - width
