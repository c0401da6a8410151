"""Deadlines (proxy-semantics TO), on a clock that is put forward: only the sweep takes its real time."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.facts import PATIENCE
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.skew import Skew
from tests.fakes.upstream import Connection
from tests.fakes.wire import answer, chunk, head, request

from .assertions import one_sweep
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, service

S = "/services/a"
MIB = 1024 * 1024
DATA_PATH = ("hestia.edge", "hestia.proxy", "hestia.http1")
CHUNKED = ("Transfer-Encoding", "chunked")


@pytest.fixture(autouse=True)
async def skew(leaks: None) -> AsyncIterator[Skew]:
    skew = Skew()
    yield skew
    skew.end()


async def test_t_uv_05_who_sends_nothing_is_closed_silently(
    gw: Gateway, connect: MakeClient, skew: Skew
) -> None:
    """TO-01."""
    client = await connect(gw)
    await gw_knows(gw, 1)
    skew.forward(11)
    await client.no_answer()


async def gw_knows(gw: Gateway, count: int) -> None:
    """Wait until the gateway has accepted so many connections: a deadline begins then."""
    await gw.until(lambda _: gw.hestia.open_connections >= count, f"{count} clients")


async def test_t_uv_06_half_a_head_is_408(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, skew: Skew
) -> None:
    """TO-02."""
    client = await connect(gw)
    await client.send(request("GET", S + "/x")[:-4])
    await gw_knows(gw, 1)
    await read_by_now(gw, connect)
    skew.forward(16)
    (await client.response()).problem("request_timeout", 408)
    await client.gone()
    assert upstream.targets == [b"/turn"]


async def read_by_now(gw: Gateway, connect: MakeClient) -> None:
    """Whatever was sent before has been read: somebody who came later has an answer."""
    other = await connect(gw)
    assert (await other.ask("GET", S + "/turn")).status == 200
    await other.close()


async def test_t_to_01_the_whole_head_has_one_deadline(gw: Gateway, connect: MakeClient, skew: Skew) -> None:
    client = await connect(gw)
    data = request("GET", S + "/x")
    for number in range(3):
        await client.send(data[number * 5 : number * 5 + 5])
        await read_by_now(gw, connect)
        skew.forward(6)
    (await client.response()).problem("request_timeout", 408)
    await client.gone()


async def test_t_to_02_a_body_that_stalls_is_408_and_the_service_sees_the_end(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, skew: Skew
) -> None:
    """TO-03, and BF-07: the rest is not made up."""
    client = await connect(gw)
    await client.send(request("POST", S + "/x", ("Content-Length", "10")) + b"half")
    await upstream.until(lambda: bool(upstream.requests), "the head")
    skew.forward(61)
    (await client.response("POST")).problem("request_timeout", 408)
    await client.gone()
    await upstream.until(lambda: bool(upstream.connections[-1].ended), "the end")
    assert not upstream.requests[0].complete


async def test_to_04_a_connection_without_requests_is_closed_in_time(
    gw: Gateway, connect: MakeClient, skew: Skew
) -> None:
    client = await connect(gw)
    assert (await client.ask("GET", S + "/x")).status == 200
    skew.forward(60)
    assert (await client.ask("GET", S + "/x")).status == 200
    skew.forward(76)
    await client.gone()
    assert client.surplus == b""


async def test_t_to_03_a_full_backlog_is_504(gateway: MakeGateway, connect: MakeClient) -> None:
    """TO-05: nobody accepts, and the system's queue of connections is full."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(deaf.getsockname())
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            gw = await gateway(service("a", url, connect_timeout=0.4, retry_count=0))
            response = await (await connect(gw)).ask("GET", S + "/x")
            response.problem("upstream_connect_timeout", 504)
        finally:
            for filler in fillers:
                filler.close()


async def test_to_06_a_service_that_does_not_take_the_body_is_504(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, skew: Skew
) -> None:
    done = asyncio.Event()
    upstream = await raw(
        [
            step.get_head(),
            step.stop_reading(),
            step.wait_for(done),
            step.read_on(),
            step.until_gone(),
            step.close(),
        ]
    )
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(request("POST", S + "/x", ("Content-Length", str(64 * MIB))))
    await upstream.until(lambda: bool(upstream.requests), "the head")
    client.transport.write(bytes(32 * MIB))
    client.begin("POST")
    for _ in range(10):  # as long as anything moves, it is slow and not stalled
        skew.forward(61)
        await one_sweep(gw)
        if client.received:
            break
    (await client.body()).problem("upstream_header_timeout", 504)
    done.set()
    client.reset()


