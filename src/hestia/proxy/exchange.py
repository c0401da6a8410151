"""One request and its answer, from the first look at it to its end. An object driven by callbacks.

There is no task: the client's connection, the queue, the pool and the upstream's connection call in, each
in a plain function. Whatever the ending, `_end` runs once and gives everything back. Owns the order of
things; bytes are moved in `relay`, attempts made in `attempts`, last resorts taken in `resort`, heads
written in `rewrite`, the wait for a cold service decided in `waiting`, and how it becomes a page in `paged`.

Walk: begin → (waiting) → leased → (dialling) → connected → response_head → relay → end.
Source: proxy-semantics CQ, CA, UP, WS, NB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hestia.core.errors import (
    AdmissionError,
    BadFraming,
    BadRequest,
    ClientGone,
    ExpectationFailed,
    GatewayDraining,
    HandshakeFailed,
    HestiaError,
    RequestTimeout,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from hestia.core.lease import Lease
from hestia.core.queue import Outcome
from hestia.core.requests import RequestRecord
from hestia.core.routing import Match
from hestia.core.rules import Rules, Underscores
from hestia.http1.framing import UNTIL_CLOSE
from hestia.http1.heads import Field, Request, Response
from hestia.proxy import rewrite, splice
from hestia.proxy.paged import Paged
from hestia.proxy.relay import NEVER, too_large

if TYPE_CHECKING:
    from hestia.edge.connection import ClientConnection
    from hestia.proxy.service import DataPath


class Exchange(Paged):
    """One request on its way; see the module docstring for the walk."""

    __slots__ = ()

    def __init__(self, path: DataPath, client: ClientConnection, request: Request) -> None:
        super().__init__(path, client, request)
        self.quiet = self._ended = False
        self._dial = self._timer = None
        self._waiter = None
        self._failed = {}

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
            if self.request.wait:
                self._answer_page(match.route)
                return
            if match.route.settings.rules is not None:
                self._obey(match.route.settings.rules, match)
                if match.route.settings.rules.routed:
                    self._choose(match, match.route)
                    return
            lease = self._path.leases.acquire_nowait(match.route.service)
            if lease is not None:
                self._leased(lease, self.started)
            else:
                self._wait()
        except HestiaError as error:
            self._refused(error)

    def _obey(self, rules: Rules, match: Match) -> None:
        """What the service says of single requests. Raises what this one is refused with."""
        self._rules, request = rules, self.request
        if request.length > rules.max_body:
            raise too_large(rules)
        if rules.underscores is not Underscores.KEEP:
            names = {name.lower() for name, _ in request.fields if b"_" in name}
            if names and rules.underscores is Underscores.REFUSE:
                raise BadRequest(
                    f"The service takes no header with _ in its name: {min(names).decode('latin-1')[:60]}.",
                    remedy="send it with -, or say underscore_headers: keep",
                )
            request.drop(names)
        self.quiet = rules.is_quiet(request.method, match.target, request.get(b"user-agent"))
        if rules.request is not None:
            request.drop(rules.request.gone)
            request.passing += rules.request.lines

    def answer(self, status: int, fields: list[Field], body: bytes = b"", *, code: str = "") -> None:
        """Answer here and now, instead of the service: unless that gave an answer before."""
        if self._kept is not None and self._resorts(AdmissionError("The service is not hot any more.")):
            return
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
        candidates = self._candidates()
        if self._path.waiting.answer_instead(self, match.route, candidates):
            return
        if self._is_page_again(match.route):
            return
        settings = match.route.settings
        limit = self.started + settings.wait_limit
        self._note("queued", ahead=self._path.leases.queued(match.route.service))
        waiter = self._path.leases.wait(
            match.route.service,
            self._granted,
            candidates=candidates,
            deadline=limit,
            request_id=self.request_id,
            quiet=self.quiet,
            then=self._next_candidates(candidates),
        )
        if not waiter.settled:
            self._waiter = waiter
            self._hold()

    def _granted(self, outcome: Outcome) -> None:
        self._waiter = None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if isinstance(outcome, Lease):
            if self._ended:
                self._path.release(outcome)
            else:
                self._note("granted")
                self._leased(outcome, self._path.clock())
        else:
            self._refused(outcome)

    # -- the client's body ---------------------------------------------------------------------

    def body_failed(self, error: HestiaError) -> None:
        """The rest of the client's body cannot be parsed (BF-07: nothing is made up)."""
        if self._head is None:
            self.fail(error, keep=False)
        else:
            self._cut("client", error.code)

    def body_timeout(self) -> None:
        """The client has sent nothing for its time, or was not read: then it is not the one to blame."""
        connection = self._connection
        if self._is_looking():
            self.body_failed(RequestTimeout("The rest of the request's body did not arrive within 60 s."))
            return
        if connection is None or self._unwanted:
            return  # `_connected` awaits it again; or nobody needs it, and the answer has limits of its own
        if not connection.writable:
            left = connection.unsent
            if left < self._unsent:  # slow, but not stalled
                self._unsent = left
                self._client.expect_body()
                return
            self._give_up(
                UpstreamTimeout(
                    f"The service at {connection.where} does not take the request's body.",
                    remedy="look whether it hangs: hestia logs",
                    cause="timeout",
                ),
                keep=False,
            )
            return
        self.body_failed(RequestTimeout("The rest of the request's body did not arrive within 60 s."))

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
            self._give_up(
                kind(f"The 101 answer of {connection.where} does not fit what the client asked for.")
            )
            return
        if self._kept is not None:
            self._kept.drop()
            self._kept = None
        self.status = 101
        self.t_head = self._path.clock()
        self._deadline = NEVER
        assert self._upstream is not None
        self._client.write(rewrite.switching_head(head, self._upstream, b"\r\nx-request-id: " + self.id))
        if self._lease is not None:
            self._path.leases.succeeded(self._lease)
            self._path.leases.became_socket(self._lease)
        self._client.splice()
        self._connection.splice()
        self._socket = splice.Splice(self, self._client, self._connection, self._lease, self._path.clock)
        early = self._take_spool()
        self._client.resume()
        for data in early:
            self._socket.from_client(data)

    def so_far(self, at: float, now: float) -> RequestRecord:
        if self._socket is not None:
            self._bytes_in, self._bytes_out = self._socket.passed
        return super().so_far(at, now)

    def socket_ended(self, bytes_in: int, bytes_out: int, aborted: str) -> None:
        """Both legs of the splice are closed or cut."""
        self._bytes_in, self._bytes_out, self.aborted = bytes_in, bytes_out, aborted
        self._connection = None
        self._end(keep=False)
        self._socket = None  # it holds this object

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
                self._too_slow()

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
            if self._kept is not None and (self._kept.is_whole or not isinstance(reason, GatewayDraining)):
                self._give_up(reason)
            else:
                self.fail(reason)
        else:
            self._cut("gateway", reason.code)

    def close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _stop_trying(self) -> None:
        """Leave the queue, the dial and the pause between two attempts; drop an answer that is kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.drop()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and self._match is not None and self._match.route is not None:
            self._path.leases.leave(self._match.route.service, waiter)
        dial, self._dial = self._dial, None
        if dial is not None:
            self._path.pool.give_up(dial)
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

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
        if self._becomes_page(error):
            return
        if self._match is not None and self._match.route is not None:
            error.service_id = error.service_id or self._match.route.service
        error.attempts = self._attempts or None
        self._note("refused", text=error.detail, remedy=error.remedy)
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
        if (
            self._waiter is not None
            or self._dial is not None
            or self._timer is not None
            or self._kept is not None
        ):
            self._stop_trying()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        lease, self._lease = self._lease, None
        if lease is not None:
            self._path.release(lease)
        if self._spooled:
            self._take_spool()
        if self._copy is not None:
            self._copy.free()
        self._path.done(self)
        if tell:
            self._client.finished(keep=keep)
