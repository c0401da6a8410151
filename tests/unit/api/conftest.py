"""One API over a FakeControl, spoken to in process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from hestia.api.application import create_api
from hestia.api.control import ConfigRow, ConfigView
from hestia.api.past import Past
from hestia.core.model import GatewayId
from hestia.core.ports import Row
from hestia.core.requests import RequestRecord
from hestia.runtime.feed import Feed
from hestia.runtime.records import Records
from hestia.runtime.timeline import Timeline
from tests.fakes.control import FakeControl, FakeReloads, service_status
from tests.fakes.dispatch import FakeDispatch
from tests.fakes.stores import UnreadableStore


@pytest.fixture
def control() -> FakeControl:
    return FakeControl(service_status("ollama"), service_status("whisper", "hot"))


@pytest.fixture
def dispatch() -> FakeDispatch:
    return FakeDispatch()


@pytest.fixture
async def past() -> Past:
    """One event and one request that failed."""
    store = UnreadableStore()
    await store.open(GatewayId("g"))
    records = Records(store, Timeline(lambda: 0.0), clock=lambda: 0.0)
    store.append(
        Row(
            at=1769860984.12, service="ollama", instance="ollama", generation=3, event="StartDecided",
            before="cold", after="starting", cause="demand", actor="req_1", episode="ep_1", lasted=2.5,
            data={"open_leases": 0, "forced": False},
        )
    )  # fmt: skip
    records.take(
        [
            RequestRecord(
                1769860990.0, "ollama", b"req_1", b"GET", "prefix", b"/services/ollama/x?q=1", 200,
                head_ms=3.0, total_ms=4.0, attempts=1, instance="ollama", generation=3,
            )
        ]
    )  # fmt: skip
    return Past(records, store, Feed())


@pytest.fixture
def reloads() -> FakeReloads:
    return FakeReloads()


@pytest.fixture
def api(control: FakeControl, dispatch: FakeDispatch, past: Past, reloads: FakeReloads) -> FastAPI:
    view = ConfigView(
        path="hestia_config.yml",
        rows=(
            ConfigRow("services.ollama.idle_timeout", 1800, "hestia_config.yml:4"),
            ConfigRow("gateway.semaphore_api_key", "***", "environment: SEMAPHORE_API_KEY"),
        ),
        warnings=("access control is off",),
    )
    return create_api(
        control,
        dispatch=dispatch.call,
        version="0.1.0",
        config=lambda: view,
        past=past,
        reloads=reloads,
    )


@pytest.fixture
async def client(api: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=api)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client
