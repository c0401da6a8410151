"""The output of a service over HTTP: whole, its tail, followed, and ended when the client leaves."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Scope

from hestia.core.errors import EngineUnavailable, HandleUnknown
from tests.fakes.control import FakeControl

PATH = "/v1/services/ollama/logs"


async def test_logs_are_plain_text_as_written(client: httpx.AsyncClient, control: FakeControl) -> None:
    control.output = [b"one\ntw", b"o\nthree\xff\n"]
    response = await client.get(PATH)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    assert response.content == b"one\ntwo\nthree\xff\n"
    assert control.calls == [("logs", "ollama", ("", False))]
    assert control.logs_open == 0


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(0, b""), (1, b"three"), (2, b"two\nthree"), (3, b"one\ntwo\nthree"), (99, b"one\ntwo\nthree")],
)
async def test_tail_gives_the_last_lines(
    client: httpx.AsyncClient, control: FakeControl, tail: int, expected: bytes
) -> None:
    control.output = [b"one\n", b"two\nthr", b"ee"]
    assert (await client.get(f"{PATH}?tail={tail}")).content == expected


async def test_no_output_is_an_empty_answer(client: httpx.AsyncClient) -> None:
    response = await client.get(PATH)
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("query", ["", "?follow=true", "?tail=3"])
async def test_no_instance_that_has_output_is_404_in_the_words_of_the_gateway(
    client: httpx.AsyncClient, control: FakeControl, query: str
) -> None:
    control.output_error = HandleUnknown("It has not been started yet.", remedy="hestia start ollama")
    response = await client.get(PATH + query)
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"
    assert "It has not been started yet." in response.json()["detail"]


async def test_engine_that_cannot_be_reached_is_a_problem_not_an_empty_log(
    client: httpx.AsyncClient, control: FakeControl
) -> None:
    control.output_error = EngineUnavailable("docker.sock: permission denied", sent=False, cause="denied")
    response = await client.get(PATH)
    assert response.status_code == 503
    assert "permission denied" in response.json()["detail"]


async def test_instance_is_passed_on(client: httpx.AsyncClient, control: FakeControl) -> None:
    await client.get(f"{PATH}?instance=ollama")
    assert control.calls == [("logs", "ollama", ("ollama", False))]


async def test_unknown_instance_is_404_and_names_those_there_are(
    client: httpx.AsyncClient, control: FakeControl
) -> None:
    response = await client.get(f"{PATH}?instance=b")
    assert response.status_code == 404
    assert response.json()["code"] == "instance_not_found"
    assert "It has: ollama." in response.json()["detail"]
    assert control.calls == []


class Follower:
    """A client of one followed log, at the ASGI level."""

    def __init__(self, app: FastAPI, query: str) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self._left = asyncio.Event()
        scope: Scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": query.encode(),
            "headers": [],
            "scheme": "http",
            "server": ("gateway", 80),
            "client": None,
            "root_path": "",
        }
        self.call = app(scope, self._receive, self.sent.put)

    async def _receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        self._left.set()

    async def read(self) -> bytes:
        """The next piece that is not empty."""
        while True:
            message = await self.sent.get()
            if message.get("body"):
                return bytes(message["body"])


async def test_follow_sends_what_comes_and_ends_when_the_client_leaves(
    api: FastAPI, control: FakeControl
) -> None:
    control.output = [b"old\n"]
    follower = Follower(api, "follow=true")
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        call = group.create_task(follower.call)
        assert (await follower.sent.get())["status"] == 200
        assert await follower.read() == b"old\n"
        await control.more.put(b"new\n")
        assert await follower.read() == b"new\n"
        assert control.logs_open == 1
        follower.leave()
        await call
    assert control.logs_open == 0


async def test_follow_with_a_tail_gives_the_last_old_lines_then_every_new_one(
    api: FastAPI, control: FakeControl
) -> None:
    control.output = [b"one\ntwo\n", b"three\n"]
    follower = Follower(api, "follow=true&tail=1")
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        call = group.create_task(follower.call)
        assert await follower.read() == b"three\n"
        await control.more.put(b"four\n")
        await control.more.put(b"five\n")
        assert await follower.read() + await follower.read() == b"four\nfive\n"
        await control.more.put(None)
        await call
    assert control.logs_open == 0


async def test_follow_of_a_silent_service_answers_its_head_at_once(
    api: FastAPI, control: FakeControl
) -> None:
    follower = Follower(api, "follow=true")
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        call = group.create_task(follower.call)
        assert (await follower.sent.get())["type"] == "http.response.start"
        follower.leave()
        await call
    assert control.logs_open == 0
