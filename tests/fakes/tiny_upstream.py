"""A very small HTTP/1.1 server on the test's own loop: what a FakeEngine's instance answers with.

It knows requests without a body or with Content-Length, nothing else; the scriptable upstream that
misbehaves on the wire is another one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable


class TinyUpstream:
    """Answers every request with 200 while `ready`, else with 503. One per running fake instance.

    body: what a ready answer holds. requests: (method, target) in order of arrival. `hold` keeps
    answers back until `let_go`, so that a test can have requests in flight.
    """

    def __init__(self, body: bytes = b"hello\n") -> None:
        self.body = body
        self.ready = True
        self.requests: list[tuple[str, str]] = []
        self.connections = 0
        self.on_answer: Callable[[int], None] = lambda status: None
        self._transports: set[asyncio.Transport] = set()
        self._held: list[Callable[[], None]] | None = None
        self._server: asyncio.Server | None = None

    async def listen(self, *, port: int = 0) -> int:
        """Listen on 127.0.0.1 and return the port. Raises OSError when it is taken."""
        loop = asyncio.get_running_loop()
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            found: int = listener.getsockname()[1]
            server = await loop.create_server(lambda: _Connection(self), sock=listener, start_serving=False)
        except BaseException:  # cancelled, too: a start that is given up leaves no socket
            listener.close()
            raise
        self._server = server
        try:
            await server.start_serving()
        except BaseException:
            self.abort()
            raise
        return found

    def hold(self) -> None:
        """Keep the answers to all further requests back."""
        if self._held is None:
            self._held = []

    def let_go(self) -> None:
        """Send what was held back and hold no more."""
        held, self._held = self._held or [], None
        for send in held:
            send()

    def abort(self) -> None:
        """End like a killed program: the listener and every connection at once."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in list(self._transports):
            transport.abort()

    def opened(self, transport: asyncio.Transport) -> None:
        self.connections += 1
        self._transports.add(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        self._transports.discard(transport)

    def asked(self, transport: asyncio.Transport, method: str, target: str) -> None:
        self.requests.append((method, target))

        def send() -> None:
            self._answer(transport, head_only=method == "HEAD")

        if self._held is None:
            send()
        else:
            self._held.append(send)

    def _answer(self, transport: asyncio.Transport, *, head_only: bool) -> None:
        if transport.is_closing():
            return
        status, body = (200, self.body) if self.ready else (503, b"not ready\n")
        reason = "OK" if status == 200 else "Service Unavailable"
        head = (
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        transport.write(head.encode() + (b"" if head_only else body))
        self.on_answer(status)


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: TinyUpstream) -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass
        self._upstream.opened(transport)  # type: ignore[arg-type]  # same reason

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._upstream.closed(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0 and self._transport is not None:
            lines = self._buffer[:end].decode("latin-1").split("\r\n")
            fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            length = int(fields.get("content-length", "0"))
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            method, target, _ = lines[0].split(" ", 2)
            self._upstream.asked(self._transport, method, target)
