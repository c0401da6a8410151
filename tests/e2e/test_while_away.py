"""Between two lives of a gateway the world changes: what it finds then is taken over, or put in order.

Processes, files and settings are changed while nobody looks (AD-02, AD-03, AD-05, AD-16, AD-17, AD-18).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.lives import Lives, foreign_program, lives
from tests.fakes.facts import eventually

pytestmark = pytest.mark.e2e


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Lives]:
    async with lives(tmp_path / "gateway") as one:
        yield one


async def killed(gateway: Lives) -> int:
    """A service is hot, then the gateway is killed. Pid of the service."""
    await gateway.boot()
    await gateway.now.get("/services/one/x")
    if "database_url" not in gateway.configuration:
        await eventually(lambda: gateway.rows()[0][2] is not None, "the handle in the file")
    gateway.kill()
    return gateway.program()


def end_program(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.kill()
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(10)


def edit_handle(gateway: Lives, **fields: Any) -> None:
    """Change what the store and the engine's note say of the one program."""
    with contextlib.closing(sqlite3.connect(gateway.database)) as db:
        ((text,),) = db.execute("SELECT handle FROM generations").fetchall()
        db.execute("UPDATE generations SET handle = ?", (json.dumps({**json.loads(text), **fields}),))
        db.commit()
    for note in (gateway.folder / "state").rglob("run/*.json"):
        note.write_text(json.dumps({**json.loads(note.read_text()), **fields}))


async def test_ad_03_service_ended_while_away(gateway: Lives) -> None:
    end_program(await killed(gateway))
    await gateway.boot()
    await gateway.now.until_phase("cold", "one")
    events = (await gateway.now.http.get(f"{gateway.now.url}/v1/services/one/status")).json()
    assert events["phase"] == "cold"
    causes = [line.get("cause") for line in gateway.now.lines(service="one") if line.get("to") == "cold"]
    assert causes == ["ended_while_away"]
    await gateway.is_true("cold")
    await gateway.end()


async def test_ad_05_after_another_boot_a_number_says_nothing(gateway: Lives) -> None:
    """The machine was restarted; a foreign program has the number of ours now."""
    end_program(await killed(gateway))
    with foreign_program() as foreign:
        edit_handle(gateway, boot="00000000-0000-0000-0000-000000000000", pid=foreign.pid, group=foreign.pid)
        await gateway.boot()
        await gateway.is_true("cold")
        await gateway.end()
        assert foreign.is_running()


async def test_ad_05_number_of_a_process_used_again(gateway: Lives) -> None:
    """Same boot, same number, another start time: it is somebody else, and is not touched."""
    end_program(await killed(gateway))
    with foreign_program() as foreign:
        edit_handle(gateway, pid=foreign.pid, group=foreign.pid)
        await gateway.boot()
        await gateway.is_true("cold")
        await gateway.end()
        assert foreign.is_running()


async def test_ad_17_options_changed_while_away(gateway: Lives) -> None:
    """What runs is served on; the next start has the new ones."""
    pid = await killed(gateway)
    gateway.set(one=gateway.service("--say", "new words"))
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    await gateway.now.http.post(f"{gateway.now.url}/v1/services/one/stop")
    await gateway.until_gone()
    await gateway.now.get("/services/one/x")
    assert "new words" in psutil.Process(gateway.program()).cmdline()
    await gateway.end()


async def test_ad_17_service_removed_while_away_is_stopped(gateway: Lives) -> None:
    await killed(gateway)
    gateway.set(two=gateway.service())
    await gateway.boot()
    await gateway.until_gone()
    await gateway.is_true("cold", service="two")
    await gateway.end()


async def test_ad_17_service_removed_while_away_is_left_by_policy(gateway: Lives) -> None:
    """It is named, and taken over again once a setting names it."""
    pid = await killed(gateway)
    before = dict(gateway.configuration["services"])
    gateway.set(two=gateway.service())
    await gateway.boot(HESTIA_ORPHAN_POLICY="keep")
    said = await gateway.now.until_line("orphan_kept")
    assert "one" in said["message"]
    assert gateway.program() == pid
    gateway.kill()
    gateway.set(**before)
    await gateway.boot(HESTIA_ORPHAN_POLICY="keep")
    await gateway.is_true("hot", pid=pid)
    await gateway.end()


