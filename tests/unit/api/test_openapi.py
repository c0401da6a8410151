"""The OpenAPI document is true: what it says is answered, and what is answered it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi import FastAPI

from hestia import __version__
from hestia.api.application import openapi_document
from hestia.api.past import Past
from hestia.config import Problem
from hestia.core import errors
from hestia.core.errors import EngineUnavailable, GatewayDraining, HestiaError, StartTimeout
from hestia.problems import render
from tests.fakes.control import FakeControl, FakeReloads, service_status
from tests.fakes.dispatch import Answer, FakeDispatch
from tests.fakes.stores import UnreadableStore

DOCUMENT = openapi_document(__version__)
PUBLISHED = Path(__file__).parents[3] / "docs" / "openapi.json"
BROWSER = {"accept": "text/html,*/*"}

# path, method, query, status, service phase: one call per documented answer
CALLS: list[tuple[str, str, str, int, str]] = [
    ("/v1", "get", "", 200, "cold"),
    ("/healthz", "get", "", 200, "cold"),
    ("/healthz", "get", "", 503, "unwell"),
    ("/readyz", "get", "", 200, "cold"),
    ("/readyz", "get", "", 503, "unwell"),
    ("/v1/config", "get", "", 200, "cold"),
    ("/v1/config", "get", "?x=1", 400, "cold"),
    ("/v1/config/reload", "get", "", 200, "cold"),
    ("/v1/config/reload", "get", "?x=1", 400, "cold"),
    ("/v1/config/reload", "post", "", 200, "cold"),
    ("/v1/config/reload", "post", "?x=1", 400, "cold"),
    ("/v1/config/reload", "post", "", 409, "broken"),
    ("/v1/config/reload", "post", "", 413, "large"),
    ("/v1/machines", "get", "", 200, "cold"),
    ("/v1/machines", "get", "?x=1", 400, "cold"),
    ("/v1/machines/{machineId}", "get", "", 200, "cold"),
    ("/v1/machines/{machineId}", "get", "?x=1", 400, "cold"),
    ("/v1/machines/{machineId}", "get", "", 404, "nobody"),
    ("/v1/strategies", "get", "", 200, "cold"),
    ("/v1/strategies", "get", "?x=1", 400, "cold"),
    ("/help/errors", "get", "", 200, "cold"),
    ("/help/errors/{code}", "get", "", 200, "cold"),
    ("/help/errors/{code}", "get", "", 404, "nobody"),
    ("/v1/services", "get", "", 200, "failed"),
    ("/v1/services", "get", "?x=1", 400, "cold"),
    *[
        ("/v1/services/{serviceId}/status", "get", "", 200, phase)
        for phase in ("cold", "starting", "hot", "suspect", "draining", "stopping", "failed")
    ],
    ("/v1/services/{serviceId}/status", "get", "?x=1", 400, "cold"),
    ("/v1/services/{serviceId}/status", "get", "", 404, "nobody"),
    ("/v1/services/{serviceId}/start", "post", "", 202, "cold"),
    ("/v1/services/{serviceId}/start", "post", "?wait=true", 200, "cold"),
    ("/v1/services/{serviceId}/start", "post", "", 409, "hot"),
    ("/v1/services/{serviceId}/start", "post", "?wait=x", 400, "cold"),
    ("/v1/services/{serviceId}/start", "post", "", 404, "nobody"),
    ("/v1/services/{serviceId}/start", "post", "", 413, "large"),
    ("/v1/services/{serviceId}/start", "post", "?wait=true", 503, "refusing"),
    *[
        (f"/v1/services/{{serviceId}}/{call}", "post", query, status, situation)
        for call in ("stop", "restart")
        for query, status, situation in (
            ("?force=true", 202, "hot"),
            ("?force=x", 400, "hot"),
            ("", 404, "nobody"),
            ("", 413, "large"),
            ("", 503, "refusing"),
        )
    ],
    ("/v1/services/{serviceId}/logs", "get", "?tail=2", 200, "hot"),
    ("/v1/services/{serviceId}/logs", "get", "?tail=x", 400, "hot"),
    ("/v1/services/{serviceId}/logs", "get", "", 404, "nobody"),
    ("/v1/services/{serviceId}/logs", "get", "", 503, "refusing"),
    ("/v1/metrics", "get", "", 200, "cold"),
    ("/v1/metrics", "get", "?x=1", 400, "cold"),
    ("/v1/services/{serviceId}/metrics", "get", "", 200, "cold"),
    ("/v1/services/{serviceId}/metrics", "get", "?x=1", 400, "cold"),
    ("/v1/services/{serviceId}/metrics", "get", "", 404, "nobody"),
    ("/metrics", "get", "", 200, "cold"),
    ("/metrics", "get", "?x=1", 400, "cold"),
]

# the same for what was: with the events closed, a stream ends at once
PAST: list[tuple[str, str, str, int, str]] = [
    ("/v1/events", "get", "", 200, "kept"),
    ("/v1/events", "get", "?limit=0", 400, "kept"),
    ("/v1/events", "get", "", 503, "unreadable"),
    ("/v1/services/{serviceId}/events", "get", "?event=StartDecided", 200, "kept"),
    ("/v1/services/{serviceId}/events", "get", "?since=now", 400, "kept"),
    ("/v1/services/{serviceId}/events", "get", "", 404, "nobody"),
    ("/v1/services/{serviceId}/events", "get", "", 503, "unreadable"),
    ("/v1/events/stream", "get", "", 200, "kept"),
    ("/v1/events/stream", "get", "?x=1", 400, "kept"),
    ("/v1/events/stream", "get", "?service=nobody", 404, "kept"),
    ("/v1/events/stream", "get", "", 503, "crowded"),
    ("/v1/requests", "get", "?service=ollama", 200, "kept"),
    ("/v1/requests", "get", "?slow_ms=-1", 400, "kept"),
    ("/v1/requests", "get", "?service=nobody", 404, "kept"),
    ("/v1/requests/{requestId}", "get", "", 200, "kept"),
    ("/v1/requests/{requestId}", "get", "", 404, "nobody"),
    ("/v1/requests/{requestId}", "get", "", 503, "unreadable"),
]

DISPATCH = ("/v1/requests", "post")
CALL = {"serviceId": "ollama", "method": "GET", "path": "/api/tags"}
TYPED = [(b"content-type", b"application/json")]
ACCEPTED = b"""{"serviceId": "ollama", "requestId": "r", "state": "starting", "queuePending": 1,
    "estimatedReadyMs": null, "status": "/v1/services/ollama/status"}"""


def own(error: HestiaError) -> Answer:
    """What the edge answers instead of the service."""
    status, fields, body = render(error, request_id="r")
    return Answer(status, fields, body, own=True)


# status, what the dispatcher comes back with: one call per documented answer of it
DISPATCHED: list[tuple[int, Answer | HestiaError]] = [
    (200, Answer(200, TYPED, b'{"a": [1, null, "x"]}')),
    (200, Answer(404, [(b"a", b"1"), (b"a", b"2")], b"\xff")),
    (200, Answer(204, [], b"")),
    (202, Answer(202, TYPED, ACCEPTED, own=True)),
    (400, errors.BadRequest("Wrong.")),
    (400, own(errors.PathRejected("Wrong."))),
    (403, own(errors.CrossSiteWake("Wrong."))),
    (404, errors.ServiceNotFound("None.")),
    (405, own(errors.MethodNotAllowed("Wrong."))),
    (413, errors.BodyTooLarge("Large.")),
    (414, errors.TargetTooLong("Long.")),
    (431, errors.HeadTooLarge("Large.")),
    (502, errors.AnswerTooLarge("Large.")),
    (502, own(errors.ConnectFailed("Gone.", service_id="ollama", cause="refused"))),
    (503, own(errors.QueueFull("Full.", retry_after=2.0, service_id="ollama"))),
    (503, errors.GatewayOverloaded("Full.", retry_after=1.0)),
    (504, own(errors.UpstreamTimeout("Slow."))),
    (508, own(errors.LoopDetected("Back."))),
]


def check(response: httpx.Response, operation: dict[str, Any]) -> None:
    """The answer's status, media type and body are among those the document gives."""
    described = operation["responses"][str(response.status_code)]
    media_type = response.headers["content-type"].partition(";")[0]
    schema = described["content"][media_type]["schema"]
    body = response.json() if "json" in media_type else response.text
    whole = {**schema, "components": DOCUMENT["components"]}
    validator = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())
    validator.validate(body)


