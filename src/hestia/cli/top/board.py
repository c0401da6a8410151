"""What the person at `hestia top` has chosen, typed and been asked: keys in, wishes out.

Pure: whoever runs it fetches, does what is wished, and draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from hestia.cli import view
from hestia.cli.exits import Document

_STEPS: Final = {"j": 1, "down": 1, "k": -1, "up": -1}
_LEAPS: Final = {"page down": 1, " ": 1, "page up": -1}
_FAR: Final = 1_000_000
_ENDS: Final = {"home": -_FAR, "g": -_FAR, "end": _FAR, "G": _FAR}


class Wish(Enum):
    """What a key asks for beyond the screen itself."""

    NOTHING = auto()
    QUIT = auto()
    START = auto()
    STOP = auto()
    LOGS = auto()
    EXPLAIN = auto()
    HELP = auto()


_WISHES: Final = {"s": Wish.START, "l": Wish.LOGS, "e": Wish.EXPLAIN}


@dataclass(slots=True)
class Text:
    """A text that is read instead of the table. again: what fetches it anew. top: its first line shown.

    at_end: the last lines are shown, also when more come.
    """

    title: str
    lines: Sequence[str]
    again: Wish
    top: int = 0
    at_end: bool = False

    def move(self, by: int, room: int) -> None:
        """Scroll by lines. room: how many are shown at once."""
        last = max(len(self.lines) - room, 0)
        self.top = min(max((last if self.at_end else self.top) + by, 0), last)
        self.at_end = self.again is Wish.LOGS and self.top == last

    def shown(self, room: int) -> Sequence[str]:
        """The lines there is room for."""
        last = max(len(self.lines) - room, 0)
        top = last if self.at_end else min(self.top, last)
        return self.lines[top : top + room]


@dataclass(slots=True)
class Board:
    """See the module docstring. services: all, in the order of the table. said: the answer to the last key.

    chosen: id of the service that the keys are for; it stays chosen wherever it moves. pattern: what is
    looked for, "" for all. room: lines of a text, or rows, that the screen has.
    """

    services: Sequence[Document] = ()
    chosen: str = ""
    pattern: str = ""
    typing: bool = False
    asking: bool = False
    said: str = ""
    failed: bool = False
    text: Text | None = None
    room: int = 20
    _at: int = field(default=0, repr=False)  # the row of what is chosen: the next one when it is gone

    def rows(self) -> list[Document]:
        """The services that the filter leaves: it looks at id, state and machine."""
        wanted = self.pattern.lower()
        return [one for one in self.services if wanted in _words(one).lower()]

    def settle(self) -> None:
        """Choose what is there: after every look, and when the filter has changed."""
        names = [_id(one) for one in self.rows()]
        if self.chosen in names:
            self._at = names.index(self.chosen)
        else:
            if self.asking:  # the answer is not for whoever is chosen now
                self.asking = False
                self.say(f"Nothing was changed: {self.chosen} is not shown any more.")
            self._at = min(self._at, max(len(names) - 1, 0))
            self.chosen = names[self._at] if names else ""

    @property
    def service(self) -> Document | None:
        """The status of what is chosen; None where nothing is shown."""
        return next((one for one in self.services if _id(one) == self.chosen), None)

    def say(self, text: str, *, failed: bool = False) -> None:
        """Answer, until the next key."""
        self.said, self.failed = text, failed

    def press(self, key: str) -> Wish:
        """Take a key, named as by `Live.key`."""
        self.say("")
        if self.text is not None:
            return self._read(self.text, key)
        if self.asking:
            return self._answer(key)
        if self.typing:
            self._type(key)
            return Wish.NOTHING
        return self._choose(key)

    def _read(self, text: Text, key: str) -> Wish:
        if key in ("q", "Q", "escape", "enter") or (key == "?" and text.again is Wish.HELP):
            self.text = None
        elif (by := _way(key, self.room)) is not None:
            text.move(by, self.room)
        return Wish.NOTHING

    def _answer(self, key: str) -> Wish:
        self.asking = False
        if key in ("y", "Y"):
            return Wish.STOP
        self.say("Nothing was changed.")
        return Wish.NOTHING

    def _type(self, key: str) -> None:
        if key in ("enter", "escape"):
            self.typing = False
            self.pattern = "" if key == "escape" else self.pattern
        elif key in ("up", "down"):
            self._choose(key)
        elif key == "backspace":
            self.pattern = self.pattern[:-1]
        elif key == "clear":
            self.pattern = ""
        elif len(key) == 1 and key.isprintable():
            self.pattern += key
        self.settle()

    def _choose(self, key: str) -> Wish:
        if key in ("q", "Q"):
            return Wish.QUIT
        if key == "?":
            return Wish.HELP
        if key == "/":
            self.typing = True
        elif key == "escape":
            self.pattern = ""
            self.settle()
        elif (by := _way(key, self.room)) is not None:
            names = [_id(one) for one in self.rows()]
            self._at = min(max(self._at + by, 0), max(len(names) - 1, 0))
            self.chosen = names[self._at] if names else ""
        elif key in _WISHES or key == "x":
            return self._wish(key)
        return Wish.NOTHING

    def _wish(self, key: str) -> Wish:
        if self.service is None:
            self.say("No service is chosen.", failed=True)
            return Wish.NOTHING
        if key != "x":
            return _WISHES[key]
        self.asking = True
        return Wish.NOTHING


def _way(key: str, room: int) -> int | None:
    """Lines to go by; None for a key that does not move."""
    if key in _LEAPS:
        return _LEAPS[key] * max(room - 1, 1)
    return _STEPS.get(key, _ENDS.get(key))


def _id(service: Document) -> str:
    return str(service.get("serviceId", ""))


def _words(service: Document) -> str:
    return f"{_id(service)} {view.phase_of(service)} {service.get('machineId', '')}"
