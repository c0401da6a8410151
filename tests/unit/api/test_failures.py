"""Bad input to the control API: each a problem that names what was found and what to do."""

from __future__ import annotations

import logging

import httpx
import pytest
from fastapi import FastAPI

from tests.fakes.control import FakeControl, service_status

PROBLEM = "application/problem+json"
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def problem(response: httpx.Response, status: int, code: str) -> str:
    """Check the shape of a problem and give its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    document = response.json()
    assert document["code"] == code
    assert document["type"] == f"urn:hestia:error:{code}"
    assert document["status"] == status
    assert document["error"] == document["detail"]
    assert int(response.headers["content-length"]) == len(response.content)
    return str(document["detail"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/services/olama/status"),
        ("POST", "/v1/services/olama/start"),
        ("POST", "/v1/services/olama/stop"),
        ("POST", "/v1/services/OLLAMA/restart"),
        ("GET", "/v1/services/ollam/logs"),
    ],
)
async def test_cl09_unknown_service_is_404_with_the_nearest_id(
    client: httpx.AsyncClient, control: FakeControl, method: str, path: str
) -> None:
    detail = problem(await client.request(method, path), 404, "service_not_found")
    assert 'The nearest is "ollama".' in detail
    assert control.calls == []


async def test_unknown_service_far_from_all_lists_what_there_is(client: httpx.AsyncClient) -> None:
    detail = problem(await client.get("/v1/services/zzz/status"), 404, "service_not_found")
    assert "There are: ollama, whisper." in detail


async def test_unknown_service_among_none_says_so(client: httpx.AsyncClient, control: FakeControl) -> None:
    control.known = {}
    assert "No service is configured." in problem(
        await client.get("/v1/services/ollama/status"), 404, "service_not_found"
    )


async def test_unknown_service_among_ten_thousand_is_answered_with_the_nearest(
    client: httpx.AsyncClient, control: FakeControl
) -> None:
    control.known = {**FakeControl(*(service_status(f"service-{n:05d}") for n in range(10_000))).known}
    detail = problem(await client.get("/v1/services/servce-00042/status"), 404, "service_not_found")
    assert "The nearest is" in detail


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("wait=maybe", ["wait", '"maybe"']),
        ("wait=true&timeout=soon", ["timeout", '"soon"']),
        ("wait=true&timeout=-1", ["timeout", '"-1"', "greater than 0"]),
        ("wait=true&timeout=inf", ["timeout"]),
        ("wait=true&timeout=nan", ["timeout"]),
        ("wiat=true", ["wiat", "timeout, wait"]),
    ],
)
async def test_et09_wrong_query_value_names_field_value_and_expectation(
    client: httpx.AsyncClient, control: FakeControl, query: str, words: list[str]
) -> None:
    detail = problem(await client.post(f"/v1/services/ollama/start?{query}"), 400, "bad_request")
    for word in words:
        assert word in detail
    assert control.calls == []


@pytest.mark.parametrize("query", ["tail=-1", "tail=many", "follow=2", "lines=4"])
async def test_et09_wrong_query_of_logs_is_refused(client: httpx.AsyncClient, query: str) -> None:
    problem(await client.get(f"/v1/services/ollama/logs?{query}"), 400, "bad_request")


async def test_et09_query_where_none_is_known_is_refused(client: httpx.AsyncClient) -> None:
    detail = problem(await client.get("/v1/services/ollama/status?probe=1"), 400, "bad_request")
    assert '"probe"' in detail
    assert "no query parameters" in detail


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"force": tru', "line 1 column 11"),
        (b"force=true", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b'{"force": true}', "?force=true"),
        (b"[1]", "takes no body"),
        (b"[" * 4000, "not JSON"),
    ],
)
@pytest.mark.parametrize("call", ["start", "stop", "restart"])
async def test_et09_body_is_refused_not_ignored(
    client: httpx.AsyncClient, control: FakeControl, call: str, body: bytes, words: str
) -> None:
    response = await client.post(f"/v1/services/ollama/{call}", content=body)
    assert words in problem(response, 400, "bad_request")
    assert control.calls == []


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b"null"])
async def test_empty_body_is_no_body(client: httpx.AsyncClient, body: bytes) -> None:
    assert (await client.post("/v1/services/ollama/start", content=body)).status_code == 202


async def test_large_body_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/services/ollama/start", content=b" " * 100_000)
    problem(response, 413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/services/ollama/start", "POST"),
        ("DELETE", "/v1/services/ollama/status", "GET"),
        ("POST", "/healthz", "GET"),
        ("DELETE", "/v1/requests", "GET, POST"),
    ],
)
async def test_wrong_method_is_405_with_the_right_one(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    response = await client.request(method, path)
    assert allow in problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == allow


@pytest.mark.parametrize(
    "path",
    [
        "/v2",
        "/v1/service",
        "/v1/services/ollama",
        "/v1/services/ollama/stats",
        "/favicon.ico",
        "/v1/metric",
        "/v1/event",
        "/v1/request",
        "/v1/placement",
        "/docs",
        "/redoc",
        "//",
        "/v1//services",
        "/%2e%2e/etc/passwd",
    ],
)
async def test_fm13_wrong_path_is_a_problem_for_programs_and_a_page_for_browsers(
    client: httpx.AsyncClient, path: str
) -> None:
    if path == "//":
        assert (await client.get("http://gateway//")).status_code == 200
        return
    assert "/v1" in problem(await client.get(path), 404, "not_found")
    page = await client.get(path, headers=BROWSER)
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert 'href="/"' in page.text


async def test_er09_markup_in_the_path_is_escaped(client: httpx.AsyncClient) -> None:
    path = "/v1/<script>alert(1)</script>%1b[31m" + "x" * 500
    page = await client.get(path, headers=BROWSER)
    assert "<script" not in page.text
    assert len(page.text) < 2000
    detail = problem(await client.get(path), 404, "not_found")
    assert "\x1b" not in detail
    assert len(detail) < 400


async def test_et07_bug_is_a_500_without_internals_and_one_log_line(
    client: httpx.AsyncClient, control: FakeControl, caplog: pytest.LogCaptureFixture
) -> None:
    control.bug = RuntimeError("secret-canary")
    with caplog.at_level(logging.ERROR):
        response = await client.get("/v1/services/ollama/status", headers={"x-request-id": "req_9"})
    detail = problem(response, 500, "internal_error")
    assert "secret-canary" not in detail
    assert response.json()["requestId"] == "req_9"
    (record,) = caplog.records
    assert record.__dict__["request_id"] == "req_9"
    assert record.exc_info is not None


@pytest.mark.parametrize("path", ["/v1/services/ollama/status", "/healthz", "/nowhere", "/openapi.json"])
async def test_request_id_of_the_edge_is_echoed(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path, headers={"x-request-id": "req_7"})
    assert response.headers["x-request-id"] == "req_7"
    assert response.headers.get_list("x-request-id") == ["req_7"]


async def test_every_route_answers_with_nosniff(client: httpx.AsyncClient, api: FastAPI) -> None:
    for path in ["/", "/healthz", "/v1/services", "/help/errors"]:
        assert (await client.get(path)).headers["x-content-type-options"] == "nosniff"
