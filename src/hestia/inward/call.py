"""One request to our own edge over a private socket: our HTTP/1.1 client, made awaitable.

Owns the connection of one exchange and the bytes nobody took yet, both bounded. What is written and what
the answer means is the relays' business.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hestia.core.errors import ClientGone, HestiaError, UpstreamError
from hestia.core.model import Endpoint
from hestia.http1.heads import Field, Response
from hestia.http1.pool import Outcome, Pool
from hestia.http1.upstream import UpstreamConnection

CONNECT_TIMEOUT: Final = 5.0  # seconds; the socket is in this process
HELD_DOWN: Final = 64 * 1024  # bytes of an answer that wait for the client before reading pauses
# Bytes of a body that wait for the edge before receive() is left alone. As long as it is called, a client
# that leaves is seen (U19), so this is as much as one may upload to a sleeping service and still be missed.
HELD_UP: Final = 1024 * 1024


class Call:
    """An `http1.upstream.Exchange` with one reader and one writer.

    `abort` may come from anywhere, at any time; whoever waits is told with ClientGone.
    """

    def __init__(self) -> None:
        self._connection: UpstreamConnection | None = None
        self._head: Response | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: HestiaError | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    async def open(self, pool: Pool, edge: Endpoint, head: bytes, *, is_head: bool = False) -> None:
        """Send the head of the request. Raises UpstreamError."""
        # The edge keeps its side open far longer than the pool does: any method may use an idle connection.
        connection = pool.checkout(pool.shelf(None), idempotent=True)
        if connection is None:
            connection = await self._dial(pool, edge)
        if self._error is not None:
            connection.abort()
            raise self._error
        self._connection = connection
        if connection.transport is not None:
            connection.transport.set_write_buffer_limits(high=HELD_UP, low=HELD_UP // 4)
        connection.begin(self, no_body=is_head)
        connection.write(head)

    async def _dial(self, pool: Pool, edge: Endpoint) -> UpstreamConnection:
        wanted: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def settle(outcome: Outcome) -> None:
            if not wanted.done():
                wanted.set_result(outcome)
            elif isinstance(outcome, UpstreamConnection):  # cancelled in this very turn of the loop
                outcome.abort()

        dial = pool.dial(pool.shelf(None), edge, CONNECT_TIMEOUT, settle, tls_verify=False)
        try:
            outcome = await wanted
        except asyncio.CancelledError:
            pool.give_up(dial)
            if wanted.done() and not wanted.cancelled():
                settle(wanted.result())
            raise
        if isinstance(outcome, UpstreamConnection):
            return outcome
        raise outcome

    # -- up ------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Send bytes; returns when more may follow. Silent when the call is over."""
        if self._connection is not None:
            self._connection.write(data)
            await self._writable.wait()

    def end_body(self) -> None:
        """The request is complete; afterwards its connection may serve another one."""
        if self._connection is not None:
            self._connection.request_done = True

    # -- down ----------------------------------------------------------------------------------

    async def head(self) -> Response:
        """Head of the final answer. Raises HestiaError."""
        while self._head is None:
            await self._more()
        return self._head

    async def read(self) -> bytes:
        """Bytes of the answer, b"" at its end. Raises HestiaError when it breaks off."""
        while not self._pieces and not self._ended:
            await self._more()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if self._connection is not None:
            self._connection.resume()
        return data

    async def _more(self) -> None:
        """Wait until something came. Raises why nothing will."""
        if self._error is not None:
            raise self._error
        self._readable.clear()
        await self._readable.wait()

    # -- ends ----------------------------------------------------------------------------------

    def abort(self) -> None:
        """Nobody wants the answer any more: cut the call as it stands. Safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        if not self._ended:
            self._error = self._error or ClientGone("The client left.")
        self._wake()

    def finish(self, limit: float) -> None:
        """Everything was said: close behind what was written, at the latest after `limit` seconds."""
        connection, self._connection = self._connection, None
        self._ended = True
        if connection is not None:
            connection.finish(limit)
        self._wake()

    def _wake(self) -> None:
        self._readable.set()
        self._writable.set()

    # -- http1.upstream.Exchange ---------------------------------------------------------------

    def response_head(self, head: Response) -> None:
        if head.status >= 200 or head.status == 101:  # ASGI has no interim answers (U27)
            self._head = head
            self._readable.set()

    def response_body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)

    def response_flush(self) -> None:
        if self._pieces:
            self._readable.set()
        if self._size > HELD_DOWN and self._connection is not None:
            self._connection.pause()

    def response_end(self, trailers: list[Field]) -> None:
        self._connection = None
        self._ended = True
        self._wake()

    def response_failed(self, error: UpstreamError, *, clean: bool) -> None:
        self._connection = None
        self._error = error
        self._wake()

    def upstream_writable(self, writable: bool) -> None:
        if writable:
            self._writable.set()
        else:
            self._writable.clear()
