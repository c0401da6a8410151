"""The engine `process` and what its programs print: bounded, followed, kept (AD-09, EN-05, EN-15)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hestia.core.errors import HandleUnknown
from hestia.core.ports import Handle
from hestia.engines.process import ProcessEngine
from tests.contract.engine_contract import GRACE, RecordingReport, key
from tests.contract.process_machine import PYTHON, ThisMachine, until

MIB = 2**20
# Prints numbered lines until it has printed so many bytes, then a last one, then waits.
FLOOD = """
import os, signal, sys
line, left = 0, int(sys.argv[1])
while left > 0:
    text = b"".join(b"line %d\\n" % n for n in range(line, line + 10000))
    os.write(1, text)
    line, left = line + 10000, left - len(text)
print("done")
signal.pause()
"""


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[ThisMachine]:
    machine = ThisMachine(tmp_path / "state")
    yield machine
    left = machine.anything_left()
    machine.end_all()
    assert left == []


@pytest.fixture
async def engine(machine: ThisMachine) -> AsyncIterator[ProcessEngine]:
    engine = machine.engine()
    yield engine
    await engine.aclose()


def on_disk(machine: ThisMachine) -> int:
    sizes = []
    for path in (machine.folder / "output").rglob("*"):
        try:
            sizes.append(path.stat().st_size if path.is_file() else 0)
        except FileNotFoundError:
            continue
    return sum(sizes)


async def flood(machine: ThisMachine, engine: ProcessEngine, *, size: int, log_max: str) -> Handle:
    spec = machine.fixed([*PYTHON, FLOOD, str(size)], log_max=log_max)
    started = await engine.start(spec, key(), RecordingReport())
    await until(lambda: engine.tail(started.handle, lines=1) == ("done",), timeout=60)
    return started.handle


async def test_en15_a_flood_is_bounded_and_its_end_is_kept(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    handle = await flood(machine, engine, size=100 * MIB, log_max="1MiB")
    await until(lambda: on_disk(machine) <= 2.5 * MIB)
    tail = engine.tail(handle)
    assert tail[-1] == "done"
    await engine.stop(handle, grace=GRACE)


@pytest.mark.slow
async def test_en15_a_gibibyte_is_bounded(engine: ProcessEngine, machine: ThisMachine) -> None:
    handle = await flood(machine, engine, size=1024 * MIB, log_max="10MiB")
    await until(lambda: on_disk(machine) <= 21 * MIB)
    await engine.stop(handle, grace=GRACE)


async def test_en15_a_file_that_grew_while_the_gateway_was_away_is_cut(machine: ThisMachine) -> None:
    first = machine.engine()
    spec = machine.fixed([*PYTHON, FLOOD, str(5 * MIB)], log_max="64KiB")
    started = await first.start(spec, key(), RecordingReport())
    await first.aclose()
    await until(lambda: first.tail(started.handle, lines=1) == ("done",))
    second = machine.engine()
    await second.inspect(started.handle)
    await until(lambda: on_disk(machine) <= 128 * 1024)
    assert second.tail(started.handle, lines=1) == ("done",)
    await second.stop(started.handle, grace=GRACE)
    await second.aclose()


async def test_ad09_a_program_that_prints_lives_on_without_the_gateway(machine: ThisMachine) -> None:
    """No pipe: with the reader gone its next line would have ended it."""
    engine = machine.engine()
    started = await engine.start(
        machine.fixed("n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done"), key(), RecordingReport()
    )
    await engine.aclose()
    path = Path(started.handle["log"])
    size = path.stat().st_size
    await until(lambda: path.stat().st_size > size + 20)
    other = machine.engine()
    await other.stop(started.handle, grace=GRACE)
    await other.aclose()


async def test_logs_are_bounded_to_the_last_lines(engine: ProcessEngine, machine: ThisMachine) -> None:
    handle = await flood(machine, engine, size=MIB, log_max="4MiB")
    pieces = [piece async for piece in engine.logs(handle, follow=False)]
    text = b"".join(pieces)
    assert len(text.splitlines()) == 200
    assert text.endswith(b"done\n")
    await engine.stop(handle, grace=GRACE)


async def test_follow_shows_a_line_that_is_not_finished(engine: ProcessEngine, machine: ThisMachine) -> None:
    """Progress bars have no line end for minutes."""
    started = await engine.start(machine.fixed("printf loading; sleep 1000"), key(), RecordingReport())
    async with asyncio.timeout(10):
        async for piece in engine.logs(started.handle, follow=True):
            assert piece == b"loading"
            break
    await engine.stop(started.handle, grace=GRACE)


async def test_output_survives_for_three_generations(engine: ProcessEngine, machine: ThisMachine) -> None:
    handles = []
    for generation in range(1, 5):
        started = await engine.start(
            machine.fixed(f"echo I am {generation}"), key(generation), RecordingReport()
        )
        async with asyncio.timeout(10):
            _ = [piece async for piece in engine.logs(started.handle, follow=True)]
        await engine.stop(started.handle, grace=GRACE)
        handles.append(started.handle)
    for generation in (2, 3, 4):
        assert engine.tail(handles[generation - 1]) == (f"I am {generation}",)
    with pytest.raises(HandleUnknown, match="not there any more") as caught:
        _ = [piece async for piece in engine.logs(handles[0], follow=False)]
    assert "three generations" in caught.value.remedy


async def test_output_is_private(engine: ProcessEngine, machine: ThisMachine) -> None:
    started = await engine.start(machine.fixed("echo secret"), key(), RecordingReport())
    path = Path(started.handle["log"])
    assert path.stat().st_mode & 0o777 == 0o600
    await engine.stop(started.handle, grace=GRACE)
