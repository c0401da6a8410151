"""Interim answers, Expect and upgrades that are no WebSocket (proxy-semantics UP)."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.fakes import upstream as step
from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.wire import answer, chunked, head, request

from .assertions import refused, still_serves, untouched
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway

S = "/services/a"
INTERIM = (
    head("HTTP/1.1 100 Continue"),
    head("HTTP/1.1 102 Processing"),
    head("HTTP/1.1 103 Early Hints", [("Link", "</style.css>"), ("Connection", "x")]),
)


async def test_t_up_01_interim_answers_pass_but_100_does_not(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(step.once(*INTERIM, answer(b"final")))
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
    assert [one.status for one in response.interim] == [102, 103]
    assert response.interim[1].get("link") == b"</style.css>"
    assert not response.interim[1].has("connection")
    assert (response.status, bytes(response.body)) == (200, b"final")


async def test_t_up_01_an_http_1_0_client_gets_the_final_answer_only(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(step.once(b"".join(INTERIM) + answer(b"final")))
    client = await connect(await gateway(a=upstream))
    await client.send(head(f"GET {S}/x HTTP/1.0", [("Host", "localhost")]))
    response = await client.response()
    assert (response.interim, response.status, bytes(response.body)) == ([], 200, b"final")


async def test_t_up_01_an_interim_answer_then_a_reset_is_502_without_retry(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw([step.get_request(), step.send(INTERIM[2]), step.pause(0.1), step.reset()])
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
    assert [one.status for one in response.interim] == [103]
    response.problem("upstream_disconnected", 502)
    assert len(upstream.requests) == 1


async def test_t_up_02_a_flood_of_interim_answers_is_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(step.once(INTERIM[2] * 20 + answer(b"final")))
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
    assert len(response.interim) <= 16
    response.problem("upstream_invalid_response", 502)
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the connection to be destroyed")


@pytest.mark.parametrize(
    "fields", [[], [("Upgrade", "websocket"), ("Connection", "Upgrade")], [("Upgrade", "foo")]]
)
async def test_t_up_03_101_to_a_plain_request_is_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, fields: list[tuple[str, str]]
) -> None:
    upstream = await raw(step.once(head("HTTP/1.1 101 Switching Protocols", fields) + b"\x81\x02hi"))
    client = await connect(await gateway(a=upstream))
    (await client.ask("GET", S + "/x")).problem("upstream_invalid_response", 502)
    assert b"\x81\x02hi" not in client.received
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the connection to be destroyed")


H2C = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")]


async def test_t_up_04_h2c_is_never_forwarded(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Also T-UV-04: a second request in the same packet is served as a request of its own."""
    client = await connect(gw)
    await client.send(request("GET", S + "/x", *H2C) + request("GET", S + "/y"))
    assert (await client.response()).json()["target"] == "/x"
    assert (await client.response()).json()["target"] == "/y"
    seen = upstream.requests[0]
    assert not seen.has("upgrade")
    assert not seen.has("http2-settings")
    assert b"upgrade" not in b",".join(seen.all("connection")).lower()
    await still_serves(client, upstream)


@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("packets", [1, 2, 3])
async def test_t_up_05_a_body_behind_h2c_is_a_body(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, coding: str, packets: int
) -> None:
    hidden = request("GET", S + "/smuggled")
    if coding == "length":
        message = request("POST", S + "/x", *H2C, body=hidden)
    else:
        message = request("POST", S + "/x", *H2C, ("Transfer-Encoding", "chunked")) + chunked(
            [hidden[:9], hidden[9:]]
        )
    body_at = message.index(b"\r\n\r\n") + 4
    client = await connect(gw)
    await client.send(
        message + request("GET", S + "/next"), at=[body_at, body_at + 11][: packets - 1], gap=0.05
    )
    assert (await client.response("POST")).json()["sha256"] == hashlib.sha256(hidden).hexdigest()
    assert (await client.response()).json()["target"] == "/next"
    assert upstream.targets == [b"/x", b"/next"]


async def test_t_up_06_two_mb_with_expect(gw: Gateway, upstream: HttpUpstream, connect: MakeClient) -> None:
    data = pattern(2_000_000)
    client = await connect(gw)
    message = request("POST", S + "/x", ("Expect", "100-continue"), body=data)
    await client.send(message[: -len(data)])
    await client.got(b"HTTP/1.1 100 ")
    await client.send(data)
    response = await client.response("POST")
    assert ([one.status for one in response.interim], response.status) == ([100], 200)
    assert response.json()["size"] == len(data)
    assert not upstream.requests[0].has("expect")
    await still_serves(client, upstream)


async def test_t_up_06_a_client_that_does_not_wait_for_100_is_fine(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(request("POST", S + "/x", ("Expect", "100-continue"), body=b"hello"))
    response = await client.response("POST")
    assert (response.status, response.json()["size"]) == (200, 5)
    await still_serves(client, upstream)


async def test_t_up_07_other_expectations_are_417(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    response = await client.ask("POST", S + "/x", ("Expect", "the-unexpected"), body=b"x")
    response.problem("expectation_failed", 417)
    await untouched(upstream)


async def test_t_up_07_http_1_0_expects_nothing(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    fields = [("Host", "localhost"), ("Expect", "100-continue"), ("Content-Length", "5")]
    await client.send(head(f"POST {S}/x HTTP/1.0", fields) + b"hello")
    response = await client.response("POST")
    assert ([one.status for one in response.interim], response.status) == ([], 200)
    assert response.json()["size"] == 5


async def test_t_up_08_a_final_answer_instead_of_100_is_relayed_and_closes(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    go_on = asyncio.Event()
    upstream = await raw(
        [
            step.get_head(),
            step.wait_for(go_on),
            step.send(answer(b"no", status="417 No")),
            step.until_gone(),
            step.close(),
        ]
    )
    client = await connect(await gateway(a=upstream))
    await client.send(request("POST", S + "/x", ("Expect", "100-continue"), body=b"hello")[:-5])
    await upstream.until(lambda: upstream.requests != [], "the head")
    go_on.set()
    response = await client.response("POST")
    assert (response.status, bytes(response.body)) == (417, b"no")
    assert not response.has("proxy-status")
    await client.gone()


async def test_t_up_09_upgrade_without_connection_upgrade_is_a_plain_request(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    response = await client.ask("GET", S + "/ws", ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "x"))
    assert response.status == 200
    assert not upstream.requests[0].has("upgrade")
    await still_serves(client, upstream)


@pytest.mark.parametrize("token", ["foo", "h2c", "TLS/1.0", "websocket2", "foo, h2c"])
async def test_other_upgrade_tokens_are_dropped(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, token: str
) -> None:
    client = await connect(gw)
    response = await client.ask("GET", S + "/x", ("Upgrade", token), ("Connection", "Upgrade"))
    assert response.status == 200
    assert not upstream.requests[0].has("upgrade")
    await still_serves(client, upstream)


async def test_t_uv_14_a_websocket_upgrade_with_a_body_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ]
    await refused(await connect(gw), request("GET", S + "/ws", *fields, body=b"hello"), 400)
    await untouched(upstream)
