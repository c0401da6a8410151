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
_ESCAPE: Final = 0x1B
REST_OF_KEY: Final = 0.05  # seconds within which the rest of a key comes that is sent as several bytes
# What a terminal sends for keys without a character. Source: xterm, "PC-Style Function Keys"; VT220.
_NAMED: Final = {
    b"[A": "up", b"[B": "down", b"OA": "up", b"OB": "down",
    b"[H": "home", b"[F": "end", b"OH": "home", b"OF": "end", b"[1~": "home", b"[4~": "end",
    b"[5~": "page up", b"[6~": "page down",
}  # fmt: skip
_CONTROL: Final = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x15": "clear"}


class Live:
    """`with Live() as page`: as it was afterwards, also after SIGTERM, SIGHUP or an exception."""

    def __init__(self) -> None:
        self._keys = sys.stdin.fileno() if sys.stdin.isatty() else -1
        self._modes: list[Any] = []  # Any: termios' own
        self._signals: dict[int, Any] = {}  # Any: what signal.signal gives back
        self._pressed = bytearray()  # keys that were not taken yet

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

    def key(self, timeout: float, *, news: int = -1) -> str:
        """The key that is pressed within `timeout` seconds; "" for none, or when the size has changed.

        news: a descriptor that ends the wait when it becomes readable; nothing is read from it.

        A character as it is, else `up`, `down`, `home`, `end`, `page up`, `page down`, `enter`, `escape`,
        `backspace`, or `clear` for Ctrl-U; "" too for a key that has no name here.
        """
        if not self._pressed:
            try:
                ready, _, _ = select.select([one for one in (self._keys, news) if one >= 0], [], [], timeout)
            except _Resized:
                return ""
            if self._keys not in ready:
                return ""
            self._read()
        return self._named()

    def _read(self) -> None:
        pressed = os.read(self._keys, 1024)
        if not pressed:  # the terminal is gone
            raise SystemExit(128 + signal.SIGHUP)
        self._pressed += pressed

    def _more(self, count: int) -> bool:
        """Whether at least `count` bytes of the key are here, or come at once."""
        while len(self._pressed) < count:
            if not select.select([self._keys], [], [], REST_OF_KEY)[0]:
                return False
            self._read()
        return True

    def _named(self) -> str:
        """Take one key off what was pressed."""
        if self._pressed[0] == _ESCAPE:
            return self._sequence()
        lead = self._pressed[0]
        length = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        self._more(length)
        text = self._pressed[:length].decode("utf-8", "ignore")
        del self._pressed[:length]
        return _CONTROL.get(text, text if text.isprintable() else "")

    def _sequence(self) -> str:
        """A key that begins with ESC: that key itself where nothing follows at once."""
        if not self._more(2) or self._pressed[1] not in b"[O":
            del self._pressed[:1]
            return "escape"
        end = 2
        while self._more(end + 1) and not 0x40 <= self._pressed[end] <= 0x7E:
            end += 1
        found = bytes(self._pressed[1 : end + 1])
        del self._pressed[: end + 1]
        return _NAMED.get(found, "")


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
