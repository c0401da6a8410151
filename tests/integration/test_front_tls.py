"""TLS on the front door: what is true of the plain one, and what only a certificate brings with it."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as open_websocket

from hestia.core.errors import HestiaError
from hestia.core.model import GatewaySettings
from hestia.edge.certificate import LOOK_INTERVAL, Certificate
from hestia.edge.connection import ClientConnection
from hestia.edge.server import Door, EdgeServer
from hestia.http1.heads import Request
from hestia.runtime.tasks import Tasks
from tests.fakes import upstream as step
from tests.fakes.certificates import Authority
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.wire import answer, chunk, head, request

from .assertions import still_serves, untouched
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway
from .test_pipelines import Answering

S = "/services/a"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def settings(authority: Authority, tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(tls=authority.write(tmp_path / "tls"))


@pytest.fixture
async def front(gateway: MakeGateway, upstream: HttpUpstream, settings: GatewaySettings) -> Gateway:
    return await gateway(settings=settings, a=upstream)


async def _client(connect: MakeClient, gw: Gateway, authority: Authority) -> Client:
    return await connect(gw, tls=authority.trusting())


async def test_requests_in_a_row_are_served_and_nothing_is_added(
    front: Gateway, upstream: HttpUpstream, connect: MakeClient, authority: Authority
) -> None:
    client = await _client(connect, front, authority)
    response = await client.ask("GET", S + "/echo?q=1")
    assert response.status == 200
    assert not response.has("strict-transport-security")  # it would bind the name for long
    await still_serves(client, upstream)
    assert len(upstream.connections) == 1


async def test_fw_03_the_service_is_told_https_and_its_port(
    front: Gateway, upstream: HttpUpstream, connect: MakeClient, authority: Authority
) -> None:
    client = await _client(connect, front, authority)
    for host, port in (("home.localhost", b"443"), ("a.localhost", b"443"), ("a.localhost:8443", b"8443")):
        target = "/x" if host.startswith("a.") else "https://localhost" + S + "/x"
        await client.ask("GET", target, ("X-Forwarded-Proto", "http"), host=host if target == "/x" else "x")
        seen = upstream.requests[-1]
        assert seen.all("x-forwarded-proto") == [b"https"]
        assert seen.all("x-forwarded-port") == [port]


async def test_t_rt_03_an_absolute_form_with_https_is_taken(
    front: Gateway, upstream: HttpUpstream, connect: MakeClient, authority: Authority
) -> None:
    client = await _client(connect, front, authority)
    response = await client.ask("GET", "https://a.localhost/echo", host="elsewhere")
    assert (response.status, response.json()["target"]) == (200, "/echo")


async def test_only_http_1_1_is_negotiated(front: Gateway, connect: MakeClient, authority: Authority) -> None:
    for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)):
        context = authority.trusting()
        if offered:
            context.set_alpn_protocols(offered)
        client = await connect(front, tls=context)
        ssl_object = client.transport.get_extra_info("ssl_object")
        assert ssl_object.selected_alpn_protocol() == chosen
        assert (await client.ask("GET", S + "/echo")).status == 200


async def test_an_older_version_than_min_version_is_refused(
    gateway: MakeGateway, connect: MakeClient, authority: Authority, settings: GatewaySettings
) -> None:
    assert settings.tls is not None
    gw = await gateway(settings=replace(settings, tls=replace(settings.tls, min_version="1.3")))
    old = authority.trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(gw, tls=old)
    client = await _client(connect, gw, authority)
    assert client.transport.get_extra_info("ssl_object").version() == "TLSv1.3"


async def test_plain_http_gets_an_answer_that_says_https(
    front: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    for sent in (request("GET", S + "/x"), request("POST", S + "/x", body=bytes(MIB))):
        client = await connect(front)
        await client.send(sent)
        response = await client.response()
        assert response.status == 400
        assert "https://" in response.problem("bad_request")["detail"]
        await client.gone()
    await untouched(upstream)


@pytest.mark.parametrize("sent", [b"\0\1\2", b"\x16" + b"\xff" * 30, b"\x80\x2e\x01\x03\x01"])
async def test_garbage_ends_without_an_answer(front: Gateway, connect: MakeClient, sent: bytes) -> None:
    client = await connect(front)
    await client.send(sent)
    await client.gone()
    assert not client.received or client.received[0] == 0x15, "at most an alert"


async def test_a_handshake_that_does_not_go_on_keeps_nobody_and_no_end(
    front: Gateway, upstream: HttpUpstream, connect: MakeClient, authority: Authority
) -> None:
    silent, half = await connect(front), await connect(front)
    await half.send(b"\x16\x03\x01")
    await still_serves(await _client(connect, front, authority), upstream)
    await front.aclose()
    await silent.gone()
    await half.gone()


async def test_a_websocket_passes_over_wss(
    front: Gateway, upstream: HttpUpstream, authority: Authority
) -> None:
    url = f"wss://localhost:{front.port}{S}/ws"
    async with open_websocket(url, ssl=authority.trusting(), proxy=None, compression=None) as socket:
        for message in ("hello", pattern(300_000)):
            await socket.send(message)
            assert await socket.recv() == message
    assert upstream.requests[0].get("x-forwarded-proto") == b"https"


async def test_bodies_pass_byte_for_byte_both_ways(
    front: Gateway, connect: MakeClient, authority: Authority
) -> None:
    client = await _client(connect, front, authority)
    body = pattern(8 * MIB)
    async with asyncio.TaskGroup() as group:
        group.create_task(client.send(request("POST", S + "/mirror", body=body)))
        response = await client.response("POST")
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(body).digest()


async def test_each_event_comes_at_once(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    authority: Authority,
    settings: GatewaySettings,
) -> None:
    more = asyncio.Event()
    streaming = await raw(
        [
            step.get_request(),
            step.send(head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]) + chunk(b"first")),
            step.wait_for(more),
            step.send(chunk(b"second") + b"0\r\n\r\n"),
            step.until_gone(),
            step.close(),
        ]
    )
    client = await _client(connect, await gateway(settings=settings, a=streaming), authority)
    await client.send(request("GET", S + "/sse"))
    await client.got(b"first")
    more.set()
    await client.got(b"second")


async def test_ca_01_a_client_that_leaves_ends_the_services_work(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    authority: Authority,
    settings: GatewaySettings,
) -> None:
    working = await raw([step.get_request(), step.until_gone(), step.close()])
    client = await _client(connect, await gateway(settings=settings, a=working), authority)
    await client.send(request("POST", S + "/v1/chat", body=b"{}"))
    await eventually(lambda: bool(working.requests), "the request to arrive")
    await client.close()
    await eventually(lambda: bool(working.connections[0].ended), "the service's connection to end")


async def test_ca_08_an_early_answer_reaches_a_client_that_still_sends(
    front: Gateway, connect: MakeClient, authority: Authority
) -> None:
    client = await _client(connect, front, authority)
    fields = (("Transfer-Encoding", "chunked"),)
    async with asyncio.TaskGroup() as group:
        bad = request("POST", "/%00", *fields) + b"zz\r\n" + bytes(2 * MIB)
        group.create_task(client.send(bad))
        response = await client.response("POST")
    assert response.status == 400
    await client.gone()


async def test_sb_04_a_client_that_does_not_read_slows_the_service_down(
    front: Gateway, upstream: HttpUpstream, connect: MakeClient, authority: Authority
) -> None:
    client = await _client(connect, front, authority)
    client.transport.pause_reading()
    size = 24 * MIB  # more than every buffer on the way
    await client.send(request("GET", f"{S}/bytes?n={size}"))
    await eventually(lambda: bool(upstream.connections and upstream.requests), "the request to arrive")
    written = upstream.connections[0].transport
    await eventually(lambda: written.get_write_buffer_size() > 0, "the service to be held up")
    client.transport.resume_reading()
    response = await client.response()
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(pattern(size)).digest()


# -- renewal -----------------------------------------------------------------------------------


class Front:
    """An edge with a certificate that the test renews. look: as the sweep does, time after time."""

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self.tasks = Tasks()
        self.now = 0.0
        self.server = EdgeServer(
            [Door(host="127.0.0.1", handler=self._handle)],
            refuse=self._refuse,
            clock=asyncio.get_running_loop().time,
            spawn=self.tasks.spawn,
            certificate=certificate,
        )

    def _handle(self, _: Request, client: ClientConnection) -> Answering:
        return Answering(client, answer(b"here"))

    def _refuse(self, error: HestiaError, _: ClientConnection) -> bytes:
        raise error

    def look(self) -> None:
        self.now += LOOK_INTERVAL + 1
        self.certificate.look(self.now)


@pytest.fixture
async def renewed(leaks: None, authority: Authority, tmp_path: Path) -> AsyncIterator[Front]:
    front = Front(Certificate(authority.write(tmp_path / "tls")))
    await front.server.start()
    yield front
    await front.server.aclose()
    await front.tasks.aclose()


async def _shown(front: Front, trusting: ssl.SSLContext) -> tuple[Client, bytes]:
    client = await Client.connect(front.server.addresses()[0], tls=trusting)
    shown = client.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert isinstance(shown, bytes)
    return client, shown


async def test_a_renewed_certificate_is_shown_without_a_restart(
    renewed: Front, authority: Authority, tmp_path: Path
) -> None:
    trusting = authority.trusting()
    old, first = await _shown(renewed, trusting)
    authority.write(tmp_path / "tls", "localhost", "renewed.example")
    renewed.look()
    between, second = await _shown(renewed, trusting)
    assert second == first, "files may still be on the way: not before they have stayed for a look"
    renewed.look()
    new, third = await _shown(renewed, trusting)
    assert third != first
    for client in (old, between, new):  # nobody's connection was cut
        assert (await client.ask()).status == 200
        await client.close()


async def test_a_broken_renewal_keeps_the_certificate_and_says_so_once(
    renewed: Front, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client, first = await _shown(renewed, authority.trusting())
    await client.close()
    other = authority.write(tmp_path / "other")
    (tmp_path / "tls" / "privkey.pem").write_bytes(Path(other.key).read_bytes())
    for _ in range(4):
        renewed.look()
    client, second = await _shown(renewed, authority.trusting())
    await client.close()
    assert second == first
    said = [one.getMessage() for one in caplog.records if "certificate" in one.getMessage()]
    assert len(said) == 1, said
    assert "tls.key" in said[0]
    assert "is not the key of" in said[0]
    (tmp_path / "tls" / "fullchain.pem").write_bytes(Path(other.certificate).read_bytes())
    renewed.look()
    renewed.look()
    client, third = await _shown(renewed, authority.trusting())
    await client.close()
    assert third != first
