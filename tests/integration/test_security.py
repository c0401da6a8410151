"""Desync and cross-site attempts (proxy-semantics SE): at most one upstream request per message."""

from __future__ import annotations

import pytest

from tests.fakes import upstream as step
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import answer, chunked, head, request

from .assertions import still_serves
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, cold

S = "/services/a"
HIDDEN = request("GET", S + "/smuggled")
HOST = ("Host", "localhost")

PROBES = {
    "CL.0": head(f"POST {S}/x HTTP/1.1", [HOST, ("Content-Length", str(len(HIDDEN)))]) + HIDDEN,
    "GET CL.0": head(f"GET {S}/x HTTP/1.1", [HOST, ("Content-Length", str(len(HIDDEN)))]) + HIDDEN,
    "HEAD CL.0": head(f"HEAD {S}/x HTTP/1.1", [HOST, ("Content-Length", str(len(HIDDEN)))]) + HIDDEN,
    "OPTIONS CL.0": head(f"OPTIONS {S}/x HTTP/1.1", [HOST, ("Content-Length", str(len(HIDDEN)))]) + HIDDEN,
    "TE.0": head(f"POST {S}/x HTTP/1.1", [HOST, ("Transfer-Encoding", "chunked")]) + chunked([HIDDEN]),
    "GET TE.0": head(f"GET {S}/x HTTP/1.1", [HOST, ("Transfer-Encoding", "chunked")]) + chunked([HIDDEN]),
    "OPTIONS TE.0": head(f"OPTIONS {S}/x HTTP/1.1", [HOST, ("Transfer-Encoding", "chunked")])
    + chunked([HIDDEN]),
    "Expect CL": head(
        f"POST {S}/x HTTP/1.1", [HOST, ("Expect", "100-continue"), ("Content-Length", str(len(HIDDEN)))]
    )
    + HIDDEN,
    "Expect obfuscated": head(
        f"GET {S}/x HTTP/1.1", [HOST, ("Expect", "y 100-continue"), ("Content-Length", str(len(HIDDEN)))]
    )
    + HIDDEN,
    "0.CL": head(f"GET {S}/x HTTP/1.1", [HOST, ("Content-Length ", str(len(HIDDEN)))]) + HIDDEN,
    "folded CL": head(f"GET {S}/x HTTP/1.1", [HOST, ("X", f"y\r\n Content-Length: {len(HIDDEN)}")]) + HIDDEN,
    "underscore CL": head(
        f"POST {S}/x HTTP/1.1", [HOST, ("Content_Length", str(len(HIDDEN))), ("Content-Length", "0")]
    ),
    "TE tab": head(f"POST {S}/x HTTP/1.1", [HOST, ("Transfer-Encoding", "\tchunked\t")]) + chunked([HIDDEN]),
    "chunk terminator": head(f"POST {S}/x HTTP/1.1", [HOST, ("Transfer-Encoding", "chunked")])
    + b"2\r\nXX4a\r\n0\r\n\r\n"
    + HIDDEN,
    "bare LF head": f"GET {S}/x HTTP/1.1\nHost: localhost\n\n".encode() + HIDDEN,
    "upgrade body": head(
        f"POST {S}/x HTTP/1.1",
        [HOST, ("Connection", "Upgrade"), ("Upgrade", "foo"), ("Content-Length", str(len(HIDDEN)))],
    )
    + HIDDEN,
}


@pytest.mark.parametrize("kind", list(PROBES))
async def test_t_se_02_a_hidden_request_is_never_executed(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, kind: str
) -> None:
    data = PROBES[kind]
    for cut in ((), (data.index(b"\r\n\r\n") + 4,) if b"\r\n\r\n" in data else ()):
        before = len(upstream.requests)
        client = await connect(gw)
        method = data.split(b" ")[0].decode()
        await client.send(data, at=cut, gap=0.03)
        response = await client.response(method)
        assert response.status in (200, 400, 417), (kind, response.status)
        assert len(upstream.requests) <= before + 1
        assert b"/smuggled" not in upstream.targets
        await client.close()
    await still_serves(await connect(gw), upstream)


