"""Runs all checks side by side: each in a thread of its own, with a limit for each and one for all.

The threads are daemons, because a folder on a server that is gone can hold one for ever, and neither the
answer nor the end of the program may wait for that.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from hestia.cli.doctor.finding import Check, Finding, fail, skip
from hestia.cli.text import plain

CHECK_LIMIT: Final = 5.0  # seconds (CL-19)
ROUND_LIMIT: Final = 30.0  # seconds for all, however many services there are
PARALLEL: Final = 64
TICK: Final = 0.2  # seconds between two pictures of the progress

Tell = Callable[[int, int, Sequence[str]], None]  # checks done, checks in all, what is under way


class Round:
    """One run over the checks. What was found so far stands in `findings`, also after an interruption."""

    def __init__(self, checks: Sequence[Check], *, limit: float = CHECK_LIMIT, in_all: float = ROUND_LIMIT):
        self._checks = checks
        self._limit = limit
        self._in_all = in_all
        self._found: dict[int, list[Finding]] = {}
        self._waiting = deque(range(len(checks)))
        self._under_way: dict[int, float] = {}  # check → when it is given up
        self._took: dict[int, float] = {}  # check → seconds
        self._done: queue.SimpleQueue[tuple[int, list[Finding], float]] = queue.SimpleQueue()

    @property
    def findings(self) -> list[Finding]:
        """In the order of the checks."""
        return [finding for at in sorted(self._found) for finding in self._found[at]]

    @property
    def took(self) -> list[tuple[str, str, float]]:
        """Name, place and seconds of each check that ended by itself, in the order of the checks."""
        return [(self._checks[at].name, self._checks[at].where, self._took[at]) for at in sorted(self._took)]

    @property
    def left(self) -> int:
        """Checks without an answer."""
        return len(self._checks) - len(self._found)

    def run(self, tell: Tell) -> None:
        """Return when every check has its findings or was given up. Ctrl-C comes through at any time."""
        end = time.monotonic() + self._in_all
        while (self._waiting or self._under_way) and time.monotonic() < end:
            self._begin()
            names = [self._checks[at].name for at in self._under_way]
            tell(len(self._found), len(self._checks), names)
            until = min(end, *self._under_way.values(), time.monotonic() + TICK)
            try:
                at, found, took = self._done.get(timeout=max(until - time.monotonic(), 0.0))
            except queue.Empty:
                self._give_up(time.monotonic())
                continue
            if self._under_way.pop(at, None) is not None:
                self._found[at], self._took[at] = found, took
        for at in [*self._under_way, *self._waiting]:
            check = self._checks[at]
            text = f"not looked at: the {self._in_all:g} s for everything were over"
            self._found[at] = [skip(check.name, _named(check, text), check.where)]

    def _begin(self) -> None:
        while self._waiting and len(self._under_way) < PARALLEL:
            at = self._waiting.popleft()
            self._under_way[at] = time.monotonic() + self._limit
            name = f"doctor {self._checks[at].name}"
            threading.Thread(target=self._look, args=(at,), name=name, daemon=True).start()

    def _look(self, at: int) -> None:
        check, began = self._checks[at], time.monotonic()
        try:
            found = list(check.look())
        except Exception as exc:  # the boundary: one check that breaks must not take the others along
            text = f"the check itself failed: {type(exc).__name__}: {plain(str(exc))}"
            found = [fail(check.name, _named(check, text), check.where, "report it: hestia doctor --report")]
        self._done.put((at, found, time.monotonic() - began))

    def _give_up(self, now: float) -> None:
        for at in [at for at, limit in self._under_way.items() if now >= limit]:
            del self._under_way[at]
            check = self._checks[at]
            text = _named(check, f"no answer within {self._limit:g} s")
            self._found[at] = [fail(check.name, text, check.where, check.late)]


def _named(check: Check, text: str) -> str:
    return f"{check.where}: {text}" if check.where else text
