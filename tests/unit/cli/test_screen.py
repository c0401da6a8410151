"""Colour, redrawing, marks and width from stream and environment (CL-04)."""

from __future__ import annotations

import pytest

from hestia.cli.screen import look


class Stream:
    """A stream that is a terminal or not."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        self.encoding = encoding
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def fileno(self) -> int:
        raise OSError("no descriptor")


@pytest.mark.parametrize(
    ("terminal", "environment", "color", "coloured"),
    [
        (True, {"TERM": "xterm"}, "auto", True),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, "auto", True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, "auto", False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, "always", True),
        (True, {"TERM": "dumb"}, "auto", False),
        (True, {"TERM": "dumb"}, "always", True),
        (True, {}, "auto", False),
        (True, {"TERM": "xterm"}, "never", False),
        (False, {"TERM": "xterm"}, "auto", False),
        (False, {"TERM": "xterm"}, "always", True),
        (False, {"TERM": "xterm", "NO_COLOR": "1"}, "auto", False),
        (False, {"TERM": "xterm"}, "never", False),
    ],
)
def test_cl04_colour_matrix(terminal: bool, environment: dict[str, str], color: str, coloured: bool) -> None:
    screen = look(Stream(terminal=terminal), environment, color=color)
    assert screen.colour is coloured
    assert ("\x1b[" in screen.toned("hot", "hot")) is coloured
    assert screen.redraw is (terminal and environment.get("TERM", "dumb") != "dumb")


def test_cl04_marks_are_ascii_where_the_locale_is_not_utf8() -> None:
    phases = ("hot", "starting", "draining", "stopping", "cold", "failed", "suspect")
    latin = look(Stream(terminal=True, encoding="ANSI_X3.4-1968"), {"TERM": "xterm"})
    assert all(latin.mark(phase).isascii() for phase in phases)
    assert len({latin.mark(phase) for phase in phases}) == len(phases)
    assert latin.ellipsis == ".."
    assert look(Stream(terminal=True), {"TERM": "xterm"}).mark("hot") == "●"


def test_cl14_width_follows_the_terminal_and_a_pipe_has_none() -> None:
    assert look(Stream(terminal=True), {"COLUMNS": "132"}).width == 132
    assert look(Stream(terminal=True), {"COLUMNS": "7"}).width == 40
    assert look(Stream(terminal=False), {"COLUMNS": "132"}).width is None
