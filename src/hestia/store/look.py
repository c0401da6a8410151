"""What a database says while no gateway runs: read from beside, nothing taken, nothing changed.

Owns which ways of opening are tried. What the columns mean, `rows` knows.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hestia.core.errors import StoreUnavailable
from hestia.core.ports import RequestEntry, StoredRow
from hestia.store import rows
from hestia.store.choice import Choice
from hestia.store.database import connect, connect_unwritable
from hestia.store.reader import query
from hestia.store.trouble import trouble_of


@dataclass(frozen=True, slots=True)
class Left:
    """A generation that may still run. state: the last one that was written down."""

    service: str
    instance: str
    generation: int
    engine: str
    state: str


class Look:
    """One look at a file that is open."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def events(self, choice: Choice) -> list[StoredRow]:
        """The newest first. Raises sqlite3.Error."""
        return [rows.event(one) for one in self._db.execute(*query("events", rows.EVENT, choice))]

    def requests(self, choice: Choice) -> list[RequestEntry]:
        """The newest first. Raises sqlite3.Error."""
        return [rows.request(one) for one in self._db.execute(*query("requests", rows.REQUEST, choice))]

    def left(self) -> list[Left]:
        """What may still run. Raises sqlite3.Error."""
        found = self._db.execute(
            "SELECT service, instance, generation, engine, state FROM generations WHERE NOT external"
            " ORDER BY service, instance, generation"
        )
        return [Left(*columns) for columns in found]


@contextlib.contextmanager
def looking(path: Path) -> Iterator[Look]:
    """Open the file for reading. Raises StoreUnavailable, also for what is asked inside."""
    try:
        with contextlib.closing(_opened(path)) as db:
            yield Look(db)
    except sqlite3.Error as exc:
        raise trouble_of(exc, path).error() from exc


def _opened(path: Path) -> sqlite3.Connection:
    """The second way is for a folder where nothing can be written, the index of the log included."""
    if not os.path.isfile(path):
        raise StoreUnavailable(f'There is no database "{path}".', remedy="hestia serve")
    ways = (partial(connect, path, "ro"), partial(connect_unwritable, path))
    for at, way in enumerate(ways, start=1):
        db = way()
        try:
            db.execute("SELECT count(*) FROM generations").fetchone()
            return db
        except sqlite3.Error:
            db.close()
            if at == len(ways):
                raise
    raise AssertionError("one of the ways returns or raises")
