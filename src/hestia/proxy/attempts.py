"""The attempts of one request: which upstream, which connection, and what follows when one fails.

Owns the way from a lease to a written request, and the further attempts that the matrix in `retry` allows.
What follows behind the last one is `resort`'s business, bytes are moved in `relay`; the queue, the answers
made here and the end of it all are `exchange`'s. Source: proxy-semantics RF, CQ-13, CP-06.
"""

from __future__ import annotations

import logging
import random
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from hestia.core.errors import (
    AdmissionError,
    HestiaError,
    InternalError,
    UpstreamError,
    UpstreamTimeout,
)
from hestia.core.lease import Lease
from hestia.core.model import InstanceId
from hestia.core.routing import Route, RouteKind
from hestia.http1.framing import CHUNKED, LAST_CHUNK, NO_BODY, encode_chunk
from hestia.http1.heads import Response
from hestia.http1.upstream import UpstreamConnection
from hestia.proxy import retry, rewrite
from hestia.proxy.buffers import Copy
from hestia.proxy.kept import Kept
from hestia.proxy.relay import HANDSHAKE_TIMEOUT
from hestia.proxy.resort import Resorts, both
from hestia.proxy.retry import IDEMPOTENT, REFUSED_PAUSE, Failure, Verdict
from hestia.proxy.rewrite import Upstream

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)
_OURS: Final = "Hestia failed while it served this request; this is a fault of Hestia, not of the request."

CONTROL_CONNECT_TIMEOUT: Final = 5.0  # seconds; a unix socket in this process
REFUSED_AFTER_HOT: Final = 2.0  # seconds after hot in which a refused connect is tried again (CQ-13)


