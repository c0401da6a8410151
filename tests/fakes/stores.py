"""Stores for tests: made, opened and closed again, and what the store says in the log."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

from hestia.core.model import GatewayId, Retention
from hestia.core.ports import Memory
from hestia.store.database import Database
from hestia.store.schema import STEPS, Step
from hestia.store.sqlite import SqliteStore

OWNER = GatewayId("gw")


class Opened(SqliteStore):
    """A store with what it knew when it was opened."""

    memory: Memory


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
