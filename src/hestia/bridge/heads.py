"""Heads between ASGI and the edge: a scope as the bytes of a request, a response as ASGI fields.

The edge reads what is written here with all its checks, so only what it cannot know is done: the client's
claims about itself are replaced by what the server in front says (FW-01…03). Target and fields are passed
byte for byte as far as uvicorn has them; it loses an empty query, a fragment, the authority of an
absolute-form target and the spelling of field names (proxy-semantics U6, U7, U15). What it offers in
WebSocket handshakes (key, extensions) belongs to its own hop and is left out.
"""

from __future__ import annotations

import base64
import os
from typing import Final
from urllib.parse import quote

from starlette.types import Scope

from hestia.http1.fields import FORWARDED, REQUEST, is_sane_id, tokens
from hestia.http1.heads import Field, Response

# `te` asks for trailers, which ASGI cannot hand over; `upgrade` is no offer to an ASGI application.
_OWN_HOP: Final = frozenset({b"te", b"upgrade", b"x-request-id"})
_HANDSHAKE: Final = frozenset(
    {b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions", b"sec-websocket-accept"}
)
_PROTO: Final = {"http": b"http", "https": b"https", "ws": b"http", "wss": b"https"}


def request_id(scope: Scope) -> bytes:
    """The client's request id when it sent one that may be kept (HQ-12), else a new one."""
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and is_sane_id(given[0]):
        return bytes(given[0])
    return b"req_" + base64.b32encode(os.urandom(15)).lower()[:20]


def request_head(scope: Scope, identifier: bytes) -> bytes:
    """The head for the edge, ready to write; a WebSocket scope becomes a handshake."""
    socket = scope["type"] == "websocket"
    parts = [b"GET" if socket else scope["method"].encode(), b" ", _target(scope), b" HTTP/1.1"]
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if not hosts and scope.get("http_version") == "1.0" and scope.get("server"):
        hosts = [_own_host(*scope["server"])]  # only HTTP/1.0 may leave it out; the edge is spoken to in 1.1
        parts.append(b"\r\nhost: " + hosts[0])
    for name, value in scope["headers"]:
        if not _stays(name, value, socket=socket):
            parts += (b"\r\n", name, b": ", value)
    if socket:
        parts.append(b"\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13")
        parts.append(b"\r\nsec-websocket-key: " + base64.b64encode(os.urandom(16)))
    client = scope.get("client")
    peer = client[0].partition("%")[0] if client else ""
    parts.append(b"\r\nx-forwarded-for: " + (peer.encode("latin-1") or b"unknown"))
    parts.append(b"\r\nx-forwarded-proto: " + _PROTO.get(scope.get("scheme", ""), b"http"))
    if hosts:
        parts.append(b"\r\nx-forwarded-host: " + hosts[0])
    parts.append(b"\r\nx-request-id: " + identifier + b"\r\n\r\n")
    return b"".join(parts)


def _stays(name: bytes, value: bytes, *, socket: bool) -> bool:
    """Whether a field ends here: it belongs to the hop in front, or claims what only we may say."""
    if name in _OWN_HOP or (socket and name in _HANDSHAKE):
        return True
    if name == b"expect":  # uvicorn answers it as soon as the body is asked for (U21)
        return value.strip().lower() == b"100-continue"
    return REQUEST.meaning(name.replace(b"_", b"-")) == FORWARDED


def _target(scope: Scope) -> bytes:
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.removeprefix(scope.get("root_path", "").encode())  # uvicorn puts `--root-path` in front
    query = scope["query_string"]
    return bytes((path or b"/") + (b"?" + query if query else b""))


def _own_host(host: str, port: int | None) -> bytes:
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}".encode() if port else name.encode()


def is_chunked(scope: Scope) -> bool:
    """Whether the body is written to the edge in chunks, because it came so."""
    return any(name == b"transfer-encoding" for name, _ in scope["headers"])


def hides_body(scope: Scope) -> bool:
    """Whether uvicorn drops the body of this request, or runs it as the next one (U2): a body behind an
    upgrade offer that is none of a WebSocket."""
    fields = scope["headers"]
    upgrade = [value for name, value in fields if name == b"upgrade"]
    if not upgrade or b"upgrade" not in tokens(value for name, value in fields if name == b"connection"):
        return False
    return is_chunked(scope) or any(
        name == b"content-length" and value.strip(b"0 \t") for name, value in fields
    )


def asgi_fields(head: Response, identifier: bytes, *, framed: bool = True) -> list[Field]:
    """Fields of an answer. framed: with the length of its body, unless the status forbids one (U25).

    identifier: of the request, as long as the edge could read it; else the edge made one of its own.
    """
    passing = head.passing
    fields = [(passing[at][2:-2].lower(), passing[at + 1]) for at in range(0, len(passing), 2)]
    if framed and head.length >= 0 and head.status not in (204, 304):
        fields.append((b"content-length", b"%d" % head.length))
    fields.append((b"x-request-id", head.request_id or identifier))
    return fields
