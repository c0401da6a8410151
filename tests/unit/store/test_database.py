"""The file (AD-16, AD-18): made whole, taken by one gateway, moved aside when damaged, upgraded on a copy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hestia.core.errors import ConfigError
from hestia.store.database import Database, lock_of
from hestia.store.schema import STEPS, Step
from tests.contract.store_contract import intent, numbers, row
from tests.fakes.stores import OWNER, ask, opened, told

SECOND: Step = ("ALTER TABLE events ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",)
BROKEN: Step = ("CREATE TABLE half (x)", "CREATE TABLE events (x)")


async def fill(path: Path, count: int = 300) -> None:
    """A database with something in it."""
    async with opened(path) as store:
        await store.intend(intent())
        for number in range(count):
            store.append(row(number))


async def test_the_folder_and_the_file_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "hestia.db"
    await fill(path)
    assert sorted(one.name for one in path.parent.iterdir()) == ["hestia.db", "hestia.db.lock"]
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_ad_16_second_gateway_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        second = Database(path)
        with pytest.raises(ConfigError) as caught:
            second.connect()
        assert f"pid {os.getpid()}" in caught.value.detail
        assert str(path) in caught.value.detail
        assert "database_url" in caught.value.remedy
        await store.intend(intent())
    second.connect().close()
    second.close()
    second.close()


def no_head(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 1000)


def no_tail(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def nothing_left(path: Path) -> None:
    os.truncate(path, 0)


def scribbled(path: Path) -> None:
    """Pages overwritten behind an intact head."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8 * 4096))


@pytest.mark.parametrize("damage", [no_head, no_tail, nothing_left, scribbled])
async def test_ad_18_damaged_file_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "hestia.db"
    await fill(path)
    damage(path)
    content = path.read_bytes()
    async with opened(path) as store:
        assert store.memory.kept == ()
        assert store.trouble == ""
        await store.intend(intent(2))
        assert await numbers(store) == []
    (aside,) = tmp_path.glob("hestia.db.damaged-*")
    assert aside.read_bytes() == content
    (said,) = told(caplog.records, "store_damaged")
    assert str(aside) in said


async def test_ad_18_damage_while_it_runs_loses_no_generation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage over the file of a running gateway: what it knows is written into a new one."""
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        await store.intend(intent(1))
        path.unlink()
        path.write_bytes(b"garbage" * 10_000)
        await store.intend(intent(2))
    assert told(caplog.records, "store_damaged")
    async with opened(path) as store:
        assert [one.intent.key.generation for one in store.memory.kept] == [1, 2]


async def test_deleted_file_of_a_running_gateway_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        await store.intend(intent(1))
        store.fact("backoff", "ollama", {"failures": 1})
        store.append(row(1))
        for one in tmp_path.glob("hestia.db*"):
            one.unlink()
        await store.intend(intent(2))
        store.append(row(2))
        assert lock_of(path).exists()
    async with opened(path) as store:
        assert len(store.memory.kept) == 2
        assert store.memory.facts == {("backoff", "ollama"): {"failures": 1}}
        assert (await numbers(store))[0] == 2


async def test_ad_18_upgrade_keeps_what_there_was_and_the_old_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "hestia.db"
    await fill(path, 3)
    async with opened(path, steps=(*STEPS, SECOND)) as store:
        assert len(store.memory.kept) == 1
        assert await numbers(store) == [2, 1, 0]
        assert ask(path, "SELECT DISTINCT note FROM events") == [("none",)]
    (said,) = told(caplog.records, "store_upgraded")
    old = tmp_path / "hestia.db.before-2"
    assert str(old) in said
    assert ask(old, "SELECT count(*) FROM events") == [(3,)]
    async with opened(old) as store:
        assert len(store.memory.kept) == 1


async def test_ad_18_upgrade_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """The gateway goes on without a store; the version before still opens the file."""
    path = tmp_path / "hestia.db"
    await fill(path, 3)
    before = path.read_bytes()
    async with opened(path, steps=(*STEPS, BROKEN)) as store:
        assert "already exists" in store.trouble
        assert len(store.memory.kept) == 1
    assert path.read_bytes() == before
    async with opened(path) as store:
        assert await numbers(store) == [2, 1, 0]


async def test_upgrade_takes_what_a_killed_gateway_left_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    await fill(path, 3)
    with closing(sqlite3.connect(path)) as other:  # a reader keeps the log from being folded in
        other.execute("SELECT * FROM events").fetchone()
        async with opened(path) as store:
            store.append(row(3))
        async with opened(path, steps=(*STEPS, SECOND)) as store:
            assert await numbers(store) == [3, 2, 1, 0]


async def test_newer_database_is_refused_with_words(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with opened(path, steps=(*STEPS, SECOND)):
        pass
    with pytest.raises(ConfigError) as caught:
        async with opened(path):
            pass
    assert "newer version" in caught.value.detail
    assert "upgrade Hestia" in caught.value.remedy
    assert str(path) in caught.value.remedy
    assert not list(tmp_path.glob("*damaged*"))


async def test_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A path typed wrongly must not take somebody's file away."""
    path = tmp_path / "semaphore.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE users (name)")
    content = path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        async with opened(path):
            pass
    assert "another program" in caught.value.detail
    assert path.read_bytes() == content


async def test_what_a_killed_making_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "hestia.db.new").write_bytes(b"half")
    async with opened(tmp_path / "hestia.db") as store:
        await store.intend(intent())
    assert not (tmp_path / "hestia.db.new").exists()


def test_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError):
        Database(tmp_path / "file" / "hestia.db").connect()


async def test_path_with_signs_that_mean_something_in_an_address(tmp_path: Path) -> None:
    path = tmp_path / "a b%20?x#y" / "hestia.db"
    async with opened(path) as store:
        await store.intend(intent())
    assert path.exists()
    assert store.memory.kept == ()
    async with opened(path, owner=OWNER) as again:
        assert len(again.memory.kept) == 1
