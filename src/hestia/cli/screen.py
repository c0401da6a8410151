"""What a stream can show: terminal or not, colours, marks, width. Reads the environment it is given.

Owns the decision (CL-04); nothing here writes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

WIDTH_LEAST: Final = 40
WIDTH_ELSE: Final = 80

_ASCII: Final = {
    "hot": "*", "starting": ">", "draining": "~", "stopping": "v", "cold": "-", "failed": "!", "suspect": "?",
}  # fmt: skip
_DRAWN: Final = {
    "hot": "●", "starting": "▶", "draining": "◐", "stopping": "▼", "cold": "○", "failed": "✖", "suspect": "?",
}  # fmt: skip
_TONE: Final = {
    "hot": "32", "starting": "34", "draining": "35", "stopping": "35", "failed": "31", "suspect": "33",
}  # fmt: skip


class Output(Protocol):
    """The part of a text stream that is asked."""

    @property
    def encoding(self) -> str: ...
    def isatty(self) -> bool: ...
    def fileno(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Screen:
    """width: columns; None where nothing is cut. redraw: lines may be drawn over."""

    terminal: bool
    colour: bool
    redraw: bool
    drawn_marks: bool
    width: int | None

    def mark(self, phase: str) -> str:
        """The sign before a state; the word beside it carries the meaning."""
        return (_DRAWN if self.drawn_marks else _ASCII).get(phase, "?")

    def toned(self, text: str, phase: str) -> str:
        """Text in the colour of a state, where there are colours."""
        return self.painted(text, _TONE.get(phase, ""))

    def painted(self, text: str, sgr: str) -> str:
        """Text with an SGR attribute such as `1` (bold) or `2` (dim)."""
        return f"\x1b[{sgr}m{text}\x1b[0m" if self.colour and sgr else text

    @property
    def ellipsis(self) -> str:
        """What stands for text that was cut out."""
        return "…" if self.drawn_marks else ".."


def look(stream: Output, environment: Mapping[str, str], *, color: str = "auto") -> Screen:
    """What `stream` can show. color: `auto`, `always` or `never`, and wins over the environment."""
    terminal = stream.isatty()
    capable = terminal and environment.get("TERM", "") not in ("dumb", "")
    automatic = capable and not environment.get("NO_COLOR")
    encoding = (getattr(stream, "encoding", "") or "ascii").lower().replace("-", "")
    return Screen(
        terminal=terminal,
        colour=color == "always" or (color == "auto" and automatic),
        redraw=capable,
        drawn_marks=encoding == "utf8",
        width=_width(stream, environment) if terminal else None,
    )


def _width(stream: Output, environment: Mapping[str, str]) -> int:
    wanted = environment.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return max(int(wanted), WIDTH_LEAST)
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = shutil.get_terminal_size((WIDTH_ELSE, 24)).columns
    return max(columns or WIDTH_ELSE, WIDTH_LEAST)
