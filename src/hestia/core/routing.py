"""Request to service: by host name, else by path prefix. Raw bytes, exact, O(1) in services.

A table is frozen and built from the settings. Source: proxy-semantics PR-01, HO-01…09.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hestia.core.errors import ServiceNotFound, UnknownHost
from hestia.core.model import InstanceId, ServiceId, ServiceSettings

PREFIX: Final = b"/services/"
_ID: Final = re.compile(rb"[a-z0-9][a-z0-9_-]{0,62}")
_COMPARED: Final = 500  # services among which the nearest name is looked for: anybody may ask, 20 us each
_CACHED: Final = 4096  # raw Host values remembered


class RouteKind(StrEnum):
    """How a request was matched; the word of logs and metrics."""

    PREFIX = "prefix"
    HOST = "host"
    PORT = "port"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Route:
    """One service as the data path sees it. prefix: `/services/{id}`, without a final slash."""

    service: ServiceId
    settings: ServiceSettings
    prefix: bytes


class Match:
    """Where a request goes. route: None for the control API. target: what is left after the prefix.

    bare: there is no slash behind the prefix (PR-04); the target is then "" or a query.
    """

    __slots__ = ("bare", "kind", "route", "target")

    def __init__(self, kind: RouteKind, route: Route | None, target: bytes, *, bare: bool = False) -> None:
        self.kind = kind
        self.route = route
        self.target = target
        self.bare = bare


class RoutedMatch(Match):
    """A match whose instances a strategy ranks, so that services without one carry nothing of it.

    order: those that may serve, best first; empty until they are ranked. then: for when all of these failed.
    stick: the line of the answer's head by which the client comes back to an instance, by instance.
    """

    __slots__ = ("order", "stick", "then")

    def __init__(self, found: Match) -> None:
        super().__init__(found.kind, found.route, found.target)
        self.order: tuple[InstanceId, ...] = ()
        self.then: tuple[InstanceId, ...] = ()
        self.stick: Mapping[InstanceId, bytes] | None = None


class RouteTable:
    """Host names and prefixes of one configuration. own: further names of the gateway itself."""

    def __init__(self, services: Mapping[ServiceId, ServiceSettings], *, own: Iterable[str] = ()) -> None:
        self._routes = {
            key.encode(): Route(key, settings, PREFIX + key.encode()) for key, settings in services.items()
        }
        self._hosts: dict[bytes, Route] = {}
        for route in self._routes.values():
            for host in route.settings.hosts:
                self._hosts[host.lower().rstrip(".").encode()] = route
        self._own = frozenset(name.lower().rstrip(".").encode() for name in own)
        self._seen: dict[bytes, Route | None] = {}

    def has(self, route: Route) -> bool:
        """Whether a route is of these settings, not of earlier ones."""
        own = self._routes.get(route.service.encode())
        return own is not None and own.settings is route.settings

    def match(self, host: bytes, target: bytes) -> Match:
        """Find the service. Raises ServiceNotFound, UnknownHost."""
        try:
            route = self._seen[host]
        except KeyError:
            route = self._by_host(host)
            if len(self._seen) < _CACHED:
                self._seen[host] = route
        if route is not None:
            return Match(RouteKind.HOST, route, target)
        if target.startswith(PREFIX):
            return self._by_prefix(target)
        return Match(RouteKind.CONTROL, None, target)

    def _by_prefix(self, target: bytes) -> Match:
        end = target.find(b"/", len(PREFIX))
        if end >= 0 and (route := self._routes.get(target[len(PREFIX) : end])) is not None:  # nearly always
            return Match(RouteKind.PREFIX, route, target[end:])
        end = len(target)
        for mark in (b"/", b"?"):
            at = target.find(mark, len(PREFIX), end)
            if at >= 0:
                end = at
        name = target[len(PREFIX) : end]
        route = self._routes.get(name)
        if route is None:
            raise self._unknown(name)
        rest = target[end:]
        if rest.startswith(b"/"):
            return Match(RouteKind.PREFIX, route, rest)
        return Match(RouteKind.PREFIX, route, rest, bare=True)

    def _by_host(self, host: bytes) -> Route | None:
        """The route of a host name, None for the gateway itself (HO-01…06)."""
        name = host_name(host)
        if (route := self._hosts.get(name)) is not None:
            return route
        if self._is_own(name):
            return None
        if name.endswith(b".localhost"):
            label = name[: -len(b".localhost")]
            if _ID.fullmatch(label):
                if (route := self._routes.get(label)) is not None:
                    return route
                raise self._unknown(label)
        raise UnknownHost(
            f'This gateway does not serve the name "{name.decode("latin-1")}".',
            remedy=f"add it to allowed_hosts, or to the hosts of a service: {name.decode('latin-1')}",
        )

    def _is_own(self, name: bytes) -> bool:
        if not name or name in (b"localhost", b"hestia.localhost") or name in self._own:
            return True
        if b"." not in name and not name.startswith(b"["):
            return _ID.fullmatch(name) is not None  # a single label, as in http://hestia:8080
        try:
            ipaddress.ip_address(name.strip(b"[]").decode("latin-1"))
        except ValueError:
            return False
        return True

    def _unknown(self, name: bytes) -> ServiceNotFound:
        text = name.decode("latin-1")[:80]
        known = [key.decode() for key in self._routes] if len(self._routes) <= _COMPARED else []
        near = difflib.get_close_matches(text, known, n=1)
        hint = f' The nearest is "{near[0]}".' if near else ""
        return ServiceNotFound(f'There is no service "{text}".{hint}', remedy="hestia status lists them")


class OneRoute(RouteTable):
    """The table behind a service's own port: every request is for the one service that it has."""

    def match(self, host: bytes, target: bytes) -> Match:
        """The service. Raises ServiceNotFound when there is none."""
        for route in self._routes.values():
            return Match(RouteKind.PORT, route, target)
        raise self._unknown(b"")


def host_name(host: bytes) -> bytes:
    """The name of `host[:port]`: lower-case, without port and final dot; brackets are kept."""
    if host.startswith(b"["):
        return host[: host.find(b"]") + 1].lower()
    return host.partition(b":")[0].lower().removesuffix(b".")
