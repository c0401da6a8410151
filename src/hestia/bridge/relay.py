"""One plain HTTP exchange between an ASGI server and the edge: both bodies stream, with back-pressure.

A second task keeps calling receive(), since nothing else tells that the client left (U18, U19). An answer
that breaks off is left unfinished, which makes the server close the connection: truncation shows (U26).
"""

from __future__ import annotations

import logging

from starlette.types import Receive, Send

from hestia.core.errors import HestiaError
from hestia.http1.framing import LAST_CHUNK, encode_chunk
from hestia.http1.heads import Field, Response
from hestia.inward.call import Call
from hestia.problems import render

log = logging.getLogger(__name__)


async def upload(call: Call, receive: Receive, *, chunked: bool) -> None:
    """Carry the client's body to the edge, then stay to see the client leave."""
    complete = False
    try:
        while (event := await receive())["type"] == "http.request":
            data = event.get("body", b"")
            if data and not complete:
                await call.write(b"".join(encode_chunk((data,))) if chunked else data)
            if not event.get("more_body") and not complete:
                complete = True
                if chunked:
                    await call.write(LAST_CHUNK)
                call.end_body()
    finally:  # the client left, or nobody carries its body any more
        call.abort()


async def download(call: Call, send: Send, head: Response, fields: list[Field], identifier: bytes) -> None:
    """Hand the answer to the server in front. Returns early when it breaks off."""
    await send({"type": "http.response.start", "status": head.status, "headers": fields})
    try:
        while data := await call.read():
            await send({"type": "http.response.body", "body": data, "more_body": True})
    except HestiaError as error:
        log.debug(
            "The answer ends before its time: %s",
            error.detail,
            extra={"event_type": "bridge_truncated", "request_id": identifier.decode("latin-1")},
        )
        return
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def answer_problem(send: Send, error: HestiaError, identifier: bytes, *, close: bool = False) -> None:
    """Answer with a problem document. close: the connection must not serve another request."""
    status, fields, body = render(error, request_id=identifier.decode("latin-1"))
    if close:
        fields.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})
