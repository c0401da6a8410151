"""Cross-site rules: what a page of another site may not do here, keys or no keys.

Browsers say where a request comes from (`Sec-Fetch-*` on HTTPS and localhost names, `Origin`, `Referer`);
programs say nothing and are not meant. Source: SPEC 3 and 8, proxy-semantics SE-10, SE-14, WS-08.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from hestia.core.errors import Forbidden
from hestia.core.routing import host_name

ANY: Final = b"*"


class Asked(Protocol):
    """A request, as far as these rules look."""

    method: bytes

    def get(self, name: bytes) -> bytes | None: ...


def check_control(request: Asked, host: bytes) -> None:
    """Refuse cross-site calls of the gateway's own API; a link that is followed passes. Raises Forbidden."""
    origin = request.get(b"origin")
    if origin is not None and not same_host(origin, host):
        raise Forbidden(
            "The page of another site may not call the gateway's API.", remedy="call it from the same origin"
        )
    if request.get(b"sec-fetch-site") == b"cross-site":
        navigation = request.get(b"sec-fetch-mode") == b"navigate" and request.method == b"GET"
        if not navigation:
            raise Forbidden("Another site may not call the gateway's API.", remedy="open it in a tab")


def check_socket(request: Asked, host: bytes, welcome: Collection[bytes] = ()) -> None:
    """Refuse a WebSocket of a foreign page (WS-08). welcome: as `is_welcome` has it. Raises Forbidden."""
    origin = request.get(b"origin")
    if origin is not None and not same_host(origin, host) and not is_welcome(origin, welcome):
        raise Forbidden(
            "The Origin of this WebSocket is another site.",
            remedy="open the page under the host name that it connects to, or list its origin: cors.origins "
            "of the service",
        )


def is_cross_site_subresource(request: Asked, host: bytes, welcome: Collection[bytes] = ()) -> bool:
    """Whether an image or script of somebody else's page asks (SE-14). Navigations never count.

    Browsers say `Sec-Fetch-*` to HTTPS and localhost names only; elsewhere they are told by what they send
    with subresources. welcome: as `is_welcome` has it.
    """
    origin, referer = request.get(b"origin"), request.get(b"referer")
    if is_welcome(origin or referer or b"", welcome):
        return False
    site = request.get(b"sec-fetch-site")
    if site is not None:
        return site == b"cross-site" and request.get(b"sec-fetch-mode") != b"navigate"
    if origin is not None:
        return not same_host(origin, host)
    accept = request.get(b"accept") or b""
    if referer is None:
        return _hides(request, accept)
    return not same_host(referer, host) and not accept.startswith(b"text/html")


def is_welcome(url: bytes, welcome: Collection[bytes]) -> bool:
    """Whether the origin of a URL is one of these; `*` is any. welcome: lower-case origins."""
    if not welcome:
        return False
    scheme, mark, rest = url.lower().partition(b"://")
    origin = scheme + mark + rest.partition(b"/")[0].partition(b"?")[0]
    return ANY in welcome or origin in welcome


def _hides(request: Asked, accept: bytes) -> bool:
    """A browser's image or style sheet on a page that tells nobody where it is (`no-referrer`)."""
    if not accept.startswith((b"image/", b"text/css")):
        return False
    return (request.get(b"user-agent") or b"").startswith(b"Mozilla/")


def same_host(url: bytes, host: bytes) -> bool:
    """Whether a URL's host is this Host, ports aside."""
    scheme, mark, rest = url.partition(b"://")
    if not mark or scheme not in (b"http", b"https"):
        return False
    authority = rest.partition(b"/")[0].partition(b"?")[0]
    return host_name(authority) == host_name(host)
