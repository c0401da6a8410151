"""The engine `process` keeps the contract with real programs on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.engine_contract import EngineContract, EngineMachine
from tests.contract.process_machine import ThisMachine


class TestProcessEngine(EngineContract):
    @pytest.fixture
    async def machine(self, tmp_path: Path) -> AsyncIterator[EngineMachine]:
        one = ThisMachine(tmp_path)
        yield one
        one.end_all()
