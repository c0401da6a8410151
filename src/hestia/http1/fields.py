"""The one table of field names: which fields pass, which stop here, which are read on the way.

A name as it was written on the wire is looked up once: the entry is either the bytes to put in front of
the value when the field is passed on (`\\r\\nname: `), or a small number that says what it means to us.
Names that are not in the table are learned, up to a bound. What to do with a number is decided in `heads`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

Entry = bytes | int

# What a field means to us. PASS is never an entry: a field that passes has its prefix instead.
DROP: Final = 1
HOST: Final = 2
CONNECTION: Final = 3
LENGTH: Final = 4
CODING: Final = 5
EXPECT: Final = 6
UPGRADE: Final = 7
TE: Final = 8
REQUEST_ID: Final = 9
VIA: Final = 10
FORWARDED: Final = 11
DATE: Final = 12
LOCATION: Final = 13
COOKIE: Final = 14
CONTENT_TYPE: Final = 15
BUFFERING: Final = 16
AUTHENTICATE: Final = 17
KEEP_ALIVE: Final = 18
REFRESH: Final = 19
WAIT: Final = 20

_LEARNED_MAX: Final = 2048  # names per direction; beyond that they are worked out each time
_NAME_MAX: Final = 64  # longer names are not learned

_HOP_BY_HOP: Final = (
    b"proxy-connection",
    b"keep-alive",
    b"te",
    b"trailer",
    b"upgrade",
    b"http2-settings",
    b"proxy-authorization",
    b"proxy-authenticate",
)

_REQUEST: Final[Mapping[bytes, int]] = {
    **dict.fromkeys(_HOP_BY_HOP, DROP),
    b"host": HOST,
    b"connection": CONNECTION,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"expect": EXPECT,
    b"upgrade": UPGRADE,
    b"te": TE,
    b"x-request-id": REQUEST_ID,
    b"via": VIA,
    b"hestia-wait": WAIT,  # of our waiting page
    **dict.fromkeys(
        (
            b"forwarded",
            b"x-real-ip",
            b"x-client-ip",
            b"true-client-ip",
            b"x-original-url",
            b"x-rewrite-url",
        ),
        FORWARDED,
    ),
}

_RESPONSE: Final[Mapping[bytes, int]] = {
    **dict.fromkeys(_HOP_BY_HOP, DROP),
    b"alt-svc": DROP,  # it would point clients around the gateway (HR-12)
    b"x-request-id": REQUEST_ID,
    b"connection": CONNECTION,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"upgrade": UPGRADE,
    b"keep-alive": KEEP_ALIVE,
    b"date": DATE,
    b"location": LOCATION,
    b"content-location": LOCATION,
    b"refresh": REFRESH,
    b"set-cookie": COOKIE,
    b"content-type": CONTENT_TYPE,
    b"x-accel-buffering": BUFFERING,
    b"www-authenticate": AUTHENTICATE,
}

# Some servers compare the case of handshake fields, so they get the spelling of RFC 6455 (HQ-13).
_SPELLED: Final[Mapping[bytes, bytes]] = {
    name.lower(): name
    for name in (
        b"Sec-WebSocket-Key",
        b"Sec-WebSocket-Version",
        b"Sec-WebSocket-Protocol",
        b"Sec-WebSocket-Extensions",
        b"Sec-WebSocket-Accept",
    )
}

# Trailers that would frame, route, authenticate or set cookies are dropped even when asked for (HR-08).
_NO_TRAILER: Final = frozenset(
    {b"authorization", b"cookie", b"set-cookie", b"host", b"www-authenticate", b"content-encoding"}
    | {b"content-type", b"content-range", b"cache-control", b"expect", b"max-forwards", b"range", b"age"}
    | {b"date", b"expires", b"location", b"retry-after", b"vary", b"warning", b"set-cookie2"}
)


def prefix(name: bytes) -> bytes:
    """What goes in front of the value of a field that passes."""
    return b"\r\n" + _SPELLED.get(name, name) + b": "


class FieldTable:
    """Entries by the name as written. `known.get(name) or learn(name)` is the whole of its use."""

    __slots__ = ("_meanings", "known")

    def __init__(self, meanings: Mapping[bytes, int]) -> None:
        self._meanings = meanings
        self.known: dict[bytes, Entry] = {}

    def learn(self, name: bytes) -> Entry:
        """Work out the entry of a name that was not seen in this spelling before."""
        entry = self._work_out(name.lower())
        if len(name) <= _NAME_MAX and len(self.known) < _LEARNED_MAX:
            self.known[name] = entry
        return entry

    def _work_out(self, name: bytes) -> Entry:
        meaning = self.meaning(name)
        if meaning:
            return meaning
        # servers that read `_` as `-` must not find a field there that we manage (HQ-09)
        if b"_" in name and self.meaning(name.replace(b"_", b"-")):
            return DROP
        return prefix(name)

    def meaning(self, name: bytes) -> int:
        """Number of a lower-case name, 0 for one that only passes."""
        if name.startswith(b"x-forwarded-"):
            return FORWARDED if self._meanings is _REQUEST else 0
        return self._meanings.get(name, 0)


REQUEST: Final = FieldTable(_REQUEST)
RESPONSE: Final = FieldTable(_RESPONSE)


def tokens(values: Iterable[bytes]) -> list[bytes]:
    """Members of comma lists, lower-case; empty members are left out."""
    return [
        token for value in values for member in value.split(b",") if (token := member.strip(b" \t").lower())
    ]


def may_trail(name: bytes) -> bool:
    """Whether a trailer field may be relayed. name: as written."""
    lower = name.lower()
    return lower not in _NO_TRAILER and not REQUEST.meaning(lower) and not RESPONSE.meaning(lower)


def is_sane_id(value: bytes) -> bool:
    """Whether an inbound request id may be kept (HQ-12): 1 to 128 characters of a safe set."""
    return 0 < len(value) <= 128 and not value.translate(None, _ID_BYTES)


_ID_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:~+/=@"
