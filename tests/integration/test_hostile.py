"""Input made to confuse or to exhaust: what a maintainer looking for holes found, and what holds now."""

from __future__ import annotations

import asyncio

import pytest

from hestia.core.errors import StartFailed
from hestia.core.model import Backoff
from hestia.edge.limits import OpenFiles
from tests.fakes import upstream as step
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.upstream import Connection
from tests.fakes.wire import answer, chunk, chunked, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import MakeGateway, cold, service

S = "/services/a"
CHUNKED = ("Transfer-Encoding", "chunked")
OFFER = [("Host", "localhost"), ("Connection", "Upgrade"), ("Upgrade", "h2c"), CHUNKED]


@pytest.mark.parametrize("size", [1000, 20_000, 60_000])
async def test_t_up_05_a_large_chunked_body_behind_a_foreign_offer_in_one_read(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, size: int
) -> None:
    upstream = await raw([step.repeat(answer(b"ok"))])
    client = await connect(await gateway(a=upstream))
    body = pattern(size)
    await client.send(head(f"POST {S}/x HTTP/1.1", OFFER) + chunked([body]))
    assert (await client.response("POST")).status == 200
    assert bytes(upstream.requests[0].body) == body
    assert (await client.ask("GET", S + "/y")).status == 200


@pytest.mark.parametrize("behind", [b"", bytes(20_000)])
async def test_t_up_05_a_small_one_with_a_request_behind_it(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, behind: bytes
) -> None:
    upstream = await raw([step.repeat(answer(b"ok"))])
    client = await connect(await gateway(a=upstream))
    first = head(f"POST {S}/x HTTP/1.1", OFFER) + chunked([b"abc"])
    await client.send(first + request("POST", S + "/y", body=behind))
    for _ in range(2):
        assert (await client.response("POST")).status == 200
    assert [bytes(one.body) for one in upstream.requests] == [b"abc", behind]


async def test_t_se_03_what_follows_the_head_of_a_head_answer_is_nobodys_answer(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """It ends like a head does."""
    start = head("HTTP/1.1 200 OK", [("Content-Length", "60")])
    evil = step.send(answer(b"EVIL"))
    upstream = await raw(
        [step.get_request(), step.send(start + b"x\r\n\r\n"), step.get_head(), evil, step.until_gone()],
        [step.repeat(answer(b"good"))],
    )
    gw = await gateway(a=upstream)
    assert (await (await connect(gw)).ask("HEAD", S + "/x")).status == 200
    assert bytes((await (await connect(gw)).ask("GET", S + "/y")).body) == b"good"


async def test_sb_06_endless_trailers_of_a_service_end_its_answer(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    async def flood(connection: Connection) -> None:
        while not connection.ended:
            await connection.send(b"x-t: " + b"a" * 1000 + b"\r\n")

    start = head("HTTP/1.1 200 OK", [CHUNKED]) + b"1\r\nz\r\n0\r\n"
    upstream = await raw([step.get_request(), step.send(start), flood], keep=False)
    client = await connect(await gateway(a=upstream))
    await client.send(request("GET", S + "/x"))
    response = await client.response()
    assert (bytes(response.body), response.complete) == (b"z", False)
    await client.gone()


async def test_t_li_13_no_more_requests_of_one_read_wait_than_may(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    go = asyncio.Event()
    upstream = await raw([step.get_head(), step.wait_for(go), step.send(answer(b"0")), step.until_gone()])
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(request("GET", S + "/0"))
    await upstream.saw(1)
    edge = gw.hestia._edge
    assert edge is not None
    (connection,) = edge._connections
    many = 5000
    sending = asyncio.get_running_loop().create_task(client.send(request("GET", "/nowhere") * many))
    await eventually(lambda: len(connection._pending) >= 16, "the limit to be reached")
    await (await connect(gw)).ask("GET", "/healthz")  # the loop has turned since
    assert len(connection._pending) < 16 + 4096 // len(request("GET", "/nowhere")) + 1
    go.set()
    assert bytes((await client.response()).body) == b"0"
    for _ in range(many):
        assert (await client.response()).status == 404
    await sending


async def test_t_ca_10_a_close_with_requests_unread_takes_no_answer_with_it(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    go = asyncio.Event()
    large = answer(b"k" * 2_000_000)
    upstream = await raw([step.get_head(), step.wait_for(go), step.send(large), step.until_gone()])
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(request("GET", S + "/0"))
    await upstream.saw(1)
    edge = gw.hestia._edge
    assert edge is not None
    (connection,) = edge._connections
    sending = asyncio.get_running_loop().create_task(client.send(request("GET", S + "/x") * 1000))
    await eventually(lambda: len(connection._pending) >= 16, "requests to wait")
    edge.stop_accepting()
    go.set()
    response = await client.response()
    assert response.complete
    assert len(response.body) == 2_000_000
    await sending
    await client.gone()


async def test_rf_06_a_request_that_broke_is_not_for_the_fallback(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """Whatever `retry_count`: the service may have begun to do it."""
    other = await raw([step.repeat(answer(b"fallback"))])
    for count in (0, 1):
        primary = await raw([step.get_request(), step.reset()])
        gw = await gateway(service("a", primary.url, fallback_url=other.url, retry_count=count))
        response = await (await connect(gw)).ask("PUT", S + "/x", body=b"abc")
        response.problem("upstream_disconnected", 502)
    assert other.requests == []


async def test_li_07_an_early_answer_is_not_cut_by_a_body_over_its_limit(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    go = asyncio.Event()
    start = head("HTTP/1.1 401 No", [("Content-Length", "6")])
    upstream = await raw(
        [step.get_head(), step.send(start + b"abc"), step.wait_for(go), step.send(b"def"), step.until_gone()]
    )
    gw = await gateway(service("a", upstream.url, max_body=1000))
    client = await connect(gw)
    await client.send(head(f"POST {S}/x HTTP/1.1", [("Host", "localhost"), CHUNKED]) + chunk(b"z" * 500))
    await client.head("POST")
    await client.send(chunk(b"z" * 800))
    await (await connect(gw)).ask("GET", "/healthz")
    go.set()
    response = await client.body()
    assert (bytes(response.body), response.complete) == (b"abcdef", True)


async def test_li_14_the_fallback_needs_a_file_too(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    upstream: HttpUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = await raw([step.repeat(answer(b"fallback"))])
    asleep = cold("a", fallback_url=other.url, restart_backoff=Backoff(intensity=1, cool_down=600.0))
    monkeypatch.setattr(OpenFiles, "is_full", lambda _: True)
    gw = await gateway(asleep, wakes={"a": upstream})
    gw.engine.fail_next_start(StartFailed("x", exit_status=3))
    client = await connect(gw)
    (await client.ask("GET", S + "/x")).problem("upstream_busy", 503)
    assert other.requests == []


async def test_t_se_01_junk_behind_a_last_chunked_request_takes_nothing_from_it(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw([step.get_request(), step.send(answer(b"ok")), step.until_gone()])
    client = await connect(await gateway(a=upstream))
    fields = [("Host", "localhost"), ("Connection", "close"), CHUNKED]
    await client.send(head(f"POST {S}/x HTTP/1.1", fields) + chunked([b"abc"]) + b"j" * 3000)
    assert (await client.response("POST")).status == 200
    assert bytes(upstream.requests[0].body) == b"abc"
