"""Requests behind requests on one connection: each gets its own answer or the end, and little is held.

Proxy-semantics BF-20, CA-08, LI-01, LI-13, SB-06, SE-03, UP-06, WS-09.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hestia.core.errors import HestiaError
from hestia.edge.connection import ClientConnection
from hestia.edge.server import Door, EdgeServer
from hestia.http1.heads import Request
from hestia.runtime.tasks import Tasks
from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import answer, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway

S = "/services/a"
NOWHERE = request("GET", "/services/nope/")
HANDSHAKE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
)


class Held:
    """A gateway whose upstream keeps its first answer back until `go`."""

    def __init__(self, gw: Gateway, upstream: RawUpstream, go: asyncio.Event) -> None:
        self.gw = gw
        self.upstream = upstream
        self.go = go


@pytest.fixture
async def held(raw: MakeUpstream, gateway: MakeGateway) -> Held:
    go = asyncio.Event()
    script = [
        step.get_request(),
        step.wait_for(go),
        step.send(answer(b"first")),
        step.repeat(answer(b"next")),
    ]
    upstream = await raw(script)
    return Held(await gateway(a=upstream), upstream, go)


async def _ask_first(held: Held, client: Client, *fields: tuple[str, str], behind: bytes = b"") -> None:
    await client.send(request("GET", S + "/first", *fields) + behind)
    await held.upstream.saw(1)


async def _first(held: Held, client: Client) -> None:
    held.go.set()
    assert bytes((await client.response()).body) == b"first"


# -- behind the last request -------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_t_bf_12_the_body_of_a_last_request_may_come_later(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, version: str
) -> None:
    client = await connect(gw)
    fields = [("Host", "localhost"), ("Connection", "close"), ("Content-Length", "5")]
    await client.send(head(f"POST {S}/echo HTTP/{version}", fields))
    await upstream.until(lambda: bool(upstream.requests), "the head")
    await client.send(b"hello")
    assert (await client.response("POST")).status == 200
    assert bytes(upstream.requests[0].body) == b"hello"
    await client.gone()


async def test_t_up_06_the_body_behind_a_foreign_offer_of_a_last_request(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Nothing behind that body is executed."""
    client = await connect(gw)
    fields = (("Connection", "close, Upgrade"), ("Upgrade", "h2c"))
    post = request("POST", S + "/echo", *fields, body=b"hello")
    await client.send(post + request("POST", S + "/smuggled", body=b"more"))
    assert (await client.response("POST")).status == 200
    await client.gone()
    assert [bytes(one.body) for one in upstream.requests] == [b"hello"]


