"""Heads written anew: request heads for the upstream, response heads for the client, prefix rewriting.

Everything is bytes appended and joined; what is the same for every request of a generation is computed
once. Source: proxy-semantics HQ, HR, FW, PR-07, PR-08, HO-08.
"""

from __future__ import annotations

import re
from typing import Final

from hestia.core.model import Endpoint, HostHeader
from hestia.core.routing import Route, RouteKind
from hestia.core.rules import FieldEdits
from hestia.http1 import fields as f
from hestia.http1.framing import CHUNKED, NO_BODY
from hestia.http1.heads import Request, Response
from hestia.http1.pool import Shelf

_COOKIE_PATH: Final = re.compile(rb"(?i)(;[ \t]*path[ \t]*=[ \t]*)([^;]*)")
_COOKIE_DOMAIN: Final = re.compile(rb"(?i);[ \t]*domain[ \t]*=[ \t]*([^;]*)")
_REFRESH: Final = re.compile(rb"(?i)^([^;,]*[;,][ \t]*url[ \t]*=[ \t]*['\"]?)([^'\"]*)(.*)$")


class Upstream:
    """What is the same for every request to one generation of one instance over one kind of route."""

    __slots__ = (
        "base", "endpoint", "generation", "host", "instance", "origin", "prefix", "prefix_line", "preserve",
        "shelf", "tls_verify",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: Endpoint,
        route: Route | None,
        kind: RouteKind,
        shelf: Shelf,
        *,
        instance: str = "",
        generation: int = 0,
    ) -> None:
        self.endpoint = endpoint
        self.instance = instance
        self.generation = generation
        self.shelf = shelf  # holds connections that were made with this `tls_verify` only
        self.tls_verify = route.settings.tls_verify if route is not None else True
        self.base = endpoint.base_path.encode("latin-1")
        policy = route.settings.host_header if route is not None else HostHeader.PRESERVE
        self.preserve = policy == HostHeader.PRESERVE or (
            policy == HostHeader.AUTO and kind is not RouteKind.PREFIX
        )
        literal = policy if policy not in tuple(HostHeader) else endpoint.authority
        self.host = b" HTTP/1.1\r\nHost: " + literal.encode("latin-1")
        self.prefix = route.prefix if route is not None and kind is RouteKind.PREFIX else b""
        self.prefix_line = b"\r\nx-forwarded-prefix: " + self.prefix if self.prefix else b""
        self.origin = f"{endpoint.scheme}://{endpoint.authority}".lower().encode("latin-1")


_NEEDS_LENGTH: Final = frozenset({b"POST", b"PUT", b"PATCH"})


def request_head(
    request: Request,
    upstream: Upstream,
    target: bytes,
    *,
    host: bytes,
    forwarded: bytes,
    via: bytes,
    request_id: bytes,
) -> bytes:
    """The head for the upstream, ready to write. Framing is the client's; `Connection` only where needed.

    forwarded, via: lines that begin with CRLF. host: the effective Host of the request.
    """
    base = upstream.base
    if target[:1] != b"/":  # the bare prefix is the base path itself (PR-02)
        base = base or b"/"
    parts = [request.method, b" ", base, target]
    add = parts.append
    add(b" HTTP/1.1\r\nHost: " + host if upstream.preserve and host else upstream.host)
    parts += request.passing
    if request.upgrade and request.offers_websocket:
        add(b"\r\nConnection: Upgrade\r\nUpgrade: websocket")
    elif request.te and request.takes_trailers:
        add(b"\r\nte: trailers\r\nconnection: te")
    add(forwarded)
    add(upstream.prefix_line)
    if request.via:
        add(b"\r\nvia: " + b", ".join(request.via) + b", " + via[7:])
    else:
        add(via)
    add(b"\r\nx-request-id: ")
    add(request_id)
    length = request.length
    if length >= 0:
        add(b"\r\ncontent-length: %d\r\n\r\n" % length)
    elif length == CHUNKED:
        add(b"\r\ntransfer-encoding: chunked\r\n\r\n")
    elif length == NO_BODY and request.method in _NEEDS_LENGTH:
        add(b"\r\ncontent-length: 0\r\n\r\n")
    else:
        add(b"\r\n\r\n")
    return b"".join(parts)


