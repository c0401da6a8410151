"""What is forgotten with time: old events and requests, in small pieces, and the room they took.

Owns which go first. Generations, numbers and facts are not looked at: what may run is never pruned.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from hestia.core.model import Retention

PIECE: Final = 500  # rows of one transaction: a few milliseconds
_PAGES: Final = 1000  # of 4 KiB, given back to the disk at a time
_EASE: Final = 0.95  # of the size: not to be at the limit again with the next event
_DAY: Final = 86400.0
_TABLES: Final = ("events", "requests")


def prune(db: sqlite3.Connection, keep: Retention, *, shrinking: bool = False) -> bool:
    """Forget one piece of what is too old or too much, in a transaction. Whether there may be more.

    shrinking: whether a piece went for the size before: then it goes on until there is some ease.
    """
    before = time.time() - keep.days * _DAY
    for table in _TABLES:
        gone = db.execute(
            f"DELETE FROM {table} WHERE id IN"
            f" (SELECT id FROM {table} WHERE at < ? ORDER BY at LIMIT {PIECE})",
            (before,),
        ).rowcount
        if gone:
            return True
    return used(db) > keep.size * (_EASE if shrinking else 1.0) and _forget_oldest(db)


def give_back(db: sqlite3.Connection) -> bool:
    """Give a piece of what is free in the file back to the disk. Whether there is more. In no transaction."""
    free = _number(db, "freelist_count")
    if free:
        # one step for each page, with a row that has no columns: `execute` would stop at the first
        db.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
    return free > _PAGES


def size(db: sqlite3.Connection) -> int:
    """Bytes of the whole database, with what is not in its main file yet."""
    return _number(db, "page_count") * _number(db, "page_size")


def used(db: sqlite3.Connection) -> int:
    """Bytes that hold something."""
    pages = _number(db, "page_count") - _number(db, "freelist_count")
    return pages * _number(db, "page_size")


def _forget_oldest(db: sqlite3.Connection) -> bool:
    """Forget a piece of the table whose oldest row is older. Whether there was any."""
    oldest = {}
    for table in _TABLES:
        (at,) = db.execute(f"SELECT min(at) FROM {table}").fetchone()
        if at is not None:
            oldest[table] = at
    if not oldest:
        return False
    table = min(oldest, key=lambda name: oldest[name])
    db.execute(f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY at LIMIT {PIECE})")
    return True


def _number(db: sqlite3.Connection, pragma: str) -> int:
    (value,) = db.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)
