"""What SqliteStore does beyond the contract: reading what is not written yet, trouble, words in the log."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hestia.core.errors import StoreUnavailable
from hestia.core.model import Retention
from hestia.core.ports import RequestEntry
from hestia.store.sqlite import SqliteStore
from hestia.store.writer import PRUNE_ROWS
from tests.contract.store_contract import OWNER, entry, intent, key, numbers, row
from tests.fakes.facts import eventually
from tests.fakes.stores import SlowDisk, ask, opened, told


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else's program that writes, and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def test_intent_is_in_the_file_when_it_returns(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        await store.intend(intent(3))
        assert ask(path, "SELECT generation, state FROM generations") == [(3, "starting")]
        assert ask(path, "SELECT highest FROM numbers") == [(3,)]


async def test_many_intents_at_once_are_all_committed(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        await asyncio.gather(*(store.intend(intent(1, f"s{number}")) for number in range(200)))
        assert ask(path, "SELECT count(*) FROM generations") == [(200,)]


async def test_the_rest_is_written_soon(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        await store.intend(intent())
        store.handle_made(key(), {"pid": 7})
        store.append(row(1))
        store.record(entry(1))
        await eventually(lambda: ask(path, "SELECT count(*) FROM events") == [(1,)], "the event in the file")
        assert ask(path, "SELECT handle FROM generations") == [('{"pid":7}',)]
        assert ask(path, "SELECT count(*) FROM requests") == [(1,)]


async def test_events_are_found_once_while_they_are_being_written(tmp_path: Path) -> None:
    async with opened(tmp_path / "hestia.db") as store:
        for number in range(400):
            store.append(row(number))
            if number % 20 == 0:
                assert await numbers(store, limit=1000) == list(range(number, -1, -1))
        assert await numbers(store, limit=1000) == list(range(399, -1, -1))


async def test_locked_database_refuses_intents_and_keeps_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop goes on; nothing is lost; two lines in the log, however often it failed (OB-18)."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        await store.intend(intent(1))
        with locked(path):
            store.append(row(1))
            for generation in (2, 3):
                with pytest.raises(StoreUnavailable) as caught:
                    await store.intend(intent(generation))
                assert "locked by another program" in caught.value.detail
                assert caught.value.remedy
            assert "locked" in store.trouble
            assert await numbers(store) == [1]
        await store.intend(intent(4))
        await eventually(lambda: ask(path, "SELECT count(*) FROM events") == [(1,)], "the event in the file")
        await eventually(lambda: store.trouble == "", "no trouble")
    assert len(told(caplog.records, "store_trouble")) == 1
    assert told(caplog.records, "store_recovered") == [
        "The database is written again; 0 events and requests were lost meanwhile"
    ]
    async with opened(path) as store:
        assert [one.intent.key.generation for one in store.memory.kept] == [1, 4]
        assert list(store.memory.generations.values()) == [4]


async def test_intent_is_kept_in_memory_where_the_user_says_so(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with opened(path, required=False) as store:
        with locked(path):
            await store.intend(intent(1))
            store.handle_made(key(1), {"pid": 1})
            assert "locked" in store.trouble
    async with opened(path) as store:
        assert [one.handle for one in store.memory.kept] == [{"pid": 1}]


async def test_database_that_is_locked_at_the_start_is_taken_later(tmp_path: Path) -> None:
    """What it holds is known all the same, and numbers do not collide with what is in it."""
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        await store.intend(intent(7))
        for number in range(5):
            store.append(row(number))
    with locked(path):
        context = opened(path)
        store = await context.__aenter__()
        assert [one.intent.key.generation for one in store.memory.kept] == [7]
        assert "locked" in store.trouble
        store.closed(key(7), "gone")
        store.append(row(5))
    await store.intend(intent(8))
    assert await numbers(store) == [5, 4, 3, 2, 1, 0]
    await context.__aexit__(None, None, None)
    async with opened(path) as store:
        assert [one.intent.key.generation for one in store.memory.kept] == [8]
        assert await numbers(store) == [5, 4, 3, 2, 1, 0]


async def test_cancelled_intent_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(store.intend(intent(1, f"s{number}"))) for number in range(40)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
        assert all(task.cancelled() for task in tasks)
    async with opened(path) as store:
        assert store.memory.kept == ()


async def test_what_no_database_takes_is_stored_as_text(tmp_path: Path) -> None:
    """Undecodable bytes of a client, values that are no JSON: no row is refused for them."""
    circle: dict[str, object] = {}
    circle["self"] = circle
    async with opened(tmp_path / "hestia.db") as store:
        store.append(row(1, "caf\udce9"))
        store.record(RequestEntry(request_id="a\ud800", at=1.0, service="x", document={"path": object()}))
        store.record(RequestEntry(request_id="b", at=2.0, service="x", document=circle))
        store.fact("kind", "name", {"bytes": b"x"})
    async with opened(tmp_path / "hestia.db") as store:
        assert [one.row.service for one in await store.events()] == ["caf?"]
        assert [one.request_id for one in await store.requests()] == ["b", "a?"]
        assert store.trouble == ""


async def test_values_spoilt_by_hand_do_not_keep_it_from_opening(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        await store.intend(intent())
        store.handle_made(key(), {"pid": 1})
        store.fact("backoff", "ollama", {"failures": 1})
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE generations SET handle = 'not json'")
        other.execute("UPDATE facts SET value = '[1'")
    async with opened(path) as store:
        assert [one.handle for one in store.memory.kept] == [{}]
        assert store.memory.facts == {("backoff", "ollama"): {}}


async def test_a_row_that_breaks_the_writer_is_dropped_with_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of a caller must not stop what others hand over."""
    async with opened(tmp_path / "hestia.db") as store:
        store.append(row(2**70))
        await eventually(lambda: bool(told(caplog.records, "store_broke")), "words in the log")
        store.append(row(1))
        await store.intend(intent())
        assert await numbers(store) == [1]
    async with opened(tmp_path / "hestia.db") as store:
        assert await numbers(store) == [1]
        assert len(store.memory.kept) == 1


