"""RF-07: whatever becomes of a further attempt, the client gets an answer of the service, if it gave one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from hestia.core.errors import StartFailed
from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import pattern
from tests.fakes.skew import Skew
from tests.fakes.upstream import Connection, RawUpstream, Step
from tests.fakes.wire import LAST_CHUNK, Response, answer, chunk, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, cold, service

S = "/services/a"
BUSY = answer(b"busy", ("X-From", "service"), status="503 Very Busy")


@pytest.fixture
async def skew(leaks: None) -> AsyncIterator[Skew]:
    skew = Skew()
    yield skew
    skew.end()


@pytest.fixture
async def dead(raw: MakeUpstream) -> RawUpstream:
    """Nobody listens there."""
    upstream = await raw()
    upstream.stop_listening()
    return upstream


def is_the_services(response: Response, body: bytes = b"busy") -> None:
    assert (response.status, response.reason, bytes(response.body)) == (503, b"Very Busy", body), response
    assert response.get("x-from") == b"service"
    assert not response.has("proxy-status")
    assert response.complete


async def last_line(gw: Gateway) -> dict[str, object]:
    await eventually(lambda: b'"status":503' in gw.log, "the access line")
    line: dict[str, object] = json.loads(gw.log.splitlines()[-1])
    return line


def stop_listening(upstream: RawUpstream) -> Step:
    async def step(connection: Connection) -> None:
        upstream.stop_listening()

    return step


# -- the further attempt comes to nothing ------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
async def test_rf_07_the_next_attempt_is_refused(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, skew: Skew, method: str
) -> None:
    upstream = await raw()
    busy = head("HTTP/1.1 503 Very Busy", [("X-From", "service"), ("Content-Length", "4")])
    body = b"" if method == "HEAD" else b"busy"
    upstream.scripts = [
        [step.get_request(), stop_listening(upstream), step.send(busy, body), step.until_gone()]
    ]
    gw = await gateway(service("a", upstream.url, retry_on_status=(503,)))
    skew.forward(10)  # refused right after the start is another matter (CQ-13)
    response = await (await connect(gw)).ask(method, S + "/x", body=b"whole" if method == "PUT" else None)
    is_the_services(response, body)
    assert response.get("content-length") == b"4"
    line = await last_line(gw)
    assert (line["attempts"], line.get("code", "")) == (2, "")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "then",
    [
        [step.reset()],
        [step.send(b"junk\r\n\r\n")],
        [step.send(b"HTTP/1.1 200 OK\r\nContent-"), step.close()],
        [step.send(head("HTTP/1.1 101 Switching Protocols", []))],
        [step.send(head("HTTP/1.1 103 Early Hints", [("Link", "</a>")])), step.pause(0.02), step.reset()],
    ],
    ids=["reset", "junk", "half a head", "an unasked 101", "an interim answer, then reset"],
)
async def test_rf_07_the_next_attempt_breaks(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, then: list[Step]
) -> None:
    upstream = await raw([step.repeat(BUSY)], [step.get_request(), *then])
    gw = await gateway(service("a", upstream.url, retry_on_status=(503,)))
    is_the_services(await (await connect(gw)).ask("GET", S + "/x"))
    assert len(upstream.requests) == 2


async def test_rf_07_the_next_attempt_brings_no_head_in_time(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, skew: Skew
) -> None:
    upstream = await raw([step.repeat(BUSY)], [step.get_request(), step.until_gone()])
    gw = await gateway(service("a", upstream.url, retry_on_status=(503,), response_timeout=60.0))
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await upstream.saw(2)
    skew.forward(61)
    is_the_services(await client.response())


async def test_rf_07_no_lease_for_the_next_attempt_within_the_time_of_the_request(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """One request at a time: the second one gets the place that the first one needs again."""
    go = asyncio.Event()
    upstream = await raw(
        [step.get_request(), step.wait_for(go), step.send(BUSY), step.until_gone()],
        [step.get_request(), step.until_gone()],
    )
    gw = await gateway(
        service("a", upstream.url, max_in_flight=1, retry_on_status=(503,), request_timeout=1.5)
    )
    first, second = await connect(gw), await connect(gw)
    await first.send(request("GET", S + "/first"))
    await upstream.saw(1)
    await second.send(request("GET", S + "/second"))
    await gw.until_waiting(1)
    go.set()
    is_the_services(await first.response())
    await upstream.until(lambda: upstream.targets == [b"/first", b"/second"], "the second request")
    await second.close()


@pytest.mark.parametrize("prefer", [(), (("Prefer", "respond-async"),)], ids=["waits", "respond-async"])
async def test_rf_07_the_instance_dies_and_cannot_be_started_again(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, prefer: tuple[tuple[str, str], ...]
) -> None:
    upstream = await raw([step.repeat(answer(b"up")), step.until_gone()])
    gw = await gateway(cold("a", retry_on_status=(503,), retry_delay=0.6), wakes={"a": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", S + "/up")).status == 200
    upstream.scripts = [[step.repeat(BUSY)]]
    upstream.connections[0].close()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the kept connection to end")
    await client.send(request("GET", S + "/x", *prefer))
    await upstream.saw(2)
    await gw.until_in_flight(0)  # it pauses before the next attempt
    gw.engine.fail_next_start(StartFailed("The program exited with status 3.", exit_status=3))
    gw.engine.crash("a")
    upstream.connections[1].close()
    is_the_services(await client.response())


@pytest.mark.parametrize("then", ["refused", "reset", "junk"])
async def test_rf_07_the_fallback_comes_to_nothing(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, then: str
) -> None:
    primary = await raw([step.repeat(BUSY)])
    ends = {"reset": step.reset(), "junk": step.send(b"junk\r\n\r\n")}
    other = await raw([step.get_request(), ends.get(then, step.reset())])
    if then == "refused":
        other.stop_listening()
    gw = await gateway(
        service("a", primary.url, fallback_url=other.url, retry_on_status=(503,), retry_count=0)
    )
    client = await connect(gw)
    is_the_services(await client.ask("GET", S + "/x"))
    assert not (await last_line(gw)).get("fallback"), "its answer is not the one"
    is_the_services(await client.ask("GET", S + "/y"))


async def test_rf_07_the_gateway_is_ending(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw([step.repeat(BUSY)])
    gw = await gateway(service("a", upstream.url, retry_on_status=(503,), retry_delay=60.0))
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await upstream.saw(1)
    await eventually(lambda: gw.hestia.buffers.held > 0, "the answer to be kept")
    await gw.aclose(drain=0.2)
    is_the_services(await client.response())


# -- what is kept of it ------------------------------------------------------------------------


def framed(body: bytes, framing: str) -> tuple[bytes, bytes]:
    """Head and body of the service's answer."""
    fields = [("X-From", "service")]
    if framing == "length":
        return head("HTTP/1.1 503 Very Busy", [*fields, ("Content-Length", str(len(body)))]), body
    if framing == "close":
        return head("HTTP/1.1 503 Very Busy", fields), body
    start = head("HTTP/1.1 503 Very Busy", [*fields, ("Transfer-Encoding", "chunked")])
    return start, chunk(body[:1]) + chunk(body[1:]) + LAST_CHUNK


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [2, 60_000, 3_000_000])
@pytest.mark.parametrize("together", [False, True])
async def test_rf_07_a_body_of_any_size_is_whole(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    dead: RawUpstream,
    size: int,
    framing: str,
    together: bool,
) -> None:
    body = pattern(size)
    start, rest = framed(body, framing)
    pieces = [start + rest] if together else [start, rest]
    primary = await raw([step.get_request(), step.send(*pieces), step.close()], keep=False)
    gw = await gateway(
        service("a", primary.url, fallback_url=dead.url, retry_on_status=(503,), retry_count=0)
    )
    client = await connect(gw)
    is_the_services(await client.ask("GET", S + "/x"), body)
    is_the_services(await client.ask("GET", S + "/y"), body)


