"""A port of a service's own: every request there is for that service, whatever Host and path say."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as open_websocket

from hestia.app import Hestia
from hestia.cli import address
from hestia.cli.exits import CliError
from hestia.core.errors import ConfigError
from hestia.core.model import GatewaySettings, ServiceId, ServiceSettings, Settings
from hestia.proxy import retry
from tests.fakes import upstream as step
from tests.fakes.certificates import Authority
from tests.fakes.client import Client
from tests.fakes.facts import open_sockets
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import request

from .assertions import refused
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, cold, service

ANY = 0  # a free port; the configuration only takes one that is written out


@pytest.fixture
async def gw(gateway: MakeGateway, upstream: HttpUpstream) -> Gateway:
    """Service `a` has a port of its own, `b` has none."""
    return await gateway(service("a", upstream.url, port=ANY), b=upstream)


async def _at(connect: MakeClient, gw: Gateway, name: str = "a") -> Client:
    return await connect(gw.hestia.own_address(name))


@pytest.mark.parametrize(
    "host", ["localhost:8081", "192.0.2.1", "anything.example", "b.localhost", "hestia.localhost"]
)
async def test_any_host_leads_to_the_service(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, host: str
) -> None:
    client = await _at(connect, gw)
    response = await client.ask("GET", "/echo?q=1", host=host)
    assert (response.status, response.json()["target"]) == (200, "/echo?q=1")
    seen = upstream.requests[0]
    assert seen.get("host") == host.encode()
    assert seen.get("x-forwarded-host") == host.encode()
    assert not seen.has("x-forwarded-prefix")


@pytest.mark.parametrize("path", ["/", "/services/b/echo", "/v1/services", "/healthz", "/help/errors"])
async def test_no_path_leads_anywhere_else(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, path: str
) -> None:
    client = await _at(connect, gw)
    await client.ask("GET", path)
    assert upstream.targets == [path.encode()]


async def test_rt_14_what_is_refused_elsewhere_is_refused_here(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    await refused(await _at(connect, gw), request("GET", "/a/%2e%2e/b"), 400, "path_rejected", closes=False)
    two = b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
    await refused(await _at(connect, gw), two, 400, "bad_host", closes=False)
    assert upstream.requests == []


async def test_the_gateways_own_port_is_as_it_was(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    assert (await client.ask("GET", "/services/a/echo")).json()["target"] == "/echo"
    assert (await client.ask("GET", "/echo", host="a.localhost")).status == 200
    assert (await client.ask("GET", "/x", host="anything.example")).status == 421


async def test_redirects_and_cookies_pass_as_they_are(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    from tests.fakes import upstream as step
    from tests.fakes.wire import answer

    fields = (("Location", "/next"), ("Set-Cookie", "x=1; Path=/deep"))
    moved = await raw(step.once(answer(b"", *fields, status="302 Found")))
    gw = await gateway(service("a", moved.url, port=ANY))
    response = await (await _at(connect, gw)).ask("GET", "/")
    assert (response.get("location"), response.get("set-cookie")) == (b"/next", b"x=1; Path=/deep")


async def test_a_cold_service_wakes_and_its_sockets_pass(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("z", port=ANY), wakes={"z": upstream})
    host, port = gw.hestia.own_address("z")
    async with open_websocket(f"ws://{host}:{port}/ws", proxy=None, compression=None) as ws:
        await ws.send("hello")
        assert await ws.recv() == "hello"
    assert (await (await _at(connect, gw, "z")).ask("GET", "/echo")).status == 200


async def test_it_speaks_tls_where_the_gateway_does(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, tmp_path: Path
) -> None:
    authority = Authority()
    settings = GatewaySettings(tls=authority.write(tmp_path / "tls"))
    gw = await gateway(service("a", upstream.url, port=ANY), settings=settings)
    client = await connect(gw.hestia.own_address("a"), tls=authority.trusting())
    assert (await client.ask("GET", "/echo", host="localhost")).status == 200
    assert upstream.requests[0].get("x-forwarded-proto") == b"https"


async def test_the_log_says_port(gw: Gateway, connect: MakeClient) -> None:
    await (await _at(connect, gw)).ask("GET", "/echo")
    await gw.at_rest()
    await gw.aclose()
    assert b'"route":"port"' in gw.log or b" port " in gw.log, gw.log


async def test_rf_04_a_further_door_is_no_further_budget(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "BUDGET_WINDOW", 1e6)  # however slow the machine is
    broken = await raw([step.get_request(), step.reset()])
    gw = await gateway(service("a", broken.url, port=ANY, retry_delay=0.0))
    asked = retry.BUDGET_LEAST + 1
    for _ in range(asked):
        assert (await (await connect(gw)).ask("GET", "/services/a/x")).status == 502
    assert len(broken.requests) == asked + retry.BUDGET_LEAST
    assert (await (await _at(connect, gw)).ask("GET", "/x")).status == 502
    assert len(broken.requests) == asked + retry.BUDGET_LEAST + 1


def test_serve_looks_first_and_says_who_has_the_port() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(CliError) as caught:
            address.check_service("chat", "127.0.0.1", holder.getsockname()[1])
    assert "for services.chat: the port is taken by" in caught.value.detail
    assert caught.value.remedy[0].startswith("Give it another port: services.chat.port: ")


async def test_a_taken_port_fails_the_start_and_names_the_service(leaks: None, tmp_path: Path) -> None:
    before = open_sockets()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken: ServiceSettings = service("a", "http://127.0.0.1:9", port=holder.getsockname()[1])
        hestia = Hestia(
            Settings(
                gateway=GatewaySettings(port=0, state_dir=str(tmp_path)), services={ServiceId("a"): taken}
            )
        )
        with pytest.raises(ConfigError, match=r"services\.a\.port: cannot listen on 127\.0\.0\.1:\d+"):
            await hestia.start()
    assert open_sockets() <= before, "nothing is half open"
