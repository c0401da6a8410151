"""Retry (proxy-semantics RF): only what may be repeated, only before a byte was relayed."""

from __future__ import annotations

import asyncio

import pytest

from hestia.core.model import InstanceId, InstanceSettings, ServiceId, ServiceSettings
from tests.fakes import upstream as step
from tests.fakes.http_upstream import pattern
from tests.fakes.wire import answer, chunk, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import MakeGateway, service

S = "/services/a"


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