def prepare(control: FakeControl, situation: str) -> None:
    if situation == "unwell":
        control.own = type(control.own)(
            ok=False, ready=False, problems=("store",), version="0", started_at=control.own.started_at
        )
    elif situation == "refusing":
        control.refuse = GatewayDraining("The gateway is stopping.", retry_after=3.0)
        control.output_error = EngineUnavailable("Nobody answers.", sent=False)
    elif situation not in {"nobody", "large"}:
        control.known = {**FakeControl(service_status("ollama", situation)).known}
        control.output = [b"one\n", b"two\n"]


@pytest.mark.parametrize(("path", "method", "query", "status", "situation"), CALLS)
async def test_every_documented_answer_is_given_and_valid(
    client: httpx.AsyncClient,
    control: FakeControl,
    reloads: FakeReloads,
    path: str,
    method: str,
    query: str,
    status: int,
    situation: str,
) -> None:
    if situation == "broken":
        reloads.problems = (
            Problem(source="hestia_config.yml", line=3, column=5, key="prot", text="no such key"),
        )
    else:
        prepare(control, situation)
    unknown = situation == "nobody"
    url = path.format(
        serviceId="nobody" if unknown else "ollama",
        machineId="nobody" if unknown else "gpu-1",
        code="nothing" if unknown else "queue_full",
    )
    content = b" " * 10_000 if situation == "large" else b""
    response = await client.request(method, url + query, content=content)
    assert response.status_code == status
    check(response, DOCUMENT["paths"][path][method])


