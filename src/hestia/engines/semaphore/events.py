"""What a server tells by itself: changes of tasks and lines of their output, over one WebSocket.

Nothing is told twice or later, so whoever listens reads the state once after each connect. Source:
semaphore-api.md 7.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from hestia.core.errors import EngineUnavailable
from hestia.engines.semaphore.connection import Connection, tls_context
from hestia.engines.semaphore.tasks import plain_line

_LONGEST: Final = 4 * 2**20  # bytes of one message; a longer line ends the connection, and it is made again


@dataclass(frozen=True, slots=True)
class Told:
    """task: 0 is the connect itself. line: of its output, None is a change of its state."""

    task: int = 0
    line: str | None = None


async def listen(connection: Connection) -> AsyncGenerator[Told, None]:
    """Everything that is told from now on; the first is the connect.

    Raises EngineUnavailable, EngineRefused.
    """
    from websockets.asyncio.client import connect  # as httpx in `connection`
    from websockets.exceptions import WebSocketException

    headers = await connection.credentials()
    url = urlsplit(connection.base)
    secure = url.scheme == "https"
    address = url._replace(scheme="wss" if secure else "ws", path=f"{url.path}/api/ws").geturl()
    try:
        async with connect(
            address,
            additional_headers=headers,
            open_timeout=connection.server.timeout,
            max_size=_LONGEST,
            ssl=tls_context() if secure else None,
            proxy=None,
        ) as socket:
            yield Told()
            async for message in socket:
                told = _read(message)
                if told is not None:
                    yield told
    except (OSError, TimeoutError, WebSocketException) as exc:
        raise EngineUnavailable(
            f"Semaphore's events at {address} ended: {exc or type(exc).__name__}", sent=False
        ) from exc


def _read(message: str | bytes) -> Told | None:
    try:
        read = json.loads(message)
    except ValueError:
        return None
    if not isinstance(read, dict) or not isinstance(read.get("task_id"), int):
        return None
    is_line = read.get("type") == "log"
    return Told(read["task_id"], plain_line(str(read.get("output", ""))) if is_line else None)
