"""An answer of the service that is about to be superseded: kept until another attempt has brought one.

What comes of it meanwhile is taken in up to a bound; beyond, its connection is paused. If no other answer
comes, the client gets this one, as if the request had not been sent again. Source: RF-07, RF-08.
"""

from __future__ import annotations

from typing import Final

from hestia.core.errors import UpstreamError
from hestia.edge.pending import cost
from hestia.http1.heads import Field, Response
from hestia.http1.upstream import Exchange, UpstreamConnection
from hestia.proxy.buffers import Buffers
from hestia.proxy.rewrite import Upstream

KEPT_LIMIT: Final = 64 * 1024  # bytes of a body after which no more is read (RF-08)


class Kept:
    """The other end of its connection (`http1.upstream.Exchange`) until it is handed over or dropped."""

    __slots__ = (
        "_buffers",
        "_connection",
        "_ended",
        "_error",
        "_head",
        "_parts",
        "_size",
        "_trailers",
        "upstream",
    )

    def __init__(
        self, head: Response, connection: UpstreamConnection, upstream: Upstream, buffers: Buffers
    ) -> None:
        self.upstream = upstream  # where it came from
        self._head = head
        self._connection: UpstreamConnection | None = connection
        self._buffers = buffers
        self._parts: list[bytes] = []
        self._size = 0  # bytes of memory
        self._ended = False
        self._trailers: list[Field] = []
        self._error: UpstreamError | None = None
        head.lasting = False  # its connection serves no other request
        connection.exchange = self

    @property
    def is_whole(self) -> bool:
        return self._ended

    def hand_over(self, exchange: Exchange) -> UpstreamConnection | None:
        """Let the exchange have the connection, if it still brings something. `replay` is to follow."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.exchange = exchange
        return connection

    def replay(self, exchange: Exchange) -> None:
        """Tell the exchange what came so far, as its connection would have."""
        parts, error, ended = self._parts, self._error, self._ended
        self._forget()
        exchange.response_head(self._head)
        for data in parts:
            exchange.response_body(data)
        if error is not None:
            exchange.response_failed(error, clean=False)
        elif ended:
            exchange.response_end(self._trailers)
        else:
            exchange.response_flush()

    def drop(self) -> None:
        """Another answer came, or nobody waits for one; safe to call twice."""
        self._forget()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _forget(self) -> None:
        self._buffers.held -= self._size
        self._parts, self._size = [], 0

    # -- http1.upstream.Exchange ---------------------------------------------------------------

    def response_head(self, head: Response) -> None:
        """The final head is here already."""

    def response_body(self, data: bytes) -> None:
        size = cost(data)
        self._parts.append(data)
        self._size += size
        self._buffers.held += size
        if self._connection is not None and (self._size >= KEPT_LIMIT or self._buffers.full):
            self._connection.pause()

    def response_flush(self) -> None:
        """It is passed on later, or never."""

    def response_end(self, trailers: list[Field]) -> None:
        self._connection = None
        self._trailers, self._ended = trailers, True

    def response_failed(self, error: UpstreamError, *, clean: bool) -> None:
        self._connection = None
        self._error = error

    def upstream_writable(self, writable: bool) -> None:
        """Nothing more is written."""
