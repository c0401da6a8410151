"""The engine `process`, ending: signals, survivors, exits, adoption (EN-02, EN-10, AD-03…07, FB-15)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hestia.core.errors import EngineRefused
from hestia.core.ports import Handle, Observed, Presence
from hestia.engines.process import ProcessEngine
from hestia.engines.process_exits import Exit, ExitWatch, wait_ended
from hestia.engines.process_handle import Launched
from hestia.engines.process_stop import end_all
from hestia.engines.process_table import Identity, Stat, identify, members, read_stat
from tests.contract.engine_contract import GATEWAY, GRACE, RecordingReport, key
from tests.contract.process_machine import PYTHON, ThisMachine, until

DEAF = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"


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


async def run(
    engine: ProcessEngine, machine: ThisMachine, command: str | list[str], **options: object
) -> Handle:
    """Start a command; with a shell text, wait until it has printed something."""
    started = await engine.start(machine.fixed(command, **options), key(), RecordingReport())
    await machine.exec_done(started.handle)
    if isinstance(command, str) and "echo" in command:
        await until(lambda: engine.tail(started.handle) != ())
    return started.handle


# -- stop ------------------------------------------------------------------------------------------


async def test_en10_the_shell_s_child_ends_with_the_shell(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    handle = await run(engine, machine, "sleep 1000 & sleep 1000 & echo two; wait")
    assert len(machine.processes()) == 3
    await engine.stop(handle, grace=GRACE)
    assert machine.processes() == []


async def test_en10_a_double_fork_is_found_by_its_key(engine: ProcessEngine, machine: ThisMachine) -> None:
    """It has another session and parent 1: neither group nor tree leads to it."""
    handle = await run(engine, machine, "(setsid sleep 1000 &) ; echo forked; sleep 1000")
    await until(lambda: len(machine.processes()) == 3 or len(machine.processes()) == 2)
    await engine.stop(handle, grace=GRACE)
    assert machine.processes() == []


async def test_en10_a_child_without_the_key_is_found_by_its_parent(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    handle = await run(engine, machine, "env -i setsid sleep 31557 & echo cleared; wait")
    await until(lambda: bool(_sleeping("31557")))
    await engine.stop(handle, grace=GRACE)
    assert _sleeping("31557") == []


async def test_term_comes_first_and_is_heard(engine: ProcessEngine, machine: ThisMachine) -> None:
    handle = await run(
        engine, machine, "trap 'echo goodbye; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    )
    await engine.stop(handle, grace=GRACE)
    assert engine.tail(handle)[-1] == "goodbye"
    assert (await engine.inspect(handle)).exit_status == 5


async def test_a_program_deaf_to_term_is_killed_after_its_grace(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    handle = await run(engine, machine, DEAF)
    await engine.stop(handle, grace=0.2)
    observed = await engine.inspect(handle)
    assert (observed.presence, observed.signal) == (Presence.GONE, signal.SIGKILL)
    assert observed.reason == "", "we sent it: nothing is wrong with memory"


async def test_a_stopped_program_hears_term(engine: ProcessEngine, machine: ThisMachine) -> None:
    handle = await run(engine, machine, ["sleep", "1000"])
    os.kill(handle["pid"], signal.SIGSTOP)
    await engine.stop(handle, grace=60)
    assert (await engine.inspect(handle)).signal == signal.SIGTERM


async def test_a_second_stop_without_grace_ends_the_first_one_s(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    handle = await run(engine, machine, DEAF)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(engine.stop(handle, grace=1000))
        await engine.stop(handle, grace=0)


async def test_a_cancelled_stop_has_sent_term(engine: ProcessEngine, machine: ThisMachine) -> None:
    handle = await run(engine, machine, DEAF)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await engine.stop(handle, grace=1000)
    await engine.stop(handle, grace=0)


async def test_what_outlives_its_main_program_is_ended_by_stop(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    handle = await run(engine, machine, "sleep 1000 & setsid sleep 1000 & echo left; exit 3")
    await until(lambda: len(machine.processes()) == 2)
    assert (await engine.inspect(handle)).exit_status == 3
    await engine.stop(handle, grace=GRACE)
    assert machine.processes() == []


async def test_children_born_while_it_is_stopped_are_ended_too(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    handle = await run(
        engine, machine, "trap 'setsid sleep 1000 & exit 0' TERM; echo up; while :; do sleep 0.05; done"
    )
    await engine.stop(handle, grace=GRACE)
    assert machine.processes() == []


async def test_fb15_what_survives_kill_is_refused_as_stuck(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    """A process in uninterruptible sleep cannot be had everywhere; here the look at the machine says so."""
    handle = await run(engine, machine, ["sleep", "1000"])
    launched = Launched.read(handle)
    assert launched is not None
    rounds = 0

    async def still_there() -> list[Stat]:
        nonlocal rounds
        rounds += 1
        stat = read_stat(os.getpid())  # alive, and not to be hit: its start time is a wrong one
        assert stat is not None
        return [replace(stat, ticks=1)]

    with pytest.raises(EngineRefused, match=r"still there .* after SIGKILL") as caught:
        await end_all(launched, still_there, grace=0.01)
    assert (caught.value.cause, caught.value.permanent) == ("stuck", False)
    assert rounds > 2
    await engine.stop(handle, grace=GRACE)


# -- who is who ------------------------------------------------------------------------------------


async def test_ad05_a_pid_that_was_used_again_is_somebody_else(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    """The same pid with another start time: gone for inspect, and no signal reaches it."""
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        handle = await run(engine, machine, ["true"])
        await until(lambda: machine.processes() == [])
        now = identify(stranger.pid)
        assert now is not None
        recycled = {**handle, "pid": now.pid, "group": now.pid, "ticks": now.ticks - 1}
        assert (await engine.inspect(recycled)).presence is Presence.GONE
        await engine.stop(recycled, grace=0)
        assert stranger.poll() is None
        identity = identify(stranger.pid)
        assert identity is not None
        assert members(replace(identity, ticks=identity.ticks - 1), handle["key"]) == []
    finally:
        stranger.kill()
        stranger.wait()


async def test_ad05_another_boot_is_gone(engine: ProcessEngine, machine: ThisMachine) -> None:
    handle = await run(engine, machine, ["sleep", "1000"])
    older = {**handle, "boot": "another"}
    observed = await engine.inspect(older)
    assert (observed.presence, observed.reason) == (Presence.GONE, "the machine was restarted since")
    await engine.stop(older, grace=0)
    assert (await engine.inspect(handle)).presence is Presence.RUNNING
    await engine.stop(handle, grace=GRACE)


async def test_ad06_a_zombie_is_gone(engine: ProcessEngine, machine: ThisMachine) -> None:
    """Its parent, a program under test, never waits for it."""
    script = (
        "import os, sys, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    os._exit(0)\n"
        "print('up', flush=True)\ntime.sleep(1000)"
    )
    handle = await run(engine, machine, [*PYTHON, script])
    await until(lambda: bool(_zombies(handle["pid"])))
    (zombie,) = _zombies(handle["pid"])
    identity = identify(zombie)
    assert identity is not None
    dead = {**handle, "pid": zombie, "ticks": identity.ticks, "group": zombie, "key": str(key(9))}
    assert (await engine.inspect(dead)).presence is Presence.GONE
    await engine.stop(dead, grace=0)
    await engine.stop(handle, grace=GRACE)


async def test_our_children_never_stay_zombies(engine: ProcessEngine, machine: ThisMachine) -> None:
    handle = await run(engine, machine, ["true"])
    await until(lambda: read_stat(handle["pid"]) is None)
    handle = await run(engine, machine, ["sleep", "1000"])
    await engine.stop(handle, grace=GRACE)
    stat = read_stat(handle["pid"])
    assert stat is None or stat.ticks != handle["ticks"]


@pytest.mark.parametrize(
    ("command", "status", "number"),
    [("exit 0", 0, None), ("exit 77", 77, None), ("kill -SEGV $$", None, signal.SIGSEGV)],
)
async def test_the_exit_of_our_child_is_exact(
    engine: ProcessEngine, machine: ThisMachine, command: str, status: int | None, number: int | None
) -> None:
    handle = await run(engine, machine, command)
    observed = await first_hint(engine)
    assert (observed.handle, observed.exit_status, observed.signal) == (handle, status, number)
    again = await engine.inspect(handle)
    assert (again.exit_status, again.signal) == (status, number)
    await engine.stop(handle, grace=0)


async def test_en14_a_kill_that_we_did_not_send_is_told_as_such(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    handle = await run(engine, machine, ["sleep", "1000"])
    os.kill(handle["pid"], signal.SIGKILL)
    observed = await first_hint(engine)
    assert observed.signal == signal.SIGKILL
    assert "memory" in observed.reason


async def test_an_exit_before_anybody_watches_is_told_later(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    handle = await run(engine, machine, ["true"])
    await until(lambda: read_stat(handle["pid"]) is None)
    assert (await first_hint(engine)).handle == handle


# -- found again -----------------------------------------------------------------------------------


async def test_ad02_with_the_state_folder_deleted_it_is_found_by_its_environment(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    started = await engine.start(machine.spec(), key(), RecordingReport())
    shutil.rmtree(machine.folder)
    other = machine.engine()
    (found,) = (await other.discover(GATEWAY)).found
    assert (found.key, found.observed.endpoint) == (key(), started.endpoint)
    assert found.options_hash == machine.spec().options_hash
    assert found.handle["pid"] == started.handle["pid"]
    await other.stop(found.handle, grace=GRACE)
    await other.aclose()


async def test_ad02_a_program_that_overwrites_its_environment_is_found_by_its_note(
    engine: ProcessEngine, machine: ThisMachine
) -> None:
    """As setproctitle does: here exec with an empty environment, which keeps pid and start time."""
    spec = machine.fixed("echo up; exec env -i sleep 1000")
    first = await engine.start(spec, key(), RecordingReport())
    await until(lambda: machine.processes() == [])
    other = machine.engine()
    assert [one.handle for one in (await other.discover(GATEWAY)).found] == [first.handle]
    assert await other.start(spec, key(), RecordingReport()) == first
    await other.stop(first.handle, grace=GRACE)
    assert (await engine.inspect(first.handle)).presence is Presence.GONE
    await other.aclose()


async def test_ad03_left_over_children_are_discovered(engine: ProcessEngine, machine: ThisMachine) -> None:
    """They hold memory and ports; unseen they would do so for ever."""
    await run(engine, machine, "sleep 1000 & exit 0")
    await until(lambda: machine.living(key()) == 0)
    other = machine.engine()
    (found,) = (await other.discover(GATEWAY)).found
    assert found.key == key()
    await other.stop(found.handle, grace=GRACE)
    assert machine.processes() == []
    await other.aclose()


async def test_damaged_notes_are_ignored(engine: ProcessEngine, machine: ThisMachine) -> None:
    handle = await run(engine, machine, ["sleep", "1000"])
    (note,) = (machine.folder / "run").glob("*.json")
    for text in (
        "",
        "{",
        "[]",
        '{"pid": 1}',
        json.dumps({**handle, "pid": "1"}),
        json.dumps({**handle, "key": "x"}),
    ):
        note.write_text(text)
        (found,) = (await engine.discover(GATEWAY)).found
        assert found.handle["pid"] == handle["pid"]
    await engine.stop(handle, grace=GRACE)
    assert list((machine.folder / "run").glob("*.json")) == []


# -- the pieces ------------------------------------------------------------------------------------


async def test_an_exit_is_told_once_also_when_it_came_before_attach() -> None:
    told: list[tuple[Identity, Exit]] = []
    watch = ExitWatch(lambda identity, exited: told.append((identity, exited)))
    gone = Identity(2**22 - 1, 1, "another boot")
    watch.attach(gone)
    watch.attach(gone)
    assert told == [(gone, Exit())]
    watch.close()


async def test_wait_ended_gives_up_after_its_time() -> None:
    own = identify(os.getpid())
    assert own is not None
    await wait_ended([own], timeout=0.01)
    await wait_ended([], timeout=1000)


async def first_hint(engine: ProcessEngine) -> Observed:
    async with asyncio.timeout(5):
        async for observed in engine.watch():
            return observed
    raise AssertionError("watch ended")


def _sleeping(seconds: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", seconds.encode()]:
            found.append(int(folder.name))
    return found


def _zombies(parent: int) -> list[int]:
    stats = (read_stat(int(folder.name)) for folder in Path("/proc").glob("[0-9]*"))
    return [stat.pid for stat in stats if stat is not None and stat.parent == parent and stat.state == "Z"]
