"""Who gets the waiting page, and what such a page asks for afterwards. Pure functions over one request.

Only a person's browser that opens an address gets it: a top-level navigation by GET. Programs, frames,
scripts, images and forms that are sent are held as ever. Source: SPEC 3, experience.md WP-01, WP-04.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

from hestia.core.errors import BadRequest
from hestia.core.model import OnCold
from hestia.http1.framing import NO_BODY
from hestia.http1.heads import Request

_VISIT: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")


class Ask(StrEnum):
    """What a waiting page wants. The word is the first of its `Hestia-Wait` field."""

    FOLLOW = "1"
    START = "start"
    LEAVE = "leave"


class Asked(NamedTuple):
    """visit: which page it is, "" where it does not say. stream: it wants to hear more than once."""

    what: Ask
    visit: str
    stream: bool


def gets_page(request: Request, on_cold: OnCold) -> bool:
    """Whether a request to a cold service is answered with the page.

    Browsers say `Sec-Fetch-*` to HTTPS and localhost names only. Elsewhere a navigation is known by what it
    accepts and by `Upgrade-Insecure-Requests`; `on_cold: page` does without the latter, for browsers that do
    not send it.
    """
    if on_cold not in (OnCold.AUTO, OnCold.PAGE) or request.method != b"GET" or request.upgrade:
        return False
    if request.length not in (NO_BODY, 0) or is_prefetch(request):
        return False
    mode = request.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == b"navigate" and request.get(b"sec-fetch-dest") == b"document"
    if not (request.get(b"accept") or b"").lower().startswith(b"text/html"):
        return False
    return on_cold is OnCold.PAGE or request.get(b"upgrade-insecure-requests") == b"1"


def is_prefetch(request: Request) -> bool:
    """Whether a browser asks for what nobody has opened yet (WP-01)."""
    purpose = request.get(b"sec-purpose") or request.get(b"purpose") or b""
    return purpose.strip().lower().startswith((b"prefetch", b"prerender"))


def read_wait(request: Request) -> Asked:
    """What the `Hestia-Wait` field of a request says. Raises BadRequest."""
    word, _, rest = request.wait.partition(b";")
    name, _, visit = rest.strip(b" \t").partition(b"=")
    try:
        what = Ask(word.strip(b" \t").decode("latin-1").lower())
    except ValueError as exc:
        raise _unknown(request) from exc
    if rest and (name != b"visit" or _VISIT.fullmatch(visit) is None):
        raise _unknown(request)
    if request.method != (b"GET" if what is Ask.FOLLOW else b"POST") or request.length > 0:
        raise BadRequest(
            f"Hestia-Wait: {what.value} is sent with another method, or with a body.",
            remedy="send `1` with GET, `start` and `leave` with POST, and no body",
        )
    stream = b"application/json" not in (request.get(b"accept") or b"")
    return Asked(what, visit.decode("latin-1"), stream)


def _unknown(request: Request) -> BadRequest:
    return BadRequest(
        f"Hestia-Wait is {request.wait[:40].decode('latin-1')!r}, which is none of 1, start and leave.",
        remedy="leave the field out; only the gateway's own waiting page sends it",
    )
