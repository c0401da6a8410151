"""RawUpstream: a TCP server that plays scripts of bytes and records every connection and byte.

A script is a sequence of steps; a step is an async callable that gets the connection. The n-th
connection plays the n-th script, the last script serves all further ones. What arrives is kept as bytes
and, as long as it is HTTP, read by h11; anything h11 would refuse is a `violation`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Self, cast

from .facts import PATIENCE, Bell
from .wire import Reader, Request, request_reader

Step = Callable[["Connection"], Awaitable[None]]
Script = Sequence[Step]


class Connection(asyncio.Protocol):
    """One accepted connection. ended: "" while the peer is there, then "eof" or "reset"."""

    def __init__(self, upstream: RawUpstream) -> None:
        self.upstream = upstream
        self.number = 0
        self.received = bytearray()
        self.requests: list[Request] = []
        self.violation = ""
        self.ended = ""
        self.lost = False
        self.count = 0
        self._bell = upstream.bell
        self._reader: Reader | None = None
        self._seen = 0
        self._expected = 0
        self._writable = True
        self._raw_from: int | None = None
        self.transport: asyncio.Transport

    # -- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's class is none of asyncio's
        sock = transport.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.upstream.accepted(self)

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        if self.upstream.keep:
            self.received += data
        if self._raw_from is None:
            self._parse(data)
        self._bell.ring()

    def eof_received(self) -> bool:
        self.ended = self.ended or "eof"
        if self._reader is not None and self._raw_from is None:
            self._reader.end()
        self._bell.ring()
        return True  # the script decides when this side closes

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.ended = self.ended or ("reset" if exc is not None else "closed")
        self._writable = True
        self._bell.ring()

    def pause_writing(self) -> None:
        self._writable = False
        self._bell.ring()

    def resume_writing(self) -> None:
        self._writable = True
        self._bell.ring()

    def _parse(self, data: bytes) -> None:
        while data:
            if self._reader is None:
                request = Request([], connection=self.number)
                self._reader = request_reader(request)
                self.requests.append(request)
            known = self._reader.head
            self._reader.feed(data)
            if self._reader.head and not known:
                self.upstream.requests.append(self.requests[-1])
            if self._reader.error:
                self.violation = self._reader.error
                self.requests.pop() if not self._reader.head else None
                self._raw_from = len(self.received)
                return
            if not self._reader.done:
                return
            data = self._reader.rest
            self._reader = None
            if self.requests[-1].upgrade:
                self._raw_from = len(self.received) - len(data)
                return

    # -- what steps use ------------------------------------------------------------------------

    @property
    def after_upgrade(self) -> bytes:
        """Bytes that followed an upgrade request."""
        return bytes(self.received[self._raw_from :]) if self._raw_from is not None else b""

    async def until(self, predicate: Callable[[], bool], what: str) -> None:
        await self._bell.until(predicate, f"{what} (upstream connection {self.number}, ended {self.ended!r})")

    async def head(self) -> Request:
        """The next request as soon as its head is there."""
        await self.until(self._has_next, "a request head")
        self._seen += 1
        return self.requests[self._seen - 1]

    async def request(self) -> Request:
        """The next request when it is complete."""
        request = await self.head()
        await self.until(lambda: request.complete, "the end of a request")
        return request

    async def next_or_end(self) -> Request | None:
        """The next request head, or None when the peer went away first."""
        await self._bell.until(
            lambda: self._has_next() or bool(self.ended), "a request or the end", timeout=10 * PATIENCE
        )
        return await self.head() if self._has_next() else None

    async def whole(self, request: Request) -> bool:
        """Wait for the end of a request begun. False when the peer went away before."""
        await self.until(lambda: request.complete or bool(self.ended), "the request's end")
        return request.complete

    def _has_next(self) -> bool:
        if len(self.requests) <= self._seen:
            return False
        last = len(self.requests) == self._seen + 1
        return not last or self._reader is None or self._reader.head

    async def send(self, data: bytes) -> None:
        """Write and wait until the buffer is below its mark. Silent when the peer has gone."""
        await asyncio.sleep(0)  # a script that floods must let the loop tell it that the peer has gone
        if self.lost or self.transport.is_closing():
            return
        self.transport.write(data)
        if not self._writable:
            await self.until(lambda: self._writable or self.lost, "room to write")

    async def gone(self) -> None:
        """Wait until the peer closed or reset."""
        await self.until(lambda: bool(self.ended), "the peer to go away")

    def reset(self) -> None:
        """Close with RST."""
        if not self.lost:
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()

    def close(self) -> None:
        """Send what is buffered, then FIN."""
        if not self.lost:
            self.transport.close()


class RawUpstream:
    """Accepts on loopback and plays scripts. Use as an async context manager, or `start` and `aclose`.

    keep: False counts bytes and reads messages but does not keep the raw bytes. requests: every one whose
    head was read, in order of arrival over all connections.
    """

    def __init__(self, *scripts: Script, keep: bool = True) -> None:
        self.scripts = list(scripts) or [[]]
        self.keep = keep
        self.connections: list[Connection] = []
        self.requests: list[Request] = []
        self.failures: list[BaseException] = []
        self.bell = Bell()
        self.port = 0
        self.unix_path = ""
        self.tls = False
        self._host = "127.0.0.1"
        self._server: asyncio.Server | None = None
        self._deaf: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ----------------------------------------------------------------------------------

    async def start(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        unix_path: str = "",
    ) -> Self:
        """Listen; with port 0 on a free port, which stays the same over `stop_listening` and `start`."""
        self._host, self.unix_path, self.tls = host, unix_path, tls is not None
        self._hear()
        if unix_path:
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: Connection(self), unix_path
            )
            return self
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), host, port or self.port, ssl=tls, reuse_address=True, backlog=4096
        )
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def stop_listening(self) -> None:
        """Refuse connections from now on; those open stay.

        The port stays ours, bound and deaf: another test on this machine must not answer in our place.
        """
        if self._server is None:
            return
        self._server.close()
        self._server = None
        if self.port and ":" not in self._host:
            self._deaf = socket.socket()
            self._deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # the listener is still closing: then nobody else gets it yet
                self._deaf.bind((self._host, self.port))

    def _hear(self) -> None:
        if self._deaf is not None:
            self._deaf.close()
            self._deaf = None

    async def aclose(self) -> None:
        """Stop listening, end all scripts and connections. Raises what a script raised."""
        self.stop_listening()
        self._hear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self.connections:
            if not connection.lost:
                connection.transport.abort()
        await self.bell.until(
            lambda: all(one.lost for one in self.connections), "upstream connections closed"
        )
        if self.failures:
            raise self.failures[0]

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def accepted(self, connection: Connection) -> None:
        """Number the connection and play its script."""
        connection.number = len(self.connections)
        self.connections.append(connection)
        script = self.scripts[min(connection.number, len(self.scripts) - 1)]
        task = asyncio.get_running_loop().create_task(self._play(connection, script))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.bell.ring()

    async def _play(self, connection: Connection, script: Script) -> None:
        try:
            for step in script:
                await step(connection)
        except AssertionError as exc:
            self.failures.append(exc)
            connection.reset()

    # -- what was seen -------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        return (self._host, self.port)

    @property
    def authority(self) -> str:
        return f"{self._host}:{self.port}"

    @property
    def url(self) -> str:
        if self.unix_path:
            return f"unix:{self.unix_path}"
        return f"https://localhost:{self.port}" if self.tls else f"http://{self.authority}"

    @property
    def targets(self) -> list[bytes]:
        return [request.target for request in self.requests]

    @property
    def violations(self) -> list[str]:
        """What h11 refused, per connection. A gateway never sends such a thing."""
        return [connection.violation for connection in self.connections if connection.violation]

    @property
    def open(self) -> int:
        """Connections that are still open on both sides."""
        return sum(1 for connection in self.connections if not connection.ended)

    async def until(self, predicate: Callable[[], bool], what: str) -> None:
        await self.bell.until(predicate, what)

    async def saw(self, count: int) -> list[Request]:
        """Wait until `count` requests have been read completely."""
        await self.until(
            lambda: sum(1 for request in self.requests if request.complete) >= count,
            f"{count} whole requests",
        )
        return self.requests


# -- steps -------------------------------------------------------------------------------------


def send(*pieces: bytes) -> Step:
    """Write the pieces, each in a packet of its own as far as TCP_NODELAY gives that."""

    async def step(connection: Connection) -> None:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(0.002)
            await connection.send(piece)

    return step


def get_request() -> Step:
    """Wait for a whole request."""

    async def step(connection: Connection) -> None:
        await connection.request()

    return step


def get_head() -> Step:
    """Wait for the head of a request only."""

    async def step(connection: Connection) -> None:
        await connection.head()

    return step


def expect(data: bytes) -> Step:
    """Wait until these bytes have arrived somewhere in what was received."""

    async def step(connection: Connection) -> None:
        await connection.until(lambda: data in connection.received, f"the bytes {data[:60]!r}")

    return step


def wait_for(event: asyncio.Event) -> Step:
    """Go on when the test says so."""

    async def step(connection: Connection) -> None:
        async with asyncio.timeout(PATIENCE):
            await event.wait()

    return step


def set_event(event: asyncio.Event) -> Step:
    """Tell the test that the script came this far."""

    async def step(connection: Connection) -> None:
        event.set()

    return step


def pause(seconds: float) -> Step:
    """Let time pass (for faults that are made of time)."""

    async def step(connection: Connection) -> None:
        await asyncio.sleep(seconds)

    return step


def stop_reading() -> Step:
    """Read nothing more until `read_on`."""

    async def step(connection: Connection) -> None:
        connection.transport.pause_reading()

    return step


def read_on() -> Step:
    async def step(connection: Connection) -> None:
        connection.transport.resume_reading()

    return step


def close() -> Step:
    async def step(connection: Connection) -> None:
        connection.close()

    return step


def half_close() -> Step:
    """FIN after what was written; reading goes on."""

    async def step(connection: Connection) -> None:
        connection.transport.write_eof()

    return step


def reset() -> Step:
    async def step(connection: Connection) -> None:
        connection.reset()

    return step


def until_gone() -> Step:
    """Stay until the peer goes."""

    async def step(connection: Connection) -> None:
        await connection.gone()

    return step


def repeat(*answers: bytes) -> Step:
    """Answer whole requests with these bytes in turn, the last one again and again, until the peer goes."""

    async def step(connection: Connection) -> None:
        number = 0
        while (request := await connection.next_or_end()) is not None and await connection.whole(request):
            await connection.send(answers[min(number, len(answers) - 1)])
            number += 1
        connection.close()

    return step


def once(*steps: bytes) -> Script:
    """The usual script of one exchange: a whole request, the answer in these packets, stay."""
    return [get_request(), send(*steps), until_gone(), close()]
