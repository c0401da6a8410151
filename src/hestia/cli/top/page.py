"""The screen of `hestia top`, in lines: what there is in all, the table or a text, what the keys do. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from hestia.cli import view
from hestia.cli.screen import Screen
from hestia.cli.text import counted, cut_end, plain
from hestia.cli.top.board import Board, Text
from hestia.cli.top.seen import SHOWN_FIRST, Seen

HEIGHT_LEAST: Final = 5
KEYS: Final = "s start  x stop  l logs  e explain  / filter  ? help  q quit"
HELP: Final = (
    "arrows, j, k    choose a service; Home, End, Page up, Page down go further",
    "s               start it",
    "x               stop it once its open requests have ended; asks first",
    "l               its output, as it comes",
    "e               why it is as it is, and what comes next",
    "/               show only services whose name, state or machine has this text; Esc shows all again",
    "?               this text, and back to the table",
    "q               back to the table; there: quit",
    "",
    "REQ/S           requests a second that were answered since the last look",
    "P95             95 of 100 requests were answered within this time, since the gateway began",
    "NEXT            what happens by itself, and when",
)


def page(
    board: Board,
    seen: Seen,
    rates: Mapping[str, float],
    screen: Screen,
    height: int,
    trouble: str,
    now: datetime,
) -> list[str]:
    """The lines of the whole screen. trouble: why nothing new is seen, "" while all is well."""
    width = screen.width or 80
    if height < HEIGHT_LEAST:
        return [cut_end("This window is too low: 5 lines at least. q quits", width, ellipsis=screen.ellipsis)]
    board.room = height - 3 if board.text is None else height - 2
    if board.text is not None:
        head, body = board.text.title, list(board.text.shown(board.room))
    else:
        head, body = _head(board, seen, rates), _table(board, seen, rates, screen, height - 2, now)
    body += [""] * (height - 2 - len(body))
    foot, tone = _foot(board, trouble)
    return [
        screen.painted(cut_end(head, width, ellipsis=screen.ellipsis), "1"),
        *body,
        screen.painted(cut_end(foot, width, ellipsis=screen.ellipsis), tone),
    ]


def _head(board: Board, seen: Seen, rates: Mapping[str, float]) -> str:
    phases = Counter(view.phase_of(one) for one in seen.services)
    words = [f"{phases[one]} {one}" for one in SHOWN_FIRST if phases[one] and one != "cold"]
    head = f"{counted(len(seen.services), 'service')}: {', '.join(words) or 'all cold'}"
    if board.pattern:
        head += f'   {len(board.rows())} with "{plain(board.pattern)}"'
    return f"{head}   {sum(rates.values()):.0f} req/s"


def _table(
    board: Board, seen: Seen, rates: Mapping[str, float], screen: Screen, room: int, now: datetime
) -> list[str]:
    rows = board.rows()
    if not rows:
        return [
            "no service is configured" if not seen.services else "no service has this text; Esc shows all"
        ]
    narrow = dataclasses.replace(screen, width=(screen.width or 80) - 1)  # the first column is the mark
    header, *lines = view.live(rows, narrow, now, rates=rates, p95=seen.p95)
    names = [str(one.get("serviceId", "")) for one in rows]
    at = names.index(board.chosen) if board.chosen in names else 0
    marked = [_chosen(line, screen) if row == at else f" {line}" for row, line in enumerate(lines)]
    space = room - 1
    if len(marked) > space:
        space -= 1
        first = min(max(at - space // 2, 0), len(marked) - space)
        above, below = first, len(marked) - space - first
        marked = [*marked[first : first + space], f" {above} more above, {below} below"]
    return [f" {header}", *marked]


def _chosen(line: str, screen: Screen) -> str:
    """The row the keys are for: marked, and bold also behind the colour of its state."""
    return screen.painted(f">{line}".replace("\x1b[0m", "\x1b[0m\x1b[1m"), "1")


def _foot(board: Board, trouble: str) -> tuple[str, str]:
    """The last line, and how it is painted."""
    if board.asking and (service := board.service) is not None:
        open_ones = int(service.get("inFlight", 0))
        more = f" {counted(open_ones, 'open request')} may end first." if open_ones else ""
        return f"Stop {plain(board.chosen)}?{more} y/n", "1"
    if board.typing:
        return f"/{plain(board.pattern)}_   Enter keeps it, Esc shows all", "1"
    if board.said:
        return plain(board.said), "31" if board.failed else "1"
    if trouble:
        return plain(trouble), "31"
    return (KEYS, "2") if board.text is None else (_reading(board.text), "2")


def _reading(text: Text) -> str:
    return f"{counted(len(text.lines), 'line')}  arrows move  q back"
