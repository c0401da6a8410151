"""The fakes against each other, without a gateway: what they say can be trusted."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.fakes import upstream as step
from tests.fakes import websocket
from tests.fakes.http_upstream import GZIPPED, HttpUpstream, pattern
from tests.fakes.wire import LAST_CHUNK, answer, chunk, chunked, head, request

from .conftest import MakeClient, MakeUpstream


async def test_echo_tells_what_was_sent(upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(upstream)
    told = (await client.ask("POST", "/echo?a=b", ("X-Odd", "1"), ("x-odd", "2"), body=b"hello")).json()
    assert told["method"] == "POST"
    assert told["target"] == "/echo?a=b"
    assert told["fields"][1:3] == [["X-Odd", "1"], ["x-odd", "2"]]
    assert told["sha256"] == hashlib.sha256(b"hello").hexdigest()


async def test_keep_alive_serves_many_on_one_connection(upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(upstream)
    for number in range(3):
        assert (await client.ask("GET", f"/echo?{number}")).status == 200
    assert len(upstream.connections) == 1
    assert upstream.targets == [b"/echo?0", b"/echo?1", b"/echo?2"]


async def test_split_and_chunked_requests_are_read_whole(upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(upstream)
    message = head("POST /upload HTTP/1.1", [("Host", "x"), ("Transfer-Encoding", "chunked")])
    message += chunked([b"abc", b"d" * 300])
    await client.send(message, at=range(1, len(message), 7), gap=0)
    assert (await client.response("POST")).json()["size"] == 303
    assert upstream.requests[0].chunked


@pytest.mark.parametrize("page", ["sse", "ndjson", "chunked"])
async def test_events_come_as_chunks(upstream: HttpUpstream, connect: MakeClient, page: str) -> None:
    answered = await (await connect(upstream)).ask("GET", f"/{page}?n=5")
    assert answered.complete
    assert answered.body.count(b"data: event") == 5


async def test_big_download_and_mirror(upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(upstream)
    assert (await client.ask("GET", "/bytes?n=3000000")).body == pattern(3_000_000)
    assert (await client.ask("POST", "/mirror", body=pattern(500_000))).body == pattern(500_000)


async def test_gzip_and_status(upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(upstream)
    assert (await client.ask("GET", "/gzip")).body == GZIPPED
    assert (await client.ask("GET", "/status?n=418")).status == 418
    assert (await client.ask("HEAD", "/echo")).body == b""


async def test_websocket_echo(upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(upstream)
    mask = b"\x01\x02\x03\x04"
    await client.send(websocket.handshake("/ws") + websocket.frame(websocket.TEXT, b"early", mask=mask))
    assert (await client.head(upgrade=True)).status == 101
    await client.send(websocket.frame(websocket.BINARY, bytes(70000), mask=mask))
    await client.send(websocket.close_frame(4000, b"bye", mask=mask))
    await client.gone()
    await client.body()
    found, rest = websocket.frames(client.surplus)
    assert [(one.opcode, len(one.payload)) for one in found] == [(1, 5), (2, 70000), (8, 5)]
    assert found[-1].close_code == 4000
    assert rest == b""


async def test_truncation_is_seen(raw: MakeUpstream, connect: MakeClient) -> None:
    upstream = await raw(
        [step.get_request(), step.send(answer(b"x" * 10)[:-3]), step.close()],
        [
            step.get_request(),
            step.send(head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")])),
            step.send(chunk(b"abc")),
            step.reset(),
        ],
    )
    first = await connect(upstream)
    await first.send(request())
    cut = await first.response()
    assert (cut.status, bytes(cut.body), cut.complete) == (200, b"x" * 7, False)
    second = await connect(upstream)
    await second.send(request())
    reset = await second.response()
    assert not reset.complete
    assert second.ended == "reset"


async def test_interim_answers_and_trailers_are_kept(raw: MakeUpstream, connect: MakeClient) -> None:
    message = head("HTTP/1.1 103 Early Hints", [("Link", "</a>")])
    message += head("HTTP/1.1 200 Fine", [("Transfer-Encoding", "chunked")])
    message += chunk(b"abc") + b"0\r\nX-T: 1\r\n\r\n"
    upstream = await raw(step.once(message))
    client = await connect(upstream)
    await client.send(request())
    got = await client.response()
    assert [one.status for one in got.interim] == [103]
    assert (got.reason, bytes(got.body), got.trailers) == (b"Fine", b"abc", [(b"X-T", b"1")])


async def test_a_peer_that_leaves_is_noticed(raw: MakeUpstream, connect: MakeClient) -> None:
    upstream = await raw([step.get_head(), step.until_gone(), step.close()])
    for leave in ("eof", "reset"):
        client = await connect(upstream)
        await client.send(request("POST", "/", body=b"12345")[:-2])
        number = len(upstream.connections) - 1
        await upstream.until(lambda n=number: upstream.connections[n].requests != [], "a head")  # type: ignore[misc]
        if leave == "eof":
            await client.close()
        else:
            client.reset()
        await upstream.until(lambda n=number: bool(upstream.connections[n].ended), "the end")  # type: ignore[misc]
        assert upstream.connections[number].ended == leave
        assert not upstream.requests[number].complete


async def test_violations_are_recorded(raw: MakeUpstream, connect: MakeClient) -> None:
    upstream = await raw([step.until_gone(), step.close()])
    client = await connect(upstream)
    await client.send(b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n")
    await upstream.until(lambda: upstream.violations != [], "a violation")
    assert upstream.requests == []


async def test_surplus_bytes_are_visible(raw: MakeUpstream, connect: MakeClient) -> None:
    upstream = await raw(step.once(answer(b"abc") + b"SURPLUS"))
    client = await connect(upstream)
    await client.send(request())
    assert (await client.response()).body == b"abc"
    await client.got(b"SURPLUS")
    assert client.surplus == b"SURPLUS"


async def test_stop_reading_blocks_a_sender(raw: MakeUpstream, connect: MakeClient) -> None:
    go_on = asyncio.Event()
    upstream = await raw(
        [step.get_head(), step.stop_reading(), step.wait_for(go_on), step.read_on(), step.get_request()],
        keep=False,
    )
    client = await connect(upstream)
    body = bytes(32 * 1024 * 1024)
    message = request("POST", "/", body=body)
    sending = asyncio.get_running_loop().create_task(client.send(message))
    await upstream.until(lambda: upstream.requests != [], "the head")
    await client.until(lambda: not client._writable, "the sender to block")
    assert upstream.connections[0].count < len(message)
    go_on.set()
    await sending
    await upstream.saw(1)
    assert LAST_CHUNK not in upstream.requests[0].body[:10]
