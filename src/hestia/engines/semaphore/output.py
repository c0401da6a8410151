"""Output of the tasks of one generation: each line once, from whichever side it came first.

Events bring lines live, the server's list has them all a moment later. Bounded; whoever follows may be as
slow as it likes and misses what fell out meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

_KEPT: Final = 2000  # lines of a task


class Output:
    """Lines of one generation. `end` is for when no task of it can come any more."""

    def __init__(self) -> None:
        self._lines: dict[int, deque[str]] = {}  # of each task, in the server's order as far as that is known
        self._seen: dict[int, Counter[str]] = {}
        self._followers: set[_Follower] = set()
        self._ended = False

    def add(self, task: int, line: str) -> None:
        """A line that was told live."""
        self._seen.setdefault(task, Counter())[line] += 1
        self._lines.setdefault(task, deque(maxlen=_KEPT)).append(line)
        for follower in self._followers:
            follower.lines.append(line)
            follower.changed.set()

    def merge(self, task: int, lines: Sequence[str], told: Callable[[str], None]) -> None:
        """The server's whole list; those that nobody told yet are added, and told."""
        left = Counter(self._seen.get(task, ()))
        for line in lines:
            if left[line] > 0:
                left[line] -= 1
            else:
                self.add(task, line)
                told(line)
        if lines:
            self._lines[task] = deque(lines, maxlen=_KEPT)

    def last(self, task: int, count: int) -> tuple[str, ...]:
        """The last lines of one task that say something, oldest first."""
        said = [line for line in self._lines.get(task, ()) if line.strip()]
        return tuple(said[-count:])

    def begin(self) -> None:
        """A task of it is under way, again."""
        self._ended = False

    def end(self) -> None:
        """Nothing comes any more."""
        self._ended = True
        for follower in self._followers:
            follower.changed.set()

    def kept(self) -> bytes:
        """The kept lines, task after task."""
        return _text([line for lines in self._lines.values() for line in lines])

    async def follow(self) -> AsyncIterator[bytes]:
        """What is kept, then what comes, until `end`."""
        follower = _Follower()
        self._followers.add(follower)
        try:
            yield self.kept()
            while True:
                follower.changed.clear()
                if follower.lines:
                    text = _text(follower.lines)
                    follower.lines.clear()
                    yield text
                elif self._ended:
                    return
                else:
                    await follower.changed.wait()
        finally:
            self._followers.discard(follower)


class _Follower:
    """Lines that one reader has not taken yet; what is too much for it falls out."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT)
        self.changed = asyncio.Event()


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
