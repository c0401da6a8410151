"""The bridge (SPEC 3, proxy-semantics 0.4 point 6): plain HTTP through a real uvicorn, over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes import upstream as step
from tests.fakes.http_upstream import GZIPPED, HttpUpstream, pattern
from tests.fakes.upstream import Connection
from tests.fakes.wire import LAST_CHUNK, answer, chunk, chunked, head, request

from .assertions import untouched
from .bridged import MakeFront, fronts
from .conftest import MakeClient, MakeUpstream
from .harness import cold
from .test_forwarded import CLAIMS

S = "/services/a"
CHUNKED = ("Transfer-Encoding", "chunked")


@pytest.fixture
async def front(raw: MakeUpstream, upstream: HttpUpstream, tmp_path: Path) -> AsyncIterator[MakeFront]:
    """Make a gateway behind the bridge: `await front(a=upstream)`."""
    async with fronts(tmp_path) as make:
        yield make


# -- requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_gets_the_services_own_answer(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient, method: str
) -> None:
    client = await connect(await front(a=upstream))
    body = None if method in ("GET", "OPTIONS") else b"a body"
    for _ in range(2):  # the second one over the same connections
        seen = (await client.ask(method, S + "/echo", body=body)).json()
        assert (seen["method"], seen["target"]) == (method, "/echo")
        assert seen["size"] == len(body or b"")
    assert len(upstream.connections) == 1


@pytest.mark.parametrize(
    "target", ["/echo/%2Fx%41/b%20c;v=1", "/echo?q=%2e&&x=a+b&y", '/echo/"<>|^`{}', "/echo//double/", "/"]
)
async def test_rt_09_the_target_goes_through_byte_for_byte(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient, target: str
) -> None:
    """T-UV-16, UV-03: this file and its neighbours show the catalogue's subset on the bridge."""
    await (await connect(await front(a=upstream))).ask("GET", S + target)
    assert upstream.targets == [target.encode()]


async def test_rt_16_host_names_are_routed_too(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await front(a=upstream))
    seen = await client.ask("GET", "/echo/deep", host="a.localhost:8080")
    assert seen.json()["target"] == "/echo/deep"
    assert upstream.requests[0].get("host") == b"a.localhost:8080"


async def test_fields_keep_their_order_and_their_duplicates(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await front(a=upstream))
    sent: list[tuple[str, str | bytes]] = [
        ("X-A", "1"),
        ("Cookie", "a=1"),
        ("X-A", b"\xe9"),
        ("Cookie", "b=2"),
        ("Connection", "X-Hop"),
    ]
    await client.ask("GET", S + "/echo", *sent, ("X-Hop", "gone"), ("X-Request-ID", "mine-1"))
    seen = upstream.requests[0]
    assert [value for name, value in seen.fields if name.lower() in (b"x-a", b"cookie")] == [
        b"1",
        b"a=1",
        b"\xe9",
        b"b=2",
    ]
    assert not seen.has("x-hop")
    assert not seen.has("user-agent")
    assert seen.get("x-request-id") == b"mine-1"


