"""A friendly HTTP service on top of RawUpstream: what ordinary programs answer, by path.

`/echo` the request as JSON · `/upload` size and hash of the body · `/mirror` the body back while it
comes · `/sse`, `/ndjson`, `/chunked` `n` events, each on its own · `/bytes` `n` pseudo-random bytes ·
`/gzip` a compressed body · `/status` the status `n` · `/slow` answers after `release` · `/ws` echo.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from urllib.parse import parse_qs

from . import websocket
from .upstream import Connection, RawUpstream
from .wire import LAST_CHUNK, Request, answer, chunk, head

GZIPPED = gzip.compress(b'{"hello": "world"}' * 50, mtime=0)
GZIP_FIELDS = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"), ("ETag", '"v1"'))
PIECE = 65536


def pattern(size: int) -> bytes:
    """`size` bytes that repeat nowhere near a buffer size."""
    block = b"".join(n.to_bytes(3, "big") for n in range(7919))
    return (block * (size // len(block) + 1))[:size]


def describe(request: Request) -> bytes:
    """The request as JSON: what an `/echo` answers."""
    return json.dumps(
        {
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
            "fields": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.fields],
            "size": len(request.body),
            "sha256": hashlib.sha256(request.body).hexdigest(),
        }
    ).encode()


class HttpUpstream(RawUpstream):
    """Serves keep-alive connections until the client goes. name: told in `X-Upstream`."""

    def __init__(self, name: str = "up", *, keep: bool = True) -> None:
        super().__init__([self._serve], keep=keep)
        self.name = name
        self.released = False
        self.gate = asyncio.Event()
        self.sent_events = 0
        self.always = 0  # the status of every `/echo`, 0 for 200

    def release(self) -> None:
        """Let every `/slow` answer."""
        self.released = True
        self.bell.ring()

    async def _serve(self, connection: Connection) -> None:
        while (request := await connection.next_or_end()) is not None:
            path = request.target.decode("latin-1").partition("?")[0]
            if path.endswith("/ws") and request.upgrade:
                await self._websocket(connection, request)
                break
            if path.endswith("/mirror"):
                await self._mirror(connection, request)
                continue
            if not await connection.whole(request):
                break
            await self._answer(connection, request, path.rsplit("/", 1)[-1])
        connection.close()

    async def _answer(self, connection: Connection, request: Request, page: str) -> None:
        if self.always and page == "echo":
            await connection.send(answer(b"", ("X-Upstream", self.name), status=f"{self.always} Always"))
            return
        query = parse_qs(request.target.decode("latin-1").partition("?")[2])
        count = int(query.get("n", ["0"])[0])
        name = ("X-Upstream", self.name)
        if page in ("sse", "ndjson", "chunked"):
            await self._events(connection, page, count)
        elif page == "bytes":
            await self._bytes(connection, count)
        elif page == "gzip":
            await connection.send(answer(GZIPPED, *GZIP_FIELDS, name))
        elif page == "status":
            await connection.send(answer(b"status %d" % count, name, status=f"{count} Told"))
        elif page == "slow":
            await connection.until(lambda: self.released or bool(connection.ended), "release")
            await connection.send(answer(b"released", name))
        else:
            body = b"" if request.method == b"HEAD" else describe(request)
            await connection.send(answer(body, ("Content-Type", "application/json"), name))

    async def _events(self, connection: Connection, page: str, count: int) -> None:
        kind = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}.get(page, "text/plain")
        await connection.send(
            head("HTTP/1.1 200 OK", [("Content-Type", kind), ("Transfer-Encoding", "chunked")])
        )
        for number in range(count):
            if connection.ended:
                return
            await connection.send(chunk(b"data: event %d\n\n" % number))
            self.sent_events += 1
            await asyncio.sleep(0)
        await connection.send(LAST_CHUNK)

    async def _bytes(self, connection: Connection, count: int) -> None:
        await connection.send(head("HTTP/1.1 200 OK", [("Content-Length", str(count))]))
        data = pattern(count)
        for start in range(0, count, PIECE):
            await connection.send(data[start : start + PIECE])

    async def _mirror(self, connection: Connection, request: Request) -> None:
        """Answer while the request is still coming (full duplex)."""
        await connection.send(head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]))
        sent = 0
        while not (request.complete and sent == len(request.body)):
            await connection.until(
                lambda s=sent: len(request.body) > s or request.complete or bool(connection.ended),  # type: ignore[misc]
                "more of the body",
            )
            if connection.ended:
                return
            piece = bytes(request.body[sent:])
            sent += len(piece)
            if piece:
                await connection.send(chunk(piece))
        await connection.send(LAST_CHUNK)

    async def _websocket(self, connection: Connection, request: Request) -> None:
        """Accept, then echo every data frame unmasked; answer pings; echo the close and end."""
        key = request.get("sec-websocket-key") or b""
        await connection.send(websocket.switching(key=key))
        done = 0
        while True:
            found, _ = websocket.frames(connection.after_upgrade)
            for one in found[done:]:
                opcode = websocket.PONG if one.opcode == websocket.PING else one.opcode
                await connection.send(websocket.frame(opcode, one.payload, final=one.final))
                if one.opcode == websocket.CLOSE:
                    return
            done = len(found)
            seen = len(connection.received)
            await connection.until(
                lambda s=seen: len(connection.received) > s or bool(connection.ended),  # type: ignore[misc]
                "another frame",
            )
            if connection.ended:
                return
