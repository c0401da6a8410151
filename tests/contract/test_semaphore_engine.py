"""The engine `semaphore` keeps the contract with a stand-in server of the oldest version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hestia.core.model import GatewayId
from hestia.core.ports import Engine, Presence
from tests.contract.engine_contract import GATEWAY, GRACE, EngineContract, EngineMachine, key
from tests.contract.semaphore_machine import SemaphoreMachine
from tests.fakes.semaphore import V2_10


class TestSemaphoreEngine(EngineContract):
    @pytest.fixture
    async def machine(self, tmp_path: Path) -> AsyncIterator[EngineMachine]:
        async with SemaphoreMachine(V2_10, tmp_path) as one:
            yield one

    async def test_ad02_discover_finds_what_bears_the_gateway_s_id_and_nothing_else(
        self, engine: Engine, other: Engine, machine: EngineMachine
    ) -> None:
        """As for every engine, but never complete: lists of tasks are bounded (AD-04)."""
        mine = await self.start(engine, machine, key())
        theirs = await self.start(engine, machine, key(gateway=GATEWAY + "2"))
        discovered = await other.discover(GATEWAY)
        assert not discovered.complete
        assert [(one.key, one.handle) for one in discovered.found] == [(key(), mine.handle)]
        assert discovered.found[0].observed.presence is Presence.RUNNING
        assert (await other.discover(GatewayId("nobody"))).found == ()
        await engine.stop(theirs.handle, grace=GRACE)

    async def test_watch_tells_of_an_exit(self, engine: Engine, machine: EngineMachine) -> None:
        """Semaphore knows tasks, not services: an exit is seen by whoever asks, which the sweep does."""
        started = await self.start(engine, machine, key())
        await machine.crash(started.handle)
        assert (await engine.inspect(started.handle)).presence is Presence.GONE
        assert (await engine.discover(GATEWAY)).found == ()

    async def test_ad07_watch_tells_of_the_exit_of_an_adopted_instance(
        self, engine: Engine, other: Engine, machine: EngineMachine
    ) -> None:
        started = await self.start(engine, machine, key())
        await other.discover(GATEWAY)
        await machine.crash(started.handle)
        assert (await other.inspect(started.handle)).presence is Presence.GONE

    async def test_watch_ends_with_the_engine(self, machine: EngineMachine) -> None:
        engine = machine.engine()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(_drain(engine))
            await engine.aclose()


async def _drain(engine: Engine) -> None:
    async for _ in engine.watch():
        raise AssertionError("it says nothing")
