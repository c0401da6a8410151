"""Retry (proxy-semantics RF): only what may be repeated, only before a byte was relayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hestia.core import steps
from hestia.core.model import InstanceId, InstanceSettings, ServiceId, ServiceSettings
from tests.fakes import upstream as step
from tests.fakes import websocket
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import pattern
from tests.fakes.skew import Skew
from tests.fakes.wire import answer, chunk, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import MakeGateway, cold, service

S = "/services/a"


@pytest.fixture
async def skew(leaks: None) -> AsyncIterator[Skew]:
    skew = Skew()
    yield skew
    skew.end()


@pytest.mark.parametrize(("method", "size"), [("GET", None), ("POST", 5_000_000), ("PUT", 10)])
async def test_t_rf_01_nobody_listens_for_a_moment_the_request_is_sent_once_and_whole(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, method: str, size: int | None
) -> None:
    """A refused connect sent nothing, so anything may be tried again; the body comes afterwards."""
    upstream = await raw([step.repeat(answer(b"ok"))], keep=False)
    gw = await gateway(service("a", upstream.url, retry_count=20, retry_delay=0.1))
    client = await connect(gw)
    upstream.stop_listening()
    body = None if size is None else pattern(size)
    message = request(method, S + "/x", body=body)
    await client.send(message[:200])
    await asyncio.sleep(0.15)
    await upstream.start()
    await client.send(message[200:])
    response = await client.response(method)
    assert response.status == 200, response.body
    assert len(upstream.requests) == 1
    assert upstream.requests[0].body == (body or b"")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_t_rf_02_a_post_reset_after_it_was_written_is_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, method: str
) -> None:
    upstream = await raw([step.get_request(), step.reset()])
    client = await connect(await gateway(service("a", upstream.url, retry_count=3)))
    response = await client.ask(method, S + "/x", body=b"once")
    members = response.problem("upstream_disconnected", 502)
    assert members["attempts"] == 1
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
async def test_t_rf_03_a_get_reset_before_any_byte_is_tried_once_more(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, method: str
) -> None:
    upstream = await raw([step.get_request(), step.reset()], [step.repeat(answer(b"second"))])
    client = await connect(await gateway(a=upstream))
    assert bytes((await client.ask(method, S + "/x")).body) == b"second"
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_t_rf_03_twice_is_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, end: str
) -> None:
    upstream = await raw([step.get_request(), step.close() if end == "close" else step.reset()])
    client = await connect(await gateway(a=upstream))
    members = (await client.ask("GET", S + "/x")).problem("upstream_disconnected", 502)
    assert members["attempts"] == 2
    assert len(upstream.requests) == 2


async def test_t_rf_03_retry_count_0_means_never(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw([step.get_request(), step.reset()])
    client = await connect(await gateway(service("a", upstream.url, retry_count=0)))
    (await client.ask("GET", S + "/x")).problem("upstream_disconnected", 502)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX: 1\r\n", b"H"])
async def test_t_rf_04_a_get_reset_inside_the_head_is_502_without_retry(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, part: bytes
) -> None:
    upstream = await raw([step.get_request(), step.send(part), step.pause(0.05), step.reset()])
    client = await connect(await gateway(a=upstream))
    (await client.ask("GET", S + "/x")).problem("upstream_disconnected", 502)
    assert len(upstream.requests) == 1


async def test_t_rf_05_a_get_reset_inside_the_body_is_truncated_without_retry(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    cut = head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]) + chunk(b"abc")
    upstream = await raw([step.get_request(), step.send(cut), step.pause(0.05), step.reset()])
    client = await connect(await gateway(a=upstream))
    response = await client.ask("GET", S + "/x")
    assert (response.status, response.complete) == (200, False)
    assert len(upstream.requests) == 1


async def test_t_rf_10_a_4xx_or_5xx_is_the_services_answer(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    for status in ("404 Not Found", "500 Oops", "502 Bad", "503 Later"):
        upstream = await raw([step.repeat(answer(b"mine", status=status))])
        client = await connect(await gateway(service("a", upstream.url, retry_count=3)))
        response = await client.ask("GET", S + "/x")
        assert (response.status, bytes(response.body)) == (int(status[:3]), b"mine")
        assert not response.has("proxy-status")
        assert len(upstream.requests) == 1


async def test_t_rf_11_nobody_there_is_an_error_with_code_and_attempts(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """A hot service whose listener has gone: refused, told with address, attempts and what to do."""
    upstream = await raw([step.repeat(answer(b"ok"))])
    gw = await gateway(service("a", upstream.url, request_timeout=3.0, appear_timeout=1.0))
    gw.probe.ready = True
    client = await connect(gw)
    upstream.stop_listening()
    response = await client.ask("GET", S + "/x")
    assert response.status in (502, 503), response.body
    members = response.problem(response.json()["code"])
    assert members["code"] in (
        "upstream_connect_failed",
        "service_start_failed",
        "service_start_timeout",
        "queue_timeout",
    )
    assert str(upstream.port) in members["detail"]


async def test_a_second_instance_serves_when_the_first_cannot_be_reached(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """Failover between instances is the same path as a retry (SPEC 1)."""
    gone = await raw([step.repeat(answer(b"first"))])
    there = await raw([step.repeat(answer(b"second"))])
    instances = tuple(
        InstanceSettings(id=InstanceId(name), base_url=upstream.url)
        for name, upstream in (("one", gone), ("two", there))
    )
    gw = await gateway(ServiceSettings(id=ServiceId("a"), instances=instances))
    gone.stop_listening()
    client = await connect(gw)
    response = await client.ask("POST", S + "/x", body=b"whole")
    assert bytes(response.body) == b"second", response
    assert bytes(there.requests[0].body) == b"whole"


# -- what only happens where it is configured --------------------------------------------------

BUSY = answer(b"busy", ("X-From", "service"), status="503 Service Unavailable")


def each(*answers: bytes) -> list[list[step.Step]]:
    """One connection for each answer: what is discarded is closed, not drained (RF-08)."""
    return [[step.repeat(one)] for one in answers]


async def test_t_rf_06_a_put_is_sent_again_with_the_same_body(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(*each(BUSY, answer(b"done")))
    gw = await gateway(service("a", upstream.url, retry_on_status=(502, 503)))
    client = await connect(gw)
    body = pattern(300_000)
    message = request("PUT", S + "/x", body=body)
    await client.send(message, at=[100, 100_000], gap=0.02)
    response = await client.response("PUT")
    assert (response.status, bytes(response.body)) == (200, b"done")
    assert not response.has("x-from")
    assert [bytes(one.body) for one in upstream.requests] == [body, body]
    assert (await client.ask("GET", S + "/y")).status == 200


async def test_t_rf_06_a_chunked_body_is_sent_again_whole(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(*each(BUSY, answer(b"done")))
    client = await connect(await gateway(service("a", upstream.url, retry_on_status=(503,))))
    fields = [("Host", "localhost"), ("Transfer-Encoding", "chunked")]
    await client.send(head(f"PUT {S}/x HTTP/1.1", fields) + chunk(b"abc") + chunk(b"def") + b"0\r\n\r\n")
    assert bytes((await client.response("PUT")).body) == b"done"
    assert [bytes(one.body) for one in upstream.requests] == [b"abcdef", b"abcdef"]


async def test_t_rf_07_a_body_that_is_too_large_to_keep_is_not_sent_again(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(*each(BUSY, answer(b"never")), keep=False)
    client = await connect(await gateway(service("a", upstream.url, retry_on_status=(503,), retry_count=3)))
    response = await client.ask("PUT", S + "/x", body=bytes(2 * 1024 * 1024))
    assert (response.status, bytes(response.body)) == (503, b"busy")
    assert len(upstream.requests) == 1


async def test_t_rf_08_the_services_last_answer_is_passed_on(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    second = answer(b"still busy", ("X-From", "service"), status="503 Still")
    upstream = await raw(*each(BUSY, second))
    gw = await gateway(service("a", upstream.url, retry_on_status=(503,)))
    response = await (await connect(gw)).ask("GET", S + "/x")
    assert (response.status, response.reason, bytes(response.body)) == (503, b"Still", b"still busy")
    assert not response.has("proxy-status")
    assert len(upstream.requests) == 2
    await eventually(lambda: b'"attempts":2' in gw.log, "the access line")


async def test_t_rf_08_a_large_answer_is_not_drained(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """RF-08: the connection is closed instead."""
    start = head("HTTP/1.1 503 Busy", [("Content-Length", "100000000")])
    upstream = await raw(
        [step.get_request(), step.send(start + bytes(1000)), step.until_gone()], [step.repeat(answer(b"ok"))]
    )
    client = await connect(await gateway(service("a", upstream.url, retry_on_status=(503,))))
    assert bytes((await client.ask("GET", S + "/x")).body) == b"ok"
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the first connection to be closed")


@pytest.mark.parametrize(
    ("method", "status", "sent"),
    [("GET", (), 1), ("GET", (503,), 2), ("POST", (503,), 1), ("PATCH", (503,), 1)],
)
async def test_t_rf_17_a_503_goes_on_only_where_it_is_listed_and_only_for_idempotent_methods(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    method: str,
    status: tuple[int, ...],
    sent: int,
) -> None:
    first = await raw([step.repeat(BUSY)])
    second = await raw([step.repeat(answer(b"second"))])
    instances = tuple(
        InstanceSettings(id=InstanceId(name), base_url=upstream.url)
        for name, upstream in (("one", first), ("two", second))
    )
    gw = await gateway(ServiceSettings(id=ServiceId("a"), instances=instances, retry_on_status=status))
    client = await connect(gw)
    response = await client.ask(method, S + "/x", body=None if method == "GET" else b"x")
    assert response.status == (200 if sent == 2 else 503)
    assert len(first.requests) == 1
    assert len(second.requests) == sent - 1
    await eventually(lambda: b'"attempts":%d' % sent in gw.log, "the access line")


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("key", [(), (("Idempotency-Key", "k-1"),)])
async def test_t_rf_15_a_post_with_a_key_is_sent_again_where_the_service_knows_it(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    allowed: bool,
    key: tuple[tuple[str, str], ...],
) -> None:
    upstream = await raw([step.get_request(), step.reset()], [step.repeat(answer(b"second"))])
    gw = await gateway(service("a", upstream.url, retry_idempotency_key=allowed))
    response = await (await connect(gw)).ask("POST", S + "/x", *key, body=b"whole")
    if allowed and key:
        assert bytes(response.body) == b"second"
        assert [bytes(one.body) for one in upstream.requests] == [b"whole", b"whole"]
    else:
        response.problem("upstream_disconnected", 502)
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("again", [False, True])
async def test_rf_01_a_head_that_does_not_come_is_asked_for_again_where_configured(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, skew: Skew, again: bool
) -> None:
    upstream = await raw([step.get_request(), step.until_gone()], [step.repeat(answer(b"second"))])
    gw = await gateway(service("a", upstream.url, response_timeout=60.0, retry_on_timeout=again))
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await upstream.saw(1)
    skew.forward(61)
    response = await client.response()
    if again:
        assert bytes(response.body) == b"second"
    else:
        response.problem("upstream_header_timeout", 504)
    assert len(upstream.requests) == 1 + again


async def test_rf_01_a_503_right_after_the_start_is_asked_again_where_configured(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "WARM_WINDOW", 600.0)  # this machine may be slow
    upstream = await raw(*each(BUSY, answer(b"warm"), BUSY))
    gw = await gateway(cold("a", retry_on_warmup=True), wakes={"a": upstream})
    client = await connect(gw)
    assert bytes((await client.ask("GET", S + "/x")).body) == b"warm"
    assert len(upstream.requests) == 2
    upstream.scripts = [[step.repeat(BUSY)]]
    upstream.connections[1].close()
    await upstream.until(lambda: bool(upstream.connections[1].ended), "the kept connection to end")
    assert (await client.ask("GET", S + "/x")).status == 503


async def test_rf_01_after_an_interim_answer_nothing_is_sent_again(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    hint = head("HTTP/1.1 103 Early Hints", [("Link", "</a>")])
    upstream = await raw(
        [step.get_request(), step.send(hint, BUSY), step.until_gone()], [step.repeat(answer(b"no"))]
    )
    gw = await gateway(service("a", upstream.url, retry_on_status=(503,), retry_count=3))
    response = await (await connect(gw)).ask("GET", S + "/x")
    assert response.status == 503
    assert len(upstream.requests) == 1


async def test_rf_11_a_handshake_is_sent_again_until_there_is_a_101(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [step.get_request(), step.reset()],
        [step.get_request(), step.send(websocket.switching()), step.until_gone()],
    )
    client = await connect(await gateway(a=upstream))
    await client.send(websocket.handshake(S + "/ws"))
    assert (await client.head(upgrade=True)).status == 101
    assert len(upstream.requests) == 2
    upstream.connections[1].reset()
    await client.gone()
    assert len(upstream.requests) == 2


async def test_t_rf_12_a_service_that_always_fails_gets_a_fifth_more_at_most(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw([step.repeat(BUSY)], keep=False)
    gw = await gateway(service("a", upstream.url, retry_on_status=(503,), retry_count=5))
    clients = [await connect(gw) for _ in range(10)]
    begun = asyncio.get_running_loop().time()

    async def ask(client: Client) -> None:
        for _ in range(30):
            assert (await client.ask("GET", S + "/x")).status == 503

    await asyncio.gather(*(ask(client) for client in clients))
    windows = 1 + (asyncio.get_running_loop().time() - begun) // 10
    assert 300 < len(upstream.requests) <= 300 * 1.2 + 3 * windows


async def test_t_rf_13_a_client_that_leaves_between_attempts_ends_them(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(*each(BUSY, answer(b"never")))
    gw = await gateway(service("a", upstream.url, retry_on_status=(503,), retry_delay=60.0))
    client = await connect(gw)
    await client.send(request("PUT", S + "/x", body=b"body"))
    await upstream.saw(1)
    await eventually(lambda: gw.hestia.buffers.held > 0, "the body to wait for the next attempt")
    await gw.until_in_flight(0)
    await client.close()
    await eventually(lambda: b'"status":499' in gw.log, "the access line")
    assert len(upstream.requests) == 1


async def test_t_rf_16_the_copy_of_a_body_is_freed_when_the_head_has_come(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    go, rest = asyncio.Event(), asyncio.Event()
    start = head("HTTP/1.1 200 OK", [("Content-Length", "4")])
    script = [
        step.get_request(),
        step.wait_for(go),
        step.send(start),
        step.wait_for(rest),
        step.send(b"done"),
    ]
    upstream = await raw([*script, step.until_gone()])
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(request("PUT", S + "/x", body=bytes(50_000)))
    await upstream.saw(1)
    assert 50_000 <= gw.hestia.buffers.copies < 52_000
    go.set()
    await client.head("PUT")
    assert gw.hestia.buffers.copies == 0
    rest.set()
    assert bytes((await client.body()).body) == b"done"


async def test_t_rf_16_no_body_is_kept_where_nothing_may_follow(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """Neither at retry_count: 0 nor for the last attempt, nor once an interim answer was passed on."""
    go = asyncio.Event()
    hint = head("HTTP/1.1 103 Early Hints", [("Link", "</a>")])
    never, last, given = (
        await raw([step.get_request(), step.wait_for(go), step.send(answer(b"done")), step.until_gone()]),
        await raw(
            [step.get_request(), step.reset()],
            [step.get_request(), step.wait_for(go), step.send(answer(b"done")), step.until_gone()],
        ),
        await raw(
            [step.get_request(), step.send(hint), step.wait_for(go), step.send(answer(b"done"))],
        ),
    )
    gw = await gateway(
        service("never", never.url, retry_count=0), service("last", last.url), service("given", given.url)
    )
    clients = []
    for name, upstream, count in (("never", never, 1), ("last", last, 2), ("given", given, 1)):
        client = await connect(gw)
        await client.send(request("PUT", f"/services/{name}/x", body=bytes(50_000)))
        await upstream.saw(count)
        if name == "given":
            await client.got(b" 103 ")
        assert gw.hestia.buffers.held == 0, name
        clients.append(client)
    go.set()
    for client in clients:
        assert bytes((await client.response("PUT")).body) == b"done"


async def test_rf_04_connects_that_fail_take_nothing_from_the_budget(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    skew: Skew,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A program that restarts is knocked at as often as the service says."""
    caplog.set_level("INFO", "hestia.proxy.attempts")
    upstream = await raw([step.repeat(answer(b"ok"))])
    gw = await gateway(cold("a", retry_count=1000, retry_delay=0.02), wakes={"a": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", S + "/x")).status == 200
    skew.forward(10)  # a refusal right after the start is another matter (CQ-13)
    upstream.stop_listening()
    for connection in upstream.connections:
        connection.close()
    clients = [await connect(gw) for _ in range(2)]
    for number, one in enumerate(clients):
        await one.send(request("POST", f"{S}/{number}", body=b"whole"))
    await eventually(lambda: len(caplog.records) > 8, "more attempts than a budget has")
    await upstream.start()
    for one in clients:
        assert (await one.response("POST")).status == 200
