"""Events as they happen, for whoever listens: each has a bounded queue, and who is too slow is dropped.

Owns who listens. What was before, the store knows; numbers of events are the store's, so that a listener who
comes back can go on behind the last one it saw.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from hestia.core.ports import StoredRow

WAITING: Final = 1000  # events that may wait for one listener
LISTENERS: Final = 200


class Listener:
    """One who listens; `next` until it gives None, then `ended` says why. service: "" is all of them."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.ended = ""  # "slow", "closing", or "" while it goes on
        self._rows: deque[StoredRow] = deque()
        self._news = asyncio.Event()

    def push(self, row: StoredRow) -> None:
        """Hand one event over; too many of them end it."""
        if self.ended or (self.service and row.row.service != self.service):
            return
        if len(self._rows) >= WAITING:
            self.end("slow")
            return
        self._rows.append(row)
        self._news.set()

    def end(self, why: str) -> None:
        """Nothing more comes. What waits is dropped where it came too fast."""
        if not self.ended:
            self.ended = why
            if why == "slow":
                self._rows.clear()
            self._news.set()

    async def next(self) -> StoredRow | None:
        """The next event; None when it has ended."""
        while not self._rows:
            if self.ended:
                return None
            self._news.clear()
            await self._news.wait()
        return self._rows.popleft()

    def __repr__(self) -> str:
        return f"<Listener {self.service or 'all'} waiting={len(self._rows)} {self.ended}>"


class Feed:
    """Hands each event to all who listen."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._closed = False

    def push(self, row: StoredRow) -> None:
        """An event happened."""
        for listener in self._listeners:
            listener.push(row)

    def listen(self, service: str = "") -> Listener | None:
        """Hear everything from now on, until `leave`. None: too many listen already."""
        if len(self._listeners) >= LISTENERS:
            return None
        listener = Listener(service)
        if self._closed:
            listener.end("closing")
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Safe to call twice."""
        self._listeners.discard(listener)

    def close(self) -> None:
        """The gateway ends: everybody is told, so that no stream holds it up."""
        self._closed = True
        for listener in self._listeners:
            listener.end("closing")

    def __len__(self) -> int:
        return len(self._listeners)

    def __repr__(self) -> str:
        return f"<Feed listeners={len(self._listeners)}>"
