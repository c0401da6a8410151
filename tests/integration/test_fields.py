"""Request fields (proxy-semantics HQ): what is removed, what is added, what passes verbatim."""

from __future__ import annotations

import json
import re

import pytest

from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import Request, head, request

from .assertions import refused, still_serves, untouched
from .conftest import MakeClient
from .harness import Gateway

S = "/services/a"


async def _sent(
    gw: Gateway,
    upstream: HttpUpstream,
    connect: MakeClient,
    *fields: tuple[str, str | bytes],
    method: str = "GET",
) -> Request:
    """Send one request with these fields; return it as the upstream saw it."""
    client = await connect(gw)
    response = await client.ask(method, S + "/x", *fields)
    assert response.status == 200, response.body
    seen = upstream.requests[-1]
    await still_serves(client, upstream)
    return seen


async def test_t_hq_01_nominated_fields_are_removed(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    response = await client.ask("GET", S + "/x", ("Connection", "close, X-A"), ("X-A", "1"), ("X-B", "2"))
    assert response.status == 200
    await client.gone()
    seen = upstream.requests[0]
    assert not seen.has("x-a")
    assert seen.get("x-b") == b"2"


@pytest.mark.parametrize("name", ["x-forwarded-for", "X-Forwarded-Host", "via", "x-request-id"])
async def test_t_hq_02_a_nomination_cannot_remove_what_the_gateway_adds(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, name: str
) -> None:
    seen = await _sent(gw, upstream, connect, ("Connection", name))
    assert seen.has(name)


@pytest.mark.parametrize("name", ["content-length", "Host", "Transfer-Encoding"])
async def test_t_hq_03_and_04_nominating_framing_or_host_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, name: str
) -> None:
    data = request("POST", S + "/x", ("Connection", name), body=b"abc")
    await refused(await connect(gw), data, 400, method="POST")
    await untouched(upstream)


async def test_t_hq_05_all_connection_lines_count(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    seen = await _sent(
        gw,
        upstream,
        connect,
        ("Connection", ", ,x-one,, X-TWO"),
        ("X-One", "1"),
        ("x-two", "2"),
        ("CONNECTION", "x-Three ,"),
        ("X-THREE", "3"),
        ("X-Four", "4"),
    )
    assert [seen.has(name) for name in ("x-one", "x-two", "x-three", "x-four")] == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "gzip"),
        ("Trailer", "X-T"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ("Proxy-Authenticate", "x"),
        ("Connection", "keep-alive"),
        ("Upgrade", "foo/1"),
    ],
)
async def test_t_hq_06_hop_by_hop_fields_stop_here(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, name: str, value: str
) -> None:
    seen = await _sent(gw, upstream, connect, (name, value))
    assert value.encode() not in seen.all(name)


