"""Clients of the load tests, and what the gateway's process holds while they are there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import psutil

from tests.e2e.served import Served
from tests.fakes.facts import PATIENCE
from tests.fakes.wire import request
from tests.load.service import PIECE

MIB = 1 << 20


@dataclass
class Wire:
    """One connection to the gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE * 3)

    def abort(self) -> None:
        """Leave with RST. A FIN would wait behind what the gateway does not read."""
        raw = self.writer.get_extra_info("socket")
        if raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def pour(self, piece: bytes, took: list[int]) -> None:
        """Write without end; `took[0]` grows by what the gateway has taken. Ends by being cancelled."""
        while True:
            self.writer.write(piece)
            await self.writer.drain()
            took[0] += len(piece)


async def connect(served: Served, data: bytes = b"", *, receive_buffer: int = 0) -> Wire:
    """Connect and send. receive_buffer: bytes the kernel may keep for this client, 0 for its default."""
    raw = socket.socket()
    if receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", served.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=16384)
    writer.write(data)
    return Wire(reader, writer)


def get(path: str) -> bytes:
    """A request to the service `a`."""
    return request("GET", f"/services/a/{path}", host="localhost")


@contextlib.asynccontextmanager
async def many(
    served: Served, count: int, data: bytes, *, receive_buffer: int = 0
) -> AsyncIterator[list[Wire]]:
    """So many connections, a hundred at a time, all of which have sent; reset afterwards."""
    wires: list[Wire] = []
    try:
        while len(wires) < count:
            more = min(100, count - len(wires))
            wires += await asyncio.gather(
                *(connect(served, data, receive_buffer=receive_buffer) for _ in range(more))
            )
        yield wires
    finally:
        for wire in wires:
            wire.abort()


@dataclass
class Held:
    """What the gateway's process holds: bytes resident, and descriptors."""

    served: Served
    memory: int = field(init=False)
    descriptors: int = field(init=False)

    def __post_init__(self) -> None:
        process = psutil.Process(self.served.process.pid)
        self.memory = process.memory_info().rss
        self.descriptors = process.num_fds()

    def grown(self) -> int:
        """Bytes resident more than then."""
        return Held(self.served).memory - self.memory


async def most_grown(before: Held, seconds: float) -> int:
    """The most memory that it holds more than before, seen over so many seconds."""
    most = 0
    for _ in range(int(seconds * 2)):
        most = max(most, before.grown())
        await asyncio.sleep(0.5)
    return most


def cpu(served: Served) -> float:
    """Seconds of CPU that the gateway has used."""
    times = psutil.Process(served.process.pid).cpu_times()
    return float(times.user + times.system)


def upload_head(size: int) -> bytes:
    return f"POST /services/a/sink HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()


__all__ = ["MIB", "PIECE", "Held", "Wire", "connect", "cpu", "get", "many", "most_grown", "upload_head"]
