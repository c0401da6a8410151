"""What keys do to the board of `hestia top` (CL-22)."""

from __future__ import annotations

import pytest

from hestia.cli.top.board import Board, Text, Wish
from tests.fakes.api_server import status


def board(*names: str) -> Board:
    found = Board(services=[status(name) for name in names or ("a", "b", "c")])
    found.settle()
    return found


def test_cl_22_arrows_and_letters_choose_and_stay_within_the_table() -> None:
    one = board()
    for key, chosen in (
        ("k", "a"),
        ("j", "b"),
        ("down", "c"),
        ("j", "c"),
        ("up", "b"),
        ("G", "c"),
        ("g", "a"),
    ):
        assert one.press(key) is Wish.NOTHING
        assert one.chosen == chosen, key


def test_cl_22_what_is_chosen_stays_chosen_where_it_moves_and_else_its_row_is() -> None:
    one = board()
    one.press("j")
    one.services = [status(name) for name in ("b", "c", "a")]
    one.settle()
    assert one.chosen == "b"
    one.services = [status(name) for name in ("c", "a")]
    one.settle()
    assert one.chosen == "c"


def test_cl_22_a_yes_stops_nobody_else_when_what_was_asked_about_is_gone() -> None:
    one = board()
    one.press("x")
    one.services = [status("b"), status("c")]
    one.settle()
    assert one.said == "Nothing was changed: a is not shown any more."
    assert one.press("y") is Wish.NOTHING


@pytest.mark.parametrize(
    ("key", "wish"),
    [("s", Wish.START), ("l", Wish.LOGS), ("e", Wish.EXPLAIN), ("?", Wish.HELP), ("q", Wish.QUIT)],
)
def test_cl_22_letters_are_wishes(key: str, wish: Wish) -> None:
    assert board().press(key) is wish


def test_cl_22_a_second_question_mark_closes_the_help_and_no_other_text() -> None:
    one = board()
    for wish, is_closed in ((Wish.HELP, True), (Wish.EXPLAIN, False)):
        one.text = Text("The keys", ["a"], wish)
        assert one.press("?") is Wish.NOTHING
        assert (one.text is None) is is_closed


@pytest.mark.parametrize("key", ["n", "enter", "escape", "q", "x", "down"])
def test_cl_22_x_stops_only_after_a_yes(key: str) -> None:
    one = board()
    assert one.press("x") is Wish.NOTHING
    assert one.asking
    assert one.press(key) is Wish.NOTHING
    assert not one.asking
    assert one.said == "Nothing was changed."
    one.press("x")
    assert one.press("y") is Wish.STOP


def test_cl_22_the_filter_takes_letters_that_are_keys_elsewhere() -> None:
    one = board("squid", "quiet", "other")
    one.press("/")
    for key in ("q", "u", "x", "backspace"):
        assert one.press(key) is Wish.NOTHING
    assert [row["serviceId"] for row in one.rows()] == ["squid", "quiet"]
    one.press("i")
    one.press("down")
    assert one.chosen == "quiet"
    one.press("enter")
    assert one.press("s") is Wish.START
    assert one.chosen == "quiet"
    one.press("escape")
    assert len(one.rows()) == 3
    assert one.chosen == "quiet"


def test_cl_22_nothing_is_started_where_the_filter_leaves_nothing() -> None:
    one = board()
    for key in ("/", "z", "enter"):
        one.press(key)
    assert one.press("s") is Wish.NOTHING
    assert one.failed
    assert one.press("x") is Wish.NOTHING
    assert not one.asking


def test_cl_22_a_text_is_scrolled_and_left_by_q() -> None:
    one = board()
    one.text = Text("logs", [str(number) for number in range(100)], Wish.LOGS, at_end=True)
    one.room = 10
    assert list(one.text.shown(10))[-1] == "99"
    one.press("k")
    assert list(one.text.shown(10))[-1] == "98"
    one.text.lines = [*one.text.lines, "100"]
    assert list(one.text.shown(10))[-1] == "98", "a reader who went up is left there"
    one.press("end")
    one.text.lines = [*one.text.lines, "101"]
    assert list(one.text.shown(10))[-1] == "101", "at the end, what comes is followed"
    assert one.press("q") is Wish.NOTHING
    assert one.text is None
