"""What `hestia db` does with the file: with a gateway at it, without one, and with a file that is none."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hestia.core.errors import ConfigError
from hestia.store import upkeep
from tests.contract.store_contract import entry, intent, numbers, row
from tests.fakes.stores import opened


async def filled(path: Path, events: int = 5) -> None:
    async with opened(path) as store:
        await store.intend(intent())
        for number in range(events):
            store.append(row(number))
        store.record(entry(1))


async def test_sound_file_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    await filled(path)
    found = upkeep.check(path)
    assert found.faults == ()
    assert (found.events, found.requests, found.generations, found.oldest) == (5, 1, 1, 0.0)
    assert found.version == 1
    assert found.size >= found.used > 0
    assert found.holder == ""


async def test_file_in_use_is_checked_and_copied_but_not_written_anew(tmp_path: Path) -> None:
    """A copy has what was committed last, and the gateway notices nothing."""
    path, copy = tmp_path / "hestia.db", tmp_path / "copy.db"
    await filled(path)
    async with opened(path) as store:
        await store.intend(intent(2))
        found = upkeep.check(path)
        assert found.holder == str(os.getpid())
        assert found.size >= found.used, "what is not in the main file yet counts too"
        assert upkeep.backup(path, copy) == copy.stat().st_size
        with pytest.raises(ConfigError) as caught:
            upkeep.vacuum(path)
        assert f"pid {os.getpid()}" in caught.value.detail
        assert "stop the gateway" in caught.value.remedy
        await store.intend(intent(3))
        assert store.trouble == ""
    assert copy.stat().st_mode & 0o077 == 0
    async with opened(copy) as again:
        assert [one.intent.key.generation for one in again.memory.kept] == [1, 2]
        assert await numbers(again) == [4, 3, 2, 1, 0]


async def test_copy_never_replaces_a_file(tmp_path: Path) -> None:
    path, copy = tmp_path / "hestia.db", tmp_path / "copy.db"
    await filled(path)
    copy.write_text("mine")
    with pytest.raises(ConfigError, match="already"):
        upkeep.backup(path, copy)
    assert copy.read_text() == "mine"
    with pytest.raises(ConfigError, match="nowhere"):
        upkeep.backup(path, tmp_path / "nowhere" / "copy.db")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["copy.db", "hestia.db", "hestia.db.lock"]


async def test_free_room_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    async with opened(path) as store:
        for number in range(3000):
            store.append(row(number, "x" * 200))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM events")
    before, after = upkeep.vacuum(path)
    assert after < before / 3
    assert upkeep.check(path).faults == ()
    async with opened(path) as store:
        assert store.trouble == ""


async def test_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "hestia.db"
    await filled(path, 400)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8 * 4096))
    assert upkeep.check(path).faults
    with pytest.raises(ConfigError, match="damaged"):
        upkeep.vacuum(path)
    path.write_bytes(b"not a database" * 1000)
    assert upkeep.check(path).faults == ("file is not a database",)
    with pytest.raises(ConfigError, match="damaged"):
        upkeep.backup(path, tmp_path / "copy.db")


@pytest.mark.parametrize("deed", [upkeep.check, upkeep.vacuum])
def test_no_file_is_told(tmp_path: Path, deed: Callable[[Path], object]) -> None:
    with pytest.raises(ConfigError) as caught:
        deed(tmp_path / "hestia.db")
    assert "hestia serve" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []
