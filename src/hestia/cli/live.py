"""A terminal that is drawn again and again: its own page, keys, its size, and its restoration on every exit.

Owns the terminal while it is shown. What is drawn, and when, others decide.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Final, Self

_OPEN: Final = "\x1b[?1049h\x1b[?25l"  # another page, no cursor
_CLOSE: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_REST_OF_LINE: Final = "\x1b[K"
_REST_OF_PAGE: Final = "\x1b[J"


class Live:
    """`with Live() as page`: as it was afterwards, also after SIGTERM, SIGHUP or an exception."""

    def __init__(self) -> None:
        self._keys = sys.stdin.fileno() if sys.stdin.isatty() else -1
        self._modes: list[Any] = []  # Any: termios' own
        self._signals: dict[int, Any] = {}  # Any: what signal.signal gives back

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH):
            self._signals[number] = signal.signal(number, _ended if number != signal.SIGWINCH else _resized)
        if self._keys >= 0:
            self._modes = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)
        _write(_OPEN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            _write(_CLOSE)
        finally:
            if self._modes:
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._modes)
            for number, before in self._signals.items():
                signal.signal(number, before)

    def draw(self, lines: Sequence[str], height: int) -> None:
        """Show these lines, as many as there is room for, without a moment of nothing in between."""
        shown = lines[:height]
        _write(_HOME + "\r\n".join(f"{line}{_REST_OF_LINE}" for line in shown) + _REST_OF_PAGE)

    def key(self, timeout: float) -> str:
        """The key that is pressed within `timeout` seconds; "" for none, or when the size has changed."""
        try:
            ready, _, _ = select.select([self._keys] if self._keys >= 0 else [], [], [], timeout)
        except _Resized:
            return ""
        pressed = os.read(self._keys, 64) if ready else b""
        if ready and not pressed:  # the terminal is gone
            raise SystemExit(128 + signal.SIGHUP)
        return pressed.decode("ascii", "replace")[:1]


class _Resized(Exception):
    """The window has another size."""


def _resized(number: int, frame: FrameType | None) -> None:
    if frame is not None and frame.f_code is Live.key.__code__:  # only a wait is cut short
        raise _Resized


def _ended(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _write(text: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()
