"""Reading the database in a thread of its own, beside the one that writes.

Owns the connection for reading and the queries. What is not written yet is added: an event that was handed
over is found from then on.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from hestia.core.errors import StoreUnavailable
from hestia.core.ports import RequestEntry, StoredRow
from hestia.store import rows
from hestia.store.choice import Choice
from hestia.store.database import connect
from hestia.store.pending import Pending
from hestia.store.trouble import trouble_of

Found = TypeVar("Found")

QUERY_LIMIT: Final = 5.0  # seconds
EPISODE_LIMIT: Final = 10_000
_STEPS_PER_LOOK: Final = 10_000


class Reader:
    """Reads one file. generation: grows when another file stands there; then the connection is made anew."""

    def __init__(self, path: Path, pending: Pending, generation: Callable[[], int]) -> None:
        self._path = path
        self._pending = pending
        self._generation = generation
        self._seen = 0
        self._closed = False
        self._db: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hestia-store-reader")

    async def events(self, choice: Choice) -> list[StoredRow]:
        """The newest first."""
        waiting = self._pending.rows()
        found = choice.rows(reversed(waiting))
        older = _older(choice, len(found), waiting[0].id if waiting else None)
        return found + await self._read("events", rows.EVENT, rows.event, older)

    async def requests(self, choice: Choice) -> list[RequestEntry]:
        """The newest first."""
        waiting = self._pending.entries()
        found = choice.entries(reversed(waiting))
        older = _older(choice, len(found), waiting[0].id if waiting else None)
        return found + await self._read("requests", rows.REQUEST, rows.request, older)

    async def aclose(self) -> None:
        """End the thread, after what it does now. Twice is fine."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
            self._thread.shutdown(wait=False)

    async def _read(
        self, table: str, columns: str, made: Callable[[rows.Columns], Found], choice: Choice
    ) -> list[Found]:
        generation = self._generation()
        if self._closed or not generation or not choice.count:
            return []

        def fetch() -> list[Found]:
            return [made(one) for one in self._fetch(generation, *query(table, columns, choice))]

        return await asyncio.get_running_loop().run_in_executor(self._thread, fetch)

    def _fetch(self, generation: int, query: str, values: Sequence[object]) -> list[rows.Columns]:
        end = time.monotonic() + QUERY_LIMIT
        try:
            if generation != self._seen:
                self._disconnect()
            if self._db is None:
                self._db, self._seen = connect(self._path, "ro"), generation
            self._db.set_progress_handler(lambda: time.monotonic() > end, _STEPS_PER_LOOK)
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as exc:
            self._disconnect()
            if time.monotonic() > end:
                raise StoreUnavailable(
                    f"Looking took longer than {QUERY_LIMIT:g} s.", remedy="ask for fewer, or for one service"
                ) from exc
            raise trouble_of(exc, self._path).error() from exc

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _older(choice: Choice, found: int, first_waiting: int | None) -> Choice:
    """What is still wanted of the database. What was waiting may be written by now: it is not asked for."""
    limits = [one for one in (choice.before, first_waiting) if one is not None]
    return replace(choice, limit=choice.count - found, before=min(limits, default=None))


def query(table: str, columns: str, choice: Choice) -> tuple[str, list[object]]:
    """The statement that chooses, newest first, and its values."""
    conditions = {
        "service = ?": choice.service or None,
        "instance = ?": choice.instance or None,
        "event = ?": choice.event or None,
        "episode <> '' AND episode = ?": choice.episode or None,
        "request_id = ?": choice.request_id or None,
        "at >= ?": choice.since,
        "at < ?": choice.until,
        "id < ?": choice.before,
    }
    given = {text: value for text, value in conditions.items() if value is not None}
    where = f" WHERE {' AND '.join(given)}" if given else ""
    return f"SELECT {columns} FROM {table}{where} ORDER BY id DESC LIMIT ?", [*given.values(), choice.count]
