"""How a request of a service with a strategy finds its instance: look into it, rank, take a lease.

Owns the moment between the match and the lease, which may last until a part of the body is here, and what of
the choice shows in the answer. Services without a strategy never come here.
"""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from typing import Final

from hestia.access.origin import is_cross_site_subresource
from hestia.core.errors import HestiaError, StrategyRefused
from hestia.core.model import InstanceId, ServiceId
from hestia.core.routing import Match, Route, RoutedMatch, RouteKind
from hestia.core.strategy import Reads, Sticky
from hestia.http1.framing import NO_BODY
from hestia.http1.heads import Field, Response
from hestia.proxy.asking import Asking
from hestia.proxy.attempts import Attempts
from hestia.proxy.buffers import SPOOL_LIMIT
from hestia.proxy.peek import Peek, peek_for

log = logging.getLogger(__name__)

_COOKIE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 6265 §4.1.1
_OCTETS: Final = re.compile(r"[!#-+\--:<-\[\]-~]*")
MERGED: Final = frozenset(
    {"/v1/models", "/api/tags"}
)  # lists that are merged over the instances, if asked to


class Looking(RoutedMatch):
    """A routed match while the request's body is searched. asking: waits for the key."""

    __slots__ = ("asking", "peek")

    def __init__(self, found: Match, asking: Asking, peek: Peek) -> None:
        super().__init__(found)
        self.asking = asking
        self.peek = peek