@pytest.mark.parametrize(("path", "method", "query", "status", "situation"), PAST)
async def test_every_documented_answer_about_the_past_is_given_and_valid(
    client: httpx.AsyncClient, past: Past, path: str, method: str, query: str, status: int, situation: str
) -> None:
    past.feed.close()
    assert isinstance(past.store, UnreadableStore)
    past.store.broken = situation == "unreadable"
    while situation == "crowded" and past.feed.listen() is not None:
        pass
    service = "nobody" if situation == "nobody" else "ollama"
    url = path.format(serviceId=service, requestId="req_1" if situation == "kept" else "req_2")
    response = await client.request(method, url + query)
    assert response.status_code == status, response.text
    check(response, DOCUMENT["paths"][path][method])


@pytest.mark.parametrize(("status", "outcome"), DISPATCHED)
async def test_every_documented_answer_of_the_dispatcher_is_valid(
    client: httpx.AsyncClient, dispatch: FakeDispatch, status: int, outcome: Answer | HestiaError
) -> None:
    dispatch.answer = outcome
    path, method = DISPATCH
    response = await client.post(path, json=CALL)
    assert response.status_code == status
    check(response, DOCUMENT["paths"][path][method])


CALL_SCHEMA = DOCUMENT["paths"]["/v1/requests"]["post"]["requestBody"]["content"]["application/json"][
    "schema"
]


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"headers": {"a": "b", "c": ["d"]}, "body": {"x": [1, None]}}, True),
        ({"headers": None, "body": "text"}, True),
        ({"body": {"base64": "AA=="}}, True),
        ({"path": None}, False),
        ({"headers": {"a": 1}}, False),
        ({"headers": []}, False),
        ({"serviceid": "a"}, False),
    ],
)
async def test_calls_of_the_dispatcher_are_taken_as_the_document_says(
    client: httpx.AsyncClient, change: dict[str, Any], taken: bool
) -> None:
    call = {**CALL, **change}
    assert jsonschema.Draft202012Validator(CALL_SCHEMA).is_valid(call) == taken
    assert ((await client.post("/v1/requests", json=call)).status_code == 200) == taken


def test_paths_of_the_dispatcher_are_those_that_it_takes() -> None:
    """tests/integration/test_dispatcher.py shows what it does with others."""
    schema = jsonschema.Draft202012Validator(CALL_SCHEMA)
    assert all(schema.is_valid({**CALL, "path": path}) for path in ("/", "/a", "/a//b?x=/"))
    assert not any(schema.is_valid({**CALL, "path": path}) for path in ("", "a", "//a", "http://a/"))


def test_every_documented_answer_is_called_above() -> None:
    documented = {
        (path, method, int(status))
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        for status in operation["responses"]
    }
    called = {(path, method, status) for path, method, _, status, _ in CALLS + PAST}
    assert documented == called | {(*DISPATCH, status) for status, _ in DISPATCHED}


@pytest.mark.parametrize("path", ["/v1", "/help/errors", "/help/errors/queue_full"])
async def test_documented_pages_are_given_to_browsers(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path, headers=BROWSER)
    template = "/help/errors/{code}" if path.endswith("queue_full") else path
    check(response, DOCUMENT["paths"][template]["get"])


async def test_start_timeout_problem_is_valid(client: httpx.AsyncClient, control: FakeControl) -> None:
    control.start_result = StartTimeout(
        "ollama was not ready within 300 s.",
        remedy="Raise start_timeout.",
        cause="timeout",
        stage="probe",
        service_id="ollama",
        retry_after=30.0,
        attempts=1,
        tail=("loading model",),
    )
    response = await client.post("/v1/services/ollama/start?wait=true")
    check(response, DOCUMENT["paths"]["/v1/services/{serviceId}/start"]["post"])


def documents(node: Any) -> list[dict[str, Any]]:
    """Every schema object below a node."""
    if isinstance(node, list):
        return [found for item in node for found in documents(item)]
    if not isinstance(node, dict):
        return []
    return [node, *(found for item in node.values() for found in documents(item))]


def test_every_reference_in_the_document_leads_somewhere() -> None:
    names = {item["$ref"].rpartition("/")[2] for item in documents(DOCUMENT) if "$ref" in item}
    assert names <= set(DOCUMENT["components"]["schemas"])
    assert set(DOCUMENT["components"]["schemas"]) == names


def test_every_call_has_a_name_and_a_description() -> None:
    operations = [operation for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert all(operation["operationId"] and operation["description"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert "422" not in {status for operation in operations for status in operation["responses"]}


def test_calls_of_later_issues_are_absent() -> None:
    for word in ("dashboard", "keys"):
        assert not [path for path in DOCUMENT["paths"] if word in path]


async def test_document_is_served_and_is_the_published_one(client: httpx.AsyncClient, api: FastAPI) -> None:
    assert (await client.get("/openapi.json")).json() == DOCUMENT


def test_dc03_published_document_is_not_stale() -> None:
    """When this fails: python scripts/make_openapi.py"""
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == DOCUMENT
