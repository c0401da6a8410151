"""One answer that carries a service's output: the kept lines, then, with follow, what comes.

Owns the tail, the end when the client leaves, and that a failure before the first byte is a problem.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hestia.core.errors import EngineUnavailable, HandleUnknown, NotFound

HISTORY_PAUSE = 0.15  # the kept lines come without a pause; what comes after one is new
READ_TIMEOUT = 30.0


class LogStream(Response):
    """Streams `lines`; closes them when the client leaves.

    lines: output in pieces of any size. tail: send at most that many of the kept lines; None is all.
    """

    media_type = "text/plain"

    def __init__(self, lines: AsyncIterator[bytes], *, tail: int | None, follow: bool) -> None:
        super().__init__(None, 200, {"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._lines = lines
        self._tail = tail
        self._follow = follow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything; return when it ended or the client left. Raises what the output raises."""
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=64)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._read(pieces), name="api-logs-read"),
                    group.create_task(self._send(pieces, send), name="api-logs-send"),
                ]
                watch = group.create_task(_until_gone(receive, tasks), name="api-logs-watch")
                await asyncio.wait(tasks)
                watch.cancel()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # one reader, one failure; callers know its class

    async def _read(self, pieces: asyncio.Queue[bytes | None]) -> None:
        """Move the output into the queue; None is its end."""
        try:
            async for piece in self._lines:
                await pieces.put(piece)
        except HandleUnknown as exc:
            raise NotFound(exc.detail, remedy=exc.remedy, service_id=exc.service_id) from exc
        finally:
            close = getattr(self._lines, "aclose", None)
            if close is not None:
                await close()
        await pieces.put(None)

    async def _send(self, pieces: asyncio.Queue[bytes | None], send: Send) -> None:
        """Send the kept lines, then the rest. The head waits for the first piece, which may be a failure."""
        kept, ended = await self._kept(pieces)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if kept or self._follow:
            await send(_part(kept))  # with nothing in it: the head leaves before the first line comes
        while not ended:
            piece = await pieces.get()
            ended = piece is None
            if piece:
                await send(_part(piece))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _kept(self, pieces: asyncio.Queue[bytes | None]) -> tuple[bytes, bool]:
        """What to send first, and whether that was all: the tail, or the first piece without one."""
        kept = bytearray()
        while True:
            try:
                async with asyncio.timeout(HISTORY_PAUSE if self._follow else READ_TIMEOUT):
                    piece = await pieces.get()
            except TimeoutError as exc:
                if self._follow:
                    return self._cut(kept), False
                raise EngineUnavailable(
                    f"The output did not come within {READ_TIMEOUT:.0f} s.", sent=False, cause="timeout"
                ) from exc
            if piece is None:
                return self._cut(kept), True
            kept += piece
            if self._tail is None:
                return bytes(kept), False

    def _cut(self, kept: bytearray) -> bytes:
        return bytes(kept) if self._tail is None else last_lines(bytes(kept), self._tail)


def last_lines(text: bytes, count: int) -> bytes:
    """The last `count` lines; a line without its newline counts."""
    return b"".join(text.splitlines(keepends=True)[-count:]) if count else b""


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _until_gone(receive: Receive, tasks: list[asyncio.Task[None]]) -> None:
    """End the tasks when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    for task in tasks:
        task.cancel()
