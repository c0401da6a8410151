"""WebSockets over the bridge (WS-22, T-WS-25): messages, their ends and refusals, through a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import RawUpstream
from tests.fakes.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_frame,
    frame,
    frames,
    handshake,
    switching,
)
from tests.fakes.wire import answer

from .bridged import Front, MakeFront, fronts
from .conftest import MakeClient, MakeUpstream
from .harness import cold

S = "/services/a"
MASK = b"\x0a\x0b\x0c\x0d"

Serve = Callable[[ServerConnection], Awaitable[None]]


@pytest.fixture
async def front(raw: MakeUpstream, upstream: HttpUpstream, tmp_path: Path) -> AsyncIterator[MakeFront]:
    """Make a gateway behind the bridge: `await front(a=upstream)`."""
    async with fronts(tmp_path) as make:
        yield make


def _socket(gw: Front, path: str = S + "/ws", **more: Any) -> open_socket:
    """A client of the `websockets` library. more: its own options, whatever they are."""
    return open_socket(f"ws://127.0.0.1:{gw.port}{path}", proxy=None, compression=None, max_size=None, **more)


@contextlib.asynccontextmanager
async def _service(play: Serve, **more: Any) -> AsyncIterator[str]:
    """A WebSocket server of the `websockets` library; its URL for a service. more: options of `serve`."""
    async with serve(play, "127.0.0.1", 0, **more) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}"


async def _echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


async def _end(socket: ClientConnection) -> tuple[int | None, str]:
    """Code and reason with which a socket ends."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code, socket.close_reason or ""


async def _saw(upstream: RawUpstream, *opcodes: int) -> list[bytes]:
    """Wait until frames of these kinds have reached the upstream, and return their payloads."""

    def found() -> bool:
        return [one.opcode for one in frames(upstream.connections[0].after_upgrade)[0]] == list(opcodes)

    await upstream.until(found, f"frames {opcodes}")
    return [one.payload for one in frames(upstream.connections[0].after_upgrade)[0]]


# -- messages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("deflate", [None, "deflate"])
async def test_t_ws_25_messages_keep_type_order_and_boundaries(front: MakeFront, deflate: str | None) -> None:
    sent: list[str | bytes] = ["text", b"binary", "", b"", "ü€😀", bytes(65536), "x" * 65536, b"\x00\xff" * 9]
    async with _service(_echo) as url:
        gw = await front(a=url)
        uri = f"ws://127.0.0.1:{gw.port}{S}/ws"
        async with open_socket(uri, proxy=None, compression=deflate) as socket:
            for message in sent:
                await socket.send(message)
            assert [await socket.recv() for _ in sent] == sent


async def test_a_message_of_eight_megabytes_passes_both_ways(front: MakeFront) -> None:
    async with _service(_echo, max_size=None) as url, _socket(await front(a=url)) as socket:
        data = bytes(range(256)) * 32768
        await socket.send(data)
        assert await socket.recv() == data


async def test_fragments_of_the_service_become_one_message_even_right_behind_the_handshake(
    front: MakeFront, raw: MakeUpstream
) -> None:
    pieces = [frame(TEXT, b"a\xc3", final=False), frame(PING, b"between"), frame(CONTINUATION, b"\xa4b")]
    one = await raw(_handshake_then(*pieces))
    async with _socket(await front(a=one)) as socket:
        assert await socket.recv() == "aäb"
        assert await _saw(one, PONG) == [b"between"]
        one.connections[0].close()


