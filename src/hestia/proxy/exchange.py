"""One request and its answer: match, lease, attempts, relay, release. An object driven by callbacks.

There is no task: the client's connection, the queue, the pool and the upstream's connection call in, each
in a plain function. Whatever the ending, `_end` runs once and gives everything back. Owns the order of
things and the retry matrix; bytes are moved in `relay`, heads written in `rewrite`, and the wait for a
cold service decided in `waiting`.

Walk: begin → (waiting) → leased → (dialling) → connected → response_head → relay → end.
Source: proxy-semantics RF, CQ, CA, UP, WS, NB.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from hestia.core.errors import (
    BadFraming,
    ClientGone,
    ExpectationFailed,
    HandshakeFailed,
    HestiaError,
    InternalError,
    RequestTimeout,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from hestia.core.lease import Lease
from hestia.core.model import InstanceId
from hestia.core.queue import Outcome, Waiter
from hestia.core.routing import RouteKind
from hestia.http1.framing import (
    CHUNKED,
    LAST_CHUNK,
    NO_BODY,
    UNTIL_CLOSE,
    encode_chunk,
)
from hestia.http1.heads import Field, Request, Response
from hestia.http1.upstream import UpstreamConnection
from hestia.proxy import rewrite, splice
from hestia.proxy.relay import NEVER, Relay
from hestia.proxy.rewrite import Upstream

if TYPE_CHECKING:
    from hestia.edge.connection import ClientConnection
    from hestia.http1.pool import Dial
    from hestia.proxy.service import DataPath

log = logging.getLogger(__name__)

CONTROL_CONNECT_TIMEOUT: Final = 5.0  # seconds; a unix socket in this process
REFUSED_AFTER_HOT: Final = 2.0  # seconds after hot in which a refused connect is tried again (CQ-13)
REFUSED_PAUSE: Final = 0.05  # seconds between such tries
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})  # RFC 9110 §9.2.2, less TRACE


class Exchange(Relay):
    """One request on its way; see the module docstring for the walk."""

    __slots__ = ("_dial", "_ended", "_failed", "_timer", "_waiter", "host")

    def __init__(self, path: DataPath, client: ClientConnection, request: Request) -> None:
        super().__init__(path, client, request)
        self.host = b""
        self._waiter: Waiter | None = None
        self._dial: Dial | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failed: dict[InstanceId, HestiaError] = {}
        self._ended = False

    # -- from the request to a lease -----------------------------------------------------------

    def begin(self) -> None:
        """Find the service and a lease. Anything that is refused is answered here."""
        try:
            match = self._match = self._path.match(self, self._client)
            if match is None:
                return
            if match.route is None:
                self._upstream = self._path.control
                self._connect()
                return
            lease = self._path.leases.acquire_nowait(match.route.service)
            if lease is not None:
                self._leased(lease, self.started)
            else:
                self._wait()
        except HestiaError as error:
            self.fail(error)

    def answer(self, status: int, fields: list[Field], body: bytes = b"", *, code: str = "") -> None:
        """Answer here and now, instead of the service."""
        self.status, self.code = status, code
        keep = self._keeps()
        self._client.write(self._path.own_answer(self, status, fields, body, keep=keep))
        self._bytes_out += len(body)
        self._end(keep=keep)

    def _wait(self) -> None:
        """No lease now: the request waits in the queue of its service, or is refused for a reason."""
        match = self._match
        assert match is not None
        assert match.route is not None
        if self._path.waiting.answer_instead(self, match.route):
            return
        settings = match.route.settings
        limit = self.started + settings.wait_limit
        waiter = self._path.leases.wait(
            match.route.service,
            self._granted,
            candidates=self._candidates(),
            deadline=limit,
            request_id=self.request_id,
        )
        if not waiter.settled:
            self._waiter = waiter

    def _candidates(self) -> tuple[InstanceId, ...] | None:
        """Instances that have not failed this request; None while none has."""
        if not self._failed or self._match is None or self._match.route is None:
            return None
        rest = [one.id for one in self._match.route.settings.instances if one.id not in self._failed]
        return tuple(rest) or None

    def _granted(self, outcome: Outcome) -> None:
        self._waiter = None
        if isinstance(outcome, Lease):
            if self._ended:
                self._path.leases.release(outcome)
            else:
                self._leased(outcome, self._path.clock())
        else:
            self.fail(outcome)

    def _leased(self, lease: Lease, now: float) -> None:
        self._lease = lease
        lease.holder = self
        self.t_leased = now
        match = self._match
        assert match is not None
        upstream = lease.use.data
        if type(upstream) is not tuple:
            upstream = self._path.upstreams(lease, match)
        assert isinstance(upstream, tuple)
        self._upstream = upstream[0] if match.kind is RouteKind.PREFIX else upstream[1]
        self._connect()

    # -- from the lease to a connection --------------------------------------------------------

    def _connect(self) -> None:
        assert self._upstream is not None
        self._attempts += 1
        connection = self._path.pool.checkout(
            self._upstream.shelf, idempotent=(self.request.method in IDEMPOTENT) and not self._upgrade
        )
        if connection is not None:
            self.reused = True
            self._connected(connection, self.t_leased or self.started)
            return
        self.reused = False
        self._dial_anew(self._upstream)

    def _dial_anew(self, upstream: Upstream) -> None:
        route = self._match.route if self._match is not None else None
        self._dial = self._path.pool.dial(
            upstream.shelf,
            upstream.endpoint,
            route.settings.connect_timeout if route is not None else CONTROL_CONNECT_TIMEOUT,
            self._dialled,
            tls_verify=route.settings.tls_verify if route is not None else True,
        )

    def broke(self) -> None:
        """A bug of ours, already logged: 500 before a head was written, else truncation (T-ER-04)."""
        self.fail(InternalError("The gateway broke while it served this request."), keep=False)

    def _dialled(self, outcome: UpstreamConnection | UpstreamError) -> None:
        try:
            self._dial_ended(outcome)
        except Exception:  # boundary: as in `edge.connection`, where the request did not have to wait
            log.exception("A request broke", extra={"event_type": "request_broke"})
            self.broke()

    def _dial_ended(self, outcome: UpstreamConnection | UpstreamError) -> None:
        self._dial = None
        if self._ended:
            if isinstance(outcome, UpstreamConnection):
                outcome.abort()
            return
        if isinstance(outcome, UpstreamConnection):
            self._connected(outcome, self._path.clock())
        else:
            self._unreachable(outcome)

    def _unreachable(self, error: UpstreamError) -> None:
        """Nothing was sent, so any method may try again (RF): here, then on the next instance."""
        lease, clock = self._lease, self._path.clock
        if lease is None:
            self.fail(error)
            return
        if error.cause == "refused" and clock() - lease.use.hot_since < REFUSED_AFTER_HOT:
            self._attempts -= 1
            self._timer = self._path.later(REFUSED_PAUSE, self._again)
            return
        self._path.leases.connect_failed(lease, error)
        self._retry(error)

    def _again(self) -> None:
        self._timer = None
        if not self._ended:
            self._connect()

    def _retry(self, error: HestiaError) -> None:
        """Give the lease back and try again within `retry_count`, else answer with what went wrong."""
        match, lease = self._match, self._lease
        assert match is not None
        assert match.route is not None
        settings = match.route.settings
        if lease is not None:
            self._failed[lease.use.key.instance] = error
            if len(self._failed) == len(settings.instances):
                self._failed.clear()
            lease.holder = None
            self._lease = None
            self._path.leases.release(lease)
        if self._attempts > settings.retry_count or self._path.clock() - self.started > settings.wait_limit:
            self.fail(error)
            return
        # Who refuses may just have ended: its end is told within this pause, and the next attempt waits for
        # a new start instead of knocking at the same closed door.
        pause = max(settings.retry_delay, REFUSED_PAUSE if error.cause == "refused" else 0.0)
        if pause:
            self._timer = self._path.later(pause, self._take_again)
        else:
            self._take_again()

    def _take_again(self) -> None:
        self._timer = None
        match = self._match
        if self._ended or match is None or match.route is None:
            return
        try:
            lease = self._path.leases.acquire_nowait(match.route.service, self._candidates())
            if lease is not None:
                self._leased(lease, self._path.clock())
            else:
                self._wait()
        except HestiaError as error:
            self.fail(error)

    # -- the request goes out ------------------------------------------------------------------

    def _connected(self, connection: UpstreamConnection, now: float) -> None:
        """Write the head, and what of the body is here. From now on the body passes straight through."""
        request, upstream, match = self.request, self._upstream, self._match
        assert upstream is not None
        assert match is not None
        self._connection = connection
        self.t_connected = now
        connection.begin(self, no_body=request.method == b"HEAD")
        head = rewrite.request_head(
            request,
            upstream,
            match.target,
            host=self.host,
            forwarded=self._path.forwarded(self._client, request, self.host),
            via=self._path.via,
            request_id=self.id,
        )
        if request.length == NO_BODY:
            connection.request_done = True
            connection.write(head)
            self._await_head(now)
            return
        if self._replay is None and self._may_replay():
            self._replay = []
        parts = [head]
        for data in self._spool:
            parts += encode_chunk((data,)) if request.length == CHUNKED else (data,)
            self._keep_for_replay(data)
        self._spool, self._spooled = [], 0
        if self._end_of_body:
            if request.length == CHUNKED:
                parts.append(LAST_CHUNK)
            connection.request_done = True
        connection.write(b"".join(parts))
        if self._end_of_body:
            self._await_head(now)
            return
        if request.expects:
            request.expects = False
            self._client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._client.expect_body()
        if connection.writable:
            self._client.resume()

    def _may_replay(self) -> bool:
        return self.request.method in IDEMPOTENT

    def body_failed(self, error: HestiaError) -> None:
        """The rest of the client's body cannot be parsed (BF-07: nothing is made up)."""
        if self._head is None:
            self.fail(error, keep=False)
        else:
            self._cut("client", error.code)

    def body_timeout(self) -> None:
        """The client has sent nothing for its time, or was not read: then it is not the one to blame."""
        connection = self._connection
        if connection is None:  # waits for another attempt; `_connected` awaits the body again
            return
        if not connection.writable:
            left = connection.unsent
            if left < self._unsent:  # slow, but not stalled
                self._unsent = left
                self._client.expect_body()
                return
            self.fail(
                UpstreamTimeout(
                    f"The service at {connection.where} does not take the request's body.",
                    remedy="look whether it hangs: hestia logs",
                    cause="timeout",
                ),
                keep=False,
            )
            return
        self.body_failed(RequestTimeout("The rest of the request's body did not arrive within 60 s."))

    # -- when the upstream's side breaks -------------------------------------------------------

    def response_failed(self, error: UpstreamError, *, clean: bool) -> None:
        """The upstream's side broke. clean: not one byte of an answer came (RF matrix)."""
        self._connection = None
        if self._socket is not None:
            self._socket.upstream_ended()
            return
        if self._head is not None:
            self.response_flush()
            self._cut("upstream", error.code)
            return
        if clean and self._may_repeat():
            self._deadline = NEVER  # the next attempt, and a wait before it, have their own (CQ-08)
            if self._replay is not None:
                self._spool, self._replay = self._replay, None
                self._spooled, self._replay_size = self._replay_size, 0
            if self.reused:
                self._attempts -= 1  # a stale connection is not the instance's failure
                self.reused = False
                self._fresh()
            else:
                self._retry(error)
            return
        self.fail(error)

    def _may_repeat(self) -> bool:
        """RF: an idempotent request once more; its body only while every byte of it is still here."""
        if self.request.method not in IDEMPOTENT or self._lease is None:
            return False
        whole = self.request.length == NO_BODY or self._replay is not None
        return whole and (self.reused or self._attempts <= 1)

    def _fresh(self) -> None:
        """Once more on a connection that was never used."""
        assert self._upstream is not None
        self._attempts += 1
        self._dial_anew(self._upstream)

    # -- WebSockets ----------------------------------------------------------------------------

    def _upgrade_head(self, head: Response) -> None:
        """WS-04…06: verify a 101 and splice; anything else is relayed as a plain answer, then closed."""
        if head.status != 101:
            self.request.keep_alive = False
            return
        assert self._connection is not None
        if not self._upgrade or not splice.verified(self.request, head):
            connection, self._connection = self._connection, None
            connection.abort()
            kind = HandshakeFailed if self._upgrade else UpstreamProtocolError
            self.fail(kind(f"The 101 answer of {connection.where} does not fit what the client asked for."))
            return
        self.status = 101
        self.t_head = self._path.clock()
        self._deadline = NEVER
        assert self._upstream is not None
        self._client.write(rewrite.switching_head(head, self._upstream, b"\r\nx-request-id: " + self.id))
        if self._lease is not None:
            self._path.leases.succeeded(self._lease)
            self._lease.became_socket()
        self._client.splice()
        self._connection.splice()
        self._socket = splice.Splice(self, self._client, self._connection, self._lease, self._path.clock)
        early, self._spool = self._spool, []
        self._client.resume()
        for data in early:
            self._socket.from_client(data)

    def socket_ended(self, bytes_in: int, bytes_out: int, aborted: str) -> None:
        """Both legs of the splice are closed or cut."""
        self._bytes_in, self._bytes_out, self.aborted = bytes_in, bytes_out, aborted
        self._connection = None
        self._end(keep=False)

    # -- the client's side ---------------------------------------------------------------------

    def client_gone(self) -> None:
        """CA-01: abort the upstream at once, in every phase."""
        if self._ended:
            return
        if self._socket is not None:
            self._socket.client_ended()
            return
        self.aborted, self.code = "client", ClientGone.code
        if not self.status:
            self.status = 499
        self._end(keep=False)

    def sweep(self, now: float) -> None:
        if self._socket is not None:
            self._socket.sweep(now)
        elif now >= self._deadline and self._client.writable:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.abort()
            if self._head is not None:
                self._cut("upstream", UpstreamTimeout.code)
            else:
                self.fail(self._too_slow())

    def _too_slow(self) -> UpstreamTimeout:
        route = self._match.route if self._match is not None else None
        limit = route.settings.response_timeout if route is not None else 0.0
        return UpstreamTimeout(
            f"The service did not begin its answer within {limit:g} s (response_timeout).",
            remedy="raise response_timeout of the service",
            cause="timeout",
        )

    def draining(self) -> None:
        """The gateway is shutting down: a WebSocket ends at a frame boundary (DR-05)."""
        if self._socket is not None:
            self._socket.close()

    # -- core.lease.Holder ---------------------------------------------------------------------

    def abort(self, reason: HestiaError) -> None:
        """The instance is being stopped by force."""
        if self._socket is not None:
            self._socket.abort("gateway")
        elif self._head is None:
            self.fail(reason)
        else:
            self._cut("gateway", reason.code)

    def close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()

    # -- endings -------------------------------------------------------------------------------

    def fail(self, error: HestiaError, *, keep: bool = True) -> None:
        """Answer with a problem; after the head was written only truncation is left (ER-06)."""
        if self._ended:
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        if self._head is not None:
            self._cut("gateway", error.code)
            return
        if self._match is not None and self._match.route is not None:
            error.service_id = error.service_id or self._match.route.service
        if isinstance(error, UpstreamError):
            error.attempts = self._attempts
        self._out.clear()
        status, fields, body = self._path.problem(error, self.id)
        self.status, self.code = status, error.code
        keep = keep and self._keeps() and not isinstance(error, BadFraming)
        self._client.write(self._path.own_answer(self, status, fields, body, keep=keep))
        self._bytes_out += len(body)
        self._end(keep=keep)

    def _keeps(self) -> bool:
        """Whether the connection may go on behind an answer made here; not with an `Expect` body unread
        (CA-08): nobody knows whether it will come."""
        if not self.request.keep_alive or self._upgrade or self._client.draining:
            return False
        expects = self.request.expects or isinstance(self.request.refusal, ExpectationFailed)
        return not (expects and self._client.body_open)

    def _cut(self, side: str, code: str) -> None:
        """Make truncation visible: the client's connection ends as it stands (BF-16)."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self.aborted, self.code = side, code
        client = self._client
        self._end(keep=False, tell=False)
        if self._framing == UNTIL_CLOSE:
            client.reset()
        else:
            client.close()

    def _end(self, *, keep: bool, tell: bool = True) -> None:
        """The one end: give everything back, write the record, hand the connection on."""
        if self._ended:
            return
        self._ended = True
        self._deadline = NEVER
        if self._waiter is not None and self._match is not None and self._match.route is not None:
            self._path.leases.leave(self._match.route.service, self._waiter)
            self._waiter = None
        if self._dial is not None:
            self._path.pool.give_up(self._dial)
            self._dial = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.holder = None
            self._path.leases.release(lease)
        self._spool = []
        self._replay = None
        self._path.done(self)
        if tell:
            self._client.finished(keep=keep)
