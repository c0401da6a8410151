"""A raw client: sends bytes exactly as the test wants them and reads answers with h11 as the oracle."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Self, cast

from .facts import PATIENCE, Bell
from .wire import Reader, Response, response_reader
from .wire import request as make_request


class Client(asyncio.Protocol):
    """One connection. ended: "" while open, "eof" after FIN, "reset" after RST.

    Bytes go to the answer being read; what is behind it waits for the next one.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.count = 0
        self.ended = ""
        self.lost = False
        self.keep = True
        self._rest = b""
        self._reader: Reader | None = None
        self._response: Response | None = None
        self._writable = True
        self._bell = Bell()
        self.transport: asyncio.Transport

    @classmethod
    async def connect(
        cls,
        address: tuple[str, int],
        *,
        receive_buffer: int = 0,
        source: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Connect. receive_buffer: size of the kernel's buffer in bytes, 0 for the default. source: own
        address, "" for any. tls: what it trusts, for the name `localhost`."""
        raw = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        raw.setblocking(False)
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        loop = asyncio.get_running_loop()
        try:
            if source:
                raw.bind((source, 0))
            async with asyncio.timeout(PATIENCE):
                await loop.sock_connect(raw, address)
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                name = "localhost" if tls is not None else None
                _, client = await loop.create_connection(cls, sock=raw, ssl=tls, server_hostname=name)
        except BaseException:
            raw.close()
            raise
        return client

    # -- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's class is none of asyncio's

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        if self.keep:
            self.received += data
        if self._reader is not None and not self._reader.done:
            self._feed(self._reader, data)
        else:
            self._rest += data
        self._bell.ring()

    def _feed(self, reader: Reader, data: bytes) -> None:
        reader.feed(data)
        if reader.done:
            self._rest, reader.rest = self._rest + reader.rest, b""

    def eof_received(self) -> bool:
        self._finish("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._writable = True
        self._finish("reset" if exc is not None else "closed")

    def _finish(self, how: str) -> None:
        if not self.ended:
            self.ended = how
            if self._reader is not None and how == "eof":
                self._reader.end()
        self._bell.ring()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._bell.ring()

    # -- sending -------------------------------------------------------------------------------

    async def send(self, data: bytes, *, at: Sequence[int] = (), gap: float = 0.002) -> None:
        """Write the bytes, cut at the given offsets with `gap` seconds between the parts."""
        edges = [0, *at, len(data)]
        for start, stop in pairwise(edges):
            if start:
                await asyncio.sleep(gap)
            if self.lost or self.transport.is_closing():
                return
            self.transport.write(data[start:stop])
            if not self._writable:
                await self.until(lambda: self._writable or self.lost, "room to write")

    async def byte_by_byte(self, data: bytes) -> None:
        """Write each byte in a packet of its own."""
        for number in range(len(data)):
            self.transport.write(data[number : number + 1])
            await asyncio.sleep(0)

    def half_close(self) -> None:
        self.transport.write_eof()

    def reset(self) -> None:
        """Leave with RST."""
        if not self.lost:
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()

    async def close(self) -> None:
        """Leave with FIN; returns when the socket is closed. Safe to call twice."""
        if not self.lost:
            self.transport.close()
            await self.until(lambda: self.lost, "own socket closed")

    # -- receiving -----------------------------------------------------------------------------

    async def until(self, predicate: Callable[[], bool], what: str, *, timeout: float = PATIENCE) -> None:
        await self._bell.until(
            predicate, f"{what} (client got {self.count} bytes, ended {self.ended!r})", timeout=timeout
        )

    def begin(self, method: str = "GET", *, upgrade: bool = False) -> Response:
        """Start reading the answer to `method`; it fills as bytes come."""
        self._response = Response([])
        self._reader = response_reader(self._response, method.encode(), upgrade=upgrade)
        rest, self._rest = self._rest, b""
        if rest:
            self._feed(self._reader, rest)
        if self.ended == "eof":
            self._reader.end()
        return self._response

    async def head(self, method: str = "GET", *, upgrade: bool = False) -> Response:
        """The next answer as soon as its head is there; its body goes on filling."""
        response = self.begin(method, upgrade=upgrade)
        reader = self._reader
        assert reader is not None
        await self.until(lambda: reader.head or bool(reader.error) or bool(self.ended), "a response head")
        assert reader.head, (
            f"no response head: ended {self.ended!r}, {reader.error}, {bytes(self.received[:300])!r}"
        )
        return response

    async def body(self) -> Response:
        """The rest of the answer begun with `head`. Truncated answers come back with `complete` False."""
        reader, response = self._reader, self._response
        assert reader is not None
        assert response is not None
        await self.until(
            lambda: reader.done or bool(reader.error) or bool(self.ended), "the end of the answer"
        )
        response.error = reader.error
        if reader.done:
            self._reader = None
        return response

    async def response(self, method: str = "GET") -> Response:
        """The next whole answer (or what came of it before the connection ended)."""
        await self.head(method)
        return await self.body()

    async def got(self, data: bytes) -> None:
        """Wait until these bytes arrived (anywhere on this connection)."""
        await self.until(lambda: data in self.received, f"the bytes {data[:60]!r}")

    async def no_answer(self) -> None:
        """Wait for the end of the connection and assert that not one byte came."""
        await self.gone()
        assert not self.received, bytes(self.received[:300])

    async def gone(self) -> None:
        """Wait until the other side closed or reset."""
        await self.until(lambda: bool(self.ended), "the other side to close")

    @property
    def surplus(self) -> bytes:
        """Bytes behind the last answer read."""
        return self._rest

    # -- short forms ---------------------------------------------------------------------------

    async def ask(
        self,
        method: str = "GET",
        target: str | bytes = "/",
        *fields: tuple[str | bytes, str | bytes],
        host: str | bytes = "localhost",
        body: bytes | None = None,
    ) -> Response:
        """Send one request and read its answer."""
        await self.send(make_request(method, target, *fields, host=host, body=body))
        return await self.response(method)
