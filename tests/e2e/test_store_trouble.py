"""A gateway whose database cannot be written still proxies, says why nothing starts, and recovers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.served import launch, serving
from tests.fakes.disk import SmallDisk, small_disk
from tests.fakes.programs import small_command

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
    with closing(sqlite3.connect(path)) as db:
        query = "SELECT after FROM events WHERE service = 'one' ORDER BY id"
        states = [after for (after,) in db.execute(query)]
        left = db.execute("SELECT count(*) FROM generations").fetchone()
    assert states[:2] == ["starting", "hot"]
    assert states[-1] == "cold"
    assert left == (0,), "stopped in order: nothing is left to look for"
