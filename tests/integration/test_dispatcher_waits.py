"""The dispatcher `POST /v1/requests` (proxy-semantics SS): cold services, callers that leave, ends."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hestia.core.errors import StartFailed
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream

from .assertions import still_serves, untouched
from .bridged import MakeFront, fronts
from .conftest import MakeClient, MakeUpstream
from .dispatched import ask, call, refused, told
from .harness import Gateway, MakeGateway, cold, service

# -- a cold service ----------------------------------------------------------------------------


async def test_ss_09_a_cold_service_is_started_and_waited_for(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream}, ready=False)
    client = await connect(gw)
    await client.send(call(path="/echo?late"))
    await gw.until_waiting(1)
    await untouched(upstream)
    gw.probe.ready = True
    assert (await client.response("POST")).json()["body"]["target"] == "/echo?late"
    assert len(gw.engine.starts) == 1


async def test_ss_09_a_hundred_calls_start_it_once(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream}, ready=False)
    clients = [await connect(gw) for _ in range(100)]
    for number, client in enumerate(clients):
        await client.send(call(path=f"/echo?{number}"))
    await gw.until_waiting(100)
    gw.probe.ready = True
    for number, client in enumerate(clients):
        assert (await client.response("POST")).json()["body"]["target"] == f"/echo?{number}"
    assert len(gw.engine.starts) == 1
    assert len(upstream.requests) == 100


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_ss_09_a_caller_that_leaves_the_queue_is_forgotten(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, how: str
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream}, ready=False)
    client = await connect(gw)
    await client.send(call())
    await gw.until_waiting(1)
    client.reset() if how == "reset" else await client.close()
    await gw.until_waiting(0)
    gw.probe.ready = True
    await gw.until_phase("hot")
    await untouched(upstream)


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_ss_09_a_caller_that_leaves_aborts_the_request(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, how: str
) -> None:
    client = await connect(gw)
    await client.send(call(path="/slow"))
    await upstream.saw(1)
    client.reset() if how == "reset" else await client.close()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")
    await gw.at_rest()


async def test_a_caller_that_leaves_in_the_middle_of_its_call_is_no_failure(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect(gw)
    await client.send(call(body="x" * 100_000)[:-50_000])
    await eventually(lambda: gw.hestia.buffers.held > 0, "the call to be taken in")
    await client.close()
    await eventually(lambda: gw.hestia.buffers.held == 0, "it to be given back")
    await untouched(upstream)
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_a_full_queue_answers_as_it_answers_everybody(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """What the gateway says instead of the service is the call's own answer, `Retry-After` included."""
    gw = await gateway(cold("a", queue_size=1), wakes={"a": upstream}, ready=False)
    waiting = await connect(gw)
    await waiting.send(call())
    await gw.until_waiting(1)
    response = await ask(await connect(gw))
    members = response.problem("queue_full", 503)
    assert members["serviceId"] == "a"
    assert await refused(await connect(gw), 503, "queue_full", method="HEAD") == members["detail"]
    assert int(response.get("retry-after") or b"0") >= 1
    gw.probe.ready = True
    assert (await waiting.response("POST")).status == 200


async def test_a_failed_start_says_why(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    failed = StartFailed('Service "a" exited with status 3.', exit_status=3, tail=("boom",))
    gw.engine.fail_next_start(failed)
    detail = await refused(await connect(gw), 503, "service_start_failed")
    assert "boom" in detail


@pytest.mark.parametrize("where", ["call", "request"])
async def test_respond_async_is_202_while_it_starts(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, where: str
) -> None:
    """`Prefer` of the call itself goes with the request, unless that has one of its own."""
    gw = await gateway(cold("a"), wakes={"a": upstream}, ready=False)
    client = await connect(gw)
    prefer = {"Prefer": "respond-async"}
    await client.send(call(*prefer.items()) if where == "call" else call(headers=prefer))
    response = await client.response("POST")
    assert response.status == 202
    assert response.get("preference-applied") == b"respond-async"
    assert response.json()["status"] == "/v1/services/a/status"
    gw.probe.ready = True
    await gw.until_phase("hot")


async def test_nobody_answers_is_502_with_the_address(gateway: MakeGateway, connect: MakeClient) -> None:
    gw = await gateway(service("a", "http://127.0.0.1:1", retry_count=0))
    members = (await ask(await connect(gw))).problem("upstream_connect_failed", 502)
    assert "127.0.0.1:1" in members["detail"]


# -- around it ---------------------------------------------------------------------------------


async def test_a_foreign_page_may_not_call_it(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(call(("Origin", "http://evil.example")))
    (await client.response("POST")).problem("forbidden", 403)
    await untouched(upstream)


async def test_a_dispatched_request_that_comes_back_is_a_loop(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """It carries our Via, like any other."""
    client = await connect(gw)
    await told(client)
    (via,) = upstream.requests[0].all("via")
    await refused(client, 508, "loop_detected", headers={"Via": via.decode()})
    assert len(upstream.requests) == 1
    await told(client, headers={"Via": "1.1 other"})
    assert upstream.requests[1].all("via") == [b"1.1 other, " + via]


async def test_calls_and_requests_share_a_connection(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    for _ in range(3):
        assert (await told(client))["status"] == 200
        await still_serves(client, upstream)
    assert len(upstream.connections) == 1


async def test_what_a_call_held_is_given_back(gw: Gateway, connect: MakeClient) -> None:
    client = await connect(gw)
    await told(client, method="POST", body="x" * 100_000)
    await refused(client, 502, "answer_too_large", path="/bytes?n=5000000")
    assert gw.hestia.buffers.held == 0


async def test_with_the_memory_full_it_is_503(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    buffers = gw.hestia.buffers
    most, buffers.most = buffers.most, 0
    response = await ask(await connect(gw))
    response.problem("gateway_overloaded", 503)
    assert response.get("retry-after") == b"1"
    buffers.most = most
    await untouched(upstream)


async def test_the_private_door_is_closed_to_others_and_gone_at_the_end(
    gw: Gateway, tmp_path: Path, connect: MakeClient
) -> None:
    (door,) = tmp_path.glob("*/control/edge")
    assert door.parent.stat().st_mode & 0o077 == 0
    await told(await connect(gw))
    await gw.aclose()
    assert not door.exists()


async def test_a_left_over_socket_is_taken_over(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, tmp_path: Path
) -> None:
    """A gateway that was killed leaves its sockets behind."""
    folder = tmp_path / "0" / "control"
    folder.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "edge"))
    gw = await gateway(a=upstream)
    assert (await told(await connect(gw)))["status"] == 200


@pytest.fixture
async def front(raw: MakeUpstream, upstream: HttpUpstream, tmp_path: Path) -> AsyncIterator[MakeFront]:
    async with fronts(tmp_path) as make:
        yield make


async def test_under_uvicorn_it_is_there_too(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """`uvicorn hestia.app:app` gives every function; the client is named through both private sockets."""
    gw = await front(a=upstream)
    client = await connect(gw)
    document = await told(client, method="POST", body={"x": 1})
    assert document["body"]["size"] == 8
    assert upstream.requests[0].all("x-forwarded-for") == [b"127.0.0.1"]
    await client.send(call(path="/slow"))
    await upstream.saw(2)
    await client.close()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")


async def test_draining_lets_a_call_end(gw: Gateway, upstream: HttpUpstream, connect: MakeClient) -> None:
    """DR-01: a call that runs when the gateway ends gets its answer."""
    client = await connect(gw)
    await client.send(call(path="/slow"))
    await upstream.saw(1)
    upstream.release()
    await gw.aclose()
    assert (await client.response("POST")).json()["status"] == 200
