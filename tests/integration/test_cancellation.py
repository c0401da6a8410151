"""Clients that leave and answers that come early (proxy-semantics CA): both sides are freed, none is lost."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.skew import Skew
from tests.fakes.upstream import Connection
from tests.fakes.wire import LAST_CHUNK, answer, chunk, head, request

from .assertions import one_sweep, still_serves
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, service

S = "/services/a"
LEAVE = ["eof", "reset", "half"]


async def _leave(client: Client, how: str) -> None:
    if how == "reset":
        client.reset()
    elif how == "half":
        client.half_close()
    else:
        await client.close()


@pytest.mark.parametrize("how", LEAVE)
async def test_t_ca_01_leaving_while_waiting_for_the_head(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, how: str
) -> None:
    """Also T-CA-13 (RST) and T-CA-14 (half close counts as gone)."""
    upstream = await raw([step.get_request(), step.until_gone(), step.close()])
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await upstream.saw(1)
    await _leave(client, how)
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")
    await gw.at_rest()
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("how", LEAVE)
async def test_t_ca_02_leaving_while_the_answer_streams(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, how: str
) -> None:
    client = await connect(gw)
    await client.send(request("GET", S + "/sse?n=100000000"))
    await client.got(b"event 10\n")
    await _leave(client, how)
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")
    await gw.at_rest()
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("how", LEAVE)
async def test_t_ca_03_leaving_during_the_upload(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, how: str
) -> None:
    client = await connect(gw)
    await client.send(request("POST", S + "/x", body=bytes(1000))[:-500])
    await upstream.until(lambda: bool(upstream.requests and upstream.requests[0].body), "a part of the body")
    await _leave(client, how)
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")
    assert not upstream.requests[0].complete
    await gw.at_rest()


async def test_t_ca_04_leaving_while_the_connect_is_tried_again(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw([step.repeat(answer(b"ok"))])
    gw = await gateway(service("a", upstream.url, retry_count=50, retry_delay=0.2))
    upstream.stop_listening()
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await asyncio.sleep(0.1)
    client.reset()
    await gw.at_rest()
    await upstream.start()
    other = await connect(gw)
    assert bytes((await other.ask("GET", S + "/y")).body) == b"ok"
    assert upstream.targets == [b"/y"]


async def test_t_ca_05_many_streams_whose_clients_vanish(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """60 of them here; the soak has more."""
    clients = [await connect(gw) for _ in range(60)]
    for client in clients:
        await client.send(request("GET", S + "/sse?n=100000000"))
    for number, client in enumerate(clients):
        await client.got(b"event %d\n" % (number % 7))
        await _leave(client, LEAVE[number % 3])
    await upstream.until(lambda: upstream.open == 0, "all upstream connections to end")
    await gw.at_rest()
    assert len(upstream.requests) == 60


async def test_t_ca_06_a_413_with_close_during_the_upload_reaches_the_client(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [
            step.get_head(),
            step.send(answer(b"too big", ("Connection", "close"), status="413 Too Large")),
            step.close(),
        ],
        keep=False,
    )
    gw = await gateway(a=upstream)
    body = bytes(8 * 1024 * 1024)
    for _ in range(10):
        client = await connect(gw)
        sending = asyncio.get_running_loop().create_task(client.send(request("POST", S + "/x", body=body)))
        response = await client.response("POST")
        assert (response.status, bytes(response.body)) == (413, b"too big")
        await client.gone()
        await sending
        await client.close()
    assert len(upstream.requests) == 10


async def test_t_ca_07_a_200_that_streams_during_the_upload_runs_to_the_end(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    data = pattern(3_000_000)
    sending = asyncio.get_running_loop().create_task(client.send(request("POST", S + "/mirror", body=data)))
    response = await client.response("POST")
    await sending
    assert response.body == data
    await still_serves(client, upstream)


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
@pytest.mark.parametrize("last", ["close", "Close, x-other"])
async def test_t_ca_07_an_answer_with_close_during_the_upload_ends_what_goes_upstream(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, status: str, last: str
) -> None:
    """The answer goes on to its end; nothing of the body that comes meanwhile reaches the service."""
    go = asyncio.Event()
    start = head(f"HTTP/1.1 {status}", [("Content-Length", "10"), ("Connection", last)])
    script = [step.get_head(), step.send(start + b"01234"), step.wait_for(go), step.send(b"56789")]
    upstream = await raw([*script, step.until_gone()])
    client = await connect(await gateway(a=upstream))
    whole = request("POST", S + "/x", body=b"a" * 1000 + b"b" * 100_000)
    await client.send(whole[:-100_000])
    await client.head("POST")
    await client.send(whole[-100_000:])
    go.set()
    response = await client.body()
    assert (response.status, bytes(response.body)) == (int(status[:3]), b"0123456789")
    assert (response.get("connection") or b"").lower() == b"close"
    await client.gone()
    await upstream.connections[0].gone()
    assert b"b" not in bytes(upstream.requests[0].body)
    upstream.connections[0].close()


async def test_ca_07_an_answer_with_close_but_no_length_may_be_made_of_the_rest_of_the_body(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, leaks: None
) -> None:
    """gunicorn's plain workers always say `close`, and an application may answer as it reads (SB-08)."""
    whole_body = asyncio.Event()
    start = head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked"), ("Connection", "close")])
    upstream = await raw(
        [
            step.get_head(),
            step.send(start + chunk(b"first")),
            step.wait_for(whole_body),
            step.send(chunk(b"last") + LAST_CHUNK),
            step.until_gone(),
        ]
    )
    client = await connect(await gateway(a=upstream))
    whole = request("POST", S + "/x", body=b"a" * 1000 + b"b" * 100_000)
    await client.send(whole[:-100_000])
    await client.head("POST")
    await client.send(whole[-100_000:])
    await upstream.until(lambda: upstream.requests[0].complete, "the whole body")
    whole_body.set()
    response = await client.body()
    assert (response.complete, bytes(response.body)) == (True, b"firstlast")
    assert bytes(upstream.requests[0].body).endswith(b"b" * 100_000)


