"""The data path as one object: what every exchange shares. Built once, changed only by `update`.

Owns request ids, forwarded fields, own answers and the record of each request. See `exchange` for the walk.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Protocol

from hestia.access import origin
from hestia.core.errors import BadFraming, BadHost, BadRequest, HestiaError, LoopDetected, MethodNotAllowed
from hestia.core.lease import Lease
from hestia.core.model import (
    Endpoint,
    GatewayId,
    InstanceId,
    InstanceKey,
    PathPolicy,
    ServiceId,
    Settings,
)
from hestia.core.queue import Outcome, Waiter
from hestia.core.requests import RequestRecord
from hestia.core.routing import Match, OneRoute, Route, RouteKind, RouteTable
from hestia.core.urls import parse_base_url
from hestia.edge.connection import ClientConnection
from hestia.http1 import target as targets
from hestia.http1.fields import prefix
from hestia.http1.framing import NO_BODY
from hestia.http1.heads import Field, Request
from hestia.http1.pool import Pool
from hestia.problems import render
from hestia.proxy.buffers import Buffers
from hestia.proxy.choosing import Choosers
from hestia.proxy.exchange import Exchange
from hestia.proxy.paged import Pages
from hestia.proxy.retry import Budget
from hestia.proxy.rewrite import Upstream
from hestia.proxy.waiting import Starter, Waiting

_HOST: Final = re.compile(
    rb"(?:[A-Za-z0-9_.](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?"
)
HOSTS_KNOWN: Final = 4096  # well-formed Host values remembered
_CHAIN: Final = re.compile(rb"[0-9A-Za-z.:_\[\], \t-]+")  # addresses, and what RFC 7239 says for hidden ones
_HOST_PORT: Final = re.compile(rb":([0-9]+)$")
_DIGITS: Final = b"abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = [bytes((first, second)) for first in _DIGITS for second in _DIGITS]

Network = IPv4Network | IPv6Network


class Leases(Starter, Protocol):
    """What the data path needs of the gateway; `runtime.gateway.Gateway` is it."""

    def acquire_nowait(
        self, service: ServiceId, candidates: tuple[InstanceId, ...] | None = None
    ) -> Lease | None: ...
    def wait(
        self,
        service: ServiceId,
        on_outcome: Callable[[Outcome], None],
        *,
        candidates: tuple[InstanceId, ...] | None = None,
        deadline: float,
        request_id: str = "",
        quiet: bool = False,
        then: tuple[InstanceId, ...] = (),
    ) -> Waiter: ...
    def leave(self, service: ServiceId, waiter: Waiter) -> None: ...
    def released(self, lease: Lease) -> None: ...
    def succeeded(self, lease: Lease) -> None: ...

    def became_socket(self, lease: Lease) -> None: ...
    def connect_failed(self, lease: Lease, error: HestiaError) -> None: ...
    def refused(self, lease: Lease, error: HestiaError) -> None: ...
    def let_down(self, lease: Lease) -> None: ...


class DataPath:
    """Shared by all exchanges.

    control: the control API's private endpoint. on_done: takes the record of each request that ended.
    buffers: counts the bodies that are held. trust_unix: whether who speaks over a unix socket may name the
    client (the bridge, the dispatcher). seal: gives a line for the head of each own answer; it gets the body
    that a HEAD is not sent. is_full: whether no further connection to a service may be opened (LI-14).
    own_port: behind the port of the one service that the settings have. budgets: of further attempts, one for
    each service, whichever port its requests come in by. choosers: the strategies, likewise.
    traced: whether somebody wants to know which trace a request belongs to. pages: of browsers that wait;
    None where no browser comes. inside: path of the control API that makes them, which nobody else knows.
    """

    def __init__(
        self,
        settings: Settings,
        leases: Leases,
        pool: Pool,
        *,
        control: Endpoint,
        on_done: Callable[[RequestRecord], None],
        clock: Callable[[], float],
        choosers: Choosers,
        buffers: Buffers | None = None,
        pseudonym: str = "hestia",
        trust_unix: bool = False,
        seal: Callable[[bytes], bytes] = lambda _: b"",
        is_full: Callable[[], bool] = lambda: False,
        own_port: bool = False,
        budgets: dict[ServiceId, Budget] | None = None,
        traced: bool = False,
        pages: Pages | None = None,
        inside: str = "",
    ) -> None:
        self.pages = pages
        self.inside = inside
        self.traced = traced
        self.leases = leases
        self.pool = pool
        self.clock = clock
        self.choosers = choosers
        self.is_full = is_full
        self._own_port = own_port
        self.waiting = Waiting(leases)
        self.buffers = buffers if buffers is not None else Buffers()
        self.budgets: dict[ServiceId, Budget] = budgets if budgets is not None else {}
        self._fallbacks: dict[tuple[ServiceId, RouteKind], Upstream] = {}
        self.control = Upstream(control, None, RouteKind.CONTROL, pool.shelf(None))
        self._pseudonym = b"1.1 " + pseudonym.encode()
        self.via = b"\r\nvia: " + self._pseudonym
        self._on_done = on_done
        self._ids = itertools.count(1)
        self._id_prefix = b"req_" + base64.b32encode(os.urandom(10)).lower()
        self._date = (0, b"")
        self._hosts: set[bytes] = set()
        self._table = RouteTable({})
        self._trusted: tuple[Network, ...] = ()
        self._identity: frozenset[bytes] = frozenset()
        self._trust_unix = trust_unix
        self._seal = seal
        self.in_flight = 0
        self.update(settings)

    def update(self, settings: Settings) -> None:
        """Take new settings; requests under way keep theirs."""
        own = [*settings.gateway.allowed_hosts]
        self._table = (OneRoute if self._own_port else RouteTable)(settings.services, own=own)
        for service, _ in self._fallbacks:
            self.pool.forget(_fallback_key(service))
        self._fallbacks.clear()
        self._identity = frozenset(name.lower().encode() for name in settings.gateway.identity_headers)
        self._trusted = tuple(ip_network(one) for one in settings.gateway.trusted_proxies)

    def handler(self, request: Request, client: ClientConnection) -> Exchange:
        """What the edge calls for each request."""
        self.in_flight += 1
        return Exchange(self, client, request)

    # -- matching ------------------------------------------------------------------------------

    def match(self, exchange: Exchange, client: ClientConnection) -> Match | None:
        """Where the request goes; raises what it is refused with. None: it was answered here."""
        request = exchange.request
        if request.refusal is not None:
            raise request.refusal
        if request.target == b"*":
            self._options(exchange)
            return None
        if request.method == b"TRACE":
            raise MethodNotAllowed("TRACE is not offered: it would echo credentials.")
        if request.target[:1] != b"/":
            request.authority, request.target = targets.split_absolute(request.target)
        exchange.host = host = _quick_host(request, self._hosts)
        if request.via and self._pseudonym in [
            one.strip(b" \t") for one in b",".join(request.via).split(b",")
        ]:
            raise LoopDetected(
                "The request came back to this gateway.", remedy="a base_url points at the gateway itself"
            )
        target = request.target
        quick = not targets.needs_look(target)
        match = self._table.match(host, target) if quick else self._find(host, target)
        if self._identity:
            self._guard_identity(request, client)
        if match.route is None:
            origin.check_control(request, host)
            if request.upgrade and request.offers_websocket:
                raise BadRequest("The gateway itself has no WebSocket.", remedy="send a plain GET")
        elif request.upgrade:
            rules = match.route.settings.rules
            self._check_handshake(request, host, rules.origins if rules is not None else frozenset())
        if match.bare and _navigation(request):
            self._to_slash(exchange)
            return None
        return match

    def _guard_identity(self, request: Request, client: ClientConnection) -> None:
        """Only a trusted proxy says who the user is; its word is no field to be nominated away (HQ-03)."""
        request.drop(self._identity)
        if self._trusts(client.peer):
            for name, value in request.fields:
                if (lower := name.lower()) in self._identity:
                    request.passing += (prefix(lower), value)

    def _find(self, host: bytes, target: bytes) -> Match:
        """Route a target with something to look at, as a whole; only the found service may lift RT-14."""
        targets.check_bytes(target)
        try:
            match = self._table.match(host, target)
        except HestiaError:
            targets.check_path(target)
            raise
        if match.route is None or match.route.settings.path_policy is PathPolicy.STRICT:
            targets.check_path(target)
        return match

    @staticmethod
    def _check_handshake(request: Request, host: bytes, welcome: frozenset[bytes]) -> None:
        """WS-08, UP-07, and a key that an upstream can answer. Other upgrade offers are just dropped."""
        if not request.offers_websocket:
            if request.method != b"GET" and request.wants_websocket:
                raise BadRequest("A WebSocket handshake is a GET.", remedy="send GET")
            return
        if request.length != NO_BODY:
            raise BadFraming("A WebSocket handshake has no body.", remedy="leave Content-Length out")
        if len(request.get_all(b"sec-websocket-key")) != 1:
            raise BadRequest("A WebSocket handshake has one Sec-WebSocket-Key, no more and no less.")
        origin.check_socket(request, host, welcome)

    def _options(self, exchange: Exchange) -> None:
        """`OPTIONS *` asks about the gateway itself (RT-05)."""
        if exchange.request.method != b"OPTIONS":
            raise BadRequest("The target * is only for OPTIONS.")
        exchange.answer(204, [(b"allow", b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS")])

    def _to_slash(self, exchange: Exchange) -> None:
        """Relative links of a web page break without the slash (PR-04)."""
        path, mark, query = exchange.request.target.partition(b"?")
        exchange.answer(308, [(b"location", path + b"/" + mark + query)])

    def upstreams(self, lease: Lease, match: Match) -> tuple[Upstream, Upstream]:
        """What is the same for every request to this generation: over a prefix, and over a host or port.

        A request that came before the last reload has it of its own settings; nobody after it does.
        """
        assert match.route is not None
        key, current = lease.use.key, self._table.has(match.route)
        shelf = self.pool.shelf(key) if current else self.pool.nowhere()
        pair = tuple(
            Upstream(
                lease.endpoint, match.route, kind, shelf, instance=key.instance, generation=key.generation
            )
            for kind in (RouteKind.PREFIX, RouteKind.HOST)
        )
        if current:
            lease.use.data = pair
        return pair  # type: ignore[return-value]  # two by construction

    def fallback(self, match: Match, route: Route) -> Upstream:
        """The last resort of a service, as an upstream with connections of its own (RF-06)."""
        place = (route.service, match.kind)
        upstream = self._fallbacks.get(place)
        if upstream is None:
            key, current = _fallback_key(route.service), self._table.has(route)
            endpoint = parse_base_url(route.settings.fallback_url)
            shelf = self.pool.shelf(key) if current else self.pool.nowhere()
            upstream = Upstream(endpoint, route, match.kind, shelf, instance=key.instance)
            if current:
                self._fallbacks[place] = upstream
        return upstream

    def may_retry(self, lease: Lease) -> bool:
        """Whether the service's budget has a further attempt (RF-04); it is taken then."""
        slots = lease.use.owner.service.slots.values()
        requests = sum(slot.use.granted for slot in slots if slot.use is not None)
        budget = self.budgets.setdefault(lease.use.key.service, Budget())
        return budget.take(self.clock(), requests)

    # -- pieces of heads -----------------------------------------------------------------------

    def new_id(self) -> bytes:
        """A request id: 16 random characters of this process and 4 of a counter (HQ-12)."""
        number = next(self._ids)
        if not number & 0xFFFFF:  # the counter's characters are used up
            self._id_prefix = b"req_" + base64.b32encode(os.urandom(10)).lower()
        return self._id_prefix + _PAIRS[number >> 10 & 1023] + _PAIRS[number & 1023]

    def forwarded(self, client: ClientConnection, request: Request, host: bytes) -> bytes:
        """The forwarded family for this peer and Host (FW-02, FW-03); kept on the connection."""
        trusted = bool(request.forwarded) and self._trusts(client.peer)
        if not trusted and client.forwarded[0] == host and client.forwarded[1]:
            return client.forwarded[1]
        peer = client.peer.encode("latin-1") or b"unknown"
        shown, proto, before = host, client.scheme, b""
        if trusted:
            given = dict(request.forwarded)
            lines = [value for name, value in request.forwarded if name == b"x-forwarded-for"]
            chain = [value for value in lines if _CHAIN.fullmatch(value)]
            if chain and not client.peer:  # the bridge is no hop of its own
                peer = b", ".join(chain)
            elif chain:
                before = b", ".join(chain) + b", "
            if _HOST.fullmatch(said := given.get(b"x-forwarded-host", b"")):  # else not a host (FW-06)
                shown = said
            if (said := given.get(b"x-forwarded-proto", b"").lower()) in (b"http", b"https"):
                proto = said
        port = _HOST_PORT.search(shown)
        number = port[1] if port else b"443" if proto == b"https" else b"80"
        block = b"\r\nx-forwarded-for: " + before + peer + b"\r\nx-forwarded-proto: " + proto
        if shown:
            block += b"\r\nx-forwarded-host: " + shown
        block += b"\r\nx-forwarded-port: " + number
        if not trusted:
            client.forwarded = (host, block)
        return block

    def _trusts(self, peer: str) -> bool:
        """Whether this peer may name the client (FW-01). peer: "" on a unix socket."""
        if not peer:
            return self._trust_unix
        return bool(self._trusted) and any(ip_address(peer) in network for network in self._trusted)

    def date_line(self) -> bytes:
        """Our Date field, for an upstream that sent none."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, b"\r\ndate: " + formatdate(now, usegmt=True).encode())
        return self._date[1]

    # -- own answers ---------------------------------------------------------------------------

    def problem(self, error: HestiaError, request_id: bytes) -> tuple[int, list[Field], bytes]:
        """Status, fields and body of a problem document."""
        return render(error, request_id=request_id.decode("latin-1"))

    def own_answer(
        self, exchange: Exchange, status: int, fields: list[Field], body: bytes, *, keep: bool
    ) -> bytes:
        """An answer made here, whole. HEAD gets the same head without the body (ER-07)."""
        request = exchange.request
        last = b"" if request.minor else b"\r\nconnection: keep-alive"
        return self._answer(
            status,
            fields,
            body,
            head=request.method == b"HEAD",
            request_id=exchange.id,
            last=last if keep else b"\r\nconnection: close",
        )

    def refusal(self, error: HestiaError, client: ClientConnection) -> bytes:
        """The answer to bytes that did not become a request."""
        request_id = self.new_id()
        status, fields, body = self.problem(error, request_id)
        self._on_done(RequestRecord(time.time(), "", request_id, b"", "none", b"", status, code=error.code))
        last = b"\r\nconnection: close"
        return self._answer(status, fields, body, head=False, request_id=request_id, last=last)

    def _answer(
        self, status: int, fields: list[Field], body: bytes, *, head: bool, request_id: bytes, last: bytes
    ) -> bytes:
        parts = [b"HTTP/1.1 %d " % status, _reason(status), self.date_line()]
        for name, value in fields:
            if name not in (b"content-length", b"x-request-id"):
                parts += (b"\r\n", name, b": ", value)
        parts += (self._seal(body if head else b""), b"\r\nx-request-id: ", request_id)
        if status != 204:
            parts.append(b"\r\ncontent-length: %d" % len(body))
        parts += (last, b"\r\n\r\n", b"" if head else body)
        return b"".join(parts)

    # -- life ----------------------------------------------------------------------------------

    def later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """A timer of one exchange; only where it waits on purpose."""
        return asyncio.get_running_loop().call_later(seconds, call)

    def release(self, lease: Lease) -> None:
        """Give a lease back; idempotent."""
        lease.holder = None
        if lease.close(self.clock()):
            self.leases.released(lease)

    def done(self, exchange: Exchange) -> None:
        """An exchange has ended."""
        self.in_flight -= 1
        self._on_done(exchange.record(time.time(), self.clock()))


def _fallback_key(service: ServiceId) -> InstanceKey:
    return InstanceKey(GatewayId("fallback"), service, InstanceId("fallback"), 0)


def _quick_host(request: Request, known: set[bytes]) -> bytes:
    """The effective Host; one that was found well-formed before is only looked up. Raises BadHost."""
    hosts = request.hosts
    if len(hosts) == 1 and not request.authority and hosts[0] in known:
        return hosts[0]
    host = effective_host(request)
    if len(known) < HOSTS_KNOWN:
        known.add(host)
    return host


def effective_host(request: Request) -> bytes:
    """The Host that counts: an absolute-form authority wins (RT-03). Raises BadHost (HO-02)."""
    hosts = request.hosts
    if len(hosts) != 1 and (hosts or request.minor):
        raise BadHost("The request needs exactly one Host field.", remedy="send one Host field")
    for host in [*hosts, request.authority] if request.authority else hosts:
        found = _HOST.fullmatch(host)
        if found is None or (found[1] is not None and not 0 < int(found[1]) <= 65535):
            raise BadHost(
                "The Host is not a host name with an optional port.", remedy="send Host: name or name:port"
            )
    return request.authority or (hosts[0] if hosts else b"")


def _reason(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode() if status != 499 else b""


def _navigation(request: Request) -> bool:
    if request.method not in (b"GET", b"HEAD"):
        return False
    mode = request.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == b"navigate"
    return b"text/html" in (request.get(b"accept") or b"")
