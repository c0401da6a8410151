"""The zoo's application for ASGI servers. See `servers.py` for what every application does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]  # as ASGI has them
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

journal: list[str] = []
gates: defaultdict[bytes, asyncio.Event] = defaultdict(asyncio.Event)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        raise ValueError(scope["type"])  # neither lifespan nor WebSockets
    journal.append(f"{scope['method']} {scope['path']}")
    name = scope["path"].rpartition("/")[2]
    fields = dict(scope["headers"])
    if name == "stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first\n", "more_body": True})
        await asyncio.wait_for(gates[scope["query_string"]].wait(), 60)
        await send({"type": "http.response.body", "body": b"second\n"})
        return
    status, body = 200, b"hello\n"
    if name == "open":
        gates[scope["query_string"]].set()
    elif name == "journal":
        body = "\n".join(journal).encode()
    elif name == "echo":
        body = await whole(receive)
    elif fields.get(b"if-none-match") == b'"1"':
        status, body = 304, b""
    headers = [(b"etag", b'"1"')]
    if status == 200:
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def whole(receive: Receive) -> bytes:
    """The body of the request."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)
