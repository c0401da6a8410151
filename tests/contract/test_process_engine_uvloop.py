"""The same contract on uvloop, which is what the gateway runs on: pidfds, threads and connections there."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import uvloop

from tests.contract.engine_contract import GATEWAY, GRACE, EngineContract
from tests.contract.process_machine import ThisMachine

_NAMES = [name for name in vars(EngineContract) if name.startswith("test_")]


@pytest.mark.parametrize("name", _NAMES)
def test_on_uvloop(name: str, tmp_path: Path) -> None:
    """The test's own runner, as the plugin for asyncio has one loop for all tests of a session."""
    machine = ThisMachine(tmp_path)
    try:
        uvloop.run(_scenario(name, machine))
        assert machine.anything_left() == []
    finally:
        machine.end_all()


async def _scenario(name: str, machine: ThisMachine) -> None:
    engine, other = machine.engine(), machine.engine()
    given = {"machine": machine, "engine": engine, "other": other}
    test = getattr(EngineContract(), name)
    await test(**{wanted: given[wanted] for wanted in inspect.signature(test).parameters})
    for found in (await engine.discover(GATEWAY)).found:
        await engine.stop(found.handle, grace=GRACE)
    await engine.aclose()
    await other.aclose()