async def test_ad_03_left_by_policy_and_ended_since(gateway: Lives) -> None:
    """Its row is closed: nothing is there to be named for ever."""
    end_program(await killed(gateway))
    gateway.set(two=gateway.service())
    await gateway.boot(HESTIA_ORPHAN_POLICY="keep")
    await eventually(lambda: gateway.rows() == [], lambda: str(gateway.rows()))
    assert not gateway.now.lines("orphan_kept")
    await gateway.end()


async def test_ad_03_engine_changed_while_away(gateway: Lives) -> None:
    """What the other engine started ends; the address is looked at as the new setting says."""
    pid = await killed(gateway)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        gateway.set(one={"base_url": f"http://127.0.0.1:{port}"})
        await gateway.boot()
        await gateway.until_gone()
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        await gateway.now.until_phase("hot", "one")
    await gateway.end()


@pytest.mark.parametrize("fate", ["deleted", "truncated", "kept in memory"])
async def test_ad_02_and_18_the_store_is_lost(gateway: Lives, fate: str) -> None:
    """The key alone says whose it is."""
    if fate == "kept in memory":
        gateway.configuration["database_url"] = "memory"
    pid = await killed(gateway)
    if fate == "deleted":
        for file in gateway.database.parent.glob("hestia.db*"):
            file.unlink()
    elif fate == "truncated":
        os.truncate(gateway.database, 100)
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    if fate == "truncated":
        assert gateway.now.lines("store_damaged")
    if fate == "kept in memory":
        await gateway.now.http.post(f"{gateway.now.url}/v1/services/one/stop?force=true")
        await gateway.until_gone()
    else:
        await gateway.end()


async def test_ad_02_own_service_on_a_fixed_port_is_not_taken_for_somebody_elses(gateway: Lives) -> None:
    """Without a store, whoever answers at the address is ours if it bears our key (ID-09)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = gateway.service(base_url=f"http://127.0.0.1:{port}")
    service["health_url"] = f"http://127.0.0.1:{port}/health"
    service["engine"]["command"] = [
        str(port) if word == "{port}" else word for word in service["engine"]["command"]
    ]
    gateway.configuration["database_url"] = "memory"
    gateway.set(one=service)
    pid = await killed(gateway)
    gateway.begin(at="frozen")
    gateway.point.touch()  # the engine does not say what runs, for a while
    started = await gateway.now.until_line("gateway_started")
    gateway.now.port = int(started["listening"].rpartition(":")[2])
    asked = asyncio.get_running_loop().create_task(gateway.now.get("/services/one/early"))
    assert (await gateway.now.status("one"))["phase"] == "starting"
    gateway.point.unlink()
    answered = (await asked).json()["pid"]
    await eventually(
        lambda: list(gateway.programs()) == [answered], lambda: f"one of ours: {gateway.programs()}"
    )
    status = await gateway.now.status("one")
    assert status["instances"][0]["external"] is False
    assert pid in gateway.starts()
    await gateway.now.http.post(f"{gateway.now.url}/v1/services/one/stop?force=true")
    await gateway.until_gone()


async def test_ad_16_second_gateway_on_one_state_folder(gateway: Lives) -> None:
    """It ends and says who has it; the first one, and what it adopted, is not touched."""
    pid = await killed(gateway)
    first = await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    async with lives(gateway.folder.parent / "second") as second:
        second.configuration["state_dir"] = str(gateway.folder / "state")
        second.begin(HESTIA_STATE_DIR="")
        assert await second.now.ended() == 1
        assert f"Another gateway (pid {first.process.pid}) uses the state folder" in second.now.said
    await gateway.is_true("hot", pid=pid)
    await gateway.end()


async def test_ad_07_end_of_an_adopted_service_is_seen(gateway: Lives) -> None:
    """No child of this gateway, and still its end is known at once, and the next request starts it again."""
    pid = await killed(gateway)
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not gateway.programs(), "its end")
    await gateway.now.get("/services/one/x")
    assert gateway.program() != pid
    await gateway.end()


async def test_ad_10_engine_with_a_bug_leaves_nobody_waiting(gateway: Lives) -> None:
    """Who asks it hears an exception: others are served, the end is in order, and the next one adopts."""
    pid = await killed(gateway)
    await gateway.boot(at="broken")
    await gateway.now.until_line("discover_broke")
    assert (await gateway.now.status("one"))["phase"] in ("starting", "failed")
    assert await gateway.now.stop() == 0
    assert gateway.program() == pid
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    await gateway.end()
