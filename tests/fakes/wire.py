"""HTTP/1.1 messages as tests see them: values, a writer, and h11 as the independent reader.

Neither side of the gateway's own parsing is used here. One reader reads one message and hands on the
bytes behind it, so that surplus bytes are visible to the test.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import h11

Fields = list[tuple[bytes, bytes]]
HEAD_LIMIT = 4 * 1024 * 1024


def values(fields: Fields, name: str | bytes) -> list[bytes]:
    """All values of one field in order, names compared without case."""
    wanted = name.encode() if isinstance(name, str) else name
    return [value for key, value in fields if key.lower() == wanted.lower()]


@dataclass
class Message:
    """What requests and responses share. fields: `(name as written, value)` in order of arrival."""

    fields: Fields
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    complete: bool = False

    def all(self, name: str) -> list[bytes]:
        return values(self.fields, name)

    def get(self, name: str) -> bytes | None:
        """The one value of a field, None when absent. Raises AssertionError when there are several."""
        found = self.all(name)
        assert len(found) <= 1, f"{name} appears {len(found)} times: {found}"
        return found[0] if found else None

    def has(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def chunked(self) -> bool:
        return [value.lower() for value in self.all("transfer-encoding")] == [b"chunked"]

    def json(self) -> Any:
        """The body as JSON; its shape is the test's business, hence Any."""
        return json.loads(bytes(self.body))


@dataclass
class Request(Message):
    """A request as an upstream saw it."""

    method: bytes = b""
    target: bytes = b""
    version: bytes = b""
    connection: int = 0

    @property
    def upgrade(self) -> bool:
        return self.has("upgrade")


@dataclass
class Response(Message):
    """A response as a client saw it. interim: the 1xx answers that came before it."""

    status: int = 0
    reason: bytes = b""
    version: bytes = b""
    interim: list[Response] = field(default_factory=list)
    error: str = ""

    def problem(self, code: str, status: int | None = None) -> Any:
        """Assert that this is one of the gateway's own errors; return its members (JSON, hence Any)."""
        assert self.get("content-type") == b"application/problem+json", (self.status, self.fields, self.body)
        members = self.json()
        assert members["code"] == code, members
        assert members["status"] == self.status
        assert members["type"] == f"urn:hestia:error:{code}"
        assert members["error"] == members["detail"]
        assert self.get("cache-control") == b"no-store"
        assert self.has("proxy-status")
        assert self.has("x-request-id")
        assert members["requestId"] == (self.get("x-request-id") or b"").decode()
        if status is not None:
            assert self.status == status, members
        return members


class Reader:
    """Reads one message with h11. `feed` bytes, `end` at end of input; surplus is in `rest`."""

    def __init__(self, message: Message, parser: h11.Connection) -> None:
        self._message = message
        self._parser = parser
        self.head = False
        self.done = False
        self.error = ""
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """Take bytes in. After `done` they are collected in `rest`."""
        if self.done or self.error:
            self.rest += data
            return
        self._parser.receive_data(data)
        self._events()

    def end(self) -> None:
        """The other side will send no more."""
        if self.done or self.error:
            return
        self._parser.receive_data(b"")
        self._events()

    def _events(self) -> None:
        while not self.done and not self.error:
            try:
                event = self._parser.next_event()
            except h11.RemoteProtocolError as exc:
                self.error = str(exc)
                self.rest = bytes(self._parser.trailing_data[0])
                return
            if event is h11.NEED_DATA:
                return
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                self._finish()
                return
            self._take(event)

    def _take(self, event: object) -> None:
        message = self._message
        if isinstance(event, h11.Request) and isinstance(message, Request):
            message.method, message.target = bytes(event.method), bytes(event.target)
            message.version = bytes(event.http_version)
            message.fields = event.headers.raw_items()
            self.head = True
        elif isinstance(event, h11.InformationalResponse) and isinstance(message, Response):
            if event.status_code == 101:
                self._head(message, event)
                self._finish()
            else:
                interim = Response([])
                self._head(interim, event)
                message.interim.append(interim)
                self.head = False
        elif isinstance(event, h11.Response) and isinstance(message, Response):
            self._head(message, event)
        elif isinstance(event, h11.Data):
            message.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            message.trailers = event.headers.raw_items()
            self._finish()

    def _head(self, response: Response, event: h11.Response | h11.InformationalResponse) -> None:
        response.status, response.reason = event.status_code, bytes(event.reason)
        response.version = bytes(event.http_version)
        response.fields = event.headers.raw_items()
        self.head = True

    def _finish(self) -> None:
        self._message.complete = True
        self.done = True
        self.rest += bytes(self._parser.trailing_data[0])


def request_reader(request: Request) -> Reader:
    """A reader for one request, as a server reads it."""
    return Reader(request, h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT))


def response_reader(response: Response, method: bytes, *, upgrade: bool = False) -> Reader:
    """A reader for one response to `method`, as a client reads it."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
    fields: Fields = [(b"host", b"oracle")]
    if upgrade:
        fields += [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    parser.send(h11.Request(method=method, target="/", headers=fields))
    parser.send(h11.EndOfMessage())
    return Reader(response, parser)


def head(start: str | bytes, fields: Iterable[tuple[str | bytes, str | bytes]] = ()) -> bytes:
    """A message head: start line, fields exactly as given, blank line."""
    lines = [_octets(start)]
    lines += [_octets(name) + b": " + _octets(value) for name, value in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def request(
    method: str = "GET",
    target: str | bytes = "/",
    *fields: tuple[str | bytes, str | bytes],
    host: str | bytes = "localhost",
    body: bytes | None = None,
) -> bytes:
    """One HTTP/1.1 request: Host first, the fields, Content-Length when there is a body."""
    lines: list[tuple[str | bytes, str | bytes]] = [("Host", host), *fields]
    if body is not None:
        lines.append(("Content-Length", str(len(body))))
    return head(method.encode() + b" " + _octets(target) + b" HTTP/1.1", lines) + (body or b"")


def answer(
    body: bytes = b"ok",
    *fields: tuple[str | bytes, str | bytes],
    status: str = "200 OK",
) -> bytes:
    """One HTTP/1.1 response with Content-Length."""
    return head(f"HTTP/1.1 {status}", [*fields, ("Content-Length", str(len(body)))]) + body


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    """One chunk of a chunked body; of no bytes it is the last one, without the blank line."""
    return b"%x%s\r\n%s" % (len(data), extension, data + b"\r\n" if data else b"")


LAST_CHUNK = b"0\r\n\r\n"


def chunked(pieces: Iterable[bytes]) -> bytes:
    """A whole chunked body."""
    return b"".join(chunk(piece) for piece in pieces if piece) + LAST_CHUNK


def _octets(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
