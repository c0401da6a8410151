"""How the gateway itself ends a WebSocket (proxy-semantics WS-13, DR-05): between two frames, or by a cut."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.skew import Skew
from tests.fakes.upstream import RawUpstream
from tests.fakes.websocket import BINARY, CLOSE, close_frame, frame, frames, handshake, switching

from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway

MASK = b"wxyz"
DATA = bytes(range(200))


async def _open(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, *after: step.Step
) -> tuple[RawUpstream, Client, Gateway]:
    upstream = await raw([step.get_request(), step.send(switching()), *after])
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(handshake("/services/a/ws"))
    assert (await client.head(upgrade=True)).status == 101
    return upstream, client, gw


@pytest.mark.parametrize("cut", [1, 2, 5, 7, 100])
async def test_t_ws_22_a_shutdown_within_frames_waits_for_their_ends(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, cut: int
) -> None:
    """DR-05, WS-14, WS-20: 1012 to the client, 1001 to the service and masked."""
    down, up = frame(BINARY, DATA), frame(BINARY, DATA, mask=MASK)
    go = asyncio.Event()
    upstream, client, gw = await _open(
        raw, gateway, connect, step.send(down[:cut]), step.wait_for(go), step.send(down[cut:])
    )
    connection = upstream.connections[0]
    await client.send(up[:cut])
    await client.got(down[:cut])
    await connection.until(lambda: connection.after_upgrade == up[:cut], "the half frame")
    closing = asyncio.get_running_loop().create_task(gw.aclose(drain=20.0))
    edge = gw.hestia._edge
    assert edge is not None
    await eventually(lambda: all(one.draining for one in edge._connections), "the drain to begin")
    assert client.surplus == down[:cut]
    assert connection.after_upgrade == up[:cut]
    go.set()
    await client.send(up[cut:])
    await client.gone()
    await connection.gone()
    connection.close()
    await closing
    for seen, code, masked in ((client.surplus, 1012, False), (connection.after_upgrade, 1001, True)):
        found, rest = frames(seen)
        assert ([one.opcode for one in found], rest) == ([BINARY, CLOSE], b"")
        assert found[0].payload == DATA
        assert found[1].close_code == code
        assert bool(seen[len(down) + (4 if masked else 0) + 1] & 0x80) == masked


async def test_t_ws_22_a_frame_that_never_ends_is_cut(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """TO-14."""
    skew = Skew()
    try:
        upstream, client, gw = await _open(raw, gateway, connect)
        connection = upstream.connections[0]
        half = frame(BINARY, DATA, mask=MASK)[:50]
        await client.send(half)
        await connection.until(lambda: connection.after_upgrade == half, "the half frame")
        closing = asyncio.get_running_loop().create_task(gw.aclose(drain=20.0))
        await client.until(lambda: bool(frames(client.surplus)[0]), "a close frame")
        assert not connection.ended
        skew.forward(6)
        await connection.gone()
        await client.gone()
        connection.close()
        await closing
        assert connection.after_upgrade == half
        assert client.surplus == close_frame(1012)
    finally:
        skew.end()
