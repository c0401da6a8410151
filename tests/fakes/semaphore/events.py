"""The event streams, `/api/ws`: who listens, and what each connection is told. Nothing is ever replayed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator

from starlette.websockets import WebSocket, WebSocketDisconnect

from .records import Document, Task, User

BEHIND = 256  # messages; whoever is further behind is cut off
LONGEST = 512  # bytes a client may send


class Streams:
    """Every open event stream with what it still has to send. None in a queue ends the stream."""

    def __init__(self) -> None:
        self._open: dict[int, list[asyncio.Queue[str | None]]] = {}

    @property
    def count(self) -> int:
        """How many connections listen."""
        return sum(map(len, self._open.values()))

    def tell(self, task: Task, message: Document) -> None:
        """Send to all who were to hear of the task when it was made."""
        text = json.dumps(message)
        for user_id in task.told:
            for queue in self._open.get(user_id, []):
                if queue.qsize() >= BEHIND:
                    queue.put_nowait(None)
                else:
                    queue.put_nowait(text)

    def cut(self) -> None:
        """End every stream."""
        for queues in self._open.values():
            for queue in queues:
                queue.put_nowait(None)

    @contextlib.contextmanager
    def _listening(self, user: User) -> Iterator[asyncio.Queue[str | None]]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._open.setdefault(user.id, []).append(queue)
        try:
            yield queue
        finally:
            self._open[user.id].remove(queue)

    async def serve(self, socket: WebSocket, user: User) -> None:
        """One accepted connection until one side ends it."""
        await socket.accept()
        with self._listening(user) as queue:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(_read(socket, queue), name="semaphore-stream")
                with contextlib.suppress(WebSocketDisconnect):
                    while (text := await queue.get()) is not None:
                        await socket.send_text(text)
                reading.cancel()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the client was faster
            await socket.close()


async def _read(socket: WebSocket, queue: asyncio.Queue[str | None]) -> None:
    """Read what the client says, ignore it, and end the stream when it leaves or talks too much."""
    with contextlib.suppress(WebSocketDisconnect):
        while len(await socket.receive_text()) <= LONGEST:
            pass
    queue.put_nowait(None)
