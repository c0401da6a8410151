"""The head of a dispatched request: what `POST /v1/requests` was given, as bytes for our own edge.

What would break the head or lie about the connection is refused here, since it is written before the edge
can look; every other rule (paths, hosts, loops, cross-site pages, limits) is the edge's. Source:
proxy-semantics SS-01, SS-03, SS-04.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import httptools

from hestia.core.errors import BadRequest, HestiaError, MethodNotAllowed, PathRejected
from hestia.core.routing import PREFIX
from hestia.http1 import fields as f
from hestia.http1 import heads, target
from hestia.http1.heads import Field

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 §5.5
# What belongs to a connection or frames a message is never a caller's to say.
_REFUSED: Final = frozenset({f.DROP, f.HOST, f.CONNECTION, f.LENGTH, f.CODING, f.EXPECT, f.UPGRADE, f.TE})
_WRITTEN_HERE: Final = frozenset({f.FORWARDED, f.REQUEST_ID, f.WAIT})
# Said by our edge of the caller, and by the bridge's rule believed from a unix socket.
_OF_CALLER: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})


def dispatch_head(
    service: str,
    method: str,
    path: str,
    given: Sequence[tuple[str, str]],
    *,
    caller: Sequence[Field],
    identity: Collection[bytes],
    kind: str,
    length: int,
) -> bytes:
    """The head, ready to write.

    given: fields as the call names them. caller: fields of the call itself, lower-case names, as our edge
    passed them on. identity: lower-case names of `identity_headers`. kind: content type of the body unless
    `given` has one, "" for none. length: bytes of the body, negative without one.

    Raises BadRequest, PathRejected, MethodNotAllowed, TargetTooLong, HeadTooLarge.
    """
    first = _method(method) + b" " + PREFIX + service.encode() + _path(path) + b" HTTP/1.1"
    fields = _given(given, identity)
    names = {name.lower() for name, _ in fields}
    if kind and b"content-type" not in names:
        fields.append((b"content-type", kind.encode()))
    fields += _from_call(caller, names, identity)
    if length >= 0:
        fields.append((b"content-length", b"%d" % length))
    if len(fields) > heads.FIELDS_MAX:
        raise heads.too_many_fields(len(fields))
    heads.check_size(len(first) + 2, fields)
    return first + b"".join(b"\r\n" + name + b": " + value for name, value in fields) + b"\r\n\r\n"


def _from_call(caller: Iterable[Field], names: Collection[bytes], identity: Collection[bytes]) -> list[Field]:
    """What goes with the request because the call itself has it: who asks, under which host and id, and
    whether the caller wants to wait."""
    passed = {b"host", b"x-request-id", *_OF_CALLER, *identity}
    if b"prefer" not in names:
        passed.add(b"prefer")
    found = [(name, value) for name, value in caller if name in passed]
    return found if any(name == b"host" for name, _ in found) else [(b"host", b"localhost"), *found]


def _method(method: str) -> bytes:
    """The method as the edge's own parser knows it."""
    name = method.encode("ascii", "replace")
    if _TOKEN.fullmatch(method) is None:
        raise BadRequest(
            f"The body field method is {_shown(method)}, which is no HTTP method.",
            remedy='write a method like "GET" or "POST"',
        )
    if name == b"CONNECT":
        raise MethodNotAllowed("CONNECT is not offered: this is no forward proxy.")
    try:
        httptools.HttpRequestParser(object()).feed_data(name + b" / HTTP/1.1\r\nhost: h\r\n\r\n")
    except httptools.HttpParserError as exc:
        known = (
            'methods are written in capitals, like "GET"'
            if method != method.upper()
            else ("use one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        )
        raise BadRequest(
            f"The body field method is {_shown(method)}, which the gateway does not know.", remedy=known
        ) from exc
    except httptools.HttpParserUpgrade:  # what only a WebSocket or CONNECT does
        pass
    return name


def _path(path: str) -> bytes:
    """The path and query, in origin form (SS-01)."""
    if not path.startswith("/") or path.startswith("//"):
        raise BadRequest(
            f"The body field path is {_shown(path)}; it is a path of the service and begins with one '/'.",
            remedy='write it like "/api/tags?x=1"; which service it is for says serviceId',
        )
    try:
        raw = path.encode("ascii")
        target.check_bytes(raw)
    except UnicodeEncodeError as exc:
        raise BadRequest(
            f"The body field path is {_shown(path)}, which has a character beyond ASCII.",
            remedy="percent-encode it as UTF-8",
        ) from exc
    except BadRequest as exc:
        raise _of_path(BadRequest, path, exc) from exc
    target.check_length(raw)
    return raw


def _of_path(kind: type[BadRequest | PathRejected], path: str, error: HestiaError) -> HestiaError:
    return kind(f"The body field path is {_shown(path)}. {error.detail}", remedy=error.remedy)


def _given(given: Iterable[tuple[str, str]], identity: Collection[bytes]) -> list[Field]:
    """The fields of the call that pass. Those that only the gateway says of a client are left out, as on
    every other way to a service (HQ-09)."""
    fields: list[Field] = []
    for name, value in given:
        if _TOKEN.fullmatch(name) is None:
            raise BadRequest(
                f"The body field headers has the name {_shown(name)}, which is no field name.",
                remedy="use letters, digits and '-'",
            )
        written = name.encode()
        lower = written.lower()
        managed = lower.replace(b"_", b"-")
        meaning = f.REQUEST.meaning(managed)
        if meaning in _REFUSED or managed.startswith(b"sec-websocket-"):
            raise _refused(name, managed)
        if _VALUE.fullmatch(value) is None:
            raise BadRequest(
                f"The body field headers.{name} is {_shown(value)}; a line break, a control character or a "
                "character beyond Latin-1 cannot be sent in a header.",
                remedy="encode it, for example with percent-encoding",
            )
        if meaning not in _WRITTEN_HERE and lower not in identity and managed not in identity:
            fields.append((written, value.encode("latin-1")))
    return fields


def _refused(name: str, managed: bytes) -> BadRequest:
    if managed == b"upgrade" or managed.startswith(b"sec-websocket-"):
        return BadRequest(
            f"The body field headers.{name} asks for a WebSocket, which a single answer cannot be.",
            remedy="connect to /services/{serviceId}{path} of the gateway with ws://",
        )
    if managed == b"host":
        return BadRequest(
            f"The body field headers.{name} cannot be set: the service is named by serviceId.",
            remedy="leave it out; `host_header` of the service says which Host it is sent",
        )
    return BadRequest(
        f"The body field headers.{name} cannot be set: it belongs to the connection, which is the gateway's.",
        remedy="leave it out; the length of the body is worked out",
    )


def _shown(text: str) -> str:
    """Text of a caller in quotes, control characters escaped, at most 80 characters (ER-09)."""
    short = text if len(text) <= 80 else text[:80] + "…"
    return '"' + "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in short) + '"'
