"""The engine `none`: what applies of the contract where nothing is ever started (engines.md C12, RD-17)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hestia.core.errors import EngineRefused
from hestia.core.model import GatewayId
from hestia.core.ports import EngineContext, Presence, Started, StartSpec
from hestia.engines.none import NoneEngine, NoneOptions
from tests.contract.engine_contract import RecordingReport, key
from tests.fakes.tiny_upstream import TinyUpstream


@pytest.fixture
async def engine() -> AsyncIterator[NoneEngine]:
    engine = NoneEngine(EngineContext(GatewayId("gw"), ""))
    yield engine
    await engine.aclose()


async def start(engine: NoneEngine, base_url: str) -> Started:
    spec = StartSpec(
        options=NoneOptions(), options_hash="h", base_url=base_url, health_url="http://127.0.0.1/health"
    )
    return await engine.start(spec, key(), RecordingReport())


async def test_start_makes_nothing_and_returns_the_configured_endpoint(engine: NoneEngine) -> None:
    started = await start(engine, "http://localhost:11434/api")
    assert str(started.endpoint) == "http://localhost:11434/api"
    assert started.health_url == "http://127.0.0.1/health"
    assert await start(engine, "http://localhost:11434/api") == started


async def test_inspect_connects_and_says_running_or_gone(engine: NoneEngine) -> None:
    upstream = TinyUpstream()
    port = await upstream.listen()
    for host in ("127.0.0.1", "localhost"):
        started = await start(engine, f"http://{host}:{port}")
        observed = await engine.inspect(started.handle)
        assert (observed.presence, observed.key) == (Presence.RUNNING, key())
        assert observed.endpoint == started.endpoint
    upstream.abort()
    for host in ("127.0.0.1", "localhost"):
        started = await start(engine, f"http://{host}:{port}")
        observed = await engine.inspect(started.handle)
        assert (observed.presence, observed.endpoint) == (Presence.GONE, None)
        assert str(port) in observed.reason


async def test_inspect_of_a_unix_socket(engine: NoneEngine, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    started = await start(engine, f"unix:{path}")
    assert (await engine.inspect(started.handle)).presence is Presence.GONE
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert (await engine.inspect(started.handle)).presence is Presence.GONE
        listener.listen()
        assert (await engine.inspect(started.handle)).presence is Presence.RUNNING


async def test_en03_a_silent_address_is_unknown_within_the_limit(engine: NoneEngine) -> None:
    """Its backlog is full: connections are neither accepted nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        try:
            for _ in range(3):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
                waiting.append(one)
            started = await start(engine, f"http://127.0.0.1:{port}")
            async with asyncio.timeout(5):
                observed = await engine.inspect(started.handle)
            assert observed.presence is Presence.UNKNOWN
            assert "0.5 s" in observed.reason
        finally:
            for one in waiting:
                one.close()


async def test_an_address_with_a_port_to_be_picked_is_refused(engine: NoneEngine) -> None:
    with pytest.raises(EngineRefused, match="port") as caught:
        await start(engine, "http://127.0.0.1:{port}")
    assert caught.value.permanent


async def test_nothing_is_stopped_found_watched_or_read(engine: NoneEngine) -> None:
    upstream = TinyUpstream()
    started = await start(engine, f"http://127.0.0.1:{await upstream.listen()}")
    await engine.stop(started.handle, grace=0)
    await engine.stop({}, grace=0)
    assert (await engine.inspect(started.handle)).presence is Presence.RUNNING
    discovered = await engine.discover(GatewayId("gw"))
    assert (discovered.found, discovered.complete) == ((), True)
    assert [piece async for piece in engine.logs(started.handle, follow=True)] == []
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_all(engine))
        await asyncio.sleep(0)
        await engine.aclose()
    assert watching.result() == []
    upstream.abort()


async def _all(engine: NoneEngine) -> list[object]:
    return [observed async for observed in engine.watch()]
