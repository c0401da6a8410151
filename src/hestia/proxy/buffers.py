"""Bytes of request bodies that this process holds: what waits for a connection, and copies for a retry.

One count for all exchanges, so that memory is bounded in all; it is zero when nothing is under way.
Source: proxy-semantics RF-03, SB-12.
"""

from __future__ import annotations

from typing import Final

from hestia.edge.pending import cost

SPOOL_LIMIT: Final = 256 * 1024  # bytes of a body kept while there is no connection (CQ-06)
REPLAY_LIMIT: Final = 1024 * 1024  # bytes of one request kept for a further attempt (RF-03)
REPLAY_TOTAL: Final = 64 * 1024 * 1024  # bytes of all such copies (RF-03)
HELD_TOTAL: Final = 256 * 1024 * 1024  # bytes of waiting bodies and copies; beyond it no new body (SB-12)


class Buffers:
    """held: bytes in spools and copies. copies: of these, the bytes of copies. Both have a limit."""

    __slots__ = ("copies", "copies_most", "held", "most")

    def __init__(self, *, most: int = HELD_TOTAL, copies_most: int = REPLAY_TOTAL) -> None:
        self.held = 0
        self.copies = 0
        self.most = most
        self.copies_most = copies_most

    @property
    def full(self) -> bool:
        """Whether no new body may be taken in."""
        return self.held >= self.most


class Copy:
    """The body of one request as far as it was sent, for another attempt. `good` until it grew too large."""

    __slots__ = ("_buffers", "_length", "good", "parts", "size")

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self.parts: list[bytes] = []
        self.size = 0  # bytes of memory
        self._length = 0  # bytes of the body
        self.good = True

    def add(self, data: bytes) -> None:
        """Keep a piece, or give the whole copy up where it does not fit any more."""
        if not self.good:
            return
        buffers, size = self._buffers, cost(data)
        self._length += len(data)
        if (
            self._length > REPLAY_LIMIT
            or size + self.size > 2 * REPLAY_LIMIT
            or buffers.copies + size > buffers.copies_most
        ):
            self.free()
            return
        self.parts.append(data)
        self.size += size
        buffers.copies += size
        buffers.held += size

    def free(self) -> None:
        """Forget it; safe to call twice."""
        self._buffers.copies -= self.size
        self._buffers.held -= self.size
        self.parts, self.size, self.good = [], 0, False