class Chosen(Attempts):
    """The part of an exchange that a strategy has a say in."""

    __slots__ = ()

    @abstractmethod
    def answer(self, status: int, fields: list[Field], body: bytes = b"", *, code: str = "") -> None:
        """Answer here, instead of the service."""

    @abstractmethod
    def _wait(self) -> None:
        """No lease now: wait for one."""

    def _choose(self, match: Match, route: Route) -> None:
        """Rank the instances and take a lease; first of all find what the strategy wants to know. Raises what
        the request is refused with."""
        chooser = self._path.choosers.of(route.service)
        if chooser is None:
            self._take(RoutedMatch(match), route)
            return
        asking = Asking(self.request, match.target, self._client.peer)
        if chooser.merges and self.request.method == b"GET" and asking.path in MERGED:
            self._match = RoutedMatch(match)
            self._path.choosers.spawn(self._merge(route.service, asking.path), f"models of {route.service}")
            return
        if chooser.reads is not None:
            asking.key = asking.query(chooser.reads.name)
            if asking.key is None and self._looks(match, asking, chooser.reads):
                return
        self._rank(RoutedMatch(match), route, asking)

    async def _merge(self, service: ServiceId, path: str) -> None:
        """Answer with the models of all instances."""
        body = await self._path.choosers.instances.models(service, path, self.request.get(b"authorization"))
        if not self._ended:
            self.answer(200, [(b"content-type", b"application/json"), (b"cache-control", b"no-store")], body)

    def _looks(self, match: Match, asking: Asking, reads: Reads) -> bool:
        """Whether the body is to be searched first."""
        request = self.request
        if request.length in (NO_BODY, 0) or self._upgrade:
            return False
        peek = peek_for(request, reads.name, reads.peek_max)
        if peek is None:
            return False
        self._match = Looking(match, asking, peek)
        if request.expects:  # to find its instance takes the body, so it is invited now (CQ-07)
            request.expects = False
            self._client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._client.expect_body()
        return True

    def _rank(self, match: RoutedMatch, route: Route, asking: Asking) -> None:
        self._match = match
        choosers = self._path.choosers
        chooser = choosers.of(route.service)
        if chooser is not None:
            ranking = chooser.rank(asking)
            if ranking.wake is not None and self._may_wake(route):
                choosers.instances.spill_over(route.service, ranking.wake, actor=self.request_id)
            match.order, match.then = ranking.order, ranking.then
            if ranking.sticky is not None:
                path = f"{route.prefix.decode()}/" if match.kind is RouteKind.PREFIX else "/"
                match.stick = _lines(ranking.sticky, path)
            self._note("chosen", text=f"{chooser.settings.name}: {ranking.why}")
        self._take(match, route)

    def _may_wake(self, route: Route) -> bool:
        """Whether this request may start an instance: not one that wakes nothing, nor a page of another site
        (CQ-11, SE-14)."""
        rules = route.settings.rules
        welcome = rules.origins if rules is not None else frozenset[bytes]()
        return not self.quiet and not is_cross_site_subresource(self.request, self.host, welcome)

    def _take(self, match: RoutedMatch, route: Route) -> None:
        """Take a lease on the first that has one, or wait: within the call that ranked them."""
        self._match = match
        lease = self._path.leases.acquire_nowait(route.service, match.order or None)
        if lease is not None:
            self._leased(lease, self._path.clock())
        else:
            self._wait()

    # -- while the body is searched ------------------------------------------------------------

    def _spooled_more(self, data: bytes) -> None:
        looking = self._match
        if isinstance(looking, Looking) and not looking.peek.over:
            if not looking.peek.feed(data) and self._spooled >= SPOOL_LIMIT:
                looking.peek.give_up("the body came in too many pieces")
            if looking.peek.over:
                self._look_is_over(looking)

    def _body_is_here(self) -> None:
        looking = self._match
        if isinstance(looking, Looking) and not looking.peek.over:
            looking.peek.end()
            self._look_is_over(looking)

    def _is_looking(self) -> bool:
        return isinstance(self._match, Looking) and not self._match.peek.over

    def _look_is_over(self, looking: Looking) -> None:
        route = looking.route
        assert route is not None
        looking.asking.key = looking.peek.value
        if looking.peek.value is None:
            log.info(
                "The key that routes this request was not found: %s",
                looking.peek.why,
                extra={
                    "event_type": "routing_key_missing",
                    "service_id": route.service,
                    "request_id": self.request_id,
                },
            )
        try:
            self._rank(RoutedMatch(looking), route, looking.asking)
        except HestiaError as error:
            self._refused(error)

    # -- further attempts ----------------------------------------------------------------------

    def _candidates(self) -> tuple[InstanceId, ...] | None:
        """Those of the ranking that have not failed this request; the next ones only when all of the first
        have."""
        match = self._match
        if not isinstance(match, RoutedMatch) or not match.order:
            return super()._candidates()
        if not self._failed:
            return match.order
        order = tuple([one for one in match.order if one not in self._failed])
        return order or tuple([one for one in match.then if one not in self._failed]) or match.order

    def _next_candidates(self, candidates: tuple[InstanceId, ...] | None) -> tuple[InstanceId, ...]:
        """What a waiter for these may use when none of them can be hoped for."""
        match = self._match
        if candidates is None or not isinstance(match, RoutedMatch) or not match.then:
            return ()
        return tuple([one for one in match.then if one not in candidates and one not in self._failed])

    # -- the answer ----------------------------------------------------------------------------

    def _mark_instance(self, head: Response) -> None:
        """Set the cookie that brings the client back to this instance, unless it has it."""
        match, lease = self._match, self._lease
        if isinstance(match, RoutedMatch) and match.stick is not None and lease is not None:
            line = match.stick.get(lease.use.key.instance)
            if line is not None:
                head.passing += (b"\r\nset-cookie: ", line)


def _lines(sticky: Sticky, path: str) -> dict[InstanceId, bytes]:
    """Value of `Set-Cookie` by instance; the one whose cookie came needs none."""
    if not _COOKIE.fullmatch(sticky.cookie) or not all(map(_OCTETS.fullmatch, sticky.values.values())):
        raise StrategyRefused(
            f"The strategy wants a cookie that cannot be sent: {sticky.cookie[:80]!r}.",
            remedy="correct the strategy: a name of letters and digits, values without blanks and signs",
        )
    rest = f"; Path={path}; HttpOnly; SameSite=Lax"
    if sticky.max_age:
        rest += f"; Max-Age={sticky.max_age}"
    return {
        name: f"{sticky.cookie}={value}{rest}".encode("latin-1", "replace")
        for name, value in sticky.values.items()
        if value != sticky.came
    }