async def test_t_fw_01_the_forwarded_family_is_what_the_server_in_front_says(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await front(a=upstream)
    await (await connect(gw)).ask("GET", S + "/echo", *CLAIMS, host=f"localhost:{gw.port}")
    seen = upstream.requests[0]
    text = b"\n".join(name + b": " + value for name, value in seen.fields)
    for lie in (b"9.9.9.9", b"8.8.8.8", b"evil", b"9999", b"https"):
        assert lie not in text, text
    assert seen.get("x-forwarded-for") == b"127.0.0.1"
    assert seen.get("x-forwarded-proto") == b"http"
    assert seen.get("x-forwarded-host") == f"localhost:{gw.port}".encode()
    assert seen.get("x-forwarded-port") == str(gw.port).encode()
    assert seen.get("x-forwarded-prefix") == S.encode()


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_large_bodies_stream_up_whole(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient, framing: str
) -> None:
    client, data = await connect(await front(a=upstream)), pattern(6_000_000)
    if framing == "length":
        seen = (await client.ask("POST", S + "/upload", body=data)).json()
    else:
        pieces = [data[at : at + 99_999] for at in range(0, len(data), 99_999)]
        await client.send(head(f"POST {S}/upload HTTP/1.1", [("Host", "localhost"), CHUNKED]))
        await client.send(chunked(pieces))
        seen = (await client.response("POST")).json()
    assert (seen["size"], seen["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert upstream.requests[0].chunked == (framing == "chunked")


async def test_t_sb_02_the_answer_streams_while_the_request_is_still_coming(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await front(a=upstream))
    await client.send(head(f"POST {S}/mirror HTTP/1.1", [("Host", "localhost"), CHUNKED]))
    await client.head("POST")
    for word in (b"one", b"two", b"three"):
        await client.send(chunk(word))
        await client.got(word)
    await client.send(LAST_CHUNK)
    assert bytes((await client.body()).body) == b"onetwothree"


async def test_expect_is_answered_and_ends_here(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await front(a=upstream))
    data = request("POST", S + "/upload", ("Expect", "100-continue"), body=b"12345")
    await client.send(data[:-5])
    await client.got(b"100 Continue")
    await client.send(data[-5:])
    assert (await client.response("POST")).json()["size"] == 5
    assert not upstream.requests[0].has("expect")


async def test_http_1_0_without_a_host_reaches_the_gateway(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await front(a=upstream))
    await client.send(b"GET /services/a/echo HTTP/1.0\r\n\r\n")
    assert (await client.response()).json()["target"] == "/echo"


# -- answers -----------------------------------------------------------------------------------


async def test_nb_01_head_has_the_length_and_no_body(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient
) -> None:
    one = await raw([step.repeat(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", answer(b"12345"))])
    client = await connect(await front(a=one))
    response = await client.ask("HEAD", S + "/x")
    assert (response.get("content-length"), bytes(response.body)) == (b"5", b"")
    assert bytes((await client.ask("GET", S + "/x")).body) == b"12345"


@pytest.mark.parametrize("status", [204, 304])
async def test_nb_04_an_answer_without_a_body_leaves_the_connection_usable(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient, status: int
) -> None:
    empty = b"HTTP/1.1 %d X\r\nETag: x\r\n%s\r\n" % (status, b"Content-Length: 9\r\n" * (status == 304))
    client = await connect(await front(a=await raw([step.repeat(empty, answer(b"ok"))])))
    response = await client.ask("GET", S + "/x")
    assert (response.status, response.get("etag"), bytes(response.body)) == (status, b"x", b"")
    assert bytes((await client.ask("GET", S + "/x")).body) == b"ok"


async def test_hr_03_fields_of_the_answer_keep_duplicates_and_nothing_is_doubled(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient
) -> None:
    fields = [("Date", "Mon, 02 Nov 2026 00:00:00 GMT"), ("Server", "mine"), ("Set-Cookie", "a=1; Path=/")]
    one = await raw([step.repeat(answer(b"ok", *fields, ("Set-Cookie", "b=2"), ("X-Raw", b"\xff")))])
    response = await (await connect(await front(a=one))).ask("GET", S + "/x")
    assert response.get("date") == b"Mon, 02 Nov 2026 00:00:00 GMT"
    assert response.get("server") == b"mine"
    assert response.get("x-raw") == b"\xff"
    assert response.all("set-cookie") == [b"a=1; Path=/services/a/", b"b=2"]
    assert (response.get("x-request-id") or b"").startswith(b"req_")


async def test_a_compressed_body_is_not_touched(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    response = await (await connect(await front(a=upstream))).ask("GET", S + "/gzip")
    assert response.get("content-encoding") == b"gzip"
    assert bytes(response.body) == GZIPPED


async def test_large_bodies_stream_down_whole(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    response = await (await connect(await front(a=upstream))).ask("GET", S + "/bytes?n=20000000")
    assert response.get("content-length") == b"20000000"
    assert bytes(response.body) == pattern(20_000_000)


async def test_t_sb_01_events_arrive_one_by_one_as_they_are_made(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient
) -> None:
    seen = [asyncio.Event() for _ in range(3)]

    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.send(head("HTTP/1.1 200 OK", [("Content-Type", "text/event-stream"), CHUNKED]))
        for number, event in enumerate(seen):
            await connection.send(chunk(b"data: event %d\n\n" % number))
            await step.wait_for(event)(connection)
        await connection.send(LAST_CHUNK)
        await connection.gone()

    client = await connect(await front(a=await raw([play])))
    await client.send(request("GET", S + "/events"))
    for number, event in enumerate(seen):
        await client.got(b"data: event %d\n\n" % number)
        event.set()
    await client.head()
    assert (await client.body()).complete


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_bf_16_an_answer_that_breaks_off_is_seen_to(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient, framing: str
) -> None:
    fields = [("Content-Length", "100")] if framing == "length" else [CHUNKED]
    part = b"part" if framing == "length" else chunk(b"part")
    one = await raw([step.get_request(), step.send(head("HTTP/1.1 200 OK", fields) + part), step.reset()])
    client = await connect(await front(a=one))
    response = await client.ask("GET", S + "/x")
    await client.gone()
    assert (response.status, bytes(response.body), response.complete) == (200, b"part", False)


async def test_t_ca_06_an_early_answer_during_the_upload_reaches_the_client(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient
) -> None:
    one = await raw([step.get_head(), step.send(answer(b"no", status="413 Too Large")), step.until_gone()])
    client = await connect(await front(a=one))
    await client.send(request("POST", S + "/x", body=bytes(500_000))[:-250_000])
    response = await client.response("POST")
    assert (response.status, bytes(response.body)) == (413, b"no")


# -- the gateway's own -------------------------------------------------------------------------


async def test_er_01_problems_come_through_as_they_are(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await front(a=upstream))
    (await client.ask("GET", "/services/nobody/x")).problem("service_not_found", 404)
    (await client.ask("GET", S + "/a/../../b")).problem("path_rejected", 400)
    (await client.ask("GET", S + "/x", host="a b")).problem("bad_host", 400)
    (await client.ask("GET", "/v1/services", host="evil.example.com")).problem("unknown_host", 421)
    expectation = await client.ask("POST", S + "/x", ("Expect", "miracles"), body=b"1")
    expectation.problem("expectation_failed", 417)
    nominated = await client.ask("GET", S + "/x", ("Connection", "host"))
    nominated.problem("bad_request", 400)
    large = await client.ask("GET", S + "/x", ("X-Large", "x" * 20_000))  # refused before its id was read
    large.problem("head_too_large", 431)
    await untouched(upstream)


async def test_the_api_starts_shows_and_stops_a_service(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await front(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", "/v1/services/a/status")).json()["state"] == "cold"
    started = await client.ask("POST", "/v1/services/a/start?wait=true", body=b"")
    assert (started.status, started.json()["state"]) == (200, "hot")
    assert (await client.ask("POST", "/v1/services/a/start", body=b"")).status == 409
    assert [one["serviceId"] for one in (await client.ask("GET", "/v1/services")).json()] == ["a"]
    assert (await client.ask("POST", "/v1/services/a/stop", body=b"")).status == 202
    await gw.until_phase("cold")
    assert (await client.ask("GET", "/healthz")).status == 200


async def test_a_request_wakes_a_cold_service_and_is_held(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await front(cold("a"), wakes={"a": upstream}, ready=False)
    client = await connect(gw)
    await client.send(request("POST", S + "/upload", body=pattern(100_000)))
    await gw.until_waiting(1)
    await untouched(upstream)
    gw.probe.ready = True
    assert (await client.response("POST")).json()["size"] == 100_000
    assert len(gw.engine.starts) == 1


async def test_a_service_that_is_this_gateway_is_a_loop(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await front(a="http://{front}/services/a", b=upstream))
    (await client.ask("GET", S + "/x")).problem("loop_detected", 508)


async def test_wp01_a_browser_gets_the_waiting_page_and_its_stream(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await front(cold("a"), wakes={"a": upstream}, ready=False)
    client = await connect(gw)
    navigation = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
    page = await client.ask("GET", S + "/echo", *navigation)
    assert page.status == 503
    visit = bytes(page.body).partition(b'data-visit="')[2].partition(b'"')[0]
    await client.send(request("GET", S + "/echo", (b"Hestia-Wait", b"1;visit=" + visit)))
    stream = await client.head()
    await client.until(lambda: b'"state": "waiting"' in stream.body, "the first news")
    gw.probe.ready = True
    await client.body()
    assert b'"state": "hot"' in stream.body
    assert upstream.requests == []
    assert (await client.ask("GET", S + "/echo", *navigation)).status == 200
