"""A gateway whose database cannot be written still proxies, says why nothing starts, and recovers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.served import launch, serving
from tests.fakes.disk import SmallDisk, small_disk
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command
from tests.fakes.stores import ask

pytestmark = pytest.mark.e2e


def configuration(path: Path, **more: Any) -> dict[str, Any]:
    """Two services and the database at `path`. more: keys of the gateway."""
    service = {
        "engine": {"type": "process", "command": small_command()},
        "health_url": "http://127.0.0.1:{port}/health",
    }
    return {"database_url": f"sqlite:///{path}", **more, "services": {"one": service, "two": service}}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size="1m") as made:
        yield made


async def test_full_disk_stops_starts_and_nothing_else(tmp_path: Path, disk: SmallDisk) -> None:
    """INV-6: nothing starts whose intent was not stored; what is hot is served; all again with room."""
    async with serving(tmp_path / "g", configuration(disk.path / "hestia.db")) as served:
        await served.get("/services/one/x")
        disk.fill()
        await served.get("/services/one/y")
        answer = await served.http.get(f"{served.url}/services/two/x")
        assert answer.status_code == 503
        problem = answer.json()
        assert problem["code"] == "store_unavailable"
        assert "disk is full" in problem["detail"]
        assert "free some space" in problem["detail"]
        await served.get("/services/one/z")
        assert len(served.lines("store_trouble")) == 1
        disk.free()
        await served.until_phase("failed", "two")
        started = await served.http.post(f"{served.url}/v1/services/two/start?wait=true")
        assert started.status_code < 300, started.text
        await served.get("/services/two/x")
    assert served.lines("store_recovered")


async def test_full_disk_stops_no_start_where_the_user_says_so(tmp_path: Path, disk: SmallDisk) -> None:
    settings = configuration(disk.path / "hestia.db", start_without_store=True)
    async with serving(tmp_path / "g", settings) as served:
        disk.fill()
        await served.get("/services/one/x")
        (said,) = served.lines("store_trouble")
        assert "started all the same" in said["message"]


async def test_gateway_begins_and_ends_on_a_full_disk(tmp_path: Path, disk: SmallDisk) -> None:
    """Only the database is there: the gateway comes up, tells, and ends in order."""
    disk.fill()
    async with serving(tmp_path / "g", configuration(disk.path / "hestia.db")) as served:
        assert (await served.status("one"))["phase"] == "cold"
        answer = await served.http.get(f"{served.url}/services/one/x")
        assert answer.json()["code"] == "store_unavailable"


async def test_ad_16_second_gateway_on_one_database_ends_and_says_who_has_it(tmp_path: Path) -> None:
    """Each has a state folder of its own; the database is what they share."""
    settings = configuration(tmp_path / "shared.db")
    async with serving(tmp_path / "first", settings) as first:
        second = launch(tmp_path / "second", settings)
        try:
            assert await second.ended() == 1
        finally:
            await second.http.aclose()
        assert f"Another gateway (pid {first.process.pid}) uses the database" in second.said
        assert "database_url" in second.said
        await first.get("/services/one/x")


async def test_ad_18_damaged_database_is_moved_aside_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    path.write_bytes(b"what was that" * 999)
    async with serving(tmp_path / "g", configuration(path)) as served:
        (said,) = served.lines("store_damaged")
        assert str(next(tmp_path.glob("hestia.db.damaged-*"))) in said["message"]
        await served.get("/services/one/x")


async def test_inv9_the_timeline_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with serving(tmp_path / "g", configuration(path)) as served:
        await served.get("/services/one/x")
    events = ask(path, "SELECT after FROM events WHERE service = 'one' ORDER BY id")
    states = [after for (after,) in events]
    assert states[:2] == ["starting", "hot"]
    assert states[-1] == "cold"
    assert not ask(path, "SELECT * FROM generations"), "stopped in order: nothing is left to look for"


async def test_inv6_ad_01_killed_gateway_leaves_in_the_file_what_runs(tmp_path: Path) -> None:
    """kill -9 while a service is hot: its generation is there, with the handle by which to find it."""
    path = tmp_path / "hestia.db"
    served = launch(tmp_path / "g", configuration(path))
    try:
        started = await served.until_line("gateway_started")
        served.port = int(started["listening"].rpartition(":")[2])
        await served.get("/services/one/x")
        (program,) = served.programs()
        await eventually(lambda: ask(path, "SELECT handle FROM generations") != [(None,)], "the handle")
        served.process.kill()
        served.process.wait()
        ((service, handle),) = ask(path, "SELECT service, handle FROM generations")
        assert service == "one"
        assert json.loads(str(handle))["pid"] == program
    finally:
        await served.http.aclose()
        served.process.kill()
        served.process.wait()
        for pid in served.programs():
            os.kill(pid, signal.SIGKILL)


async def test_inv6_gateway_begins_in_a_read_only_state_folder_and_proxies(
    tmp_path: Path, disk: SmallDisk
) -> None:
    """The folder was in use before: nothing is started, and what runs by itself is served."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    settings, state = configuration(disk.path / "hestia.db"), str(disk.path)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as outside:
        port = outside.sockets[0].getsockname()[1]
        settings["services"]["outside"] = {"base_url": f"http://127.0.0.1:{port}"}
        async with serving(tmp_path / "g", settings, HESTIA_STATE_DIR=state) as served:
            await served.get("/services/one/x")
        disk.writable(False)
        async with serving(tmp_path / "g", settings, HESTIA_STATE_DIR=state) as served:
            (said,) = served.lines("state_folder_trouble")
            assert "mount it for writing" in said["message"]
            assert (await served.status("one"))["phase"] == "cold"
            refused = await served.http.get(f"{served.url}/services/one/x")
            assert refused.json()["code"] == "store_unavailable"
            assert "mount its disk for writing" in refused.text
            assert (await served.get("/services/outside/x")).text == "hi"
        settings["start_without_store"] = True
        async with serving(tmp_path / "g", settings, HESTIA_STATE_DIR=state) as served:
            await served.get("/services/one/x")
