"""Both bodies of one exchange on their way: read by read, with back-pressure both ways.

Owns what is written to either side once there is a connection. Which connection, how often to try and how it
all ends is `exchange`'s business.
Source: proxy-semantics BF, NB, SB, UP-01, CA-07.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from hestia.core.errors import BodyTooLarge, GatewayOverloaded, HestiaError
from hestia.core.lease import Lease
from hestia.core.rules import Rules
from hestia.edge.pending import cost
from hestia.http1.fields import may_trail, tokens
from hestia.http1.framing import (
    CHUNKED,
    LAST_CHUNK,
    NO_BODY,
    UNTIL_CLOSE,
    encode_chunk,
    has_no_body,
    last_chunk,
)
from hestia.http1.heads import Field, Request, Response
from hestia.http1.sockets import hung_up
from hestia.http1.upstream import UpstreamConnection
from hestia.proxy import rewrite
from hestia.proxy.buffers import SPOOL_LIMIT, Copy
from hestia.proxy.kept import Kept
from hestia.proxy.noted import Noted

if TYPE_CHECKING:
    from hestia.edge.connection import ClientConnection
    from hestia.proxy.service import DataPath
    from hestia.proxy.splice import Splice

HANDSHAKE_TIMEOUT: Final = 10.0  # seconds for the answer to a WebSocket handshake (TO-13)
BODY_GAP: Final = 600.0  # seconds between reads of an answer (TO-08)
NEVER: Final = float("inf")


class Relay(Noted):
    """The part of an exchange that moves bytes. Slots by stage."""

    __slots__ = (
        "_client",
        "_connection",
        "_copy",
        "_deadline",
        "_end_of_body",
        "_framing",
        "_given",
        "_head",
        "_kept",
        "_lease",
        "_out",
        "_rules",
        "_socket",
        "_spool",
        "_spooled",
        "_unsent",
        "_unwanted",
        "_upgrade",
        "host",
    )

    def __init__(self, path: DataPath, client: ClientConnection, request: Request) -> None:
        self._path = path
        self._client = client
        self.request = request
        self.id = request.request_id or path.new_id()
        self.started = path.clock()
        self.host = b""  # the effective one, once it was looked at
        self._upgrade = bool(request.upgrade) and request.offers_websocket
        self.t_leased = self.t_connected = self.t_head = 0.0
        self.status = 0
        self.code = ""
        self.aborted = ""
        self.reused = False
        self._attempts = 0
        self._bytes_in = self._bytes_out = 0
        self._match = None
        self._upstream = None
        self._lease: Lease | None = None
        self._connection: UpstreamConnection | None = None
        self._spool: list[bytes] = []
        self._spooled = 0
        self._unsent = 0  # bytes the upstream had not taken when the client was last paused
        self._unwanted = (
            False  # the service takes no more of the body: by its answer (CA-07), or it has closed
        )
        self._copy: Copy | None = None  # of the body, while the request may be sent again
        self._rules: Rules | None = None
        self._kept: Kept | None = None  # an answer of the service, while another attempt is made
        self._fallback = self._steps = None
        self._given = False  # something of an answer was given to the client
        self._end_of_body = request.length == NO_BODY
        self._head: Response | None = None
        self._framing = NO_BODY
        self._out: list[bytes] = []
        self._socket: Splice | None = None
        self._deadline = NEVER

    @abstractmethod
    def _upgrade_head(self, head: Response) -> None:
        """Verify a 101 and splice, or say that the connection ends behind a refusal."""

    @abstractmethod
    def _discards(self, head: Response) -> bool:
        """Whether an answer of 400 or more is not the one, because the request is sent again."""

    @abstractmethod
    def _give_up(self, error: HestiaError, *, keep: bool = True) -> None:
        """No further attempt: the last answer of the service, if it gave one; else `fail`."""

    @abstractmethod
    def _spooled_more(self, data: bytes) -> None:
        """A piece of the body came while there is no connection; it is in the spool."""

    @abstractmethod
    def _body_is_here(self) -> None:
        """The body ended while there is no connection."""

    @abstractmethod
    def _mark_instance(self, head: Response) -> None:
        """Let the client come back to the same instance, where the strategy wants that."""

    @abstractmethod
    def fail(self, error: HestiaError, *, keep: bool = True) -> None:
        """Answer with a problem, or truncate what has begun."""

    @abstractmethod
    def _cut(self, side: str, code: str) -> None:
        """Truncate the answer. side: who is to blame."""

    @abstractmethod
    def _end(self, *, keep: bool, tell: bool = True) -> None:
        """Give everything back; keep: the client's connection may serve the next request."""

    # -- the request goes out ------------------------------------------------------------------

    def body(self, data: bytes) -> None:
        """A piece of the client's body, or of its side of a splice."""
        if self._socket is not None:
            self._socket.from_client(data)
            return
        first = not self._bytes_in
        self._bytes_in += len(data)
        if self._unwanted and self._head is not None:
            return
        if self._rules is not None and self._bytes_in > self._rules.max_body:
            self.fail(too_large(self._rules), keep=False)
            return
        connection = self._connection
        if connection is None or self._upgrade:
            if not self._spooled and self._path.buffers.full:
                self._give_up(_overloaded(), keep=False)
                return
            self._to_spool(data)
            if self._spooled >= SPOOL_LIMIT:
                self._client.pause()
            self._spooled_more(data)
            return
        if self._copy is not None:
            self._copy.add(data)
        if self._unwanted or (not first and hung_up(connection.fd)):
            self._unwanted = True  # a write that fails would end it before what it said is read (CA-06)
            return
        if self.request.length == CHUNKED:
            data = b"".join(encode_chunk((data,)))
        connection.write(data)
        if not connection.writable:
            self._unsent = connection.unsent
            self._client.pause()

    def body_end(self) -> None:
        if self._end_of_body:
            return
        self._end_of_body = True
        connection = self._connection
        if connection is None:
            self._body_is_here()
        elif not self._unwanted:
            if self.request.length == CHUNKED:
                connection.write(LAST_CHUNK)
            connection.request_done = True
            self._await_head(self._path.clock())

    def _to_spool(self, data: bytes) -> None:
        """Keep a piece of the body until there is a connection."""
        self._spool.append(data)
        self._spooled += cost(data)
        self._path.buffers.held += cost(data)

    def _take_spool(self) -> list[bytes]:
        """The pieces that wait; none do then."""
        parts, self._spool = self._spool, []
        self._path.buffers.held -= self._spooled
        self._spooled = 0
        return parts

    def _await_head(self, now: float) -> None:
        route = self._match.route if self._match is not None else None
        if route is not None and self._head is None:
            limit = route.settings.response_timeout
            self._deadline = now + (min(limit, HANDSHAKE_TIMEOUT) if self._upgrade else limit)

    def upstream_writable(self, writable: bool) -> None:
        if self._socket is not None:
            self._socket.upstream_writable(writable)
        elif writable:
            self._client.resume()
        else:
            self._client.pause()

    # -- the answer comes back -----------------------------------------------------------------

    def response_head(self, head: Response) -> None:
        if head.status < 200 and head.status != 101:
            if self.request.minor:
                self._out.append(rewrite.interim_head(head))
                self._given = True
                if self._copy is not None:  # nothing is sent again now
                    self._copy.free()
            return
        if head.status >= 400 and self._discards(head):
            return
        if self._rules is not None:
            if self._rules.response is not None:
                rewrite.edit(head, self._rules.response)
            if self._rules.routed:
                self._mark_instance(head)
        if head.status == 101 or self._upgrade:
            self._upgrade_head(head)
            if head.status == 101:
                return
        if self._kept is not None:
            self._kept.drop()
            self._kept = None
        self._head = head
        self.status = head.status
        self.t_head = self._path.clock()
        # the control API may stream as slowly as it likes
        is_timed = self._match is not None and self._match.route is not None
        self._deadline = self.t_head + BODY_GAP if is_timed else NEVER
        if self._copy is not None:
            self._copy.free()
        if head.status < 500 and self._lease is not None and self._lease.use.awaited:
            self._path.leases.succeeded(self._lease)
        self._out.append(self._client_head(head))

    def _client_head(self, head: Response) -> bytes:
        """Decide the framing towards the client and write the head (BF, NB)."""
        request, upstream = self.request, self._upstream
        assert upstream is not None
        close = not request.keep_alive or self._client.draining
        framing = b""
        self._framing = NO_BODY
        length = head.length
        if head.status == 205:  # RFC 9110 §15.3.6: no content; what comes is dropped (NB-06)
            framing = b"\r\ncontent-length: 0"
        elif has_no_body(request.method, head.status):
            if head.status != 204 and length >= 0:
                framing = b"\r\ncontent-length: %d" % length
        elif length >= 0:
            self._framing = length
            framing = b"\r\ncontent-length: %d" % length
        elif request.minor:
            self._framing = CHUNKED
            framing = b"\r\ntransfer-encoding: chunked"
        else:
            self._framing = UNTIL_CLOSE
            close = True
        if self._client.body_open and (
            # An answer without a length may be made of what still comes. WSGI servers say `close` always.
            head.status >= 300 or (length >= 0 and b"close" in tokens(head.connection))
        ):
            close = self._unwanted = True
        self.request.keep_alive = not close
        if close:
            last = b"\r\nconnection: close"
        else:
            last = b"" if request.minor else b"\r\nconnection: keep-alive"
        return rewrite.response_head(
            head,
            upstream,
            framing=framing,
            tail=b"\r\nx-request-id: " + self.id + last,
            date=b"" if head.dated else self._path.date_line(),
            host=self.host,
        )

    def response_body(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.from_upstream(data)
            return
        head = self._head
        if head is None or self._framing == NO_BODY:
            return
        self._bytes_out += len(data)
        if self._framing == CHUNKED:
            self._out += encode_chunk((data,))
        else:
            self._out.append(data)

    def response_flush(self) -> None:
        """The read that brought it is over, and more will come: write what it gave in one go."""
        if self._out:
            self._flush()
            if self._head is not None and self._deadline != NEVER:
                self._deadline = self._path.clock() + BODY_GAP
            if not self._client.writable and self._connection is not None:
                self._connection.pause()

    def _flush(self) -> None:
        out = self._out
        self._client.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    def response_end(self, trailers: list[Field]) -> None:
        self._connection = None
        if self._socket is not None:
            self._socket.upstream_ended()
            return
        if self._framing == CHUNKED:
            if trailers and self.request.takes_trailers:
                self._out.append(last_chunk([field for field in trailers if may_trail(field[0])]))
            else:
                self._out.append(LAST_CHUNK)
        if self._out:
            self._flush()
        self._end(keep=self.request.keep_alive)

    def client_writable(self, writable: bool) -> None:
        if self._socket is not None:
            self._socket.client_writable(writable)
        elif self._connection is not None:
            if writable:
                self._connection.resume()
                if self._deadline != NEVER and self._head is not None:
                    self._deadline = self._path.clock() + BODY_GAP  # TO-16: the pause does not count
            else:
                self._connection.pause()


def too_large(rules: Rules) -> BodyTooLarge:
    """What a body beyond the service's limit is refused with (LI-07)."""
    return BodyTooLarge(
        f"The body is larger than {rules.max_body:.0f} bytes, which the service takes at most (max_body).",
        remedy="send a smaller one, or raise max_body of the service",
    )


def _overloaded() -> GatewayOverloaded:
    return GatewayOverloaded(
        "The bodies of requests that wait fill the memory of the gateway.",
        remedy="try again later",
        retry_after=1.0,
    )