def location(value: bytes, upstream: Upstream, host: bytes = b"") -> bytes:
    """A URL of the upstream's own, as the client must ask for it (PR-07). Others are untouched.

    host: what the upstream was told as its own, where that is the client's Host.
    """
    rest = value
    found = re.match(rb"(?i)https?://[^/?#]*", value)
    if found is not None:
        own = upstream.preserve and found[0].partition(b"://")[2].lower() == host.lower()
        if found[0].lower() != upstream.origin and not own:
            return value
        rest = value[found.end() :]
        rest = rest if rest.startswith(b"/") else b"/" + rest
    elif not value.startswith(b"/") or value.startswith(b"//"):
        return value
    return upstream.prefix + _without_base(rest, upstream.base)


def _without_base(path: bytes, base: bytes) -> bytes:
    """A path of the upstream as seen from behind the path of its base_url; one beside that stays as it is."""
    if base and (path == base or path.startswith((base + b"/", base + b"?"))):
        return path[len(base) :]
    return path


def set_cookie(value: bytes, upstream: Upstream) -> bytes:
    """A cookie whose path lies below the prefix; the rest of the line is byte-exact (PR-08)."""
    if value.lstrip().lower().startswith(b"__host-"):
        return value

    def path(found: re.Match[bytes]) -> bytes:
        old = found[2].strip()
        if not old.startswith(b"/"):
            return found[0]
        return found[1] + upstream.prefix + _without_base(old, upstream.base)

    value = _COOKIE_PATH.sub(path, value, count=1)
    domain = _COOKIE_DOMAIN.search(value)
    if domain is not None:
        name = domain[1].strip().lstrip(b".").lower()
        if name == upstream.endpoint.host.encode("latin-1").lower():
            value = value[: domain.start()] + value[domain.end() :]
    return value


def _rewrite(head: Response, upstream: Upstream, host: bytes) -> None:
    """Rewrite the marked fields of a prefix route, in place."""
    passing = head.passing
    for at, meaning in head.marked:
        value = passing[at]
        if meaning == f.COOKIE:
            passing[at] = set_cookie(value, upstream)
        elif meaning == f.REFRESH:
            found = _REFRESH.match(value)
            if found is not None:
                passing[at] = found[1] + location(found[2], upstream, host) + found[3]
        else:
            passing[at] = location(value, upstream, host)


def edit(head: Response, edits: FieldEdits) -> None:
    """Take out and put in what the service's `headers.response` says; what is put in stands as it is."""
    passing: list[bytes] = []
    marks = dict(head.marked)
    marked: list[tuple[int, int]] = []
    for at in range(0, len(head.passing), 2):
        if head.passing[at][2:-2].lower() not in edits.gone:
            passing += head.passing[at : at + 2]
            if (meaning := marks.get(at + 1)) is not None:
                marked.append((len(passing) - 1, meaning))
    passing += edits.lines
    head.passing, head.marked = passing, marked
    head.stream = head.stream and b"x-accel-buffering" not in edits.gone


def response_head(
    head: Response, upstream: Upstream, *, framing: bytes, tail: bytes, date: bytes, host: bytes = b""
) -> bytes:
    """The head for the client.

    framing: our length or coding line. tail: request id and Connection lines. Both begin with CRLF. host: the
    effective Host of the request.
    """
    if upstream.prefix and head.marked:
        _rewrite(head, upstream, host)
    parts = [_STATUS_LINES.get(head.status) or b"HTTP/1.1 %d " % head.status, head.reason, *head.passing]
    add = parts.append
    if not head.dated:
        add(date)
    if head.stream:
        add(b"\r\nx-accel-buffering: no")
    add(framing)
    add(tail)
    add(b"\r\n\r\n")
    return b"".join(parts)


_STATUS_LINES: Final = {status: b"HTTP/1.1 %d " % status for status in (200, 201, 204, 206, 304, 404)}


def interim_head(head: Response) -> bytes:
    """A 1xx answer as it is passed on (UP-01)."""
    return b"HTTP/1.1 %d " % head.status + head.reason + b"".join(head.passing) + b"\r\n\r\n"


def switching_head(head: Response, upstream: Upstream, tail: bytes) -> bytes:
    """A verified 101 with its end-to-end fields; `Connection` and `Upgrade` are written anew (WS-06)."""
    if upstream.prefix and head.marked:
        _rewrite(head, upstream, b"")
    reason = head.reason or b"Switching Protocols"
    start = b"HTTP/1.1 101 " + reason + b"\r\nConnection: Upgrade\r\nUpgrade: websocket"
    return start + b"".join(head.passing) + tail + b"\r\n\r\n"