async def test_t_to_06_an_answer_that_stalls_is_truncated(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, skew: Skew
) -> None:
    """TO-08."""
    upstream = await raw(
        [
            step.get_request(),
            step.send(head("HTTP/1.1 200 OK", [CHUNKED]) + chunk(b"part") * 10),
            step.until_gone(),
            step.close(),
        ]
    )
    client = await connect(await gateway(a=upstream))
    await client.send(request("GET", S + "/x"))
    response = await client.head()
    await client.got(chunk(b"part") * 10)
    skew.forward(601)
    await client.body()
    assert not response.complete
    await client.gone()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the abort")


async def test_t_to_07_and_08_a_slow_reader_is_not_the_services_fault_until_it_never_reads(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, skew: Skew
) -> None:
    """TO-16, then TO-09: the pauses together are longer than the service may take, each alone is not."""
    upstream = await raw(
        [
            step.get_request(),
            step.send(head("HTTP/1.1 200 OK", [("Content-Length", str(64 * MIB))])),
            flood,
        ],
        keep=False,
    )
    gw = await gateway(a=upstream)
    client = await connect(gw, receive_buffer=4096)
    client.keep = False
    await client.send(request("GET", S + "/x"))
    await client.head()
    client.transport.pause_reading()
    for _ in range(6):
        await stuck(gw)
        skew.forward(110)
        await one_sweep(gw)
        assert not client.ended
        await sip(gw, client)
    await stuck(gw)
    skew.forward(121)
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the abort")
    client.transport.resume_reading()
    await client.gone()


async def flood(connection: Connection) -> None:
    """Everything at once, however long it takes to be read."""
    connection.transport.write(bytes(64 * MIB))


async def stuck(gw: Gateway) -> None:
    """Wait until the gateway holds bytes that its client does not take."""
    await gw.until(lambda _: not writable(gw), "a client that does not read")


async def sip(gw: Gateway, client: Client) -> None:
    """Read until the gateway has room for its client again, and no more."""
    async with asyncio.timeout(PATIENCE):
        while not writable(gw):
            client.transport.resume_reading()
            await asyncio.sleep(0)
            client.transport.pause_reading()


def writable(gw: Gateway) -> bool:
    """Whether every client takes what it gets."""
    assert gw.hestia._edge is not None
    return all(one.writable for one in gw.hestia._edge._connections)


async def test_t_to_09_and_10_no_timer_is_set_for_a_request(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TO-18: all that the data path sets while requests run is the sweep's own timer."""
    loop, found = asyncio.get_running_loop(), []
    client = await connect(gw)
    assert (await client.ask("GET", S + "/x")).status == 200  # dials, which has a timer
    real = loop.call_at

    def call_at(when: float, callback: Any, *args: Any, **others: Any) -> asyncio.TimerHandle:
        found.extend(_ours(sys._getframe(1)))
        return real(when, callback, *args, **others)

    later = loop.call_later

    def call_later(delay: float, callback: Any, *args: Any, **others: Any) -> asyncio.TimerHandle:
        found.extend(_ours(sys._getframe(1)))
        return later(delay, callback, *args, **others)

    monkeypatch.setattr(loop, "call_at", call_at)
    monkeypatch.setattr(loop, "call_later", call_later)
    for _ in range(50):
        assert (await client.ask("POST", S + "/x", body=b"x")).status == 200
    monkeypatch.undo()
    assert set(found) <= {"_sweep", "_dial"}  # a machine that halts for a second needs a new connection


def _ours(frame: Any) -> list[str]:
    """The function of Hestia that sets a timer, when it is one of the edge or the data path."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.startswith("hestia."):
            return [frame.f_code.co_name] if name.startswith(DATA_PATH) else []
        frame = frame.f_back
    return []


async def test_cp_13_and_15_an_idle_connection_to_a_service_is_closed_before_the_service_would(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, skew: Skew
) -> None:
    """TO-15: after 4 s, and the common servers keep theirs for 5."""
    assert (await (await connect(gw)).ask("GET", S + "/x")).status == 200
    assert upstream.open == 1
    skew.forward(4.1)
    await upstream.until(lambda: upstream.open == 0, "the idle connection to be closed")


async def test_t_cp_07_a_promise_to_close_is_believed(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, skew: Skew
) -> None:
    upstream = await raw([step.repeat(answer(b"ok", ("Keep-Alive", "timeout=2")))])
    client = await connect(await gateway(a=upstream))
    for _ in range(3):
        assert (await client.ask("GET", S + "/x")).status == 200
        skew.forward(1.1)
    assert [one.connection for one in upstream.requests] == [0, 1, 2]