async def test_ca_07_a_2xx_that_ends_before_the_upload_leaves_the_rest_unsent(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """The rest is read away; the connection to the service is not used again, the client's is."""
    upstream = await raw(
        [step.get_head(), step.send(answer(b"enough")), step.until_gone(), step.close()],
        [step.repeat(answer(b"next"))],
    )
    client = await connect(await gateway(a=upstream))
    whole = request("POST", S + "/x", body=b"a" * 1000 + b"b" * 1000)
    await client.send(whole[:-1000])
    assert bytes((await client.response("POST")).body) == b"enough"
    await upstream.connections[0].gone()
    await client.send(whole[-1000:])
    assert bytes((await client.ask("GET", S + "/y")).body) == b"next"
    assert b"b" not in bytes(upstream.requests[0].body)
    assert upstream.targets == [b"/x", b"/y"]


async def test_ca_07_a_refusal_goes_on_although_the_client_stops_sending(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, leaks: None
) -> None:
    """TO-03 is about a body that somebody waits for."""
    go = asyncio.Event()
    start = head("HTTP/1.1 403 Forbidden", [("Content-Length", "10")])
    script = [step.get_head(), step.send(start + b"01234"), step.wait_for(go), step.send(b"56789")]
    upstream = await raw([*script, step.until_gone()])
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(request("POST", S + "/x", body=bytes(1000))[:-500])
    await client.head("POST")
    skew = Skew()
    try:
        skew.forward(61)
        await one_sweep(gw)
        assert not client.ended
        go.set()
        response = await client.body()
    finally:
        skew.end()
    assert (response.status, bytes(response.body)) == (403, b"0123456789")
    await client.gone()


async def test_ca_07_a_refusal_during_the_upload_ends_what_goes_upstream(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """The answer goes on for a while; nothing of the body that comes meanwhile reaches the service."""
    go = asyncio.Event()
    start = head("HTTP/1.1 403 Forbidden", [("Content-Length", "10")])
    upstream = await raw(
        [
            step.get_head(),
            step.send(start + b"01234"),
            step.wait_for(go),
            step.send(b"56789"),
            step.until_gone(),
        ]
    )
    client = await connect(await gateway(a=upstream))
    whole = request("POST", S + "/x", body=b"a" * 1000 + b"b" * 100_000)
    await client.send(whole[:-100_000])
    await client.head("POST")
    await client.send(whole[-100_000:])
    go.set()
    response = await client.body()
    assert (response.status, bytes(response.body)) == (403, b"0123456789")
    assert (response.get("connection") or b"").lower() == b"close"
    await client.gone()
    await upstream.connections[0].gone()
    assert b"b" not in bytes(upstream.requests[0].body)
    upstream.connections[0].close()


async def test_t_ca_08_a_refusal_of_an_expect_request_asks_for_no_body(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [
            step.get_head(),
            step.send(answer(b"who?", status="401 Unauthorized")),
            step.until_gone(),
            step.close(),
        ]
    )
    client = await connect(await gateway(a=upstream))
    await client.send(request("POST", S + "/x", ("Expect", "100-continue"), body=b"hello")[:-5])
    response = await client.response("POST")
    assert response.status == 401
    assert (response.get("connection") or b"").lower() == b"close"
    # Whether a 100 came first depends on which was faster; the body was never sent in either case.
    await client.gone()
    assert bytes(upstream.requests[0].body) == b""


async def test_t_ca_08_an_own_error_on_an_expect_request_sends_no_100_and_closes(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(request("POST", "/services/nosuch/x", ("Expect", "100-continue"), body=b"hello")[:-5])
    response = await client.response("POST")
    response.problem("service_not_found", 404)
    assert response.interim == []
    assert (response.get("connection") or b"").lower() == b"close"
    await client.gone()


async def test_t_ca_09_an_own_error_with_100_kb_unread_keeps_the_connection(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    response = await client.ask("POST", "/services/nosuch/x", body=bytes(100_000))
    response.problem("service_not_found", 404)
    await still_serves(client, upstream)


async def test_t_ca_10_an_own_error_with_a_huge_body_unread_closes(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(
        head("POST /services/nosuch/x HTTP/1.1", [("Host", "localhost"), ("Content-Length", str(1024**3))])
    )

    async def upload() -> None:
        for _ in range(1024):
            if client.ended:
                return
            await client.send(bytes(1024 * 1024))

    sending = asyncio.get_running_loop().create_task(upload())
    response = await client.response("POST")
    response.problem("service_not_found", 404)
    await client.gone()
    await sending
    await still_serves(await connect(gw), upstream)


async def test_t_ca_12_a_client_that_left_is_logged_as_499(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [step.get_request(), step.until_gone(), step.close()], [step.repeat(answer(b"fine"))]
    )
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(request("GET", S + "/left", ("X-Request-ID", "the-one")))
    await upstream.saw(1)
    await client.close()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")
    assert bytes((await (await connect(gw)).ask("GET", S + "/y")).body) == b"fine"
    assert (await gw.status()).phase == "hot"
    await gw.at_rest()
    await gw.aclose()
    lines = [json.loads(line) for line in gw.log.splitlines()]
    assert [line["status"] for line in lines if line.get("request_id") == "the-one"] == [499], lines


async def test_an_early_error_answer_during_a_slow_upload_is_delivered_and_closes(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [step.get_head(), step.send(answer(b"no", status="403 Forbidden")), step.until_gone(), step.close()]
    )
    client = await connect(await gateway(a=upstream))
    await client.send(head(f"POST {S}/x HTTP/1.1", [("Host", "localhost"), ("Transfer-Encoding", "chunked")]))
    await client.send(chunk(b"a little"))
    response = await client.response("POST")
    assert (response.status, bytes(response.body)) == (403, b"no")
    await client.send(chunk(b"more") + LAST_CHUNK + request("GET", S + "/after"))
    await client.gone()
    await upstream.until(
        lambda: bool(upstream.connections[0].ended), "the upstream connection to be destroyed"
    )


async def test_two_leave_in_the_same_tick_as_the_answer(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """The answer and the end of the client cross; whatever wins, nothing leaks and the next is served."""

    async def play(connection: Connection) -> None:
        while (one := await connection.next_or_end()) is not None and await connection.whole(one):
            await connection.send(answer(b"x" * 1000))
        connection.close()

    upstream = await raw([play])
    gw = await gateway(a=upstream)
    for _ in range(50):
        client = await connect(gw)
        await client.send(request("GET", S + "/x"))
        client.reset()
    await gw.at_rest()
    assert (await (await connect(gw)).ask("GET", S + "/y")).status == 200
