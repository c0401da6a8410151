"""WebSocket splice (proxy-semantics WS): a verified handshake, then bytes, then two clean ends."""

from __future__ import annotations

import asyncio
import os

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.asyncio.server import ServerConnection, serve

from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import Connection, RawUpstream
from tests.fakes.websocket import (
    BINARY,
    CLOSE,
    KEY,
    PING,
    PONG,
    TEXT,
    accept_of,
    close_frame,
    frame,
    frames,
    handshake,
    switching,
)
from tests.fakes.wire import answer, head

from .assertions import refused, untouched
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, service

S = "/services/a"
MASK = b"\x0a\x0b\x0c\x0d"


async def _open(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    *after: step.Step,
    answered: bytes = b"",
    fields: tuple[tuple[str, str], ...] = (),
) -> tuple[RawUpstream, Client, Gateway]:
    """A socket opened through the gateway to a scripted upstream."""
    upstream = await raw(
        [step.get_request(), step.send(answered or switching()), *after, step.until_gone(), step.close()]
    )
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(handshake(S + "/ws", *fields))
    assert (await client.head(upgrade=True)).status == 101
    return upstream, client, gw


async def _upstream_got(upstream: RawUpstream, data: bytes) -> None:
    connection = upstream.connections[0]
    await connection.until(lambda: data in connection.after_upgrade, f"{data[:40]!r}")


async def test_t_ws_03_the_upstreams_choice_of_subprotocol_is_told(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        step.once(switching(("Sec-WebSocket-Protocol", "b"), ("Set-Cookie", "x=1"), ("Set-Cookie", "y=2")))
    )
    client = await connect(await gateway(a=upstream))
    await client.send(handshake(S + "/ws", ("Sec-WebSocket-Protocol", "a, b")))
    response = await client.head(upgrade=True)
    assert (response.status, response.get("sec-websocket-protocol")) == (101, b"b")
    assert response.get("sec-websocket-accept") == accept_of(KEY)
    assert response.all("set-cookie") == [b"x=1", b"y=2"]
    assert upstream.requests[0].all("sec-websocket-protocol") == [b"a, b"]


