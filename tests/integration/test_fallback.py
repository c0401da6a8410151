"""`fallback_url` (proxy-semantics RF-06): asked once, when the service cannot be reached or started."""

from __future__ import annotations

import json

import pytest

from hestia.core.errors import StartFailed
from hestia.core.model import Backoff
from tests.fakes import upstream as step
from tests.fakes import websocket
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import answer, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import MakeGateway, cold, service

S = "/services/a"
ELSEWHERE = answer(b"fallback", ("X-From", "fallback"))


async def gone(raw: MakeUpstream) -> RawUpstream:
    """A service that is hot and then refuses."""
    return await raw([step.repeat(answer(b"primary"))])


async def test_t_rf_09_the_request_is_written_for_the_fallback(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """Its own Host and base path; its redirects and cookies are its own, too."""
    primary, other = await gone(raw), await raw()
    other.scripts = [
        [
            step.repeat(
                answer(
                    b"fallback",
                    ("Location", f"{other.url}/base/next"),
                    ("Set-Cookie", "a=1; Path=/"),
                    status="201 Created",
                )
            )
        ]
    ]
    gw = await gateway(service("a", primary.url + "/v9", fallback_url=other.url + "/base", retry_count=0))
    primary.stop_listening()
    client = await connect(gw)
    response = await client.ask("POST", f"{S}/x%2Fy?n=1", ("X-A", "1"), body=b"whole")
    assert (response.status, bytes(response.body)) == (201, b"fallback")
    assert response.get("location") == f"{S}/next".encode()
    assert response.get("set-cookie") == f"a=1; Path={S}/".encode()
    (first,) = other.requests
    assert first.target == b"/base/x%2Fy?n=1"
    assert first.get("host") == other.authority.encode()
    assert first.get("x-forwarded-prefix") == S.encode()
    assert (first.get("x-a"), bytes(first.body)) == (b"1", b"whole")
    assert primary.requests == []
    await eventually(lambda: b'"fallback":true' in gw.log, "the access line")


async def test_t_rf_09_over_a_host_name_the_host_is_kept_as_for_the_service(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    primary, other = await gone(raw), await raw([step.repeat(ELSEWHERE)])
    gw = await gateway(service("a", primary.url, fallback_url=other.url, retry_count=0))
    primary.stop_listening()
    response = await (await connect(gw)).ask("GET", "/x", host="a.localhost")
    assert bytes(response.body) == b"fallback"
    assert other.requests[0].get("host") == b"a.localhost"
    assert not other.requests[0].has("x-forwarded-prefix")


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_rf_06_a_cold_service_that_fails_to_start(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, upstream: HttpUpstream, size: int
) -> None:
    """Who waits goes to the fallback instead of 503, with the whole body, also what came meanwhile."""
    other = await raw([step.repeat(ELSEWHERE)], keep=False)
    gw = await gateway(cold("a", fallback_url=other.url), wakes={"a": upstream}, ready=False)
    gw.engine.hold("start.call")
    gw.engine.fail_next_start(StartFailed("The program exited with status 3.", exit_status=3))
    clients = [await connect(gw) for _ in range(3)]
    body = pattern(size)
    messages = [request("POST", f"{S}/{number}", body=body) for number in range(3)]
    for client, message in zip(clients, messages, strict=True):
        await client.send(message[:100_000])
    await gw.until_waiting(3)
    gw.engine.let_go("start.call")
    for client, message in zip(clients, messages, strict=True):
        await client.send(message[100_000:])
        assert bytes((await client.response("POST")).body) == b"fallback"
    assert [bytes(one.body) == body for one in other.requests] == [True] * 3
    assert {one.target for one in other.requests} == {b"/0", b"/1", b"/2"}
    assert upstream.requests == []


async def test_rf_06_while_the_breaker_is_open_the_fallback_is_asked_at_once(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, upstream: HttpUpstream
) -> None:
    other = await raw([step.repeat(ELSEWHERE)])
    backoff = Backoff(intensity=1, cool_down=600.0)
    gw = await gateway(cold("a", fallback_url=other.url, restart_backoff=backoff), wakes={"a": upstream})
    gw.engine.fail_next_start(StartFailed("The program exited with status 3.", exit_status=3))
    client = await connect(gw)
    for _ in range(3):
        assert bytes((await client.ask("GET", S + "/x")).body) == b"fallback"
    assert len(gw.engine.starts) == 1


async def test_rf_06_a_websocket_goes_to_the_fallback(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    primary = await gone(raw)
    other = await raw([step.get_request(), step.send(websocket.switching()), step.until_gone()])
    gw = await gateway(service("a", primary.url, fallback_url=other.url, retry_count=0))
    primary.stop_listening()
    client = await connect(gw)
    await client.send(websocket.handshake(S + "/ws"))
    assert (await client.head(upgrade=True)).status == 101
    other.connections[0].close()
    await client.gone()


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "503 Busy"])
async def test_t_rf_10_an_answer_of_the_service_is_the_answer(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, status: str
) -> None:
    primary, other = await raw([step.repeat(answer(b"mine", status=status))]), await raw()
    gw = await gateway(service("a", primary.url, fallback_url=other.url, retry_on_status=(502,)))
    response = await (await connect(gw)).ask("GET", S + "/x")
    assert (response.status, bytes(response.body)) == (int(status[:3]), b"mine")
    assert other.connections == []


@pytest.mark.parametrize(("method", "asked"), [("GET", 1), ("PUT", 1), ("POST", 0)])
async def test_rf_06_a_listed_status_goes_to_the_fallback_after_the_services_attempts(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, method: str, asked: int
) -> None:
    primary = await raw([step.repeat(answer(b"busy", status="503 Busy"))])
    other = await raw([step.repeat(answer(b"busy too", status="503 Busy"))])
    gw = await gateway(service("a", primary.url, fallback_url=other.url, retry_on_status=(503,)))
    response = await (await connect(gw)).ask(method, S + "/x", body=None if method == "GET" else b"body")
    assert (response.status, bytes(response.body)) == (503, b"busy too" if asked else b"busy")
    assert (len(primary.requests), len(other.requests)) == (1 + asked, asked)
    if method == "PUT":
        assert bytes(other.requests[0].body) == b"body"
    await eventually(lambda: b'"attempts":%d' % (1 + 2 * asked) in gw.log, "the access line")


async def test_rf_06_what_was_sent_and_broke_does_not_go_to_the_fallback(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    primary, other = await raw([step.get_request(), step.reset()]), await raw()
    gw = await gateway(service("a", primary.url, fallback_url=other.url))
    client = await connect(gw)
    (await client.ask("POST", S + "/x", body=b"once")).problem("upstream_disconnected", 502)
    (await client.ask("GET", S + "/x")).problem("upstream_disconnected", 502)
    assert other.connections == []


async def test_rf_06_nor_what_broke_after_its_head(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    cut = head("HTTP/1.1 200 OK", [("Content-Length", "10")]) + b"abc"
    primary, other = await raw([step.get_request(), step.send(cut), step.reset()]), await raw()
    gw = await gateway(service("a", primary.url, fallback_url=other.url))
    response = await (await connect(gw)).ask("GET", S + "/x")
    assert not response.complete
    assert other.connections == []


async def test_t_rf_11_all_dead_names_both_with_attempts(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    primary, other = await gone(raw), await gone(raw)
    gw = await gateway(service("a", primary.url, fallback_url=other.url, retry_count=0))
    primary.stop_listening()
    other.stop_listening()
    members = (await (await connect(gw)).ask("GET", S + "/x")).problem("upstream_connect_failed", 502)
    assert members["attempts"] == 2
    assert str(primary.port) in members["detail"]
    assert str(other.port) in members["detail"]


async def test_rf_06_a_failed_start_stays_the_reason_when_the_fallback_is_dead_as_well(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, upstream: HttpUpstream
) -> None:
    other = await gone(raw)
    gw = await gateway(cold("a", fallback_url=other.url), wakes={"a": upstream})
    other.stop_listening()
    failed = StartFailed("The program exited with status 3.", exit_status=3, tail=("no such model",))
    gw.engine.fail_next_start(failed)
    response = await (await connect(gw)).ask("GET", S + "/x")
    members = response.problem("service_start_failed", 503)
    assert "exited with status 3" in members["detail"]
    assert str(other.port) in members["detail"]
    assert "no such model" in members["detail"]
    assert response.has("retry-after")
    error = (await gw.status()).last_error
    assert error is not None
    assert "fallback" not in error.detail, "it is this request's story only"


async def test_rf_06_a_stale_connection_to_the_fallback_is_replaced(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, upstream: HttpUpstream
) -> None:
    other = await raw(
        [step.get_request(), step.send(ELSEWHERE), step.get_request(), step.reset()], [step.repeat(ELSEWHERE)]
    )
    backoff = Backoff(intensity=1, cool_down=600.0)
    gw = await gateway(cold("a", fallback_url=other.url, restart_backoff=backoff), wakes={"a": upstream})
    gw.engine.fail_next_start(StartFailed("The program exited with status 3.", exit_status=3))
    client = await connect(gw)
    for _ in range(2):
        assert bytes((await client.ask("GET", S + "/x")).body) == b"fallback"
    assert len(other.requests) == 3


async def test_rf_06_a_client_that_leaves_ends_the_request_at_the_fallback(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    primary, other = await gone(raw), await raw([step.get_request(), step.until_gone()])
    gw = await gateway(service("a", primary.url, fallback_url=other.url, retry_count=0))
    primary.stop_listening()
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await other.saw(1)
    await client.close()
    await other.until(lambda: other.open == 0, "the fallback to be told")
    await eventually(lambda: b'"status":499' in gw.log, "the access line")
    line = json.loads(gw.log.splitlines()[-1])
    assert (line["status"], line["fallback"], line["aborted"]) == (499, True, "client")


async def test_rd17_nobody_waits_for_a_primary_that_somebody_else_starts_while_a_fallback_is_there(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """Neither for its appearance nor for a back-off: the patience set here is longer than the test's."""
    primary, other = await raw(), await raw([step.repeat(ELSEWHERE)])
    primary.stop_listening()
    settings = service(
        "a",
        primary.url,
        fallback_url=other.url,
        appear_timeout=3600.0,
        restart_backoff=Backoff(base=3600.0, cap=3600.0),
    )
    gw = await gateway(settings, hot=False)
    client = await connect(gw)
    for _ in range(5):
        assert (await client.ask("GET", S + "/x")).body == b"fallback"
