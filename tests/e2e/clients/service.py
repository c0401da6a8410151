"""What the real clients talk to: a small ASGI application under uvicorn, with a part of Ollama's API.

    service.py PORT

`/who` tells what came · `/echo` sends the body back · `/events?TOKEN` is an event stream that stops after its
first event until somebody asks for `/seen?TOKEN` · `/socket` is a WebSocket that echoes · `/api/version` and
`/api/chat` are Ollama's; the chat stops behind its first piece, and its TOKEN is the question.

So a client can only get the end of a stream if it got the beginning before: no clock is needed to show it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]  # as the ASGI specification has it
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
PATIENCE = 60  # seconds until a stream goes on although nobody told that the beginning was seen

seen: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI entry."""
    if scope["type"] == "websocket":
        await socket(receive, send)
    elif scope["type"] == "http":
        await http(scope, await whole(receive), send)


async def whole(receive: Receive) -> bytes:
    """The request's body."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def http(scope: Message, body: bytes, send: Send) -> None:
    path, token = scope["path"], scope["query_string"].decode()
    if path == "/who":
        fields = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        await answer(send, {"path": path, "query": token, "host": fields["host"]})
    elif path == "/echo":
        await start(send, "application/octet-stream")
        await send({"type": "http.response.body", "body": body})
    elif path == "/seen":
        seen[token].set()
        await answer(send, "noted")
    elif path == "/events":
        await start(send, "text/event-stream")
        await in_two(send, token, [b"data: first\n\n", b"data: second\n\n", b"data: third\n\n"])
    elif path == "/api/version":
        await answer(send, {"version": "0.0.1"})
    elif path == "/api/chat":
        await chat(send, json.loads(body))
    else:
        await answer(send, "ready" if path == "/health" else "nothing", 200 if path == "/health" else 404)


async def start(send: Send, content_type: str, status: int = 200) -> None:
    fields = [(b"content-type", content_type.encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})


async def answer(send: Send, document: object, status: int = 200) -> None:
    await start(send, "application/json", status)
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


async def in_two(send: Send, token: str, parts: list[bytes]) -> None:
    """Send the first part; the rest once it was seen. Unseen, the answer ends behind the first."""
    await send({"type": "http.response.body", "body": parts[0], "more_body": True})
    try:
        async with asyncio.timeout(PATIENCE):
            await seen[token].wait()
    except TimeoutError:
        parts = parts[:1]
    for part in parts[1:]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def chat(send: Send, asked: dict[str, Any]) -> None:  # Ollama's request, as JSON
    """Ollama's streaming answer: one JSON document per line."""
    await start(send, "application/x-ndjson")
    pieces = [("wood ", False), ("burns ", False), ("well", False), ("", True)]
    lines = [
        {
            "model": asked["model"],
            "created_at": "2026-01-01T00:00:00Z",
            "message": {"role": "assistant", "content": text},
            "done": done,
        }
        for text, done in pieces
    ]
    await in_two(
        send, asked["messages"][-1]["content"], [json.dumps(line).encode() + b"\n" for line in lines]
    )


async def socket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        kept = {key: message[key] for key in ("text", "bytes") if message.get(key) is not None}
        await send({"type": "websocket.send", **kept})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off")
