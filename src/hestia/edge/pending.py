"""What a connection holds: the exchange of a request that runs, and requests that wait behind it."""

from __future__ import annotations

from typing import Final, Protocol

from hestia.core.errors import HestiaError
from hestia.http1.heads import Request

_PIECE: Final = 64  # bytes that an object of its own costs, however small


def cost(data: bytes) -> int:
    """Bytes of memory that a kept piece takes: many tiny ones are mostly what is around them."""
    return len(data) + _PIECE


class Exchange(Protocol):
    """What a handler makes of a request. Every call is synchronous."""

    def begin(self) -> None: ...
    def body(self, data: bytes) -> None: ...
    def body_end(self) -> None: ...
    def body_failed(self, error: HestiaError) -> None: ...
    def body_timeout(self) -> None: ...
    def client_gone(self) -> None: ...
    def abort(self, reason: HestiaError) -> None: ...
    def broke(self) -> None: ...
    def draining(self) -> None: ...
    def client_writable(self, writable: bool) -> None: ...
    def sweep(self, now: float) -> None: ...


class Pending:
    """A request that was parsed while another one is being answered, with the body bytes that came.

    raw: it is a WebSocket; the parts are its first bytes. size: of the parts, with what is around each.
    """

    __slots__ = ("ended", "error", "parts", "raw", "request", "size")

    def __init__(
        self, request: Request | None, error: HestiaError | None = None, *, raw: bool = False
    ) -> None:
        self.request = request
        self.error = error
        self.raw = raw
        self.parts: list[bytes] = []
        self.size = 0
        self.ended = False

    def keep(self, data: bytes) -> int:
        """Add a piece; returns what it costs in bytes."""
        self.parts.append(data)
        size = cost(data)
        self.size += size
        return size