class Attempts(Resorts):
    """The middle of an exchange; its fields are set in `Exchange`."""

    __slots__ = ("quiet",)

    quiet: bool  # it neither starts its service nor keeps it up (CQ-11)

    @abstractmethod
    def _wait(self) -> None:
        """No lease now: wait for one. Raises what the request is refused with."""

    @abstractmethod
    def abort(self, reason: HestiaError) -> None:
        """As `core.lease.Holder` has it."""

    @abstractmethod
    def close_socket(self) -> None:
        """As `core.lease.Holder` has it."""

    # -- from the lease to a connection --------------------------------------------------------

    def _leased(self, lease: Lease, now: float) -> None:
        self._lease = lease
        lease.holder = self
        self.t_leased = now
        if self.quiet:
            lease.hush()
        match = self._match
        assert match is not None
        upstream = lease.use.data
        if type(upstream) is not tuple:
            upstream = self._path.upstreams(lease, match)
        assert isinstance(upstream, tuple)
        self._upstream = upstream[0] if match.kind is RouteKind.PREFIX else upstream[1]
        self._connect()

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
        route = self._route()
        if route is not None and self._path.is_full():
            self._give_up(
                AdmissionError(
                    "The gateway has nearly as many files open as the system lets it.",
                    remedy="raise the limit: LimitNOFILE= of its unit, or ulimit -Hn",
                    retry_after=1.0,
                )
            )
            return
        self._dial = self._path.pool.dial(
            upstream.shelf,
            upstream.endpoint,
            route.settings.connect_timeout if route is not None else CONTROL_CONNECT_TIMEOUT,
            self._dialled,
            tls_verify=upstream.tls_verify,
        )

    def broke(self) -> None:
        """A bug of ours, already logged: 500 before a head was written, else truncation (T-ER-04)."""
        self.fail(InternalError(_OURS), keep=False)

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
            self._give_up(both(self._fallback, error) if self._fallback is not None else error)
            return
        fresh = error.cause == "refused" and clock() - lease.use.ready_since < REFUSED_AFTER_HOT
        if fresh and not self._another_serves(lease):
            self._attempts -= 1
            if self._steps is None or self._steps[-1].what != "knock":
                self._note("knock", text=error.detail)
                self._path.leases.refused(lease, error)
            self._timer = self._path.later(REFUSED_PAUSE, self._knock)
            return
        self._blame()
        self._path.leases.connect_failed(lease, error)
        if not self._once_more(Failure.UNSENT, error):
            self._give_up(error)

    def _another_serves(self, lease: Lease) -> bool:
        """Whether another instance could take the request now, so that nobody has to knock again."""
        slots = lease.use.owner.service.slots
        if len(slots) == 1:
            return False
        fit = self._candidates()
        return any(
            slot.use is not None and slot.use is not lease.use and slot.use.room
            for name, slot in slots.items()
            if (fit is None or name in fit) and name not in self._failed
        )

    def _knock(self) -> None:
        """The listener of a fresh start may lag behind its probe."""
        self._timer = None
        if not self._ended:
            self._connect()

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
        idempotent = request.method in IDEMPOTENT
        if (
            self._copy is None
            and (idempotent or self._is_keyed(match.route))
            and self._may_follow(idempotent)
        ):
            self._copy = Copy(self._path.buffers)
        parts = [head]
        if self._spooled:
            for data in self._take_spool():
                parts += encode_chunk((data,)) if request.length == CHUNKED else (data,)
                if self._copy is not None:
                    self._copy.add(data)
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

    def _may_follow(self, idempotent: bool) -> bool:
        """Whether another attempt may follow this one, so that the body is kept for it (RF-03)."""
        route = self._route()
        if route is None or self._given:
            return False
        if self._lease is None:  # the fallback is asked once
            return self.reused
        has_fallback = bool(route.settings.fallback_url) and self._fallback is None
        return self.reused or retry.may_follow(
            route.settings, idempotent=idempotent, attempts=self._attempts, has_fallback=has_fallback
        )

    def _is_keyed(self, route: Route | None) -> bool:
        """Whether the service recognises this request when it comes twice."""
        if route is None or not route.settings.retry_idempotency_key:
            return False
        return self.request.get(b"idempotency-key") is not None

    # -- when an attempt fails -----------------------------------------------------------------

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
        failure = Failure.STALE if self.reused else Failure.BROKEN
        if failure is Failure.BROKEN:
            self._blame()
            if self._lease is not None:
                self._path.leases.let_down(self._lease)
        if not (clean and self._once_more(failure, error)):
            self._give_up(error)

    def _discards(self, head: Response) -> bool:
        """Whether an answer of 400 or more is put aside, because the request is sent again; it is kept in
        case that no other comes (RF-07)."""
        lease, route, connection, upstream = self._lease, self._route(), self._connection, self._upstream
        if head.status >= 500:
            self._blame(head.status)
        if lease is None or route is None or connection is None or upstream is None:
            return False
        failure = retry.status_failure(head.status, route.settings, warm=lease.use.warm)
        if failure is None or self._given:
            return False
        before, lasting = self._kept, head.lasting
        self._kept = kept = Kept(head, connection, upstream, self._path.buffers)
        self._connection = None
        error = UpstreamError(f"The service at {connection.where} answered {head.status}.")
        if self._once_more(failure, error):
            if before is not None:
                before.drop()
            return True
        self._connection = kept.hand_over(self)
        self._kept, head.lasting = before, lasting
        return False

    def _too_slow(self) -> None:
        """The head of the answer did not come in time."""
        route = self._route()
        limit = route.settings.response_timeout if route is not None else 0.0
        late = f"begin its answer within {limit:g} s (response_timeout)"
        if self._upgrade and limit > HANDSHAKE_TIMEOUT:
            late = f"answer the WebSocket handshake within {HANDSHAKE_TIMEOUT:g} s"
        error = UpstreamTimeout(
            f"The service did not {late}.",
            remedy="look whether it hangs: hestia logs; or raise response_timeout of the service",
            cause="timeout",
        )
        if self._lease is not None:
            self._path.leases.let_down(self._lease)
        if not self._once_more(Failure.SLOW, error):
            self._give_up(error)

    def _once_more(self, failure: Failure, error: HestiaError) -> bool:
        """Send the request again if matrix, count, time and budget allow it, else to the fallback. False:
        that is not to be; nothing was changed then, and the caller answers."""
        route = self._route()
        if route is None or self._given:
            return False
        settings = route.settings
        told = retry.verdict(
            failure,
            settings,
            method=self.request.method,
            keyed=self._is_keyed(route),
            whole=self.request.length == NO_BODY or (self._copy is not None and self._copy.good),
            attempts=self._attempts,
        )
        if told is Verdict.FRESH:
            self._note("stale", text=error.detail)
            self._rewind()
            self._attempts -= 1  # a stale connection is not the instance's failure
            self.reused = False
            self._fresh()
            return True
        lease = self._lease
        if told is Verdict.NO or lease is None:
            return False
        pause = retry.pause(
            settings,
            ended=failure is Failure.BROKEN or error.cause == "refused",
            chance=random.random(),
        )
        at = self._path.clock() + pause
        if not (
            retry.may_go_on(settings, attempts=self._attempts, at=at, started=self.started)
            and (failure is Failure.UNSENT or self._path.may_retry(lease))
        ):
            # what a service may have begun to do is not for another one to do once more
            return failure in (Failure.UNSENT, Failure.STATUS) and self.falls_back(error)
        log.info(
            "A request is sent again: %s",
            failure.value,
            extra={"event_type": "retry", "service_id": settings.id, "request_id": self.request_id},
        )
        self._note("failed", text=error.detail)
        self._give_back(lease, error)
        self._rewind()
        if pause:
            self._timer = self._path.later(pause, self._take_again)
        else:
            self._take_again()
        return True

    def _fresh(self) -> None:
        """Once more on a connection that was never used."""
        assert self._upstream is not None
        self._attempts += 1
        self._dial_anew(self._upstream)

    def _take_again(self) -> None:
        self._timer = None
        route = self._route()
        if self._ended or route is None:
            return
        try:
            lease = self._path.leases.acquire_nowait(route.service, self._candidates())
            if lease is not None:
                self._leased(lease, self._path.clock())
            else:
                self._wait()
        except HestiaError as error:
            self._refused(error)

    def _candidates(self) -> tuple[InstanceId, ...] | None:
        """Instances that have not failed this request; None while none has."""
        route = self._route()
        if not self._failed or route is None:
            return None
        rest = [one.id for one in route.settings.instances if one.id not in self._failed]
        return tuple(rest) or None
