"""Cross-site rules: what a page of another site may not do here, keys or no keys.

Browsers say where a request comes from (`Sec-Fetch-*` on HTTPS and localhost names, `Origin`, `Referer`);
programs say nothing and are not meant. Source: SPEC 3 and 8, proxy-semantics SE-10, SE-14, WS-08.
"""

from __future__ import annotations

from typing import Protocol

from hestia.core.errors import Forbidden
from hestia.core.routing import host_name


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


def check_socket(request: Asked, host: bytes) -> None:
    """Refuse a WebSocket of a foreign page (WS-08). Raises Forbidden."""
    origin = request.get(b"origin")
    if origin is not None and not same_host(origin, host):
        raise Forbidden(
            "The Origin of this WebSocket is another site.",
            remedy="open the page under the host name that it connects to",
        )


def is_cross_site_subresource(request: Asked, host: bytes) -> bool:
    """Whether an image or script of somebody else's page asks (SE-14). Navigations never count."""
    site = request.get(b"sec-fetch-site")
    if site is not None:
        return site == b"cross-site" and request.get(b"sec-fetch-mode") != b"navigate"
    origin = request.get(b"origin")
    if origin is not None:
        return not same_host(origin, host)
    referer = request.get(b"referer")
    if referer is None or same_host(referer, host):
        return False
    return not (request.get(b"accept") or b"").startswith(b"text/html")


def same_host(url: bytes, host: bytes) -> bool:
    """Whether a URL's host is this Host, ports aside."""
    scheme, mark, rest = url.partition(b"://")
    if not mark or scheme not in (b"http", b"https"):
        return False
    authority = rest.partition(b"/")[0].partition(b"?")[0]
    return host_name(authority) == host_name(host)