async def waits_for_another(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, *primary: Step
) -> tuple[Gateway, Client, RawUpstream, RawUpstream]:
    """A request whose answer is kept, while the fallback has it and does not answer yet."""
    first = await raw([step.get_request(), *primary], keep=False)
    other = await raw([step.get_request(), step.until_gone()])
    gw = await gateway(service("a", first.url, fallback_url=other.url, retry_on_status=(503,), retry_count=0))
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await other.saw(1)
    return gw, client, first, other


async def test_rf_08_no_more_of_it_is_read_than_is_kept(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    body = pattern(30_000_000)
    start, rest = framed(body, "length")
    gw, client, first, other = await waits_for_another(
        raw, gateway, connect, step.send(start, rest), step.until_gone()
    )
    await eventually(lambda: gw.hestia.buffers.held >= 64 * 1024, "the first part to be kept")
    await gw.until_in_flight(0)
    assert gw.hestia.buffers.held < 64 * 1024 + 300_000, "what is kept, and one read"
    assert first.connections[0].transport.get_write_buffer_size() > 0, "the rest is where it was"
    other.connections[0].reset()
    is_the_services(await client.response(), body)


async def test_rf_07_another_answer_is_the_one_and_frees_what_was_kept(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    start, rest = framed(pattern(3_000_000), "length")
    gw, client, first, other = await waits_for_another(
        raw, gateway, connect, step.send(start, rest), step.until_gone()
    )
    await eventually(lambda: gw.hestia.buffers.held >= 64 * 1024, "the first part to be kept")
    beginning = head("HTTP/1.1 200 OK", [("Content-Length", "4")])
    await other.connections[0].send(beginning)
    await client.head()
    assert gw.hestia.buffers.held == 0
    await first.until(lambda: bool(first.connections[0].ended), "the first connection to be closed")
    await other.connections[0].send(b"fine")
    assert bytes((await client.body()).body) == b"fine"


async def test_rf_07_a_client_that_leaves_frees_what_was_kept(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    start, rest = framed(pattern(3_000_000), "length")
    gw, client, first, other = await waits_for_another(
        raw, gateway, connect, step.send(start, rest), step.until_gone()
    )
    await client.close()
    await first.until(lambda: bool(first.connections[0].ended), "the service to be told")
    await other.until(lambda: bool(other.connections[0].ended), "the fallback to be told")
    await eventually(lambda: gw.hestia.buffers.held == 0, "nothing to be kept")


async def test_rf_07_an_answer_that_broke_meanwhile_is_cut_as_it_was(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    start, rest = framed(pattern(50_000), "length")
    _, client, first, other = await waits_for_another(
        raw, gateway, connect, step.send(start, rest[:1000]), step.close()
    )
    await first.until(lambda: first.connections[0].lost, "the service to have gone")
    other.connections[0].reset()
    response = await client.response()
    assert (response.status, response.complete) == (503, False)


async def test_rf_07_a_refusal_during_the_upload(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, dead: RawUpstream
) -> None:
    """CA-07 holds as if nothing had been tried: the rest of the body is not awaited."""
    primary = await raw([step.get_head(), step.send(BUSY), step.until_gone(), step.close()])
    gw = await gateway(
        service("a", primary.url, fallback_url=dead.url, retry_on_status=(503,), retry_count=0)
    )
    client = await connect(gw)
    await client.send(request("PUT", S + "/x", body=bytes(1000))[:-500])
    response = await client.response("PUT")
    is_the_services(response)
    assert response.get("connection") == b"close"
    await client.gone()


async def test_rf_07_a_handshake_that_was_refused(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, dead: RawUpstream
) -> None:
    from tests.fakes.websocket import handshake

    primary = await raw([step.repeat(BUSY)])
    gw = await gateway(
        service("a", primary.url, fallback_url=dead.url, retry_on_status=(503,), retry_count=0)
    )
    client = await connect(gw)
    await client.send(handshake(S + "/ws"))
    is_the_services(await client.response())
    await client.gone()
