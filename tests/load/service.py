"""The service of the load tests: what it does is named by the last part of the path.

flood?BYTES  so many bytes, as fast as they are taken     sink     a body, taken at `pace`
drip?COUNT   one byte a second, so many                   tokens?COUNT, ones?COUNT  events, single bytes
forever      an event every 200 ms until the client goes  ws       a WebSocket that says nothing
ws-flood?BYTES, ws-sink  a WebSocket that only sends, that reads at `pace`
anything else: a small answer
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Self

from tests.fakes.websocket import BINARY, frame, switching

PIECE = bytes(65536)
SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsmall\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PACE = 10_000  # bytes a second of whoever reads slowly


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def read_slowly(reader: asyncio.StreamReader, until: float, took: Callable[[int], None]) -> None:
    """Take PACE bytes a second until an instant of the loop's clock or the end."""
    while asyncio.get_running_loop().time() < until:
        data = await reader.read(PACE // 5)
        if not data:
            return
        took(len(data))
        await asyncio.sleep(0.2)


class Service:
    """Listens on a free port. open: connections now; sent, got: bytes of floods and sinks."""

    def __init__(self) -> None:
        self.port = self.open = self.sent = self.got = self.requests = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether another may come."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        path, _, query = head.split(b" ", 2)[1].partition(b"?")
        name = path.rpartition(b"/")[2].decode()
        act = getattr(self, "_" + name.replace("-", "_"), None)
        if act is None:
            writer.write(SMALL)
            await writer.drain()
            return True
        acting: Awaitable[None] = act(reader, writer, int(query or b"0"))
        await acting
        return False

    async def _flood(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _number in range(size // len(PIECE)):
            writer.write(PIECE)
            await writer.drain()
            self.sent += len(PIECE)

    async def _sink(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: int) -> None:
        await read_slowly(reader, float("inf"), self._took)

    async def _drip(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
        writer.write(CHUNKED)
        for _number in range(count):
            writer.write(chunk(b"."))
            await writer.drain()
            await asyncio.sleep(1)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.5)

    async def _tokens(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
        writer.write(CHUNKED)
        for number in range(count):
            writer.write(chunk(b"data: token %d\n\n" % number))
            await writer.drain()
            await asyncio.sleep(0.01)
        await self._last(writer)

    async def _ones(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
        writer.write(CHUNKED)
        for _number in range(count // 100):
            writer.write(chunk(b"x") * 100)
            await writer.drain()
        await self._last(writer)

    async def _forever(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        writer.write(CHUNKED)
        while True:
            writer.write(chunk(b"data: still here\n\n"))
            await writer.drain()
            await asyncio.sleep(0.2)

    async def _last(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _ws(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(switching())
        while await reader.read(65536):
            pass

    async def _ws_flood(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
        writer.write(switching())
        piece = frame(BINARY, PIECE)
        while self.sent < size:
            writer.write(piece)
            await writer.drain()
            self.sent += len(PIECE)

    async def _ws_sink(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(switching())
        await read_slowly(reader, float("inf"), self._took)

    def _took(self, size: int) -> None:
        self.got += size
