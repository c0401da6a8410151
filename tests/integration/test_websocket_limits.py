"""How long a WebSocket's handshake and its end may take (proxy-semantics TO-13, TO-14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.skew import Skew
from tests.fakes.websocket import BINARY, frame, handshake, switching

from .conftest import MakeClient, MakeUpstream
from .harness import MakeGateway


@pytest.fixture(autouse=True)
async def skew(leaks: None) -> AsyncIterator[Skew]:
    skew = Skew()
    yield skew
    skew.end()


async def test_to_13_a_handshake_that_is_not_answered_is_504(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, skew: Skew
) -> None:
    upstream = await raw([step.get_request(), step.until_gone(), step.close()])
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(handshake("/services/a/ws"))
    await upstream.saw(1)
    skew.forward(11)  # far below response_timeout
    members = (await client.response()).problem("upstream_header_timeout", 504)
    assert "WebSocket" in members["detail"]
    await upstream.connections[0].gone()


async def test_to_14_a_client_that_does_not_take_the_last_bytes_is_cut(
    raw: MakeUpstream, gateway: MakeGateway, skew: Skew
) -> None:
    """Its close frame waits behind what it does not read; five seconds are for getting that out."""
    many = step.send(*[frame(BINARY, bytes(60_000))] * 400)  # more than the kernel takes
    upstream = await raw([step.get_request(), step.send(switching()), many])
    gw = await gateway(a=upstream)
    client = await Client.connect(gw.address, receive_buffer=4096)
    await client.send(handshake("/services/a/ws"))
    assert (await client.head(upgrade=True)).status == 101
    client.transport.pause_reading()
    edge = gw.hestia._edge
    assert edge is not None
    (connection,) = edge._connections
    await eventually(lambda: not connection.writable, "the client to have enough")
    closing = asyncio.get_running_loop().create_task(gw.aclose(drain=30.0))
    await eventually(lambda: connection.draining, "the drain to begin")
    skew.forward(12)  # for the end of the frame under way, then for the last bytes
    await eventually(lambda: edge.open == 0, "the client to be cut")
    upstream.connections[0].close()
    await closing
    await client.close()
