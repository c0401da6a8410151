"""`POST /v1/requests`: the documents, and what every mistake in one is told."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from hestia.api.dispatch_wire import answer_document, read_call
from hestia.core.errors import BadRequest, QueueFull
from tests.fakes.dispatch import Answer, Asked, FakeDispatch
from tests.fakes.facts import eventually

CALL = {"serviceId": "ollama", "method": "GET", "path": "/api/tags"}
JSON = {"content-type": "application/json"}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


async def test_a_call_is_sent_and_its_answer_told(client: httpx.AsyncClient, dispatch: FakeDispatch) -> None:
    dispatch.answer = Answer(
        207, [(b"content-type", b"application/json"), (b"a", b"1"), (b"a", b"2")], b'{"x": 1.50}'
    )
    call = {**CALL, "headers": {"A": "b", "C": ["d", "e"], "F": []}, "body": {"q": 1}}
    response = await client.post("/v1/requests", json=call)
    assert response.status_code == 200
    assert response.json() == {
        "status": 207, "headers": {"content-type": "application/json", "a": ["1", "2"]}, "body": {"x": 1.5}
    }  # fmt: skip
    fields = [("A", "b"), ("C", "d"), ("C", "e")]
    sent = json.dumps({"q": 1}, separators=(",", ":")).encode()
    assert dispatch.asked == [Asked("ollama", "GET", "/api/tags", fields, sent, "application/json")]
    assert dispatch.open == 0


async def test_the_gateways_own_answer_is_the_answer(
    client: httpx.AsyncClient, dispatch: FakeDispatch
) -> None:
    fields = [(b"content-type", b"application/problem+json"), (b"retry-after", b"7"), (b"date", b"x")]
    dispatch.answer = Answer(503, [*fields, (b"content-length", b"2")], b"{}", own=True)
    response = await client.post("/v1/requests", json=CALL, headers={"x-request-id": "r7"})
    assert (response.status_code, response.content) == (503, b"{}")
    assert response.headers["retry-after"] == "7"
    assert response.headers.get_list("content-length") == ["2"]
    assert response.headers["x-request-id"] == "r7"
    assert "date" not in response.headers


async def test_what_send_raises_is_a_problem(client: httpx.AsyncClient, dispatch: FakeDispatch) -> None:
    dispatch.answer = QueueFull("Full.", retry_after=2.0)
    response = await client.post("/v1/requests", json=CALL)
    assert (response.status_code, response.json()["code"]) == (503, "queue_full")
    assert dispatch.open == 0


async def test_ca_01_a_caller_that_leaves_cancels_it(api: FastAPI, dispatch: FakeDispatch) -> None:
    dispatch.hangs = True
    gone = asyncio.Event()
    body = [json.dumps(CALL).encode()]

    async def receive() -> dict[str, Any]:
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    scope = {
        "type": "http", "method": "POST", "path": "/v1/requests", "raw_path": b"/v1/requests",
        "query_string": b"", "headers": [(b"content-type", b"application/json")], "http_version": "1.1",
        "scheme": "http", "server": ("h", 80), "client": None, "root_path": "",
    }  # fmt: skip
    async with asyncio.TaskGroup() as group:
        group.create_task(api(scope, receive, send))
        await eventually(lambda: len(dispatch.asked) == 1, "the request to be sent")
        gone.set()
    assert dispatch.cancelled == 1
    assert dispatch.open == 0


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("", ["not JSON", "line 1 column 1"]),
        ("[]", ["an object"]),
        ("{", ["not JSON"]),
        ('{"serviceId" "x"}', ["expected ':'"]),
        ('{"serviceId":"x" "method":1}', ["expected ','"]),
        ("{1: 2}", ["field name"]),
        ('{"path":"/","path":"/"}', ['"path"', "twice"]),
        ('{"path":"/"} x', ["the end"]),
        ('{"body":NaN}', ["NaN"]),
        ('{"body":' + "[" * 100_000, ["nested too deeply"]),
        ("{}", ["serviceId", "missing"]),
        ('{"serviceid":"x"}', ['"serviceid"', "nearest is serviceId"]),
        ('{"serviceId":"x","method":"GET"}', ["path", "missing"]),
        ('{"serviceId":5,"method":"GET","path":"/"}', ["serviceId", '"5"', "a string"]),
        ('{"serviceId":"x","method":null,"path":"/"}', ["method", '"null"', "a string"]),
        ('{"serviceId":"x","method":"GET","path":"/","headers":[]}', ["headers", '"[]"', "an object"]),
        ('{"serviceId":"x","method":"GET","path":"/","headers":{"a":1}}', ['headers."a"', "list of strings"]),
        ('{"serviceId":"x","method":"GET","path":"/","headers":{"a":["b",{}]}}', ['headers."a"']),
        ('{"serviceId":"x","method":"GET","path":"/","body":{"base64":"?"}}', ["body.base64"]),
        ('{"serviceId":"x","method":"GET","path":"/","body":{"base64":5}}', ["body.base64"]),
        ('{"serviceId":"x","method":"GET","path":"/","body":{"base64":null}}', ["body.base64", "no string"]),
        (
            '{"serviceId":"x","method":"GET","path":"/","headers":{"a":"1", "a":"2"}}',
            ["headers", '"a"', "twice"],
        ),
        ('{"serviceId":"x","method":"GET","path":"/","body":"\\ud800"}', ["surrogate"]),
    ],
)
def test_every_mistake_names_its_place_and_what_to_do(document: str, words: list[str]) -> None:
    with pytest.raises(BadRequest) as caught:
        read_call(document.encode())
    for word in words:
        assert word in caught.value.detail, caught.value.detail
    assert caught.value.remedy


def test_bytes_that_are_no_utf_8_are_refused_and_a_mark_in_front_is_not() -> None:
    with pytest.raises(BadRequest, match="UTF-8"):
        read_call(b'{"serviceId":"\xff"}')
    assert read_call(b"\xef\xbb\xbf" + json.dumps(CALL).encode()).service == "ollama"


async def test_a_call_that_is_not_said_to_be_json_is_refused(
    client: httpx.AsyncClient, dispatch: FakeDispatch
) -> None:
    """A page of another site could send any other type without asking first."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = await client.post("/v1/requests", content=json.dumps(CALL), headers={"content-type": kind})
        assert response.status_code == 400
        assert "Content-Type: application/json" in response.json()["detail"]
    given = {"content-type": "Application/JSON; charset=utf-8"}
    assert (await client.post("/v1/requests", content=json.dumps(CALL), headers=given)).status_code == 200
    assert len(dispatch.asked) == 1


