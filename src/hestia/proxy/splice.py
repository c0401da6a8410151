"""A WebSocket after its handshake: bytes pass unchanged, frame heads are read in passing.

Reading them tells data frames from control frames (only data is use, ID-03) and where a frame ends, so
that a drain can put a close frame between two frames. Source: RFC 6455 §5, proxy-semantics WS-10…21.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hestia.core.lease import Lease
from hestia.http1.fields import tokens
from hestia.http1.frames import FrameReader, close_frame
from hestia.http1.heads import Request, Response
from hestia.http1.upstream import UpstreamConnection

if TYPE_CHECKING:
    from hestia.edge.connection import ClientConnection
    from hestia.proxy.exchange import Exchange

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLOSE_TIMEOUT: Final = 5.0  # seconds for each step of an end (TO-14)
NEVER: Final = float("inf")


def verified(request: Request, head: Response) -> bool:
    """Whether a 101 answers this handshake: accept hash, protocol and extensions (WS-04)."""
    key = request.get(b"sec-websocket-key") or b""
    accept = base64.b64encode(hashlib.sha1(key.strip() + GUID, usedforsecurity=False).digest())
    if head.get_all(b"sec-websocket-accept") != [accept]:
        return False
    if b"websocket" not in tokens(head.upgrade) or b"upgrade" not in tokens(head.connection):
        return False
    offered = [
        item.strip() for value in request.get_all(b"sec-websocket-protocol") for item in value.split(b",")
    ]
    chosen = head.get_all(b"sec-websocket-protocol")
    if len(chosen) > 1 or (chosen and chosen[0].strip() not in offered):
        return False
    known = set(_names(request.get_all(b"sec-websocket-extensions")))
    return known.issuperset(_names(head.get_all(b"sec-websocket-extensions")))


def _names(values: list[bytes]) -> list[bytes]:
    """Names of extensions, without their parameters."""
    return [item.partition(b";")[0].strip() for item in tokens(values)]


class Splice:
    """Both directions of one WebSocket. Ends once, and tells the exchange."""

    __slots__ = (
        "_client",
        "_client_done",
        "_clock",
        "_closing",
        "_deadline",
        "_down",
        "_ended",
        "_exchange",
        "_in",
        "_lease",
        "_out",
        "_up",
        "_upstream",
        "_upstream_done",
    )

    def __init__(
        self,
        exchange: Exchange,
        client: ClientConnection,
        upstream: UpstreamConnection,
        lease: Lease | None,
        clock: Callable[[], float],
    ) -> None:
        self._exchange = exchange
        self._client = client
        self._upstream = upstream
        self._lease = lease
        self._clock = clock
        self._up = FrameReader()
        self._down = FrameReader()
        self._in = self._out = 0
        self._deadline = NEVER
        self._closing = False
        self._client_done = self._upstream_done = False
        self._ended = False

    @property
    def passed(self) -> tuple[int, int]:
        """Bytes so far from the client, and to it."""
        return self._in, self._out

    def from_client(self, data: bytes) -> None:
        """Bytes towards the upstream. While closing, up to the end of the frame under way."""
        if self._upstream_done or self._ended:
            return
        self._in += len(data)
        if self._closing:
            data = self._up.rest_of_frame(data)
            if data:
                self._upstream.write(data)
            self._finish_up()
            return
        if self._up.feed(data) and self._lease is not None:
            self._lease.touched(self._clock())
        self._upstream.write(data)
        if not self._upstream.writable:
            self._client.pause()

    def from_upstream(self, data: bytes) -> None:
        if self._client_done or self._ended:
            return
        self._out += len(data)
        if self._closing:
            data = self._down.rest_of_frame(data)
            if data:
                self._client.write(data)
            self._finish_down()
            return
        if self._down.feed(data) and self._lease is not None:
            self._lease.touched(self._clock())
        self._client.write(data)
        if not self._client.writable:
            self._upstream.pause()

    def upstream_writable(self, writable: bool) -> None:
        self._client.resume() if writable else self._client.pause()

    def client_writable(self, writable: bool) -> None:
        self._upstream.resume() if writable else self._upstream.pause()

    # -- ends (the table of WS-13) -------------------------------------------------------------

    def client_ended(self) -> None:
        """The client is gone. After its close frame this is the ordinary end."""
        if self._client_done or self._ended:
            return
        self._client_done = True
        aborted = "" if self._up.closed or self._closing else "client"
        if not self._up.closed and not self._closing:
            if not self._up.at_boundary:
                self._end("client", abort=True)
                return
            self._upstream.write(close_frame(1001, masked=True))
        self._end(aborted)

    def upstream_ended(self) -> None:
        """The upstream is gone: after its close frame the client gets the rest, else it is cut."""
        if self._upstream_done or self._ended:
            return
        self._upstream_done = True
        good = self._down.closed or self._closing
        self._end("" if good else "upstream", abort=not good)

    def close(self) -> None:
        """Close both legs at a frame boundary: drain, idle stop, shutdown."""
        if self._closing or self._ended:
            return
        self._closing = True
        self._deadline = self._clock() + CLOSE_TIMEOUT
        if self._up.lost or self._down.lost:
            self._end("gateway", abort=True)
            return
        self._client.resume()
        self._upstream.resume()
        self._finish_up()
        self._finish_down()

    def abort(self, side: str) -> None:
        self._end(side, abort=True)

    def sweep(self, now: float) -> None:
        if now >= self._deadline:
            self._end("gateway", abort=True)

    def _finish_up(self) -> None:
        if not self._upstream_done and self._up.at_boundary:
            self._upstream_done = True
            if not self._up.closed:
                self._upstream.write(close_frame(1001, masked=True))
            self._finished()

    def _finish_down(self) -> None:
        if not self._client_done and self._down.at_boundary:
            self._client_done = True
            if not self._down.closed:
                self._client.write(close_frame(1012, masked=False))
            self._finished()

    def _finished(self) -> None:
        if self._upstream_done and self._client_done:
            self._end("gateway")

    def _end(self, aborted: str, *, abort: bool = False) -> None:
        """Let go of both legs, once: what was written goes out first unless they are cut."""
        if self._ended:
            return
        self._ended = True
        self._upstream.exchange = None
        if abort:
            self._upstream.abort()
            self._client.abort()
        else:
            self._upstream.finish(CLOSE_TIMEOUT)
        self._exchange.socket_ended(self._in, self._out, aborted)
