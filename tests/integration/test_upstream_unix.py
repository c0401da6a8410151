"""Services on a unix socket (`base_url: unix:/path`): the same as over TCP, probe and failure included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as open_websocket

from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.wire import request

from .conftest import MakeClient
from .harness import MakeGateway, service

S = "/services/a"


@pytest.fixture
async def local(leaks: None, tmp_path: Path) -> AsyncIterator[HttpUpstream]:
    upstream = HttpUpstream()
    await upstream.start(unix_path=str(tmp_path / "app.sock"))
    yield upstream
    await upstream.aclose()


@pytest.fixture
def gateway(local: HttpUpstream, gateway: MakeGateway) -> MakeGateway:
    """Made later than the service, so that it is closed before it."""
    return gateway


async def test_requests_pass_over_one_connection(
    gateway: MakeGateway, local: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await gateway(a=local))
    for number in range(3):
        response = await client.ask("POST", f"{S}/echo?{number}", body=pattern(100_000))
        assert (response.json()["target"], response.json()["size"]) == (f"/echo?{number}", 100_000)
    assert len({one.connection for one in local.requests[1:]}) == 1, "all but the probe's"
    assert local.requests[-1].get("host") == b"localhost"


async def test_host_names_are_preserved(
    gateway: MakeGateway, local: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await gateway(a=local))
    await client.ask("GET", "/echo", host="a.localhost:8080")
    assert local.requests[-1].get("host") == b"a.localhost:8080"


async def test_the_probe_asks_on_the_socket(
    gateway: MakeGateway, local: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(service("a", local.url, health_url="http://localhost/echo?healthy"))
    assert local.targets == [b"/echo?healthy"]
    assert (await (await connect(gw)).ask("GET", S + "/echo")).status == 200


async def test_a_websocket_passes(gateway: MakeGateway, local: HttpUpstream) -> None:
    gw = await gateway(a=local)
    async with open_websocket(f"ws://127.0.0.1:{gw.port}{S}/ws", proxy=None, compression=None) as ws:
        for message in ("hello", pattern(200_000)):
            await ws.send(message)
            assert await ws.recv() == message


async def test_a_socket_that_does_not_exist_is_named(
    gateway: MakeGateway, connect: MakeClient, tmp_path: Path
) -> None:
    missing = service("a", f"unix:{tmp_path}/none.sock", appear_timeout=0.2)
    client = await connect(await gateway(missing, hot=False))
    response = await client.ask("GET", S + "/x")
    assert response.status == 503
    assert f"unix:{tmp_path}/none.sock" in response.problem("service_start_timeout")["detail"]


async def test_a_service_that_went_away_is_found_again(
    gateway: MakeGateway, local: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await gateway(service("a", local.url, appear_timeout=20.0)))
    path = Path(local.unix_path)
    local.stop_listening()
    path.unlink(missing_ok=True)
    await client.send(request("GET", S + "/echo"))
    await local.start(unix_path=str(path))
    assert (await client.response()).status == 200


async def test_a_large_answer_is_whole(
    gateway: MakeGateway, local: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await gateway(a=local))
    response = await client.ask("GET", f"{S}/bytes?n=5000000")
    assert bytes(response.body) == pattern(5_000_000)