async def test_t_hq_06_te_trailers_is_sent_on(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    seen = await _sent(gw, upstream, connect, ("TE", "gzip, trailers"), ("Connection", "TE"))
    assert [value.lower() for value in seen.all("te")] == [b"trailers"]
    assert b"te" in b",".join(seen.all("connection")).lower()


async def test_t_hq_07_duplicates_and_order_are_kept(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    fields = [("X-M", "1"), ("Cookie", "a=1"), ("x-m", "2"), ("X-Z", "z"), ("Cookie", "b=2"), ("X-M", "1")]
    seen = await _sent(gw, upstream, connect, *fields)
    own = {b"x-m", b"cookie", b"x-z"}
    kept = [(name.lower().decode(), value.decode()) for name, value in seen.fields if name.lower() in own]
    assert kept == [(name.lower(), value) for name, value in fields]


async def test_t_hq_08_nothing_is_made_up(gw: Gateway, upstream: HttpUpstream, connect: MakeClient) -> None:
    seen = await _sent(gw, upstream, connect)
    for name in ("user-agent", "accept", "accept-encoding", "content-type", "content-length", "origin", "te"):
        assert not seen.has(name), name
    assert not seen.chunked
    assert seen.fields[0][0].lower() == b"host"
    assert len(seen.all("host")) == 1


async def test_t_hq_09_obs_text_keeps_its_bytes(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    seen = await _sent(gw, upstream, connect, ("X-Raw", b"\xe9\xff caf\xc3\xa9"))
    assert seen.get("x-raw") == b"\xe9\xff caf\xc3\xa9"


@pytest.mark.parametrize(
    "name",
    [
        "X_Forwarded_For",
        "Content_Length",
        "Transfer_Encoding",
        "X-Forwarded_Host",
        "x_real_ip",
        "Forwarded_",
        "Host_",
    ],
)
async def test_t_hq_10_underscore_twins_of_managed_fields_are_removed(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, name: str
) -> None:
    seen = await _sent(gw, upstream, connect, (name, "3"))
    if name.endswith("_"):
        assert seen.get(name) == b"3"  # `host-` is no managed name
    else:
        assert not seen.has(name)


async def test_t_hq_11_other_underscore_names_pass(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    seen = await _sent(gw, upstream, connect, ("Foo_Bar", "1"))
    assert seen.get("Foo_Bar") == b"1"


async def test_t_hq_12_end_to_end_fields_pass_verbatim(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    fields = [
        ("Authorization", "Bearer  sk-Abc=="),
        ("Origin", "http://localhost"),
        ("Referer", "http://x/y?z"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Range", "bytes=0-4"),
        ("If-None-Match", 'W/"x", "y"'),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("Accept-Encoding", "gzip;q=0, br"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("User-Agent", "curl/8"),
        ("Priority", "u=1"),
    ]
    seen = await _sent(gw, upstream, connect, *fields)
    for name, value in fields:
        assert seen.get(name) == value.encode(), name


async def test_t_hq_12_a_trace_goes_through_as_it_came(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """W3C Trace Context: Hestia is no participant, so neither field is changed, joined or made up."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    states = ("vendor=t61rcWkgMzE,other=00f067aa0ba902b7", "third@x=1; y")
    fields = [("traceparent", trace), *(("tracestate", state) for state in states)]
    seen = await _sent(gw, upstream, connect, *fields)
    assert seen.all("traceparent") == [trace.encode()]
    assert seen.all("tracestate") == [state.encode() for state in states]
    without = await _sent(gw, upstream, connect)
    assert without.all("traceparent") == without.all("tracestate") == []


async def test_t_hq_14_via_is_extended_and_a_loop_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    seen = await _sent(gw, upstream, connect, ("Via", "1.0 first"))
    via = b", ".join(seen.all("via"))
    assert via.startswith(b"1.0 first")
    own = via.split(b",")[-1].strip()
    assert re.fullmatch(rb"1\.1 \S+", own), via
    client = await connect(gw)
    count = len(upstream.requests)
    response = await client.ask("GET", S + "/x", ("Via", own))
    response.problem("loop_detected", 508)
    assert len(upstream.requests) == count


async def test_t_hq_15_a_request_id_is_made_echoed_and_logged(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    response = await client.ask("GET", S + "/x")
    made = response.get("x-request-id") or b""
    assert re.fullmatch(rb"req_[0-9a-zA-Z]{20}", made), made
    assert upstream.requests[0].get("x-request-id") == made
    await client.close()
    await gw.aclose()
    assert any(json.loads(line).get("request_id") == made.decode() for line in gw.log.splitlines()), gw.log


async def test_t_hq_15_two_requests_get_two_ids(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    ids = [(await client.ask("GET", S + "/x")).get("x-request-id") for _ in range(20)]
    assert len(set(ids)) == 20


async def test_t_hq_15_a_sane_inbound_id_is_kept(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    response = await client.ask("GET", S + "/x", ("X-Request-ID", "abc-123_DEF.4"))
    assert response.get("x-request-id") == b"abc-123_DEF.4"
    assert upstream.requests[0].all("x-request-id") == [b"abc-123_DEF.4"]


@pytest.mark.parametrize("value", ["x" * 5000, "x" * 129, 'a"b', "a b", "", "<script>", "\xe9"])
async def test_t_hq_15_a_hostile_id_is_replaced(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, value: str
) -> None:
    client = await connect(gw)
    response = await client.ask("GET", S + "/x", ("X-Request-ID", value))
    assert (response.get("x-request-id") or b"").startswith(b"req_")
    assert upstream.requests[0].all("x-request-id") == response.all("x-request-id")
    await still_serves(client, upstream)


@pytest.mark.parametrize(
    "line",
    [b"Foo : x", b" Foo: x", b"Fo\x00o: x", b"nocolon", b": x", b"Foo\t: x", b"F\xc3\xb6: x", b"Fo(o: x"],
)
async def test_t_hq_16_malformed_field_names_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, line: bytes
) -> None:
    data = f"GET {S}/x HTTP/1.1\r\nHost: localhost\r\n".encode() + line + b"\r\n\r\n"
    await refused(await connect(gw), data, 400, "bad_request")
    await untouched(upstream)


@pytest.mark.parametrize("octet", [b"\r", b"\n", b"\x00", b"\x7f", b"\x01", b"\x0b", b"\r\n folded"])
async def test_t_hq_17_control_bytes_in_values_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, octet: bytes
) -> None:
    data = head(f"GET {S}/x HTTP/1.1", [("Host", "localhost"), ("X-A", b"a" + octet + b"b")])
    await refused(await connect(gw), data, 400, "bad_request")
    await untouched(upstream)


async def test_t_hq_18_an_empty_value_stays_empty(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    seen = await _sent(gw, upstream, connect, ("X-Empty", ""))
    assert seen.get("x-empty") == b""
