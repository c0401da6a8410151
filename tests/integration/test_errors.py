"""Errors made by the gateway (proxy-semantics ER): one shape, by cause, never in place of an answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from hestia.cli.entry import data_path
from hestia.core.errors import EngineRefused, StartFailed
from tests.fakes import upstream as step
from tests.fakes import websocket
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import answer, head, request

from .assertions import refused
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, cold, service

S = "/services/a"

PARSED = [
    (b"nonsense\r\n\r\n", 400, "bad_request"),
    (head(f"GET {S}/x HTTP/1.1"), 400, "bad_host"),
    (head(f"POST {S}/x HTTP/1.1", [("Host", "localhost"), ("Content-Length", "x")]), 400, ""),
    (request("GET", f"{S}/../x"), 400, "path_rejected"),
    (request("GET", "/services/nosuch/x"), 404, "service_not_found"),
    (request("TRACE", f"{S}/x"), 405, "method_not_allowed"),
    (request("GET", f"{S}/x", host="evil.example"), 421, "unknown_host"),
    (request("POST", f"{S}/x", ("Expect", "x"), body=b""), 417, "expectation_failed"),
    (request("GET", f"{S}/" + "x" * 17000), 414, "target_too_long"),
    (request("GET", f"{S}/x", ("X", "y" * 17000)), 431, "head_too_large"),
    (head(f"GET {S}/x HTTP/2.0", [("Host", "localhost")]), 505, "http_version_not_supported"),
    (
        head(f"POST {S}/x HTTP/1.1", [("Host", "localhost"), ("Transfer-Encoding", "gzip, chunked")]),
        501,
        "unsupported_coding",
    ),
]


@pytest.mark.parametrize(("data", "status", "code"), PARSED)
async def test_t_er_01_refusals_of_requests(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, data: bytes, status: int, code: str
) -> None:
    client = await connect(gw)
    method = data.split(b" ")[0].decode("latin-1") if b" " in data else "GET"
    response = await refused(client, data, status, code, method=method, closes=False)
    members = response.json()
    assert set(members) >= {"type", "title", "status", "detail", "code", "error", "requestId", "retryable"}
    assert response.get("x-content-type-options") == b"nosniff"
    assert "Traceback" not in members["detail"]
    assert upstream.requests == []


FAULTS = [
    ([step.get_request(), step.close()], "POST", 502, "upstream_disconnected"),
    ([step.get_request(), step.reset()], "POST", 502, "upstream_disconnected"),
    ([step.get_request(), step.send(b"junk\r\n\r\n"), step.close()], "GET", 502, "upstream_invalid_response"),
    (
        [step.get_request(), step.send(answer(b"", status="999 X")), step.close()],
        "GET",
        502,
        "upstream_invalid_status",
    ),
    (
        [step.get_request(), step.send(head("HTTP/1.1 101 X")), step.close()],
        "GET",
        502,
        "upstream_invalid_response",
    ),
]


@pytest.mark.parametrize(("script", "method", "status", "code"), FAULTS)
async def test_t_er_01_faults_of_the_upstream(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    script: list[step.Step],
    method: str,
    status: int,
    code: str,
) -> None:
    upstream = await raw(script)
    client = await connect(await gateway(a=upstream))
    response = await client.ask(method, S + "/x", body=b"x" if method == "POST" else None)
    members = response.problem(code, status)
    assert members["serviceId"] == "a"
    assert members["attempts"] == 1
    assert upstream.authority in members["detail"]
    error = (response.get("proxy-status") or b"").decode()
    assert "error=" in error
    assert (await client.ask("GET", "/services/nosuch/")).status == 404


async def test_t_er_01_a_head_that_never_comes_is_504(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """Also T-TO-04: the upstream is told."""
    upstream = await raw([step.get_request(), step.until_gone(), step.close()])
    gw = await gateway(service("a", upstream.url, response_timeout=0.5))
    response = await (await connect(gw)).ask("POST", S + "/x", body=b"x")
    response.problem("upstream_header_timeout", 504)
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")
    assert len(upstream.requests) == 1


async def test_t_to_05_a_slow_upload_does_not_run_into_the_head_timeout(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(service("a", upstream.url, response_timeout=1.0))
    client = await connect(gw)
    message = request("POST", S + "/x", body=b"x" * 25)
    await client.send(message[:-25])
    for number in range(25):
        await client.send(message[len(message) - 25 + number : len(message) - 24 + number])
        await asyncio.sleep(0.1)
    assert (await client.response("POST")).status == 200


STARTS = [
    (
        StartFailed("The program exited with status 3.", exit_status=3, tail=("boom: no such file",)),
        "service_start_failed",
    ),
    (
        EngineRefused(
            "There is no program 'olama' on the PATH.",
            permanent=True,
            cause="not_found",
            remedy="correct `command`",
        ),
        "service_start_failed",
    ),
]


@pytest.mark.parametrize(("error", "code"), STARTS)
async def test_t_er_01_and_06_failed_starts_are_503_with_reason_and_retry_after(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, error: StartFailed, code: str
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    gw.engine.fail_next_start(error)
    client = await connect(gw)
    response = await client.ask("GET", S + "/x")
    members = response.problem(code, 503)
    assert response.has("retry-after")
    assert error.detail in members["detail"]
    for line in error.tail:
        assert line in members["detail"]


async def test_t_er_02_an_upstreams_own_error_page_is_untouched(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    page = b"<html>500 <b>oops</b></html>"
    for status in (
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "404 Not Found",
    ):
        upstream = await raw([step.repeat(answer(page, ("Content-Type", "text/html"), status=status))])
        response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
        assert (response.status, bytes(response.body)) == (int(status[:3]), page)
        assert response.get("content-type") == b"text/html"
        assert not response.has("proxy-status")
        assert len(upstream.requests) == 1


async def test_er_02_websocket_refusals_have_the_same_shape(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(websocket.handshake("/services/nosuch/ws"))
    (await client.response()).problem("service_not_found", 404)


HOSTILE = ["<script>alert(1)</script>", "%3Cscript%3E", '"quoted"', "'x'"]


@pytest.mark.parametrize("text", HOSTILE)
async def test_t_er_07_what_the_client_sent_cannot_break_out_of_an_error(
    gw: Gateway, connect: MakeClient, text: str
) -> None:
    client = await connect(gw)
    for data in (
        request("GET", f"/services/{text}/x"),
        request("GET", f"/nosuch/{text}"),
        request("GET", "/", host=text),
    ):
        if client.ended:
            client = await connect(gw)
        await client.send(data)
        response = await client.response()
        assert response.status in (400, 404, 421), response.status
        assert b"<script>" not in response.body
        assert json.loads(bytes(response.body))["status"] == response.status
        assert response.get("x-content-type-options") == b"nosniff"
        if (response.get("connection") or b"") == b"close":
            await client.gone()


async def test_an_unknown_service_names_the_nearest_one(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(ollama=upstream)
    members = (await (await connect(gw)).ask("GET", "/services/olama/x")).problem("service_not_found", 404)
    assert "ollama" in json.dumps(members)


@pytest.mark.skipif(data_path() == "compiled", reason="machine code cannot be patched; tested interpreted")
async def test_t_er_04_a_bug_before_the_head_is_500_and_serves_the_next_client(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object, **__: object) -> bytes:
        raise RuntimeError("a bug")

    for connected in (False, True):  # the bug strikes behind a dial, then on a pooled connection
        if connected:
            assert (await (await connect(gw)).ask("GET", f"{S}/x")).status == 200
        client = await connect(gw)
        with monkeypatch.context() as patched:
            patched.setattr("hestia.proxy.rewrite.request_head", bug)
            await client.send(request("GET", f"{S}/x"))
            response = await client.response()
        members = response.problem("internal_error", 500)
        assert "a bug" not in json.dumps(members)
        await client.gone()
    assert (await (await connect(gw)).ask("GET", f"{S}/x")).status == 200


async def test_t_ob_01_bytes_that_are_no_request_have_their_line_too(
    gw: Gateway, connect: MakeClient
) -> None:
    response = await refused(await connect(gw), b"nonsense\r\n\r\n", 400)
    await gw.aclose()
    lines = [json.loads(line) for line in gw.log.splitlines()]
    told = (response.get("x-request-id") or b"").decode()
    assert [line["code"] for line in lines if line["request_id"] == told] == ["bad_request"]
