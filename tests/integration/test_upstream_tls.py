"""Services that speak TLS: what is checked, what is told them, and what a failure says."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from websockets.asyncio.client import connect as open_websocket

from tests.fakes import upstream as step
from tests.fakes.certificates import Authority
from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.wire import answer, request

from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, service

S = "/services/a"


class MakeSecure(Protocol):
    """A service with a certificate for these names, or with a context of its own."""

    async def __call__(self, *names: str, tls: ssl.SSLContext | None = None) -> HttpUpstream: ...


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that the whole process trusts, as an operator makes it known."""
    made = Authority()
    bundle = tmp_path / "authorities.pem"
    bundle.write_bytes(made.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return made


@pytest.fixture
async def secure(leaks: None, authority: Authority) -> AsyncIterator[MakeSecure]:
    made: list[HttpUpstream] = []

    async def make(*names: str, tls: ssl.SSLContext | None = None) -> HttpUpstream:
        upstream = HttpUpstream()
        await upstream.start(tls=tls or authority.serving(*names))
        made.append(upstream)
        return upstream

    yield make
    for upstream in made:
        await upstream.aclose()


@pytest.fixture
def gateway(secure: MakeSecure, gateway: MakeGateway) -> MakeGateway:
    """Made later than the services, so that it is closed before them."""
    return gateway


async def test_a_good_certificate_is_accepted_and_the_connection_kept(
    gateway: MakeGateway, secure: MakeSecure, connect: MakeClient
) -> None:
    upstream = await secure("localhost")
    client = await connect(await gateway(a=upstream))
    for number in range(3):
        response = await client.ask("POST", f"{S}/echo?{number}", body=pattern(100_000))
        assert (response.status, response.json()["size"]) == (200, 100_000)
    assert len(upstream.connections) == 1
    assert upstream.requests[0].get("host") == f"localhost:{upstream.port}".encode()
    assert upstream.requests[0].get("x-forwarded-proto") == b"http"


async def test_the_health_probe_looks_at_the_same_certificate(
    gateway: MakeGateway, secure: MakeSecure, connect: MakeClient
) -> None:
    upstream = await secure("localhost")
    gw = await gateway(service("a", upstream.url, health_url=f"{upstream.url}/echo"))
    assert upstream.targets[0] == b"/echo"
    assert (await (await connect(gw)).ask("GET", S + "/echo")).status == 200


async def test_the_name_of_base_url_is_sent_and_checked(
    gateway: MakeGateway, secure: MakeSecure, connect: MakeClient, authority: Authority
) -> None:
    named: list[str | None] = []
    context = authority.serving("localhost")

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        named.append(name)

    context.sni_callback = note
    upstream = await secure(tls=context)
    client = await connect(await gateway(a=upstream))
    assert (await client.ask("GET", S + "/echo", host="a.localhost")).status == 200
    assert named == ["localhost"], "the name of the service, not the one the client uses"


async def test_an_address_is_checked_as_one(
    gateway: MakeGateway, secure: MakeSecure, connect: MakeClient
) -> None:
    upstream = await secure("127.0.0.1")
    client = await connect(await gateway(service("a", f"https://127.0.0.1:{upstream.port}")))
    assert (await client.ask("GET", S + "/echo")).status == 200


async def test_a_base_path_stands_in_front(
    gateway: MakeGateway, secure: MakeSecure, connect: MakeClient
) -> None:
    upstream = await secure("localhost")
    client = await connect(await gateway(service("a", f"{upstream.url}/base/")))
    assert (await client.ask("GET", S + "/echo")).json()["target"] == "/base/echo"


async def test_a_websocket_passes(gateway: MakeGateway, secure: MakeSecure) -> None:
    gw = await gateway(a=await secure("localhost"))
    async with open_websocket(f"ws://127.0.0.1:{gw.port}{S}/ws", proxy=None, compression=None) as ws:
        for message in ("hello", pattern(200_000)):
            await ws.send(message)
            assert await ws.recv() == message


async def _failed(gw: Gateway, connect: MakeClient) -> str:
    """The detail of the 502 that a request gets."""
    client = await connect(gw)
    await client.send(request("GET", S + "/echo"))
    response = await client.response()
    assert response.status == 502, response.body
    return str(response.problem("upstream_tls_failed")["detail"])


async def test_a_certificate_for_another_name_is_502_with_a_remedy(
    gateway: MakeGateway, secure: MakeSecure, connect: MakeClient
) -> None:
    upstream = await secure("other.example")
    detail = await _failed(await gateway(a=upstream), connect)
    assert "not valid for 'localhost'" in detail
    assert "tls_verify: false" in detail
    assert upstream.requests == []


async def test_an_unknown_authority_is_502(
    gateway: MakeGateway, secure: MakeSecure, connect: MakeClient
) -> None:
    detail = await _failed(await gateway(a=await secure(tls=Authority().serving("localhost"))), connect)
    assert "SSL_CERT_FILE" in detail


async def test_plain_http_behind_https_is_502_that_says_so(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    refusing = answer(b"what is this?", status="400 Bad Request")
    plain = await raw([step.send(refusing), step.until_gone(), step.close()])
    gw = await gateway(service("a", f"https://127.0.0.1:{plain.port}"))
    assert "http://" in await _failed(gw, connect)


async def test_tls_verify_false_takes_any_certificate_also_in_the_probe(
    gateway: MakeGateway, secure: MakeSecure, connect: MakeClient
) -> None:
    upstream = await secure(tls=Authority().serving("other.example"))
    gw = await gateway(service("a", upstream.url, health_url=f"{upstream.url}/echo", tls_verify=False))
    assert (await (await connect(gw)).ask("GET", S + "/echo")).status == 200


async def test_a_start_that_fails_for_the_certificate_says_so(
    gateway: MakeGateway, secure: MakeSecure, connect: MakeClient
) -> None:
    upstream = await secure("other.example")
    failing = service("a", upstream.url, health_url=f"{upstream.url}/echo", appear_timeout=600.0)
    client = await connect(await gateway(failing, hot=False))
    response = await client.ask("GET", S + "/echo")  # at once: waiting does not change a certificate
    members = response.problem("upstream_tls_failed", 502)
    assert "its certificate is not accepted" in members["detail"]
    assert "tls_verify: false" in members["detail"]
    assert "_ssl.c" not in str(members)


async def test_a_reload_that_wants_certificates_checked_trusts_no_connection_of_before(
    gateway: MakeGateway, secure: MakeSecure, connect: MakeClient
) -> None:
    upstream = await secure(tls=Authority().serving("localhost"))
    one = service("a", upstream.url, tls_verify=False)
    gw = await gateway(one)
    client = await connect(gw)
    assert (await client.ask("GET", f"{S}/echo")).status == 200
    assert (await gw.reload(replace(one, tls_verify=True))).ok
    assert (await client.ask("GET", f"{S}/echo")).status == 502
