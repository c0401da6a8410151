"""The bridge's ends: clients that leave, back-pressure, what uvicorn does to a request, start and refusal."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from starlette.types import Message

from hestia.bridge import Bridge
from hestia.config import ConfigProblems
from hestia.config.errors import Problem
from tests.fakes import upstream as step
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import Connection
from tests.fakes.wire import chunk, head, request

from .assertions import untouched
from .bridged import MakeFront, fronts
from .conftest import MakeClient, MakeUpstream
from .harness import cold

S = "/services/a"
CHUNKED = ("Transfer-Encoding", "chunked")


@pytest.fixture
async def front(raw: MakeUpstream, upstream: HttpUpstream, tmp_path: Path) -> AsyncIterator[MakeFront]:
    """Make a gateway behind the bridge: `await front(a=upstream)`."""
    async with fronts(tmp_path) as make:
        yield make


# -- clients that leave, back-pressure ---------------------------------------------------------


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_t_ca_01_leaving_while_the_answer_is_awaited_aborts_the_upstream(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient, how: str
) -> None:
    one = await raw([step.get_request(), step.until_gone(), step.close()])
    client = await connect(await front(a=one))
    await client.send(request("POST", S + "/x", body=b"a small body"))
    await one.saw(1)
    client.reset() if how == "reset" else await client.close()
    await one.until(lambda: bool(one.connections[0].ended), "the upstream to be told")


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_t_ca_02_leaving_while_the_answer_streams_aborts_the_upstream(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient, how: str
) -> None:
    client = await connect(await front(a=upstream))
    await client.send(request("GET", S + "/sse?n=100000000"))
    await client.got(b"event 10\n")
    client.reset() if how == "reset" else await client.close()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")


async def test_t_ca_03_leaving_during_the_upload_aborts_the_upstream(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await front(a=upstream))
    await client.send(request("POST", S + "/x", body=bytes(1000))[:-500])
    await upstream.until(lambda: bool(upstream.requests and upstream.requests[0].body), "a part of the body")
    client.reset()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")
    assert not upstream.requests[0].complete


async def test_cq_05_leaving_while_the_service_starts_removes_the_waiter(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Also with a body that fills what is held of it on the way (U19)."""
    gw = await front(cold("a"), wakes={"a": upstream}, ready=False)
    for size in (10, 900_000):
        client = await connect(gw)
        await client.send(request("POST", S + "/x", body=bytes(size)))
        await gw.until_waiting(1)
        client.reset()
        await gw.until_waiting(0)
    await untouched(upstream)
    gw.probe.ready = True


class Still:
    """True once a number has not moved for many looks in a row."""

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._before = -1
        self._looks = 0

    def __call__(self) -> bool:
        now = self._number()
        self._looks = self._looks + 1 if now == self._before else 0
        self._before = now
        return self._looks > 40


async def test_t_sb_04_a_slow_reader_stops_the_upstream_and_frees_it_by_leaving(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient
) -> None:
    pieces = 0

    async def flood(connection: Connection) -> None:
        nonlocal pieces
        await connection.request()
        await connection.send(head("HTTP/1.1 200 OK", [CHUNKED]))
        while not connection.ended:
            await connection.send(chunk(bytes(65536)))
            pieces += 1

    one = await raw([flood])
    client = await connect(await front(a=one), receive_buffer=65536)
    client.keep = False
    await client.send(request("GET", S + "/x"))
    await client.head()
    client.transport.pause_reading()
    await eventually(Still(lambda: pieces), "the upstream to stop sending")
    assert pieces < 1024
    client.reset()
    await one.until(lambda: bool(one.connections[0].ended), "the upstream to be freed")


async def test_t_sb_05_an_upload_that_nobody_reads_stops_the_client(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient
) -> None:
    one = await raw([step.get_head(), step.stop_reading(), step.until_gone()], keep=False)
    client = await connect(await front(a=one))
    await client.send(head(f"POST {S}/x HTTP/1.1", [("Host", "localhost"), ("Content-Length", "100000000")]))
    client.transport.write(bytes(100_000_000))
    left = client.transport.get_write_buffer_size
    await eventually(Still(left), "the client to be stopped")
    assert left() > 50_000_000
    one.connections[0].transport.resume_reading()
    await eventually(lambda: not left(), "the upload to go on as soon as somebody reads")
    client.reset()
    await one.until(lambda: bool(one.connections[0].ended), "the upstream to be freed")


# -- what uvicorn would do to a request (proxy-semantics 0.2) -----------------------------------


async def test_t_uv_01_trailers_do_not_name_the_client(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """U1: uvicorn appends trailers to the fields; what they claim is dropped like any claim."""
    client = await connect(await front(a=upstream))
    data = head(f"POST {S}/upload HTTP/1.1", [("Host", "localhost"), CHUNKED])
    await client.send(data + b"3\r\nabc\r\n0\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
    assert (await client.response("POST")).json()["size"] == 3
    assert upstream.requests[0].get("x-forwarded-for") == b"127.0.0.1"


@pytest.mark.parametrize("cut", [0, 1])
async def test_t_uv_03_a_body_behind_a_foreign_upgrade_is_refused_and_never_executed(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient, cut: int
) -> None:
    """U2: uvicorn drops such a body, or runs it as the next request."""
    client = await connect(await front(a=upstream))
    inner = request("GET", S + "/smuggled")
    fields = [("Connection", "Upgrade"), ("Upgrade", "h2c")]
    data = request("POST", S + "/x", *fields, body=inner)
    await client.send(data, at=[len(data) - len(inner)] * cut)
    (await client.response("POST")).problem("bad_framing", 400)
    await client.gone()
    await untouched(upstream)


async def test_an_upgrade_offer_without_a_body_is_a_plain_request(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await front(a=upstream))
    fields = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMA")]
    assert (await client.ask("GET", S + "/echo", *fields)).status == 200
    assert not upstream.requests[0].has("upgrade")


# -- life --------------------------------------------------------------------------------------


class Server:
    """The server's side of an ASGI call: hands out events in turn, keeps what was sent."""

    def __init__(self, *events: Message) -> None:
        self.events = list(events)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return self.events.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)


async def _never(_: str) -> object:
    raise AssertionError("not asked for")


SCOPE = {"headers": [], "path": "/", "query_string": b"", "extensions": {"websocket.http.response": {}}}


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_without_a_lifespan_every_call_says_what_to_do(kind: str) -> None:
    server = Server({"type": f"{kind}.connect"})
    await Bridge(_never)({**SCOPE, "type": kind, "method": "GET"}, server.receive, server.send)  # type: ignore[arg-type]
    start, body = server.sent
    assert start["status"] == 503
    members = json.loads(body["body"])
    assert "--lifespan off" in members["detail"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            ConfigProblems([Problem(source="f.yml", line=n, text=f"fault {n}") for n in (1, 2)]),
            ("f.yml:1: fault 1", "f.yml:2: fault 2", "hestia config check"),
        ),
        (OSError("no such place"), ("no such place",)),
        (ZeroDivisionError("a bug"), ("ZeroDivisionError: a bug", "Traceback")),
    ],
)
async def test_a_gateway_that_cannot_start_fails_the_startup_with_all_reasons(
    error: Exception, says: tuple[str, ...]
) -> None:
    async def start(_: str) -> object:
        raise error

    server = Server({"type": "lifespan.startup"})
    await Bridge(start)({"type": "lifespan"}, server.receive, server.send)  # type: ignore[arg-type]
    (message,) = server.sent
    assert message["type"] == "lifespan.startup.failed"
    for text in says:
        assert text in message["message"]
