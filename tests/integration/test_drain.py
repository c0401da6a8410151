"""Shutdown and draining (proxy-semantics DR): what runs ends well, what waits is answered, nothing stays."""

from __future__ import annotations

import asyncio

import pytest

from hestia.core.model import ServiceId
from tests.fakes import upstream as step
from tests.fakes import websocket
from tests.fakes.client import Client
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import Response, chunk, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import MakeGateway, cold

S = "/services/a"
CHUNKED = ("Transfer-Encoding", "chunked")
MASK = b"wxyz"


async def test_t_dr_01_a_stream_finishes_a_waiter_is_answered_idle_and_sockets_are_closed(
    raw: MakeUpstream, gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    end = asyncio.Event()
    streaming = await raw(
        [
            step.get_request(),
            step.send(head("HTTP/1.1 200 OK", [CHUNKED])),
            step.wait_for(end),
            step.send(chunk(b"end") + b"0\r\n\r\n"),
            step.until_gone(),
            step.close(),
        ]
    )
    gw = await gateway(cold("z"), wakes={"z": upstream}, ready=True, a=streaming, b=upstream)
    gw.engine.hold("start.call")
    stream, waiter, idle, socket = [await connect(gw) for _ in range(4)]
    assert (await idle.ask("GET", "/services/b/x")).status == 200
    await stream.send(request("GET", S + "/x"))
    await stream.head()
    await waiter.send(request("GET", "/services/z/x"))
    await gw.until_waiting(1, "z")
    await socket.send(websocket.handshake("/services/b/ws"))
    assert (await socket.head(upgrade=True)).status == 101
    closing = asyncio.get_running_loop().create_task(gw.aclose(drain=15.0))
    response = await waiter.response()
    response.problem("shutting_down", 503)
    assert response.has("retry-after")
    await idle.gone()
    await socket.until(lambda: bool(websocket.frames(socket.surplus)[0]), "a close frame")
    assert websocket.frames(socket.surplus)[0][0].close_code == 1012
    await socket.send(websocket.close_frame(1012, mask=MASK))
    await socket.gone()
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        await Client.connect(gw.address)
    end.set()
    finished = await stream.body()
    assert (bytes(finished.body), finished.complete) == (b"end", True)
    await stream.gone()
    await closing


async def test_t_dr_02_a_stream_longer_than_the_limit_is_truncated(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [
            step.get_request(),
            step.send(head("HTTP/1.1 200 OK", [CHUNKED]), chunk(b"abc")),
            step.until_gone(),
            step.close(),
        ]
    )
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await client.head()
    await gw.aclose(drain=0.3)
    response = await client.body()
    assert not response.complete
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be aborted")


async def test_dr_04_answers_during_the_drain_say_close(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(request("GET", S + "/slow"))
    await upstream.saw(1)
    closing = asyncio.get_running_loop().create_task(gw.aclose(drain=15.0))
    await asyncio.sleep(0.05)
    upstream.release()
    response = await client.response()
    assert (response.status, bytes(response.body)) == (200, b"released")
    assert (response.get("connection") or b"").lower() == b"close"
    await client.gone()
    await closing


async def test_t_dr_03_stopping_one_service_leaves_the_others_alone(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    async with HttpUpstream("other") as other:
        gw = await gateway(cold("a"), wakes={"a": upstream}, b=other)
        first, second = await connect(gw), await connect(gw)
        await first.send(request("GET", S + "/slow"))
        await upstream.saw(1)
        gw.hestia.gateway.stop(ServiceId("a"), force=False, actor="test")
        for _ in range(10):
            assert (await second.ask("GET", "/services/b/x")).get("x-upstream") == b"other"
        assert (await gw.status()).phase == "draining"
        assert gw.engine.stops == []
        upstream.release()
        assert bytes((await first.response()).body) == b"released"
        await gw.until_phase("cold")
        assert gw.engine.stopped_with_leases_open == []
        for client in (first, second):
            await client.close()
        await gw.aclose()


async def test_a_forced_stop_cuts_what_runs(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client, streaming = await connect(gw), await connect(gw)
    await streaming.send(request("GET", S + "/sse?n=100000000"))
    await streaming.got(b"event 3\n")
    await client.send(request("GET", S + "/slow"))
    await gw.until_in_flight(2)
    gw.hestia.gateway.stop(ServiceId("a"), force=True, actor="test")
    response = await client.response()
    assert response.status in (502, 503), response.status
    response.problem(response.json()["code"])
    assert not (await _end_of(streaming)).complete
    await gw.until_phase("cold")
    await upstream.until(lambda: upstream.open == 0, "all upstream connections to be closed")


async def _end_of(client: Client) -> Response:
    client.begin()
    await client.gone()
    return await client.body()


async def test_cp_01_a_restarted_service_is_not_reached_over_old_connections(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """T-CP-12: connections belong to one generation."""
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", S + "/1")).status == 200
    gw.hestia.gateway.restart(ServiceId("a"), force=False, actor="test")
    assert (await client.ask("GET", S + "/2")).status == 200
    assert len(upstream.connections) == 2
    assert bool(upstream.connections[0].ended)
    assert [key.generation for key in gw.engine.starts] == [1, 2]
