"""The private socket: who can reach it, when it accepts, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from hestia.api.server import ControlServer
from hestia.core.errors import ConfigError
from tests.fakes.control import FakeControl


def serve(app: FastAPI, path: Path, tasks: asyncio.TaskGroup) -> ControlServer:
    def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return tasks.create_task(work, name=name)

    return ControlServer(app, str(path), spawn=spawn)


def connect(path: Path) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


async def test_server_answers_as_soon_as_start_returns(api: FastAPI, tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        server = serve(api, path, tasks)
        await server.start()
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
        async with connect(path) as client:
            response = await client.get("/v1/services/ollama/status", headers={"x-request-id": "req_1"})
        assert response.status_code == 200
        assert sorted(response.headers) == [
            "cache-control",
            "content-length",
            "content-type",
            "x-content-type-options",
            "x-request-id",
        ]
        await server.aclose()
        await server.aclose()
        assert not path.exists()


async def test_server_leaves_signal_handlers_alone(api: FastAPI, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        server = serve(api, tmp_path / "s", tasks)
        await server.start()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        await server.aclose()


async def test_close_cuts_a_followed_log_off(api: FastAPI, control: FakeControl, tmp_path: Path) -> None:
    path = tmp_path / "s"
    control.output = [b"old\n"]
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        server = serve(api, path, tasks)
        await server.start()
        async with connect(path) as client, client.stream("GET", "/v1/services/ollama/logs?follow=1") as log:
            pieces = log.aiter_raw()
            assert await anext(pieces) == b"old\n"
            await server.aclose(grace=0.05)
            with pytest.raises(httpx.HTTPError):
                await anext(pieces)
    assert control.logs_open == 0


async def test_left_over_socket_of_a_dead_gateway_is_replaced(api: FastAPI, tmp_path: Path) -> None:
    path = tmp_path / "s"
    for _ in range(2):
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            server = serve(api, path, tasks)
            await server.start()
            left = path.with_suffix(".left")
            os.link(path, left)
            await server.aclose()
            os.rename(left, path)


@pytest.mark.parametrize("kind", ["too long", "a file in the way", "no folder possible"])
async def test_socket_that_cannot_be_made_is_a_clear_error(api: FastAPI, tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("x" * 120 if kind == "too long" else "s")
    if kind == "a file in the way":
        path.write_text("mine")
    if kind == "no folder possible":
        path.write_text("mine")
        path = path / "s"
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        server = serve(api, path, tasks)
        with pytest.raises(ConfigError) as caught:
            await server.start()
        await server.aclose()
    assert str(path) in caught.value.detail
    assert caught.value.remedy
