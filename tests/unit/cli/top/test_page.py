"""The screen of `hestia top` as lines (CL-22)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hestia.cli.screen import Screen
from hestia.cli.top.board import Board, Text, Wish
from hestia.cli.top.page import KEYS, page
from hestia.cli.top.seen import Seen
from tests.fakes.api_server import Document, status

NOW = datetime(2026, 1, 31, 12, 4, 4, 120000, tzinfo=UTC)


def drawn(
    board: Board, services: list[Document], *, width: int = 80, height: int = 24, trouble: str = ""
) -> list[str]:
    screen = Screen(terminal=True, colour=False, redraw=True, drawn_marks=False, width=width)
    board.services = services
    board.settle()
    seen = Seen(0.0, services, {"b": 4.0}, {"b": 8.4, "c": 3210.0})
    return page(board, seen, {"b": 14.2}, screen, height, trouble, NOW)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 15), (200, 50), (40, 5)])
def test_cl_22_every_size_is_filled_and_not_more(width: int, height: int) -> None:
    services = [status(f"service-{number}", "hot") for number in range(60)]
    board = Board()
    for key in ("", "G", "k", "?"):
        board.press(key)
        lines = drawn(board, services, width=width, height=height)
        assert len(lines) == height
        assert max(map(len, lines)) <= width
        assert sum(line.startswith(">") for line in lines) == 1, "what is chosen is always seen"


def test_cl_22_the_sketch() -> None:
    services = [status("a", "failed"), status("b", "hot", inFlight=2), status("c", machineId="hpc")]
    lines = drawn(Board(), services)
    assert lines[0] == "3 services: 1 failed, 1 hot   14 req/s"
    assert lines[1].split() == ["SERVICE", "STATE", "WHERE", "QUEUE", "BUSY", "REQ/S", "P95", "NEXT", "NOTE"]
    assert lines[2].startswith(">a")
    assert lines[3].split()[:9] == ["b", "*", "hot", "local", "0", "2", "14", "8", "ms"]
    assert "3.2 s" in lines[4]
    assert lines[-1] == KEYS
    assert drawn(Board(), services, trouble="not reachable")[-1] == "not reachable"


def test_cl_22_where_is_not_told_while_everything_is_in_one_place() -> None:
    assert "WHERE" not in drawn(Board(), [status("a"), status("b")])[1]


def test_cl_22_what_is_asked_and_said_is_in_the_last_line() -> None:
    services = [status("a", "hot", inFlight=1)]
    board = Board()
    drawn(board, services)
    board.press("x")
    assert drawn(board, services)[-1] == "Stop a? 1 open request may end first. y/n"
    board.press("n")
    assert drawn(board, services)[-1] == "Nothing was changed."
    board.press("/")
    board.press("z")
    assert "Esc shows all" in drawn(board, services)[2 - 1]
    assert drawn(board, services)[-1].startswith("/z_")
    assert drawn(board, services)[0].startswith('1 service: 1 hot   0 with "z"')


def test_cl_22_a_text_takes_the_place_of_the_table() -> None:
    board = Board()
    board.text = Text("a: output", ["one", "two"], Wish.LOGS, at_end=True)
    lines = drawn(board, [status("a")], height=6)
    assert lines == ["a: output", "one", "two", "", "", "2 lines  arrows move  q back"]
