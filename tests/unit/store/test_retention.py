"""What is forgotten with time, and what never is."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hestia.core.model import Retention
from hestia.core.ports import StoredRow
from hestia.store import rows
from hestia.store.database import Database
from hestia.store.retention import PIECE, give_back, prune, used
from tests.contract.store_contract import OWNER, entry, row

DAY = 86400.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    database = Database(tmp_path / "hestia.db")
    with closing(database.connect()) as connection:
        yield connection
    database.close()


def fill(db: sqlite3.Connection, events: int, *, days_ago: float, start: int = 1, size: int = 10) -> None:
    at = time.time() - days_ago * DAY
    made = (
        StoredRow(number, replace(row(number), at=at + number / 1e6, data={"text": "x" * size}))
        for number in range(start, start + events)
    )
    rows.write_events(db, made)


def count(db: sqlite3.Connection, table: str) -> int:
    (number,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(number)


def prune_all(db: sqlite3.Connection, keep: Retention) -> int:
    """How many pieces it took."""
    pieces, more = 0, False
    while True:
        db.execute("BEGIN IMMEDIATE")
        more = prune(db, keep, shrinking=more)
        db.execute("COMMIT")
        pieces += 1
        if not (more or give_back(db)):
            return pieces


def test_what_is_older_than_the_days_goes_in_pieces(db: sqlite3.Connection) -> None:
    fill(db, 2 * PIECE + 1, days_ago=8)
    fill(db, 7, days_ago=6, start=10_000)
    rows.write_requests(db, [replace(entry(1), id=1), replace(entry(2), id=2, at=time.time())])
    rows.write_facts(db, OWNER, {("backoff", "a"): {"at": 1.0}})
    assert prune_all(db, Retention(days=7)) > 3
    assert count(db, "events") == 7
    assert count(db, "requests") == 1
    assert count(db, "facts") == 1


def test_what_is_too_much_goes_the_oldest_first_and_the_room_is_given_back(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    keep = Retention(days=365, size=2**20)
    fill(db, 4000, days_ago=1, size=1000)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    large = (tmp_path / "hestia.db").stat().st_size
    prune_all(db, keep)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert used(db) <= keep.size
    assert count(db, "events") > 300
    assert db.execute("SELECT max(id) FROM events").fetchone() == (4000,)
    assert db.execute("SELECT min(id) FROM events").fetchone()[0] > PIECE
    assert large > 4 * 2**20
    assert (tmp_path / "hestia.db").stat().st_size < 1.2 * 2**20


def test_nothing_to_forget_is_one_look(db: sqlite3.Connection) -> None:
    fill(db, 10, days_ago=1)
    assert prune_all(db, Retention()) == 1
    assert count(db, "events") == 10


def test_numbers_of_what_was_forgotten_are_not_used_again(db: sqlite3.Connection) -> None:
    """A reader that pages by number must not see a new event under an old one."""
    fill(db, 10, days_ago=100)
    prune_all(db, Retention(days=1))
    assert count(db, "events") == 0
    assert rows.last_number(db) == 10