async def test_t_ws_04_no_choice_stays_no_choice(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(step.once(switching()))
    client = await connect(await gateway(a=upstream))
    await client.send(handshake(S + "/ws", ("Sec-WebSocket-Protocol", "a, b")))
    response = await client.head(upgrade=True)
    assert (response.status, response.has("sec-websocket-protocol")) == (101, False)


BAD_101 = {
    "protocol not offered": switching(("Sec-WebSocket-Protocol", "z")),
    "wrong accept": switching(accept=accept_of(b"AAAAAAAAAAAAAAAAAAAAAA==")),
    "empty accept": switching(accept=b""),
    "extension not offered": switching(("Sec-WebSocket-Extensions", "permessage-deflate")),
    "no fields": head("HTTP/1.1 101 Switching Protocols"),
    "no accept": head(
        "HTTP/1.1 101 Switching Protocols", [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    ),
    "other protocol": switching().replace(b"Upgrade: websocket", b"Upgrade: h2c"),
    "no connection": switching().replace(b"Connection: Upgrade\r\n", b""),
}


@pytest.mark.parametrize("kind", list(BAD_101))
async def test_t_ws_06_a_handshake_that_does_not_hold_is_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, kind: str
) -> None:
    upstream = await raw(step.once(BAD_101[kind] + frame(TEXT, b"smuggled")))
    client = await connect(await gateway(a=upstream))
    await client.send(handshake(S + "/ws", ("Sec-WebSocket-Protocol", "a")))
    response = await client.response()
    assert response.status == 502, kind
    response.problem(response.json()["code"])
    assert response.json()["code"] in ("upstream_handshake_failed", "upstream_invalid_response")
    assert b"smuggled" not in client.received
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the connection to be destroyed")
    assert len(upstream.requests) == 1


async def test_t_ws_05_a_refusal_is_relayed_as_it_is(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    body = bytes(1024 * 1024)
    message = answer(body, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), status="401 Unauthorized")
    upstream = await raw(
        [step.get_request(), step.send(message), step.repeat(answer(b"next"))], [step.repeat(answer(b"next"))]
    )
    client = await connect(await gateway(a=upstream))
    await client.send(handshake(S + "/ws"))
    response = await client.response()
    assert (response.status, response.all("set-cookie")) == (401, [b"a=1", b"b=2"])
    assert bytes(response.body) == body
    assert not response.has("proxy-status")


async def test_t_ws_07_the_clients_handshake_arrives_verbatim(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    fields = [
        ("Cookie", "a=1; b=2"),
        ("Authorization", "Bearer x"),
        ("Origin", "http://localhost"),
        ("Sec-WebSocket-Protocol", "v1, v2"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("User-Agent", "me"),
    ]
    client = await connect(gw)
    await client.send(handshake(S + "/a%2Fb/ws?x=%zz&y", *fields))
    await client.head(upgrade=True)
    seen = upstream.requests[0]
    assert seen.target == b"/a%2Fb/ws?x=%zz&y"
    for name, value in fields:
        assert seen.get(name) == value.encode(), name
    assert seen.get("sec-websocket-key") == KEY
    assert seen.get("sec-websocket-version") == b"13"
    assert (seen.get("upgrade") or b"").lower() == b"websocket"
    assert b"upgrade" in (seen.get("connection") or b"").lower()
    assert seen.get("x-forwarded-proto") == b"http"
    assert (b"Sec-WebSocket-Key", KEY) in seen.fields  # RFC 6455 spelling: some servers compare case


@pytest.mark.parametrize(
    ("origin", "fine"),
    [
        ("http://evil.example", False),
        ("null", False),
        ("http://localhost.evil.example", False),
        ("http://localhost", True),
        ("", True),
    ],
)
async def test_t_ws_08_a_foreign_origin_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, origin: str, fine: bool
) -> None:
    client = await connect(gw)
    await client.send(handshake(S + "/ws", *([("Origin", origin)] if origin else [])))
    response = await client.head(upgrade=True)
    if fine:
        assert response.status == 101
    else:
        (await client.body()).problem("forbidden", 403)
        await untouched(upstream)


async def test_t_ws_08_the_same_host_with_its_port_is_the_same_host(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    host = f"a.localhost:{gw.port}"
    await client.send(handshake("/ws", ("Origin", f"http://{host}"), host=host))
    assert (await client.head(upgrade=True)).status == 101
    assert upstream.requests[0].get("host") == host.encode()


CLOSES = [
    close_frame(1000, b"done", mask=MASK),
    close_frame(1001, mask=MASK),
    close_frame(3000, mask=MASK),
    close_frame(4999, b"why", mask=MASK),
    close_frame(None, mask=MASK),
    close_frame(999, mask=MASK),
    close_frame(5000, mask=MASK),
]


@pytest.mark.parametrize("closing", CLOSES)
async def test_t_ws_09_close_frames_of_the_client_pass_unchanged(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, closing: bytes
) -> None:
    upstream, client, _ = await _open(
        raw, gateway, connect, step.expect(closing), step.send(close_frame(1000)), step.close()
    )
    await client.send(closing)
    await client.gone()
    assert client.surplus == close_frame(1000)
    await client.close()
    await upstream.until(lambda: upstream.connections[0].lost, "the upstream leg to end")
    assert upstream.connections[0].after_upgrade == closing


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999, None, 999, 5000])
async def test_t_ws_09_close_frames_of_the_upstream_pass_unchanged(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, code: int | None
) -> None:
    closing = close_frame(code, b"" if code is None else b"bye")
    _, client, _ = await _open(
        raw, gateway, connect, step.send(closing), step.expect(close_frame(1000, mask=MASK)), step.close()
    )
    await client.until(lambda: closing in client.surplus, "the close frame")
    await client.send(close_frame(1000, mask=MASK))
    await client.gone()
    assert client.surplus == closing


@pytest.mark.parametrize("leave", ["reset", "eof"])
async def test_t_ws_10_a_client_that_vanishes_gives_1001_or_the_end(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, leave: str
) -> None:
    upstream, client, gw = await _open(raw, gateway, connect)
    await client.send(frame(TEXT, b"hi", mask=MASK))
    await _upstream_got(upstream, frame(TEXT, b"hi", mask=MASK))
    if leave == "reset":
        client.reset()
    else:
        await client.close()
    connection = upstream.connections[0]
    await upstream.until(lambda: connection.lost, "the upstream leg to end")
    found, rest = frames(connection.after_upgrade)
    assert rest == b""
    assert [one.opcode for one in found] in ([TEXT], [TEXT, CLOSE])
    if len(found) == 2:
        assert (found[1].close_code, found[1].was_masked) == (1001, True)
    await gw.at_rest()


async def test_t_ws_10_a_client_that_vanishes_inside_a_frame_sends_nothing_behind_it(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream, client, gw = await _open(raw, gateway, connect)
    part = frame(TEXT, b"x" * 100, mask=MASK)[:50]
    await client.send(part)
    await _upstream_got(upstream, part)
    client.reset()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream leg to end")
    assert upstream.connections[0].after_upgrade == part
    await gw.at_rest()


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_t_ws_10_an_upstream_that_vanishes_ends_the_client(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, end: str
) -> None:
    _, client, gw = await _open(
        raw,
        gateway,
        connect,
        step.send(frame(TEXT, b"last")),
        step.pause(0.05),
        step.reset() if end == "reset" else step.close(),
    )
    await client.gone()
    assert client.surplus == frame(TEXT, b"last")
    await client.close()
    await gw.at_rest()


async def test_t_ws_11_a_message_of_16_mib_and_many_fragments(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(handshake(S + "/ws"))
    await client.head(upgrade=True)
    big = os.urandom(16 * 1024 * 1024)
    await client.send(frame(BINARY, big, mask=b"\0\0\0\0"))
    await client.until(lambda: len(client.surplus) >= len(big), "the echo")
    assert client.surplus == frame(BINARY, big)
    await client.close()


async def test_t_ws_11_ten_thousand_fragments_pass_unchanged(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream, client, _ = await _open(raw, gateway, connect)
    pieces = [frame(TEXT if n == 0 else 0, b"ab", mask=MASK, final=n == 9999) for n in range(10_000)]
    data = b"".join(pieces)
    await client.send(data, at=range(777, len(data), 7777), gap=0)
    connection = upstream.connections[0]
    await connection.until(lambda: len(connection.after_upgrade) >= len(data), "all fragments")
    assert connection.after_upgrade == data
    await client.close()


async def test_t_ws_12_a_slow_reader_stops_the_sender(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    written = 0

    async def flood(connection: Connection) -> None:
        nonlocal written
        await connection.request()
        await connection.send(switching())
        piece = frame(BINARY, bytes(65000))
        while written < 256 * 1024 * 1024 and not connection.ended:
            await connection.send(piece)
            written += len(piece)

    upstream = await raw([flood])
    gw = await gateway(a=upstream)
    client = await connect(gw, receive_buffer=65536)
    await client.send(handshake(S + "/ws"))
    await client.head(upgrade=True)
    client.transport.pause_reading()
    before = -1
    while before != written:
        before = written
        await asyncio.sleep(0.3)
    assert written < 64 * 1024 * 1024
    client.reset()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be freed")
    await gw.at_rest()


async def test_t_ws_13_frames_that_came_with_the_handshakes_are_delivered(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    early = frame(TEXT, b"early", mask=MASK)
    upstream = await raw(
        [step.get_request(), step.send(switching() + frame(TEXT, b"hello")), step.until_gone(), step.close()]
    )
    client = await connect(await gateway(a=upstream))
    await client.send(handshake(S + "/ws") + early)
    await client.head(upgrade=True)
    await client.until(lambda: client.surplus == frame(TEXT, b"hello"), "the first frame")
    await _upstream_got(upstream, early)
    await client.close()


async def test_t_ws_14_all_messages_before_a_close_are_delivered_first(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    data = b"".join(frame(TEXT, b"message %d" % n) for n in range(10)) + close_frame(1000)
    _, client, _ = await _open(raw, gateway, connect, step.send(data), step.close())
    await client.gone()
    assert client.surplus == data


async def test_t_ws_15_pings_are_answered_by_the_other_end(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    ping, pong = frame(PING, b"p", mask=MASK), frame(PONG, b"p")
    upstream, client, _ = await _open(
        raw, gateway, connect, step.expect(ping), step.pause(0.1), step.send(pong)
    )
    await client.send(ping)
    await client.until(lambda: client.surplus == pong, "the upstream's own pong")
    await client.close()
    assert upstream.connections[0].after_upgrade.startswith(ping)


BROKEN = {
    "bad utf-8": frame(TEXT, b"\xff\xfe", mask=MASK),
    "unmasked": frame(TEXT, b"x"),
    "reserved bits": frame(TEXT, b"x", mask=MASK, reserved=7),
    "unknown opcode": frame(5, b"x", mask=MASK),
    "fragmented ping": frame(PING, b"x", mask=MASK, final=False),
    "absurd length": b"\x82\xff" + b"\xff" * 8 + MASK + b"abc",
}


@pytest.mark.parametrize("kind", list(BROKEN))
async def test_t_ws_16_broken_frames_are_passed_on(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, kind: str
) -> None:
    data = BROKEN[kind]
    upstream, client, _ = await _open(
        raw, gateway, connect, step.expect(data), step.send(close_frame(1002)), step.close()
    )
    await client.send(data)
    await client.gone()
    assert client.surplus == close_frame(1002)
    assert upstream.connections[0].after_upgrade == data
    await client.close()


@pytest.mark.parametrize("kind", ["text", "binary"])
async def test_t_ws_17_permessage_deflate_is_end_to_end(
    gateway: MakeGateway, connect: MakeClient, kind: str
) -> None:
    """An ordinary client and an ordinary server negotiate compression with each other."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, compression="deflate") as server:
        port = server.sockets[0].getsockname()[1] if server.sockets else 0
        gw = await gateway(service("a", f"http://127.0.0.1:{port}"))
        url = f"ws://127.0.0.1:{gw.port}{S}/ws"
        async with open_websocket(url, compression="deflate", proxy=None, max_size=None) as socket:
            assert "permessage-deflate" in socket.response.headers.get("Sec-WebSocket-Extensions", "")  # type: ignore[union-attr]
            for number in range(20):
                message: str | bytes = f"number {number} " * 200
                if kind == "binary":
                    message = str(message).encode()
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping())
        assert socket.close_code == 1000
        await gw.at_rest()
        await gw.aclose()


@pytest.mark.parametrize(
    "framing", [("Content-Length", "5"), ("Content-Length", "0"), ("Transfer-Encoding", "chunked")]
)
async def test_t_ws_18_an_upgrade_with_framing_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, framing: tuple[str, str]
) -> None:
    await refused(await connect(gw), handshake(S + "/ws", framing), 400)
    await untouched(upstream)


async def test_t_ws_19_a_post_upgrade_or_one_without_key_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    post = handshake(S + "/ws").replace(b"GET", b"POST", 1)
    await refused(await connect(gw), post, (400, 405), method="POST", closes=False)
    keyless = handshake(S + "/ws").replace(b"Sec-WebSocket-Key: " + KEY + b"\r\n", b"")
    await refused(await connect(gw), keyless, 400, closes=False)
    twice = handshake(S + "/ws", ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="))
    await refused(await connect(gw), twice, 400, closes=False)
    await untouched(upstream)


async def test_t_ws_19_another_version_gets_the_upstreams_own_426(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        step.once(answer(b"13 only", ("Sec-WebSocket-Version", "13"), status="426 Upgrade Required"))
    )
    client = await connect(await gateway(a=upstream))
    await client.send(handshake(S + "/ws", version="8"))
    response = await client.response()
    assert (response.status, bytes(response.body)) == (426, b"13 only")
    assert response.get("sec-websocket-version") == b"13"
    assert upstream.requests[0].get("sec-websocket-version") == b"8"


async def test_an_open_socket_counts_as_in_flight_and_is_released(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    _, client, gw = await _open(raw, gateway, connect)
    assert (await gw.status()).in_flight == 1
    await client.close()
    await gw.at_rest()


async def test_a_socket_on_a_pooled_connection_and_none_left_in_the_pool(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [
            step.get_request(),
            step.send(answer(b"first")),
            step.get_request(),
            step.send(switching()),
            step.until_gone(),
            step.close(),
        ],
        [step.get_request(), step.send(switching()), step.until_gone(), step.close()],
    )
    gw = await gateway(a=upstream)
    client = await connect(gw)
    assert bytes((await client.ask("GET", S + "/x")).body) == b"first"
    await client.send(handshake(S + "/ws"))
    assert (await client.head(upgrade=True)).status == 101
    await client.close()
    await gw.at_rest()
    await upstream.until(lambda: all(one.ended for one in upstream.connections[1:]), "the socket to end")
