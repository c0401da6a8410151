"""The fake engine keeps the contract; only therefore may runtime tests trust it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hestia.core.model import InstanceKey
from hestia.core.ports import Engine, Handle, StartSpec
from tests.contract.engine_contract import EngineContract, EngineMachine
from tests.fakes.engines import FakeEngine, FakeMachine


class InMemory:
    """A FakeMachine as the contract wants it."""

    def __init__(self) -> None:
        self.machine = FakeMachine()

    def engine(self) -> Engine:
        return FakeEngine(self.machine, listening=True)

    def spec(self, note: str = "") -> StartSpec:
        return StartSpec(
            options=FakeEngine.Options(note=note or "-"), options_hash=f"hash-{note}", base_url=""
        )

    async def crash(self, handle: Handle) -> None:
        one = self.machine.find(handle)
        assert one is not None
        self.machine.end(one, signal=9)

    def living(self, instance: InstanceKey) -> int:
        return len(self.machine.live(instance))

    def anything_left(self) -> list[str]:
        return [str(key) for key in self.machine.live_keys]


class TestFakeEngine(EngineContract):
    @pytest.fixture
    async def machine(self) -> AsyncIterator[EngineMachine]:
        one = InMemory()
        yield one
        await one.machine.aclose()
