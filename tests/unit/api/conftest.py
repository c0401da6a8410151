"""One API over a FakeControl, spoken to in process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from hestia.api.application import create_api
from hestia.api.control import ConfigRow, ConfigView
from tests.fakes.control import FakeControl, service_status
from tests.fakes.dispatch import FakeDispatch


@pytest.fixture
def control() -> FakeControl:
    return FakeControl(service_status("ollama"), service_status("whisper", "hot"))


@pytest.fixture
def dispatch() -> FakeDispatch:
    return FakeDispatch()


@pytest.fixture
def api(control: FakeControl, dispatch: FakeDispatch) -> FastAPI:
    view = ConfigView(
        path="hestia_config.yml",
        rows=(
            ConfigRow("services.ollama.idle_timeout", 1800, "hestia_config.yml:4"),
            ConfigRow("gateway.semaphore_api_key", "***", "environment: SEMAPHORE_API_KEY"),
        ),
        warnings=("access control is off",),
    )
    return create_api(control, dispatch=dispatch.call, version="0.1.0", config=lambda: view)


@pytest.fixture
async def client(api: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=api)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client