async def test_t_up_06_what_is_refused_behind_many_foreign_offers(
    held: Held, connect: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect(held.gw)
    offer = request("GET", "/services/nope/", ("Connection", "Upgrade"), ("Upgrade", "h2c"))
    await _ask_first(held, client, behind=offer * 1100 + head(f"GET {S}/x HTTP/2.0", [("Host", "localhost")]))
    await _first(held, client)
    for _ in range(1100):
        assert (await client.response()).status == 404
    (await client.response()).problem("http_version_not_supported", 505)
    await client.gone()
    assert len(held.upstream.requests) == 1
    assert not [one for one in caplog.records if one.levelno > logging.INFO], caplog.text


async def test_bytes_behind_a_last_request_do_not_take_its_answer(held: Held, connect: MakeClient) -> None:
    client = await connect(held.gw)
    await _ask_first(held, client, ("Connection", "close"))
    for _ in range(3):
        await client.send(b"\r\n" + request("GET", S + "/ignored"))
    await _first(held, client)
    await client.gone()
    assert len(held.upstream.requests) == 1


async def test_t_se_03_bytes_behind_garbage_do_not_take_an_answer(held: Held, connect: MakeClient) -> None:
    client = await connect(held.gw)
    await _ask_first(held, client)
    await client.send(b"@@ nonsense\r\n\r\n")
    await client.send(b"more\r\n\r\n", at=[2])
    await _first(held, client)
    (await client.response()).problem("bad_request", 400)
    await client.gone()
    assert len(held.upstream.requests) == 1


# -- behind an answer --------------------------------------------------------------------------


async def test_a_body_that_breaks_behind_our_last_answer_gets_no_further_one(
    gw: Gateway, connect: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect(gw)
    fields = [("Host", "localhost"), ("Connection", "close"), ("Transfer-Encoding", "chunked")]
    await client.send(head("POST /services/nope/ HTTP/1.1", fields) + b"5\r\nhello\r\nZZ\r\n")
    (await client.response("POST")).problem("service_not_found", 404)
    await client.gone()
    assert client.surplus == b""
    assert not [one for one in caplog.records if one.levelno > logging.INFO], caplog.text


async def test_t_bf_20_an_unwanted_body_that_breaks_ends_the_connection(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw([step.get_head(), step.send(answer(b"early")), step.until_gone(), step.close()])
    client = await connect(await gateway(a=upstream))
    fields = [("Host", "localhost"), ("Transfer-Encoding", "chunked")]
    await client.send(head(f"POST {S}/x HTTP/1.1", fields) + b"5\r\nhello\r\n")
    assert (await client.response("POST")).status == 200
    await client.send(b"ZZ\r\n\r\n")
    await client.gone()
    assert client.surplus == b""


async def test_t_ca_08_an_unknown_expectation_closes_while_its_body_is_unread(
    gw: Gateway, connect: MakeClient
) -> None:
    client = await connect(gw)
    fields = [("Host", "localhost"), ("Expect", "foo"), ("Content-Length", "5")]
    await client.send(head(f"POST {S}/x HTTP/1.1", fields))
    response = await client.response("POST")
    response.problem("expectation_failed", 417)
    assert response.get("connection") == b"close"


async def test_own_answers_say_close_when_the_client_did(gw: Gateway, connect: MakeClient) -> None:
    client = await connect(gw)
    await client.send(b"GET /services/a HTTP/1.0\r\nHost: localhost\r\nAccept: text/html\r\n\r\n")
    response = await client.response()
    assert (response.status, response.get("connection")) == (308, b"close")


# -- what waits --------------------------------------------------------------------------------


async def test_t_li_13_a_long_pipeline_of_own_answers_behind_a_slow_one(
    held: Held, connect: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect(held.gw)
    await _ask_first(held, client, behind=NOWHERE * 1500)
    await _first(held, client)
    for _ in range(1500):
        assert (await client.response()).status == 404
    assert not [one for one in caplog.records if one.levelno > logging.INFO], caplog.text


async def test_t_li_01_a_head_in_the_read_of_another_message_is_measured(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(NOWHERE + request("GET", S + "/x", ("X-Big", "a" * 30000)))
    assert (await client.response()).status == 404
    (await client.response()).problem("head_too_large", 431)
    assert upstream.requests == []


@pytest.mark.parametrize("later", [False, True])
async def test_t_ws_09_bytes_behind_a_handshake_that_waits_are_its_own(
    held: Held, connect: MakeClient, *, later: bool
) -> None:
    """They are no request, and never reach the connection of the request in front."""
    client = await connect(held.gw)
    handshake = request("GET", S + "/ws", *HANDSHAKE)
    early = request("GET", "/smuggled")
    await _ask_first(held, client, behind=handshake if later else handshake + early)
    if later:
        await client.send(early)
    await _first(held, client)
    refused = await client.response()
    assert bytes(refused.body) == b"next"
    await client.gone()
    assert held.upstream.targets == [b"/first", b"/ws"]
    assert [one for one in held.upstream.connections if b"smuggled" in one.received] == []


class Answering:
    """An exchange without a service. answer: written and finished at once; b"" waits for `finish`."""

    def __init__(self, client: ClientConnection, data: bytes) -> None:
        self.client = client
        self._data = data

    def begin(self) -> None:
        if self._data:
            self.finish(self._data)

    def finish(self, data: bytes) -> None:
        self.client.write(data)
        self.client.finished(keep=True)

    def __getattr__(self, name: str) -> Any:  # every other call of an exchange: nothing to do
        return lambda *_: None


class Edge:
    """An edge of its own. begun: the exchanges so far. data: what those to come answer at once."""

    def __init__(self) -> None:
        self.begun: list[Answering] = []
        self.data = b""
        self.server = EdgeServer(
            [Door(host="127.0.0.1", handler=self._handle)],
            refuse=self._refuse,
            clock=asyncio.get_running_loop().time,
            spawn=Tasks().spawn,
        )

    def _handle(self, _: Request, client: ClientConnection) -> Answering:
        self.begun.append(Answering(client, self.data))
        return self.begun[-1]

    def _refuse(self, error: HestiaError, _: ClientConnection) -> bytes:
        raise error

    @property
    def reading(self) -> bool:
        transport = self.begun[0].client.transport
        return transport is not None and transport.is_reading()


@pytest.fixture
async def edge(leaks: None) -> AsyncIterator[Edge]:
    edge = Edge()
    await edge.server.start()
    yield edge
    await edge.server.aclose()


async def test_t_sb_06_the_body_of_a_request_that_waits_is_held_within_bounds(edge: Edge) -> None:
    client = await Client.connect(edge.server.addresses()[0])
    await client.send(request("GET", "/first"))
    await eventually(lambda: len(edge.begun) == 1, lambda: "the first request to begin")
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(client.send(request("POST", "/second", body=bytes(32 << 20))))
        await eventually(lambda: not edge.reading, lambda: "the client to be paused")
        assert not sending.done()
        edge.data = answer(b"second")
        edge.begun[0].finish(answer(b"first"))
        assert bytes((await client.response()).body) == b"first"
        assert bytes((await client.response("POST")).body) == b"second"
        client.reset()


async def test_t_sl_02_who_does_not_read_gets_no_further_answers(edge: Edge) -> None:
    edge.data = answer(bytes(32 << 10))
    client = await Client.connect(edge.server.addresses()[0], receive_buffer=4096)
    client.transport.pause_reading()
    async with asyncio.TaskGroup() as group:
        group.create_task(client.send(request("GET", "/x") * 2000))
        await eventually(lambda: bool(edge.begun) and not edge.reading, lambda: "the client to be paused")
        transport = edge.begun[0].client.transport
        assert transport is not None
        assert transport.get_write_buffer_size() < 1 << 20
        client.transport.resume_reading()
        for _ in range(2000):
            assert len((await client.response()).body) == 32 << 10
    assert len(edge.begun) == 2000
    await client.close()
