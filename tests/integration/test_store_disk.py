"""The store and real trouble: kill -9 in the middle of writing, a full disk, a disk that is read-only."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hestia.core.errors import StoreUnavailable
from tests.contract.store_contract import intent, key, numbers, row
from tests.fakes.disk import SmallDisk, small_disk
from tests.fakes.facts import eventually
from tests.fakes.stores import opened, told

ROUNDS = 4
WRITTEN = 120  # intents that are waited for in each round


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size="1m") as made:
        yield made


@pytest.fixture
def roomy_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size="32m") as made:
        yield made


def write_and_kill(path: Path, first: int) -> int:
    """Have a program write and kill it; the last generation it said was committed."""
    command = [sys.executable, "-m", "tests.fakes.store_writer", str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        said = [program.stdout.readline() for _ in range(WRITTEN)]
        program.kill()
        return int([*said, *program.stdout.read().splitlines()][-1])


async def test_inv6_ad_01_kill_9_loses_no_committed_intent(tmp_path: Path) -> None:
    """Whatever was said to be committed is there, in a sound file, and so is what came before it."""
    path, first = tmp_path / "hestia.db", 1
    for _ in range(ROUNDS):
        last = await asyncio.to_thread(write_and_kill, path, first)
        async with opened(path) as store:
            assert store.trouble == ""
            kept = [one.intent.key.generation for one in store.memory.kept]
            (highest,) = store.memory.generations.values()
            assert highest in (last, last + 1)  # killed between the commit and the saying
            assert set(range(last - 49, last + 1)) <= set(kept)
            events = await numbers(store, limit=100_000)
            assert events == sorted(events, reverse=True)
            assert max(events) >= last - 1  # written in the order in which it was handed over
        first = highest + 1
    assert not list(tmp_path.glob("*damaged*"))


async def test_full_disk_refuses_intents_until_there_is_room(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = disk.path / "hestia.db"
    async with opened(path) as store:
        await store.intend(intent(1))
        disk.fill()
        for generation in range(2, 40):
            store.append(row(generation))
            with pytest.raises(StoreUnavailable) as caught:
                await store.intend(intent(generation))
            assert "disk is full" in caught.value.detail
            assert "free some space" in caught.value.remedy
        assert "full" in store.trouble
        assert await numbers(store, limit=5) == [39, 38, 37, 36, 35]
        disk.free()
        await store.intend(intent(40))
        await eventually(lambda: store.trouble == "", "no trouble")
    assert len(told(caplog.records, "store_trouble")) == 1, "said once, not for each failure (OB-18)"
    assert len(told(caplog.records, "store_recovered")) == 1
    async with opened(path) as store:
        assert [one.intent.key.generation for one in store.memory.kept] == [1, 40]
        assert await numbers(store, limit=100) == list(range(39, 1, -1))


async def test_disk_that_is_full_at_the_start(disk: SmallDisk) -> None:
    """What is known is known; nothing is called damaged; it is taken up when there is room."""
    path = disk.path / "hestia.db"
    async with opened(path) as store:
        await store.intend(intent(1))
    disk.fill()
    async with opened(path) as store:
        assert [one.intent.key.generation for one in store.memory.kept] == [1]
        store.append(row(1))
        with pytest.raises(StoreUnavailable):
            await store.intend(intent(2))
        disk.free()
        await store.intend(intent(3))
    assert not list(disk.path.glob("*damaged*"))
    async with opened(path) as store:
        assert [one.intent.key.generation for one in store.memory.kept] == [1, 3]
        assert await numbers(store) == [1]


async def test_no_database_and_no_room_for_one(disk: SmallDisk) -> None:
    path = disk.path / "state" / "hestia.db"
    disk.fill()
    async with opened(path) as store:
        assert "full" in store.trouble
        store.append(row(1))
        assert await numbers(store) == [1]
        disk.free()
        await store.intend(intent(1))
    async with opened(path) as store:
        assert len(store.memory.kept) == 1
        assert await numbers(store) == [1]


async def test_read_only_disk_tells_what_it_knows_and_is_taken_up_later(roomy_disk: SmallDisk) -> None:
    """The write-ahead log of a killed gateway is read, too, although nothing can be recovered there."""
    disk = roomy_disk
    path = disk.path / "hestia.db"
    last = await asyncio.to_thread(write_and_kill, path, 1)
    disk.writable(False)
    async with opened(path) as store:
        assert last in [one.intent.key.generation for one in store.memory.kept]
        assert "cannot be used: Read-only file system" in store.trouble
        with pytest.raises(StoreUnavailable) as caught:
            await store.intend(intent(5000))
        assert "database_url" in caught.value.remedy
        store.closed(key(last), "gone")
        store.append(row(5000))
        disk.writable(True)
        await store.intend(intent(5001))
        assert (await store.events(limit=1))[0].row.generation == 5000
        assert len(await store.events(limit=1000)) > WRITTEN
    async with opened(path) as store:
        kept = [one.intent.key.generation for one in store.memory.kept]
        assert 5001 in kept
        assert last not in kept
        assert 5000 not in kept
