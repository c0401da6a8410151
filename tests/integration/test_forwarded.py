"""Forwarded fields (proxy-semantics FW): what clients claim is replaced by what the socket says."""

from __future__ import annotations

import pytest

from hestia.core.model import GatewaySettings
from tests.fakes import websocket
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import request

from .assertions import refused, untouched
from .conftest import MakeClient
from .harness import Gateway, MakeGateway

S = "/services/a"
CLAIMS = [
    ("Forwarded", "for=9.9.9.9;host=evil"),
    ("X-Forwarded-For", "9.9.9.9"),
    ("X-Forwarded-For", "8.8.8.8"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil"),
    ("X-Forwarded-Port", "9999"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Server", "evil"),
    ("X-Forwarded-User", "evil"),
    ("X-Real-IP", "9.9.9.9"),
    ("X-Client-IP", "9.9.9.9"),
    ("True-Client-IP", "9.9.9.9"),
    ("X-Original-URL", "/evil"),
    ("X-Rewrite-URL", "/evil"),
    ("X_Forwarded_For", "9.9.9.9"),
    ("X_Real_IP", "9.9.9.9"),
    ("X-Forwarded_Host", "evil"),
]


async def test_t_fw_01_the_whole_family_is_replaced(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.ask("GET", S + "/x", *CLAIMS, host=f"localhost:{gw.port}")
    seen = upstream.requests[0]
    text = b"\n".join(name + b": " + value for name, value in seen.fields)
    for lie in (b"9.9.9.9", b"8.8.8.8", b"evil", b"9999", b"https"):
        assert lie not in text, text
    assert seen.get("x-forwarded-for") == b"127.0.0.1"
    assert seen.get("x-forwarded-proto") == b"http"
    assert seen.get("x-forwarded-host") == f"localhost:{gw.port}".encode()
    assert seen.get("x-forwarded-port") == str(gw.port).encode()
    assert seen.get("x-forwarded-prefix") == S.encode()


async def test_fw_03_host_routes_have_no_prefix(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.ask("GET", "/x", ("X-Forwarded-Prefix", "/evil"), host=f"a.localhost:{gw.port}")
    seen = upstream.requests[0]
    assert not seen.has("x-forwarded-prefix")
    assert seen.get("x-forwarded-host") == f"a.localhost:{gw.port}".encode()


async def _trusting(gateway: MakeGateway, upstream: HttpUpstream, *proxies: str) -> Gateway:
    return await gateway(a=upstream, settings=GatewaySettings(trusted_proxies=proxies))


async def test_t_fw_02_a_trusted_peers_lines_are_joined_and_it_is_appended(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _trusting(gateway, upstream, "127.0.0.0/8")
    client = await connect(gw)
    fields = [
        ("X-Forwarded-For", "192.0.2.1, 192.0.2.2"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", "192.0.2.3"),
    ]
    await client.ask("GET", S + "/x", *fields)
    seen = upstream.requests[0]
    joined = b", ".join(seen.all("x-forwarded-for"))
    assert [one.strip() for one in joined.split(b",")] == [
        b"192.0.2.1",
        b"192.0.2.2",
        b"192.0.2.3",
        b"127.0.0.1",
    ]
    assert seen.get("x-forwarded-proto") == b"https"


async def test_fw_04_a_peer_outside_the_list_is_not_trusted(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _trusting(gateway, upstream, "10.0.0.0/8", "::1")
    await (await connect(gw)).ask("GET", S + "/x", ("X-Forwarded-For", "192.0.2.1"))
    assert upstream.requests[0].get("x-forwarded-for") == b"127.0.0.1"


async def test_t_fw_04_websockets_say_http(gw: Gateway, upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(gw)
    await client.send(websocket.handshake(S + "/ws", ("X-Forwarded-Proto", "wss")))
    await client.head(upgrade=True)
    assert upstream.requests[0].get("x-forwarded-proto") == b"http"
    assert upstream.requests[0].get("x-forwarded-for") == b"127.0.0.1"


@pytest.mark.parametrize("host", ['a"b', "a;b", "a\rb", "a b", "a,b", "a<b"])
async def test_t_fw_05_a_host_that_is_no_host_never_gets_into_forwarded_fields(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, host: str
) -> None:
    await refused(await connect(gw), request("GET", S + "/x", host=host), 400, closes=False)
    await untouched(upstream)


async def test_hq_03_identity_headers_come_from_trusted_proxies_only(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    claims = [("Remote-User", "root"), ("remote_user", "root"), ("X-Other", "stays")]
    open_door = await gateway(a=upstream, settings=GatewaySettings(identity_headers=("Remote-User",)))
    await (await connect(open_door)).ask("GET", S + "/x", *claims)
    seen = upstream.requests[0]
    assert not seen.has("remote-user")
    assert not seen.has("remote_user")
    assert seen.get("x-other") == b"stays"


async def test_hq_03_a_nomination_cannot_remove_what_a_trusted_proxy_says_of_the_user(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    settings = GatewaySettings(identity_headers=("Remote-User",), trusted_proxies=("127.0.0.1",))
    gw = await gateway(a=upstream, settings=settings)
    fields = [("Remote-User", "ada"), ("Connection", "keep-alive, remote-user")]
    await (await connect(gw)).ask("GET", S + "/x", *fields)
    assert upstream.requests[0].all("remote-user") == [b"ada"]


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("X-Forwarded-Host", 'a"><script>', b"localhost"),
        ("X-Forwarded-Host", "a, b", b"localhost"),
        ("X-Forwarded-Proto", 'https"', b"http"),
        ("X-Forwarded-For", '<script>"', b"127.0.0.1"),
    ],
)
async def test_fw_06_what_is_no_host_scheme_or_address_is_not_passed_on(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, field: str, value: str, shown: bytes
) -> None:
    gw = await _trusting(gateway, upstream, "127.0.0.0/8")
    await (await connect(gw)).ask("GET", S + "/x", (field, value))
    assert upstream.requests[0].all(field.lower()) == [shown]


@pytest.mark.parametrize("authority", ["[::1]&x", "localhost:99999"])
async def test_ho_02_the_authority_of_an_old_request_without_host_is_checked(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, authority: str
) -> None:
    """HTTP/1.0 needs no Host; what stands in its place is what an upstream would be told."""
    client = await connect(gw)
    await client.send(f"GET http://{authority}{S}/x HTTP/1.0\r\n\r\n".encode())
    assert (await client.response()).status == 400
    await untouched(upstream)
