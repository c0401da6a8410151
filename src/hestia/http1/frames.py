"""WebSocket frame heads, read in passing: lengths and opcodes, no unmasking, no payload.

A head that cannot be followed (64-bit length with the top bit) ends the counting, not the splice: all
bytes are data from there. Source: RFC 6455 §5.2, proxy-semantics WS-16, WS-20, WS-21.
"""

from __future__ import annotations

import os
from typing import Final

CLOSE: Final = 0x8
_CONTROL: Final = 0x8  # opcodes from here on are control frames


class FrameReader:
    """Follows one direction. closed: a close frame passed. lost: heads cannot be followed any more."""

    __slots__ = ("_head", "_is_control", "_left", "closed", "lost")

    def __init__(self) -> None:
        self._head = b""  # bytes of a head that is not complete yet
        self._is_control = False
        self._left = 0  # payload bytes of the frame under way that are still to come
        self.closed = False
        self.lost = False

    @property
    def at_boundary(self) -> bool:
        """Whether a frame of our own may follow now."""
        return not self._left and not self._head and not self.lost

    def feed(self, data: bytes) -> bool:
        """Follow these bytes. True when a data frame, or a part of one, was among them."""
        return self._walk(data, stop=False)[1]

    def rest_of_frame(self, data: bytes) -> bytes:
        """The part of these bytes that belongs to the frame under way; follows just that part."""
        if self.at_boundary:
            return b""
        end, _ = self._walk(data, stop=True)
        return data[:end]

    def _walk(self, data: bytes, *, stop: bool) -> tuple[int, bool]:
        position, size, seen = 0, len(data), self.lost
        while position < size and not self.lost:
            if self._left:
                step = min(self._left, size - position)
                self._left -= step
                position += step
                seen = seen or not self._is_control
                if stop and not self._left:
                    break
                continue
            before = len(self._head)
            head = self._head + data[position : position + 14 - before]
            used, length = _read_head(head)
            if not used:
                self._head = head
                return size, seen
            position += used - before
            self._head = b""
            opcode = head[0] & 0x0F
            self._is_control = opcode >= _CONTROL
            self.closed = self.closed or opcode == CLOSE
            seen = seen or opcode < _CONTROL
            if length >= 1 << 63:
                self.lost = True
                return size, True
            self._left = length
            if stop and not length:
                break
        return (size if self.lost else position), seen


def _read_head(head: bytes) -> tuple[int, int]:
    """(bytes used, payload length); used is 0 while the head is incomplete."""
    if len(head) < 2:
        return 0, 0
    masked, length, used = head[1] & 0x80, head[1] & 0x7F, 2
    if length == 126:
        used, length = 4, int.from_bytes(head[2:4], "big")
    elif length == 127:
        used, length = 10, int.from_bytes(head[2:10], "big")
    if masked:
        used += 4
    return (used, length) if len(head) >= used else (0, 0)


def close_frame(code: int, *, masked: bool) -> bytes:
    """A close frame with a code and no reason. masked: towards an upstream, with a fresh key (WS-20)."""
    payload = code.to_bytes(2, "big")
    if not masked:
        return bytes([0x80 | CLOSE, len(payload)]) + payload
    key = os.urandom(4)
    covered = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes([0x80 | CLOSE, 0x80 | len(payload)]) + key + covered