async def test_the_handshake_says_who_asks_and_what(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await front(a=upstream)
    client = await connect(gw)
    fields = [("X-Forwarded-For", "9.9.9.9"), ("Cookie", "a=1"), ("X-A", "1"), ("X-A", "2")]
    await client.send(handshake(S + "/x%2F;v=1/ws?q=%41&&", *fields, ("Origin", "http://localhost")))
    assert (await client.head(upgrade=True)).status == 101
    seen = upstream.requests[0]
    assert seen.target == b"/x%2F;v=1/ws?q=%41&&"
    assert seen.get("x-forwarded-for") == b"127.0.0.1"
    assert seen.get("x-forwarded-proto") == b"http"
    assert seen.get("cookie") == b"a=1"
    assert seen.all("x-a") == [b"1", b"2"]
    assert seen.get("origin") == b"http://localhost"
    assert not seen.has("user-agent")
    assert not seen.has("sec-websocket-extensions")


async def test_the_services_choice_of_a_subprotocol_reaches_the_client(front: MakeFront) -> None:
    names = [Subprotocol("v2"), Subprotocol("v1")]
    async with _service(_echo, subprotocols=[Subprotocol("v1")]) as url:
        gw = await front(a=url)
        async with _socket(gw, subprotocols=names) as socket:
            assert socket.subprotocol == "v1"


async def test_fields_of_the_accepting_answer_reach_the_client(front: MakeFront) -> None:
    def cookies(_: ServerConnection, __: object, response: Any) -> None:
        response.headers["Set-Cookie"] = "a=1"
        response.headers["Set-Cookie"] = "b=2"

    async with _service(_echo, process_response=cookies) as url, _socket(await front(a=url)) as socket:
        assert socket.response is not None
        assert socket.response.headers.get_all("set-cookie") == ["a=1", "b=2"]
        assert socket.response.headers["x-request-id"].startswith("req_")


# -- ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "reason"), [(4000, "enough"), (1000, ""), (1001, "ähem"), (1011, "broken")])
async def test_t_ws_25_the_services_close_reaches_the_client(
    front: MakeFront, code: int, reason: str
) -> None:
    async def play(socket: ServerConnection) -> None:
        await socket.send("last words")
        await socket.close(code, reason)
        ended.set_result((socket.close_code, socket.close_reason))

    ended: asyncio.Future[tuple[int | None, str | None]] = asyncio.get_running_loop().create_future()
    async with _service(play) as url, _socket(await front(a=url)) as socket:
        assert await socket.recv() == "last words"
        assert await _end(socket) == (code, reason)
        assert await ended == (code, reason)


@pytest.mark.parametrize(("code", "reason"), [(4000, "enough"), (1000, ""), (3999, "ähem")])
async def test_t_ws_25_the_clients_close_reaches_the_service(
    front: MakeFront, code: int, reason: str
) -> None:
    async def play(socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            heard.append(await socket.recv())
            await socket.recv()
        ended.set_result((socket.close_code, socket.close_reason or ""))

    heard: list[str | bytes] = []
    ended: asyncio.Future[tuple[int | None, str]] = asyncio.get_running_loop().create_future()
    async with _service(play) as url, _socket(await front(a=url)) as socket:
        await socket.send("last words")
        await socket.close(code, reason)
        assert await ended == (code, reason)
        assert heard == ["last words"]


async def test_an_empty_close_of_the_client_stays_empty(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await _opened(await front(a=upstream), connect)
    await client.send(close_frame(None, mask=MASK))
    assert await _saw(upstream, CLOSE) == [b""]
    await client.gone()


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_t_ws_25_a_client_that_vanished_is_no_ordinary_close(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient, how: str
) -> None:
    """The edge then tells the service 1001, as for its own clients (WS-13)."""
    gw = await front(a=upstream)
    client = await _opened(gw, connect)
    await client.send(frame(BINARY, b"there", mask=MASK))
    await _saw(upstream, BINARY)
    client.reset() if how == "reset" else await client.close()
    assert (await _saw(upstream, BINARY, CLOSE))[1] == b"\x03\xe9"
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")
    await gw.at_rest()
    await eventually(lambda: b'"aborted":"client"' in gw.log, "the access line")


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_t_ws_25_a_service_that_vanished_cuts_the_client(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient, how: str
) -> None:
    client = await _opened(await front(a=upstream), connect)
    await client.send(frame(TEXT, b"there", mask=MASK))
    await client.got(frame(TEXT, b"there"))
    upstream.connections[0].reset() if how == "reset" else upstream.connections[0].close()
    await client.gone()
    assert client.received.endswith(frame(TEXT, b"there")), "no close frame"


async def test_text_of_the_service_that_is_no_utf_8_ends_it_with_1007(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient
) -> None:
    one = await raw(_handshake_then(frame(TEXT, b"\xff\xfe")))
    client = await _opened(await front(a=one), connect)
    await client.gone()
    assert (await _saw(one, CLOSE))[0][:2] == b"\x03\xef"


async def test_at_the_end_of_the_server_the_service_is_told_1001(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await front(a=upstream)
    client = await _opened(gw, connect)
    await gw.server.end()
    await client.gone()
    assert await _saw(upstream, CLOSE) == [b"\x03\xe9"]


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["403 No", "401 Who", "302 Found", "200 OK", "404 Not Found"])
async def test_ws_05_a_refused_handshake_is_relayed_as_the_answer_it_is(
    front: MakeFront, raw: MakeUpstream, connect: MakeClient, status: str
) -> None:
    fields = [("Location", "http://elsewhere.example/"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    one = await raw(step.once(answer(b"why not", *fields, ("Content-Type", "text/x"), status=status)))
    client = await connect(await front(a=one))
    await client.send(handshake(S + "/ws"))
    response = await client.response()
    assert (response.status, bytes(response.body)) == (int(status[:3]), b"why not")
    assert response.get("location") == b"http://elsewhere.example/"
    assert response.all("set-cookie") == [b"a=1", b"b=2"]
    assert response.get("content-type") == b"text/x"


async def test_the_gateways_own_refusals_are_problems(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await front(a=upstream)
    client = await connect(gw)
    await client.send(handshake("/services/nobody/ws"))
    (await client.response()).problem("service_not_found", 404)
    client = await connect(gw)
    await client.send(handshake(S + "/ws", ("Origin", "http://evil.example")))
    (await client.response()).problem("forbidden", 403)
    assert upstream.requests == []


async def test_an_endless_refusal_is_not_held(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await front(a=upstream))
    await client.send(handshake(S + "/sse?n=100000000"))
    (await client.response()).problem("upstream_handshake_failed", 502)
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be freed")


# -- cold services -----------------------------------------------------------------------------


async def test_a_handshake_wakes_a_cold_service(front: MakeFront, upstream: HttpUpstream) -> None:
    gw = await front(cold("a"), wakes={"a": upstream})
    async with _socket(gw) as socket:
        await socket.send("good morning")
        assert await socket.recv() == "good morning"
    assert len(gw.engine.starts) == 1


async def test_leaving_while_the_service_starts_removes_the_waiter(
    front: MakeFront, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await front(cold("a"), wakes={"a": upstream}, ready=False)
    client = await connect(gw)
    await client.send(handshake(S + "/ws"))
    await gw.until_waiting(1)
    client.reset()
    await gw.until_waiting(0)
    assert upstream.requests == []
    gw.probe.ready = True


# -- help --------------------------------------------------------------------------------------


def _handshake_then(*data: bytes) -> step.Script:
    """A service that takes any handshake and sends these frames at once, in the same packet."""

    async def play(connection: step.Connection) -> None:
        request = await connection.request()
        key = request.get("sec-websocket-key") or b""
        await connection.send(switching(key=key) + b"".join(data))
        await connection.gone()

    return [play]


async def _opened(gw: Front, connect: MakeClient) -> Client:
    """A raw client behind its handshake."""
    client = await connect(gw)
    await client.send(handshake(S + "/ws"))
    assert (await client.head(upgrade=True)).status == 101
    return client
