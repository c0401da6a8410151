"""Stores for tests: made, opened and closed again, and what the store says in the log."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

from hestia.core.errors import StoreUnavailable
from hestia.core.model import GatewayId, Retention
from hestia.core.ports import Memory, RequestEntry, StoredRow
from hestia.store.database import Database
from hestia.store.memory import MemoryStore
from hestia.store.schema import STEPS, Step
from hestia.store.sqlite import SqliteStore

OWNER = GatewayId("gw")


class Opened(SqliteStore):
    """A store with what it knew when it was opened."""

    memory: Memory


class UnreadableStore(MemoryStore):
    """A store that cannot be read while `broken`."""

    broken = False

    async def events(self, **chosen: Any) -> list[StoredRow]:  # any of the port's filters, hence Any
        self._look()
        return await super().events(**chosen)

    async def request(self, request_id: str) -> RequestEntry | None:
        self._look()
        return await super().request(request_id)

    def _look(self) -> None:
        if self.broken:
            raise StoreUnavailable("The database cannot be read.", remedy="hestia db check")


class SlowDisk(Database):
    """A database whose commits wait for `gate`, and then take `delay` seconds: as with an fsync, in C."""

    def __init__(self, path: Path, *, delay: float = 0.0) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self._delay = delay

    def connect(self) -> sqlite3.Connection:
        return cast(sqlite3.Connection, _Slow(super().connect(), self._hold))

    def _hold(self) -> None:
        self.waiting.set()
        self.gate.wait()
        time.sleep(self._delay)


class _Slow:
    """A connection that holds before each COMMIT."""

    def __init__(self, db: sqlite3.Connection, hold: Callable[[], None]) -> None:
        self._db = db
        self._hold = hold

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if statement == "COMMIT":
            self._hold()
        return self._db.execute(statement, values)

    def __getattr__(self, name: str) -> Any:  # whatever else a connection has
        return getattr(self._db, name)


@asynccontextmanager
async def opened(
    path: Path,
    *,
    keep: Retention | None = None,
    required: bool = True,
    steps: Sequence[Step] = STEPS,
    owner: GatewayId = OWNER,
) -> AsyncIterator[Opened]:
    """A store on a file, open."""
    store = Opened(Database(path, steps=steps), keep=keep, required=required)
    try:
        store.memory = await store.open(owner)
        yield store
    finally:
        await store.aclose()


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    """What stands in the file, asked by another connection."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def told(records: Sequence[logging.LogRecord], event_type: str) -> list[str]:
    """Lines of the log of one kind."""
    return [one.getMessage() for one in records if getattr(one, "event_type", "") == event_type]
