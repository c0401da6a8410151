"""Streaming (proxy-semantics SB): every byte is passed on when it comes, and the slow side rules."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes import upstream as step
from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.upstream import Connection
from tests.fakes.wire import LAST_CHUNK, answer, chunk, head, request

from .assertions import still_serves
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway

S = "/services/a"
CHUNKED = ("Transfer-Encoding", "chunked")


async def test_t_sb_01_the_head_is_passed_on_before_any_body_byte(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    go_on = asyncio.Event()
    upstream = await raw(
        [
            step.get_request(),
            step.send(head("HTTP/1.1 200 OK", [CHUNKED])),
            step.wait_for(go_on),
            step.send(chunk(b"abc") + LAST_CHUNK),
            step.until_gone(),
            step.close(),
        ]
    )
    client = await connect(await gateway(a=upstream))
    await client.send(request("GET", S + "/x"))
    response = await client.head()
    assert (response.status, bytes(response.body)) == (200, b"")
    go_on.set()
    assert bytes((await client.body()).body) == b"abc"


KINDS = [
    ("text/event-stream", "chunked"),
    ("text/event-stream", "eof"),
    ("application/json", "chunked"),
    ("application/x-ndjson", "chunked"),
    ("application/octet-stream", "length"),
    ("", "chunked"),
]


@pytest.mark.parametrize(("kind", "framing"), KINDS)
async def test_t_sb_02_each_event_arrives_before_the_next_is_sent(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, kind: str, framing: str
) -> None:
    """No content-type test, no timer: the upstream sends only when the client has the last one."""
    received = asyncio.Event()
    events = [b"event %d\n\n" % n for n in range(8)]
    fields = [("Content-Type", kind)] if kind else []
    if framing == "chunked":
        fields.append(CHUNKED)
    elif framing == "length":
        fields.append(("Content-Length", str(sum(map(len, events)))))

    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.send(head("HTTP/1.1 200 OK", fields))
        for event in events:
            await connection.send(chunk(event) if framing == "chunked" else event)
            await asyncio.wait_for(received.wait(), 20)
            received.clear()
        if framing == "chunked":
            await connection.send(LAST_CHUNK)
        if framing == "eof":
            connection.close()
        await connection.gone()
        connection.close()

    upstream = await raw([play])
    client = await connect(await gateway(a=upstream))
    await client.send(request("GET", S + "/x"))
    for event in events:
        await client.got(event)
        received.set()
    assert client.received.count(b"event ") == len(events)


async def test_t_sb_03_an_event_cut_inside_a_character_passes_unaltered(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    text = "data: grüße 好\n\n".encode()
    cut = text.index("好".encode()) + 1
    upstream = await raw(
        step.once(head("HTTP/1.1 200 OK", [CHUNKED]), chunk(text[:cut]), chunk(text[cut:]), LAST_CHUNK)
    )
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
    assert bytes(response.body) == text


async def test_t_sb_06_full_duplex_the_answer_flows_while_the_upload_does(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(head(f"POST {S}/mirror HTTP/1.1", [("Host", "localhost"), CHUNKED]))
    response = await client.head("POST")
    assert response.status == 200
    for number in range(5):
        piece = b"piece %d;" % number
        await client.send(chunk(piece))
        await client.got(piece)
    await client.send(LAST_CHUNK)
    assert bytes((await client.body()).body) == b"".join(b"piece %d;" % n for n in range(5))
    await still_serves(client, upstream)


@pytest.mark.parametrize("size", [100_000, 20_000_000])
async def test_large_downloads_and_uploads_are_whole(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, size: int
) -> None:
    client = await connect(gw)
    data = pattern(size)
    assert (await client.ask("GET", f"{S}/bytes?n={size}")).body == data
    assert (await client.ask("POST", f"{S}/upload", body=data)).json()["size"] == size
    assert upstream.requests[-1].body == data
    await still_serves(client, upstream)


async def test_t_sb_04_a_slow_reader_stops_the_upstream(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """The gateway holds little: what the upstream could write is far below what it wants to send."""
    total = 256 * 1024 * 1024
    written = 0
    done = asyncio.Event()

    async def flood(connection: Connection) -> None:
        nonlocal written
        await connection.request()
        await connection.send(head("HTTP/1.1 200 OK", [("Content-Length", str(total))]))
        piece = bytes(65536)
        while written < total and not connection.ended:
            await connection.send(piece)
            written += len(piece)
        done.set()

    upstream = await raw([flood])
    client = await connect(await gateway(a=upstream), receive_buffer=65536)
    client.keep = False
    await client.send(request("GET", S + "/x"))
    await client.head()
    client.transport.pause_reading()
    before = -1
    while before != written:  # until nothing moves any more
        before = written
        await asyncio.sleep(0.3)
    assert not done.is_set()
    assert written < 64 * 1024 * 1024
    client.reset()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be freed")


async def test_t_sb_05_a_slow_upstream_stops_the_client(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    total = 256 * 1024 * 1024
    upstream = await raw([step.get_head(), step.stop_reading(), step.until_gone()], keep=False)
    client = await connect(await gateway(a=upstream))
    await client.send(head(f"POST {S}/x HTTP/1.1", [("Host", "localhost"), ("Content-Length", str(total))]))
    sent = 0

    async def upload() -> None:
        nonlocal sent
        piece = bytes(65536)
        while sent < total:
            await client.send(piece)
            sent += len(piece)

    sending = asyncio.get_running_loop().create_task(upload())
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.3)
    assert sent < 64 * 1024 * 1024
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    client.reset()


async def test_t_sb_10_paused_by_backpressure_then_the_client_leaves_frees_both(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    async def flood(connection: Connection) -> None:
        await connection.request()
        await connection.send(head("HTTP/1.1 200 OK", [CHUNKED]))
        while not connection.ended:
            await connection.send(chunk(bytes(65536)))

    for leave in ("eof", "reset"):
        upstream = await raw([flood])
        gw = await gateway(a=upstream)
        client = await connect(gw, receive_buffer=65536)
        client.keep = False
        await client.send(request("GET", S + "/x"))
        await client.head()
        client.transport.pause_reading()
        await upstream.until(lambda u=upstream: not u.connections[0]._writable, "backpressure")  # type: ignore[misc]
        if leave == "reset":
            client.reset()
        else:
            client.transport.abort()
        await upstream.until(lambda u=upstream: bool(u.connections[0].ended), "the upstream to be freed")  # type: ignore[misc]
        await gw.at_rest()


async def test_many_streams_at_once_lose_and_mix_nothing(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """T-SB-08 in small: 40 streams of 100 events."""
    clients = [await connect(gw) for _ in range(40)]
    for client in clients:
        await client.send(request("GET", f"{S}/sse?n=100"))
    wanted = b"".join(b"data: event %d\n\n" % n for n in range(100))
    for client in clients:
        response = await client.response()
        assert response.complete
        assert bytes(response.body) == wanted


async def test_t_sb_09_many_tiny_chunks_are_relayed_whole(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    count = 20_000
    body = head("HTTP/1.1 200 OK", [CHUNKED]) + chunk(b"x") * count + LAST_CHUNK
    upstream = await raw(step.once(body))
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
    assert len(response.body) == count


async def test_events_from_a_slow_upstream_stay_a_stream(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """SL-04: single bytes are passed on one by one."""
    message = answer(b"slowly")
    upstream = await raw(
        step.once(message[:-6], *[message[n : n + 1] for n in range(len(message) - 6, len(message))])
    )
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
    assert bytes(response.body) == b"slowly"