@given(values)
def test_ss_08_any_json_body_comes_through_a_call_as_it_was_written(value: object) -> None:
    text = json.dumps(value)
    call = read_call(f'{{"serviceId":"a", "method":"GET","body" : {text} ,"path":"/"}}'.encode())
    if value is None:
        assert call.body is None
    elif isinstance(value, str):
        assert call.body == value.encode()
    elif not (isinstance(value, dict) and list(value) == ["base64"]):
        assert call.body == text.encode()


@given(st.binary(max_size=60), st.sampled_from(["", "text/plain", "application/json", "image/png"]))
def test_ss_04_any_body_can_be_told_from_its_answer(body: bytes, kind: str) -> None:
    fields = [(b"content-type", kind.encode())] if kind else []
    document = json.loads(answer_document(200, fields, body))
    found = document["body"]
    if found is None:
        assert body in (b"", b"null") or json.loads(body) is None
    elif isinstance(found, dict) and list(found) == ["base64"]:
        assert base64.b64decode(found["base64"]) == body
    elif kind == "application/json":
        assert json.loads(body) == found
    else:
        assert found.encode() == body


@given(values)
def test_json_answers_are_the_same_json(value: object) -> None:
    fields = [(b"content-type", b"application/vnd.api+json")]
    body = json.dumps(value).encode()
    found = json.loads(answer_document(200, fields, body))["body"]
    if isinstance(value, dict) and list(value) == ["base64"]:
        assert base64.b64decode(found["base64"]) == body
    else:
        assert found == value


def test_two_content_types_are_bytes() -> None:
    fields = [(b"content-type", b"text/plain"), (b"content-type", b"application/json")]
    found = json.loads(answer_document(200, fields, b"1"))["body"]
    assert found == {"base64": "MQ=="}