async def test_t_se_01_what_follows_connection_close_is_not_parsed(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(request("GET", S + "/x", ("Connection", "close")) + HIDDEN)
    assert (await client.response()).status == 200
    await client.gone()
    assert upstream.targets == [b"/x"]
    assert client.surplus == b""


POISONS = [
    answer(b"mine") + answer(b"poison"),
    head("HTTP/1.1 204 No Content", [("Content-Length", "100")]) + answer(b"poison"),
    head("HTTP/1.1 304 Not Modified") + answer(b"poison"),
    answer(b"mine") + b"HTTP/1.1 200 OK\r\nContent-Le",
]


@pytest.mark.parametrize("poison", POISONS)
async def test_t_se_03_a_poisoned_connection_never_answers_a_victim(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, poison: bytes
) -> None:
    upstream = await raw([step.get_request(), step.send(poison), step.repeat(answer(b"own"))])
    gw = await gateway(a=upstream)
    for _ in range(20):
        attacker, victim = await connect(gw), await connect(gw)
        await attacker.ask("GET", S + "/attack")
        assert b"poison" not in (await victim.ask("GET", S + "/victim")).body
        assert b"poison" not in attacker.received + victim.received
        await attacker.close()
        await victim.close()


async def test_se_03_many_clients_each_get_their_own_answer(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Requests of many connections interleave on few upstream connections; no answer is swapped."""
    clients = [await connect(gw) for _ in range(20)]
    for turn in range(15):
        for number, client in enumerate(clients):
            await client.send(request("POST", f"{S}/{number}/{turn}", body=b"x" * number))
        for number, client in enumerate(clients):
            told = (await client.response("POST")).json()
            assert (told["target"], told["size"]) == (f"/{number}/{turn}", number)


CROSS_SITE = [
    ("POST", "/v1/services/a/start", [("Origin", "http://evil.example")]),
    ("POST", "/v1/services/a/stop", [("Origin", "null")]),
    ("GET", "/v1/services", [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")]),
    ("POST", "/v1/services/a/start", [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]),
    ("GET", "/v1/services", [("Origin", "http://evil.example"), ("Sec-Fetch-Mode", "cors")]),
]


@pytest.mark.parametrize(("method", "target", "fields"), CROSS_SITE)
async def test_t_se_04_cross_site_calls_to_management_are_refused(
    gateway: MakeGateway,
    upstream: HttpUpstream,
    connect: MakeClient,
    method: str,
    target: str,
    fields: list[tuple[str, str]],
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    (await client.ask(method, target, *fields, host=f"localhost:{gw.port}")).problem("forbidden", 403)
    assert gw.engine.starts == []
    assert (await client.ask("GET", "/v1/services", host=f"localhost:{gw.port}")).status == 200


async def test_t_se_04_same_origin_calls_and_links_are_answered(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    host = f"localhost:{gw.port}"
    own = await client.ask(
        "GET", "/v1/services", ("Origin", f"http://{host}"), ("Sec-Fetch-Site", "same-origin"), host=host
    )
    assert own.status == 200
    link = await client.ask(
        "GET", "/v1/services", ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), host=host
    )
    assert link.status == 200


IMAGE = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")]


async def test_t_se_07_a_cross_site_image_wakes_nothing(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    (await client.ask("GET", S + "/x.png", *IMAGE)).problem("cross_site_wake", 403)
    assert gw.engine.starts == []
    assert (await client.ask("GET", S + "/x")).status == 200
    assert (await client.ask("GET", S + "/x.png", *IMAGE)).status == 200
    assert upstream.targets == [b"/x", b"/x.png"]


async def test_t_se_07_a_cross_site_navigation_may_wake(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a", on_cold="hold"), wakes={"a": upstream})
    client = await connect(gw)
    fields = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]
    assert (await client.ask("GET", S + "/x", *fields)).status == 200
    assert len(gw.engine.starts) == 1


async def test_ss_05_redirects_of_an_upstream_are_never_followed(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    target = await raw()
    upstream = await raw([step.repeat(answer(b"", ("Location", f"{target.url}/meta"), status="302 Found"))])
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
    assert (response.status, response.get("location")) == (302, f"{target.url}/meta".encode())
    assert target.connections == []
