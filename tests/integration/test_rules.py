"""Request rules of a service: no_wake, headers, cors, max_body, underscore_headers."""

from __future__ import annotations

import pytest

from hestia.core.model import IdleWebSocket, InstanceId, ServiceId
from hestia.core.rules import Cors, Edits, Headers, NoWake, Underscores
from tests.fakes import upstream as step
from tests.fakes import websocket
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.wire import answer, chunk, head, request

from .assertions import still_serves, untouched
from .conftest import MakeClient, MakeUpstream
from .harness import MakeGateway, cold, service

S = "/services/a"
FAVICON = (NoWake(path="/favicon.ico"),)
SCRAPE = (NoWake(path="/slow"), NoWake(path="/metrics"), NoWake(path="/ws"))


# -- no_wake -----------------------------------------------------------------------------------


async def test_t_cq_13_a_favicon_wakes_nobody(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a", no_wake=FAVICON, on_cold="reject"), wakes={"a": upstream})
    client = await connect(gw)
    response = await client.ask("GET", S + "/favicon.ico?v=1", ("Prefer", "respond-async"))
    response.problem("dormant", 503)
    assert int(response.get("retry-after") or b"0") >= 1
    host = await client.ask("GET", "/favicon.ico", host="a.localhost")
    host.problem("dormant", 503)
    assert gw.engine.starts == []
    assert (await gw.status()).phase == "cold"


async def test_t_cq_13_while_it_starts_it_is_dormant_and_while_hot_it_is_forwarded(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a", no_wake=FAVICON), wakes={"a": upstream}, ready=False)
    waiting, other = await connect(gw), await connect(gw)
    await waiting.send(request("GET", S + "/echo"))
    await gw.until_waiting(1)
    (await other.ask("GET", S + "/favicon.ico")).problem("dormant", 503)
    gw.probe.ready = True
    assert (await waiting.response()).status == 200
    assert (await other.ask("GET", S + "/favicon.ico")).status == 200
    assert upstream.targets == [b"/echo", b"/favicon.ico"]


async def test_cq_11_what_wakes_nobody_keeps_nothing_up(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Neither its end nor its being under way counts as use."""
    gw = await gateway(cold("a", no_wake=SCRAPE, idle_timeout=600.0), wakes={"a": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", S + "/echo")).status == 200
    use = gw.hestia.gateway.world.slot(ServiceId("a"), InstanceId("a")).use
    assert use is not None
    used = use.last_used
    assert (await client.ask("GET", S + "/metrics")).status == 200
    await gw.until_in_flight(0)
    assert (use.granted, use.last_used) == (2, used)


async def test_cq_11_an_idle_stop_does_not_wait_for_it(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """The request under way may end in the time that silent sockets get."""
    gw = await gateway(cold("a", no_wake=SCRAPE, idle_timeout=2.0), wakes={"a": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", S + "/echo")).status == 200
    await client.send(request("GET", S + "/slow"))
    await gw.until_phase("draining")
    upstream.release()
    assert (await client.response()).status == 200
    await gw.until_phase("cold")


async def test_cq_11_nor_for_its_websocket(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(
        cold("a", no_wake=SCRAPE, idle_timeout=2.0, idle_websocket=IdleWebSocket.OPEN), wakes={"a": upstream}
    )
    client = await connect(gw)
    assert (await client.ask("GET", S + "/echo")).status == 200
    await client.send(websocket.handshake(S + "/ws"))
    assert (await client.head(upgrade=True)).status == 101
    await gw.until_phase("cold")
    await client.gone()


# -- headers -----------------------------------------------------------------------------------


async def test_headers_of_requests_are_set_and_removed(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    edits = Edits(set=(("X-Team", "home"), ("Authorization", "Bearer x")), remove=("Cookie", "X-Debug"))
    gw = await gateway(service("a", upstream.url, headers=Headers(request=edits)))
    client = await connect(gw)
    sent = [
        ("Authorization", "Basic y"),
        ("x_team", "alias"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
        ("X-Debug", "1"),
        ("X-Other", "stays"),
        ("Connection", "X-Team"),
    ]
    assert (await client.ask("GET", S + "/echo", *sent)).status == 200
    got = upstream.requests[0]
    assert got.all("authorization") == [b"Bearer x"]
    assert got.all("x-team") == [b"home"], "set after what Connection names was taken off"
    assert not any(got.has(name) for name in ("cookie", "x-debug", "x_team"))
    assert got.get("x-other") == b"stays"


async def test_headers_of_responses_are_set_and_removed(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """What is set stands as it is; what passes is rewritten for the prefix as ever."""
    edits = Edits(set=(("X-Frame-Options", "DENY"), ("Cache-Control", "no-store")), remove=("Server",))
    said = answer(
        b"ok",
        ("Server", "uvicorn"),
        ("Cache-Control", "public"),
        ("Location", "/next"),
        ("Set-Cookie", "a=1; Path=/"),
        ("Set-Cookie", "b=1; Path=/"),
        ("X-Other", "stays"),
    )
    upstream = await raw([step.repeat(said)])
    gw = await gateway(service("a", upstream.url, headers=Headers(response=edits)))
    client = await connect(gw)
    response = await client.ask("GET", S + "/x")
    assert response.all("x-frame-options") == [b"DENY"]
    assert response.all("cache-control") == [b"no-store"]
    assert not response.has("server")
    assert response.get("location") == f"{S}/next".encode()
    assert response.all("set-cookie") == [f"{name}=1; Path={S}/".encode() for name in "ab"]
    assert response.get("x-other") == b"stays"
    missing = await client.ask("GET", "/services/none/x")
    assert not missing.has("x-frame-options"), "answers of the gateway are its own"


async def test_headers_of_event_streams_and_handshakes_are_edited_too(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    edits = Edits(set=(("X-Accel-Buffering", "yes"), ("X-Set", "1")), remove=("X-Gone",))
    stream = answer(b"data: 1\n\n", ("Content-Type", "text/event-stream"))
    upstream = await raw(
        [
            step.get_request(),
            step.send(stream),
            step.get_request(),
            step.send(websocket.switching(("X-Gone", "1"))),
            step.until_gone(),
        ]
    )
    gw = await gateway(service("a", upstream.url, headers=Headers(response=edits)))
    client = await connect(gw)
    assert (await client.ask("GET", S + "/x")).all("x-accel-buffering") == [b"yes"]
    await client.send(websocket.handshake(S + "/ws"))
    switched = await client.head(upgrade=True)
    assert (switched.status, switched.get("x-set"), switched.has("x-gone")) == (101, b"1", False)


@pytest.mark.parametrize(
    ("policy", "status", "names"),
    [
        (Underscores.KEEP, 200, [b"foo_bar"]),
        (Underscores.DROP, 200, []),
        (Underscores.REFUSE, 400, None),
    ],
)
async def test_hq_09_underscores_by_the_services_choice(
    gateway: MakeGateway,
    upstream: HttpUpstream,
    connect: MakeClient,
    policy: Underscores,
    status: int,
    names: list[bytes] | None,
) -> None:
    gw = await gateway(service("a", upstream.url, underscore_headers=policy))
    client = await connect(gw)
    response = await client.ask("GET", S + "/echo", ("Foo_Bar", "1"), ("Foo-Bar", "2"))
    assert response.status == status
    if names is None:
        assert "foo_bar" in response.problem("bad_request", 400)["detail"]
        await untouched(upstream)
    else:
        got = upstream.requests[0]
        assert [name for name, _ in got.fields if b"_" in name] == names
        assert got.get("foo-bar") == b"2"
    assert (await client.ask("GET", S + "/echo")).status == 200


# -- cors --------------------------------------------------------------------------------------

LISTED = Cors(origins=("https://app.lan",))
IMAGE = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")]


@pytest.mark.parametrize(
    "fields",
    [
        [*IMAGE, ("Referer", "https://app.lan/")],
        [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors"), ("Origin", "https://app.lan")],
        [("Origin", "https://app.lan"), ("User-Agent", "Mozilla/5.0")],
    ],
)
async def test_t_se_07_a_listed_origin_starts_the_service(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, fields: list[tuple[str, str]]
) -> None:
    gw = await gateway(cold("a", cors=LISTED), cold("b"), wakes={"a": upstream, "b": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", S + "/echo", *fields)).status == 200
    (await client.ask("GET", "/services/b/echo", *fields)).problem("cross_site_wake", 403)
    assert len(gw.engine.starts) == 1


async def test_se_14_on_a_lan_name_referer_and_accept_decide(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a", hosts=("chat.lan",)), wakes={"a": upstream})
    client = await connect(gw)
    browser = ("User-Agent", "Mozilla/5.0")
    image, page = ("Accept", "image/avif,*/*"), ("Accept", "text/html,*/*")
    foreign = ("Referer", "http://evil.example/")
    for fields in ([foreign, image, browser], [image, browser], [("Origin", "http://evil.example"), browser]):
        (await client.ask("GET", "/x", *fields, host="chat.lan")).problem("cross_site_wake", 403)
    assert gw.engine.starts == []
    assert (await client.ask("GET", "/echo", foreign, page, browser, host="chat.lan")).status == 200


async def test_t_ws_08_a_listed_origin_opens_a_websocket(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(service("a", upstream.url, cors=LISTED), b=upstream)
    client, other = await connect(gw), await connect(gw)
    await client.send(websocket.handshake(S + "/ws", ("Origin", "https://app.lan")))
    assert (await client.head(upgrade=True)).status == 101
    await other.send(websocket.handshake("/services/b/ws", ("Origin", "https://app.lan")))
    assert (await other.head(upgrade=True)).status == 403


async def test_hq_14_preflights_are_passed_on(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(service("a", upstream.url))
    fields = [("Origin", "https://app.lan"), ("Access-Control-Request-Method", "PUT")]
    assert (await (await connect(gw)).ask("OPTIONS", S + "/echo", *fields)).status == 200
    assert upstream.requests[0].method == b"OPTIONS"
    assert upstream.requests[0].get("access-control-request-method") == b"PUT"


# -- bodies ------------------------------------------------------------------------------------


async def test_t_li_01_a_body_at_the_limit_passes_and_one_more_byte_is_413(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """LI-07, by Content-Length: refused before anything is started or sent."""
    gw = await gateway(cold("a", max_body=1000), wakes={"a": upstream})
    client = await connect(gw)
    members = (await client.ask("POST", S + "/upload", body=bytes(1001))).problem("body_too_large", 413)
    assert "1000 bytes" in members["detail"]
    assert gw.engine.starts == []
    assert (await client.ask("POST", S + "/upload", body=bytes(1000))).status == 200
    await still_serves(client, upstream)


async def test_li_07_an_expected_body_is_refused_before_it_is_sent(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(service("a", upstream.url, max_body=1000))
    client = await connect(gw)
    fields = [("Expect", "100-continue"), ("Content-Length", "1001")]
    await client.send(request("POST", S + "/upload", *fields))
    response = await client.response("POST")
    response.problem("body_too_large", 413)
    assert response.interim == []
    await client.gone()


async def test_li_07_a_chunked_body_is_cut_off_where_it_grows_too_large(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """The service sees a broken request, never one that looks whole."""
    upstream = await raw([step.get_head(), step.until_gone()])
    gw = await gateway(service("a", upstream.url, max_body=1000))
    client = await connect(gw)
    fields = [("Host", "localhost"), ("Transfer-Encoding", "chunked")]
    await client.send(head(f"POST {S}/x HTTP/1.1", fields) + chunk(bytes(1000)))
    await upstream.until(lambda: len(upstream.requests[0].body) == 1000 if upstream.requests else False, "it")
    await client.send(chunk(b"x") + b"0\r\n\r\n")
    (await client.response("POST")).problem("body_too_large", 413)
    await upstream.until(lambda: upstream.open == 0, "the service to be told")
    assert not upstream.requests[0].complete
    await client.gone()


async def test_sb_12_over_the_cap_no_new_body_is_taken_in(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Requests without a body, and bodies that need not wait, go on."""
    gw = await gateway(cold("a"), wakes={"a": upstream}, ready=False, b=upstream)
    gw.hestia.buffers.most = 1000
    first, second, third = [await connect(gw) for _ in range(3)]
    await first.send(request("POST", S + "/upload", body=pattern(1000)))
    await gw.until_waiting(1)
    await eventually(lambda: gw.hestia.buffers.held >= 1000, "the body to be held")
    response = await second.ask("POST", S + "/upload", body=b"x")
    response.problem("gateway_overloaded", 503)
    assert response.has("retry-after")
    await third.send(request("GET", S + "/echo"))
    await gw.until_waiting(2)
    gw.probe.ready = True
    assert (await first.response("POST")).json()["size"] == 1000
    assert (await third.response()).status == 200
    assert gw.hestia.buffers.held == 0
    assert (await third.ask("POST", S + "/upload", body=b"x")).status == 200
