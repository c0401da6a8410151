"""The load of the soak: mixed, steady and moderate; every answer is checked, what went wrong is counted.

Owns the clients only. Each kind of client is one task that does the same thing again and again until it is
cancelled, at a pace of its own, spread at random.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable

STEADY, NAPS = "/services/steady", ("nap-a", "nap-b")
LIMIT = 60.0  # seconds for one exchange, a cold start included
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
Exchange = Callable[["Load"], Awaitable[None]]


class Wrong(Exception):
    """An answer that is not what the service gives."""


class Wire:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.reader, self.writer, self.port = reader, writer, port

    async def ask(self, method: str, path: str, *fields: str, body: bytes = b"") -> int:
        """Send a request; returns the length of its answer, -1 for a chunked one. Raises Wrong."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{self.port}", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")):
            raise Wrong(head.partition(b"\r\n")[0].decode())
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return int(line.partition(b":")[2])
        return -1

    async def small(self, path: str) -> None:
        """One small answer, checked."""
        body = await self.reader.readexactly(await self.ask("GET", path))
        if body != b"x" * 128:
            raise Wrong(repr(body[:40]))

    def reset(self) -> None:
        """Leave with RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Load:
    """All clients of one soak. done: exchanges by kind; failed: what went wrong, by kind and reason."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._open: set[asyncio.WriteTransport] = set()

    async def connect(self) -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._open = {one for one in self._open if not one.is_closing()} | {writer.transport}
        return Wire(reader, writer, self.port)

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            async with asyncio.TaskGroup() as clients:
                for exchange, count, pause in MIX:
                    for _ in range(count):
                        clients.create_task(self.again_and_again(exchange, pause))
        finally:  # what was under way is broken off: nothing of ours may stay open
            for transport in self._open:
                transport.abort()

    async def again_and_again(self, exchange: Exchange, pause: float) -> None:
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * pause)
            await self.once(exchange)

    async def once(self, exchange: Exchange) -> None:
        """One exchange, counted."""
        kind = getattr(exchange, "__name__", "exchange")
        try:
            async with asyncio.timeout(LIMIT):
                await exchange(self)
        except (Wrong, OSError, EOFError, TimeoutError) as exc:
            self.failed[f"{kind}: {type(exc).__name__} {exc}"[:200]] += 1
        else:
            self.done[kind] += 1


async def keep_alive(load: Load) -> None:
    """Twenty requests on one connection."""
    wire = await load.connect()
    for _ in range(20):
        await wire.small(f"{STEADY}/small")
        await asyncio.sleep(0.1)
    wire.writer.close()


async def one_shot(load: Load) -> None:
    """One request on a connection of its own."""
    wire = await load.connect()
    await wire.small(f"{STEADY}/small")
    wire.writer.close()


async def upload(load: Load) -> None:
    """64 KiB there and back."""
    wire = await load.connect()
    body = os.urandom(65536)
    if await wire.reader.readexactly(await wire.ask("POST", f"{STEADY}/echo", body=body)) != body:
        raise Wrong("another body came back")
    wire.writer.close()


async def tokens(load: Load) -> None:
    """A stream of a hundred events to its end."""
    wire = await load.connect()
    await wire.ask("GET", f"{STEADY}/stream?100")
    body = await wire.reader.readuntil(b"0\r\n\r\n")
    while not body.endswith(b"\r\n0\r\n\r\n"):  # the end, not an event that ends in 0
        body += await wire.reader.readuntil(b"0\r\n\r\n")
    if body.count(b"data: token ") != 100:
        raise Wrong(f"{body.count(b'data: token ')} events")
    wire.writer.close()


async def vanish(load: Load) -> None:
    """A stream whose client leaves at a random moment, politely or not."""
    wire = await load.connect()
    await wire.ask("GET", f"{STEADY}/stream?10000")
    await asyncio.sleep(random.uniform(0, 2))
    if random.random() < 0.5:
        wire.reset()
    else:
        wire.writer.close()


async def half_upload(load: Load) -> None:
    """A request whose client leaves before its body is whole."""
    wire = await load.connect()
    head = f"POST {STEADY}/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    wire.writer.write(head.encode() + bytes(random.randrange(50_000)))
    await asyncio.sleep(random.uniform(0, 0.5))
    wire.reset()


async def websocket(load: Load) -> None:
    """Thirty messages on one socket, then a close frame or none."""
    wire = await load.connect()
    fields = ("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {KEY.decode()}")
    await wire.ask("GET", f"{STEADY}/ws", *fields, "Sec-WebSocket-Version: 13")
    for number in range(30):
        message = b"message %d" % number
        wire.writer.write(bytes((0x82, 0x80 | len(message))) + bytes(4) + message)
        got = await wire.reader.readexactly(2 + len(message))
        if got[2:] != message:
            raise Wrong(repr(got))
        await asyncio.sleep(0.3)
    if random.random() < 0.5:
        wire.writer.write(b"\x88\x82" + bytes(4) + b"\x03\xe8")
        await wire.reader.readexactly(4)
        wire.writer.close()
    else:
        wire.reset()


async def nap(load: Load) -> None:
    """A request to a service that sleeps whenever it was left alone for a while."""
    wire = await load.connect()
    await wire.small(f"/services/{random.choice(NAPS)}/small")
    wire.writer.close()


# exchange, clients, seconds of pause: some 100 requests, 300 events and 30 messages a second
MIX: tuple[tuple[Exchange, int, float], ...] = (
    (keep_alive, 8, 1.0),
    (one_shot, 4, 0.2),
    (upload, 2, 1.0),
    (tokens, 16, 1.0),
    (vanish, 6, 1.0),
    (half_upload, 2, 1.0),
    (websocket, 12, 1.0),
    (nap, 2, 9.0),
)
