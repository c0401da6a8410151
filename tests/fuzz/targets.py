"""Targets for fuzzing: each reads bytes as one of the readers of the data path does.

It asserts what must hold for any bytes: only our own refusals are raised, and what is let through cannot be
read in another way. `run_atheris` searches with coverage, `test_targets` with Hypothesis.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from hestia.access.origin import same_host
from hestia.core.errors import HestiaError
from hestia.core.model import Endpoint, ServiceSettings
from hestia.core.routing import RouteKind, RouteTable, host_name
from hestia.core.urls import parse_base_url
from hestia.http1 import framing, target
from hestia.http1.frames import FrameReader
from hestia.http1.heads import read_request, read_response
from hestia.http1.pool import Shelf
from hestia.proxy import rewrite

if TYPE_CHECKING:
    from hestia.core.model import ServiceId

NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
BREAKS = (b"\r", b"\n", b"\0")


def _fields(data: bytes) -> list[tuple[bytes, bytes]]:
    """Fields as the parser would give them: names are tokens, values hold no line ends."""
    found = []
    for line in data.split(b"\n"):
        name, mark, value = line.partition(b":")
        if mark and NAME.fullmatch(name) and not any(one in value for one in BREAKS):
            found.append((name, value.strip(b" \t")))
    return found


def frames(data: bytes) -> None:
    """However they are cut, the frame heads say the same."""
    cut = data[0] if data else 0
    whole, parts = FrameReader(), FrameReader()
    whole.feed(data[1:])
    parts.feed(data[1:cut])
    parts.feed(data[max(cut, 1) :])
    state = (whole.at_boundary, whole.closed, whole.lost)
    assert state == (parts.at_boundary, parts.closed, parts.lost), data


def targets(data: bytes) -> None:
    """What passes has no `..` after one decoding, no fragment and no byte that a line could end with."""
    with contextlib.suppress(HestiaError):
        authority, path = (b"", data)
        if not data.startswith(b"/"):
            authority, path = target.split_absolute(data)
        target.check_bytes(path)
        target.check_path(path)
        target.check_length(path)
        assert path.startswith(b"/"), data
        assert b"@" not in authority, data
        assert all(0x21 <= octet <= 0x7E for octet in path), data
        plain = path.partition(b"?")[0].lower()
        plain = plain.replace(b"%2e", b".").replace(b"%2f", b"/").replace(b"%5c", b"/")
        assert b".." not in [one.partition(b";")[0] for one in plain.split(b"/")], data
        if not target.needs_look(path):
            target.check_bytes(path)
            target.check_path(path)


def requests(data: bytes) -> None:
    """A head that is taken frames in one way, and its passing fields can be written as they are."""
    with contextlib.suppress(HestiaError):
        request = read_request(b"POST", b"/", data[0] & 1 if data else 1, _fields(data[1:]))
        _checked(request.passing, request.length)


def responses(data: bytes) -> None:
    with contextlib.suppress(HestiaError, framing.Unclear):
        response = read_response(200, b"OK", 1, _fields(data))
        _checked(response.passing, response.length)
        head = rewrite.response_head(response, UPSTREAM, framing=b"", tail=b"", date=b"\r\ndate: x")
        lines = head.split(b"\r\n")
        assert len(lines) == len(response.passing) // 2 + 3 + (not response.dated) + response.stream, data
        assert b"\n" not in head.replace(b"\r\n", b""), data


def _checked(passing: list[bytes], length: int) -> None:
    assert length >= framing.UNTIL_CLOSE
    names = [one[2:-2].lower().replace(b"_", b"-") for one in passing[::2]]
    for name in (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"te", b"host"):
        assert name not in names or name == b"host", names


def locations(data: bytes) -> None:
    """A rewritten URL is ours, or it is untouched."""
    value = rewrite.location(data, UPSTREAM)
    assert value == data or value.startswith(UPSTREAM.prefix), data


def cookies(data: bytes) -> None:
    """Name and value stay, and nothing grows but the prefix."""
    value = rewrite.set_cookie(data, UPSTREAM)
    assert value.partition(b";")[0] == data.partition(b";")[0], data
    assert len(value) <= len(data) + len(UPSTREAM.prefix), data


def hosts(data: bytes) -> None:
    """A host goes to one service, or to the gateway, or is refused; never anything else."""
    with contextlib.suppress(HestiaError):
        match = TABLE.match(data, b"/services/a/x")
        assert match.kind in (RouteKind.HOST, RouteKind.PREFIX)
        if match.kind is RouteKind.HOST:
            assert host_name(data) in (b"a.localhost", b"a.test"), data
    same_host(b"http://" + data, data)


def addresses(data: bytes) -> None:
    """A base_url is an Endpoint or one sentence."""
    with contextlib.suppress(ValueError):
        endpoint = parse_base_url(data.decode("utf-8", "replace"))
        assert endpoint.unix_path or endpoint.host, data
        assert "?" not in endpoint.base_path, data


def _table() -> RouteTable:
    from tests.integration.harness import service

    settings: dict[ServiceId, ServiceSettings] = {}
    one = service("a", "http://127.0.0.1:1", hosts=("a.test",))
    settings[one.id] = one
    return RouteTable(settings, own=("own.test",))


def _upstream() -> rewrite.Upstream:
    route = TABLE.match(b"localhost", b"/services/a/x").route
    endpoint = Endpoint("http", "127.0.0.1", 1, base_path="/base")
    return rewrite.Upstream(endpoint, route, RouteKind.PREFIX, Shelf())


TABLE = _table()
UPSTREAM = _upstream()
TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (frames, targets, requests, responses, locations, cookies, hosts, addresses)
}
