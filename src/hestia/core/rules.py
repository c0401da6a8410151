"""What a service's configuration says about single requests: which wake nothing, what is edited in heads,
which foreign pages are welcome, how large a body may be. Pure, and compiled once, when settings are made.

`Rules.of` is None for a service that says nothing of it: that is the one test of the hot path.
Source: SPEC 2.3, proxy-semantics CQ-11, HQ-09, LI-07, SE-07, SE-14, WS-08.
"""

from __future__ import annotations

import fnmatch
import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

ANY_ORIGIN: Final = "*"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}

_HOP_BY_HOP: Final = frozenset(
    {"connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"content-length", "http2-settings", "proxy-authorization", "proxy-authenticate"}
)
_FORWARDED: Final = frozenset(
    {"forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "x-original-url", "x-rewrite-url"}
)


class Underscores(StrEnum):
    """What becomes of request fields with `_` in their name that Hestia does not manage (HQ-09)."""

    KEEP = "keep"
    DROP = "drop"
    REFUSE = "refuse"


class Unquoted(ValueError):
    """What is wrong with a value, in a sentence that does not quote it: it may be shown of a secret too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWake:
    """Requests that neither start a service nor keep it up: globs, all given ones must match.

    path: of the path within the service, without query, as it was sent. method, user_agent: whatever their
    case. "" is not given. `*` is any text, slashes too; `?` one character; `[ab]` one of these.
    """

    path: str = ""
    method: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """Fields of a head that are set (name → value, in order) and removed (names), as they were written."""

    set: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    request: Edits = field(default_factory=Edits)
    response: Edits = field(default_factory=Edits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """origins: of pages of other sites that may wake the service and open WebSockets; `*` is any."""

    origins: tuple[str, ...] = ()


class Said(Protocol):
    """The part of a service's settings that rules are made of."""

    @property
    def no_wake(self) -> tuple[NoWake, ...]: ...
    @property
    def headers(self) -> Headers | None: ...
    @property
    def cors(self) -> Cors | None: ...
    @property
    def max_body(self) -> int | None: ...
    @property
    def underscore_headers(self) -> Underscores: ...
    @property
    def strategy(self) -> object: ...


@dataclass(frozen=True, slots=True)
class FieldEdits:
    """Edits as the data path does them. gone: lower-case names to take out. lines: `CRLF name: ` and value
    alternately, to put behind."""

    gone: frozenset[bytes]
    lines: tuple[bytes, ...]

    @classmethod
    def of(cls, edits: Edits) -> FieldEdits | None:
        """None when there is nothing to do."""
        if not edits.set and not edits.remove:
            return None
        names = [*(name for name, _ in edits.set), *edits.remove]
        lines: list[bytes] = []
        for name, value in edits.set:
            lines += (b"\r\n" + name.lower().encode() + b": ", value.encode())
        return cls(frozenset(name.lower().encode() for name in names), tuple(lines))


@dataclass(frozen=True, slots=True)
class Glob:
    """One compiled `NoWake`; None matches everything."""

    path: re.Pattern[bytes] | None
    method: re.Pattern[bytes] | None
    user_agent: re.Pattern[bytes] | None

    @classmethod
    def of(cls, rule: NoWake) -> Glob:
        return cls(_compiled(rule.path), _compiled(rule.method.upper()), _compiled(rule.user_agent.lower()))

    def matches(self, method: bytes, path: bytes, user_agent: bytes) -> bool:
        """user_agent: lower-case."""
        return (
            (self.path is None or self.path.match(path) is not None)
            and (self.method is None or self.method.match(method) is not None)
            and (self.user_agent is None or self.user_agent.match(user_agent) is not None)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Everything a service says about single requests, as the data path looks at it.

    max_body: bytes of a request body, `math.inf` without limit. origins: lower-case. routed: a strategy
    says which instance serves.
    """

    no_wake: tuple[Glob, ...] = ()
    request: FieldEdits | None = None
    response: FieldEdits | None = None
    origins: frozenset[bytes] = frozenset()
    max_body: float = math.inf
    underscores: Underscores = Underscores.KEEP
    routed: bool = False

    @classmethod
    def of(cls, said: Said) -> Rules | None:
        """None when a service says nothing about its requests."""
        headers = said.headers or Headers()
        rules = cls(
            no_wake=tuple(Glob.of(rule) for rule in said.no_wake),
            request=FieldEdits.of(headers.request),
            response=FieldEdits.of(headers.response),
            origins=frozenset(one.encode() for one in said.cors.origins) if said.cors else frozenset(),
            max_body=math.inf if said.max_body is None else said.max_body,
            underscores=said.underscore_headers,
            routed=said.strategy is not None,
        )
        return None if rules == cls() else rules

    def is_quiet(self, method: bytes, target: bytes, user_agent: bytes | None) -> bool:
        """Whether this request neither starts the service nor keeps it up. target: within the service."""
        if not self.no_wake:
            return False
        path = target.partition(b"?")[0] or b"/"
        agent = (user_agent or b"").lower()
        return any(rule.matches(method, path, agent) for rule in self.no_wake)


def _compiled(glob: str) -> re.Pattern[bytes] | None:
    # `translate` guards every `*` against backtracking, so a hostile path costs linear time
    return re.compile(fnmatch.translate(glob).encode("utf-8")) if glob else None


def check_glob(text: str) -> str:
    """The glob, or ValueError with a sentence."""
    if not text or _CONTROL.search(text) or len(text) > 200:
        raise ValueError(f"{text!r} is no glob; write 1 to 200 visible characters, * for any text")
    return text


def check_path_glob(text: str) -> str:
    """As `check_glob`; one that no path can match is refused as well."""
    check_glob(text)
    if text[0] not in "/*?[":
        raise ValueError(f"{text!r} matches no path, since those begin with a slash; write '/{text}'")
    return text


def check_origin(text: str) -> str:
    """An origin as browsers send it, or `*`; ValueError with a sentence."""
    origin = text.strip().lower().removesuffix("/")
    if origin == ANY_ORIGIN:
        return origin
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(
            f"{text!r} is no origin; write scheme and host: https://app.lan or http://app.lan:3000"
        )
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition("://")[0], "-"))


def check_request_name(name: str) -> str:
    """A field that may be set or removed in requests; ValueError with a sentence (SE-07)."""
    bare = _token(name)
    if bare == "host":
        raise ValueError(f"{name!r} is not edited here; write host_header of the service instead")
    if bare in _FORWARDED or bare.startswith("x-forwarded-"):
        raise ValueError(
            f"{name!r} is written from the connection; to have another's believed, name it in trusted_proxies"
        )
    if bare in _HOP_BY_HOP or bare == "expect":
        raise ValueError(f"{name!r} belongs to the connection, which Hestia frames itself; leave it out")
    if bare in ("via", "x-request-id", "hestia-wait") or bare.startswith("sec-websocket-"):
        raise ValueError(f"{name!r} is written by Hestia or checked by it; leave it out")
    return name


def check_response_name(name: str) -> str:
    """A field that may be set or removed in responses; ValueError with a sentence (SE-07)."""
    bare = _token(name)
    if bare in _HOP_BY_HOP:
        raise ValueError(f"{name!r} belongs to the connection, which Hestia frames itself; leave it out")
    if bare in ("date", "x-request-id") or bare.startswith("sec-websocket-"):
        raise ValueError(f"{name!r} is written by Hestia or checked by it; leave it out")
    return name


def check_value(value: str) -> str:
    """The value of a field without blanks around it; ValueError with a sentence (SE-07)."""
    if (found := _CONTROL.search(value)) is not None:
        raise Unquoted(f"the value holds the control character {found[0]!r}, which splits headers; remove it")
    return value.strip(" \t")


def _token(name: str) -> str:
    """The name as servers compare it: lower-case, `_` read as `-`."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header; write letters, digits and hyphens: X-Api-Key")
    return name.lower().replace("_", "-")
