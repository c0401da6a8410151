"""The ASGI entry of the control API: the one place here that catches everything.

Owns: a bug becomes a 500 problem and one log line, HEAD is answered like GET without a body, a final
slash does not matter, and the request id and safety fields are on every answer.
"""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hestia.api import failures

log = logging.getLogger(__name__)


class Boundary:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; raises nothing but a cancellation."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = failures.request_id(scope)
        answer = _Answer(send, head=scope["method"] == "HEAD", request_id=request_id)
        inner = _plain(scope)
        try:
            await self._app(inner, receive, answer)
        except Exception:
            log.exception(
                "The control API failed",
                extra={"event_type": "internal_error", "request_id": request_id, "path": scope["path"]},
            )
            if not answer.started:
                await failures.internal(inner)(inner, receive, answer)
            # after the first byte there is nothing to say: returning unfinished closes the connection


def _plain(scope: Scope) -> Scope:
    """The scope with a final slash taken off and HEAD made GET; a copy, the server keeps its own."""
    path: str = scope["path"]
    changes: dict[str, object] = {}
    if len(path) > 1 and path.endswith("/"):
        changes["path"] = path.rstrip("/") or "/"
    if scope["method"] == "HEAD":
        changes["method"] = "GET"
    return {**scope, **changes} if changes else scope


class _Answer:
    """Wraps `send`: adds our fields, drops a body that HEAD must not have."""

    def __init__(self, send: Send, *, head: bool, request_id: str) -> None:
        self._send = send
        self._head = head
        self._done = False
        self._request_id = request_id
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            await self._send({**message, "headers": self._fields(message)})
        elif not self._head:
            await self._send(message)
        elif not self._done:
            self._done = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _fields(self, message: Message) -> list[tuple[bytes, bytes]]:
        fields = list(message["headers"])
        names = {name for name, _ in fields}
        if self._request_id and b"x-request-id" not in names:
            fields.append((b"x-request-id", self._request_id.encode("latin-1")))
        if b"x-content-type-options" not in names:
            fields.append((b"x-content-type-options", b"nosniff"))
        return fields