async def test_only_so_many_events_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "hestia.db"
    async with opened(path, keep=Retention(days=36500)) as store:
        with locked(path):
            for number in range(10_500):
                store.append(row(number))
            await eventually(lambda: "locked" in store.trouble, "trouble")
            assert (await store.events(limit=1))[0].row.generation == 10_499
        await store.intend(intent())
        await eventually(lambda: store.trouble == "", "no trouble")
        assert len(await numbers(store, limit=20_000)) == 10_000
    (said,) = told(caplog.records, "store_recovered")
    assert "500 events" in said


async def test_old_events_are_forgotten_while_it_runs(tmp_path: Path) -> None:
    """Many written are a reason to look, whatever the hour; what may run stays."""
    path = tmp_path / "hestia.db"
    async with opened(path, keep=Retention(days=1)) as store:
        await store.intend(intent())
        store.append(replace(row(1), at=time.time()))
        for number in range(PRUNE_ROWS):
            store.append(row(number))
        await eventually(lambda: ask(path, "SELECT count(*) FROM events") == [(1,)], "only the new event")
        assert ask(path, "SELECT count(*) FROM generations") == [(1,)]


async def test_disk_that_hangs_holds_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A commit that does not end: an intent is refused in time, the loop goes on (CK-08)."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "hestia.db"
    disk = SlowDisk(path)
    store = SqliteStore(disk, patience=1.5)
    await store.open(OWNER)
    disk.gate.clear()
    try:
        with pytest.raises(StoreUnavailable) as caught:
            await store.intend(intent(1))
        assert disk.waiting.is_set()
        assert "too slow or hangs" in caught.value.detail
        assert "too slow or hangs" in store.trouble
        store.append(row(1))
        assert await numbers(store) == [1]
    finally:
        disk.gate.set()
    await eventually(lambda: store.trouble == "", "no trouble")
    await store.aclose()
    assert len(told(caplog.records, "store_trouble")) == 1
    async with opened(path) as again:
        assert again.memory.kept == (), "refused: as if it had never been"
        assert await numbers(again) == [1]


async def test_close_gives_up_on_a_disk_that_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = SlowDisk(tmp_path / "hestia.db")
    store = SqliteStore(disk, patience=0.5)
    await store.open(OWNER)
    disk.gate.clear()
    try:
        store.append(row(1))
        await store.aclose()
        assert [line.partition(":")[0] for line in told(caplog.records, "store_lost")] == [
            "1 events and requests were not written"
        ]
    finally:
        disk.gate.set()
    await eventually(lambda: not store_thread(), "the thread to end")


def store_thread() -> bool:
    """Whether the thread of any store runs."""
    return any(one.name == "hestia-store-writer" for one in threading.enumerate())
