"""Takes finished lines and writes them in a thread of its own, so that a slow reader never holds the loop.

Owns the order of what it is given, the bound on what waits, and saying how much was dropped.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol

PENDING_LIMIT = 8 * 1024 * 1024
CLOSE_TIMEOUT = 2.0


class Stream(Protocol):
    """The part of a binary stream that is used: `write` takes all or raises OSError."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> object: ...


class LineWriter:
    """Fits wherever bytes are written; `write` returns at once.

    limit: bytes that may wait. When they do, further blocks are dropped whole and counted. notice: makes
    the line that says how many lines were dropped; written as soon as the reader moves again.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        limit: int = PENDING_LIMIT,
        notice: Callable[[int], bytes] = lambda count: b"%d log lines were dropped\n" % count,
        name: str = "hestia-log-writer",
    ) -> None:
        self._stream = stream
        self._limit = limit
        self._notice = notice
        self._blocks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pending = 0
        self._unsaid = 0
        self.dropped = 0
        self._broken = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def write(self, block: bytes) -> int:
        """Take whole lines; they are written in order, or dropped and counted."""
        with self._lock:
            if self._broken or self._pending + len(block) > self._limit:
                lines = block.count(b"\n")
                self.dropped += lines
                self._unsaid += lines
            else:
                self._pending += len(block)
                self._blocks.put(block)
        return len(block)

    def flush(self) -> None:
        """Nothing to do: every block is flushed as soon as it is written."""

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Write what waits; give up after `timeout` seconds if nobody reads. Twice is fine."""
        self._blocks.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            with self._lock:
                self._pending -= len(block)
                unsaid, self._unsaid = self._unsaid, 0
            if unsaid:
                block += self._notice(unsaid)
            try:
                self._stream.write(block)
                self._stream.flush()
            except (OSError, ValueError):  # the reader is gone, or the stream was closed: for good
                with self._lock:
                    self._broken = True
                return
