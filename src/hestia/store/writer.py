"""The one thread that writes the database. It commits intents at once, and the rest in batches.

Owns the connection for writing, transactions, what follows from a failure, and pruning. A disk that is slow
holds this thread alone: starts wait for their intent, everything else goes on.

How durable (https://sqlite.org/pragma.html#pragma_synchronous): a commit in WAL mode is in the page cache,
where a killed process leaves it for the next one; `kill -9` loses nothing that was committed. A loss of
power may take the last commits with `synchronous=NORMAL`, the file stays sound. For events that will do:
what they tell of died with this machine. Not so for intents: what they name may run on another machine and
be there after the power is back. So their commit is `FULL`, which waits for the disk; the log is written in
order, hence what was committed before is then safe as well. The price is one fsync for each start.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Final

from hestia.core.errors import ConfigError
from hestia.core.model import GatewayId, Retention
from hestia.core.ports import Memory
from hestia.store import rows
from hestia.store.database import Database, connect, connect_unwritable
from hestia.store.pending import Pending
from hestia.store.retention import give_back, prune
from hestia.store.trouble import Trouble, is_damage, primary, trouble_of

log = logging.getLogger(__name__)

FIRST_PRUNE: Final = 60.0  # seconds from the start: not while everything starts
PRUNE_INTERVAL: Final = 3600.0
PRUNE_PAUSE: Final = 0.05  # between two pieces, for what else there is to write
PRUNE_ROWS: Final = 5000  # so many written are a reason to look at the size
RETRY: Final = (1.0, 30.0)  # seconds until the next attempt: the first pause, and the longest

_FAILURES: Final = (sqlite3.Error, OSError, ConfigError)


class Writer:
    """Starts with `start`, ends with `Pending.end`. outcome: told, in its thread, how each writing ended."""

    def __init__(
        self,
        database: Database,
        pending: Pending,
        *,
        owner: GatewayId,
        keep: Retention,
        outcome: Callable[[Trouble | None], None],
    ) -> None:
        self._database = database
        self._pending = pending
        self._owner = owner
        self._keep = keep
        self._outcome = outcome
        self._db: sqlite3.Connection | None = None
        self._failing = False
        self._retry = RETRY[0]
        self._prune_at = math.inf
        self._shrinking = False
        self._rows_written = 0
        self.opened: Future[Memory] = Future()
        self.ended: Future[None] = Future()
        self.connections = 0  # made so far: whoever reads needs a new one too when it grows
        self._thread = threading.Thread(target=self._run, name="hestia-store-writer", daemon=True)

    def start(self) -> None:
        """Begin; `opened` has what came of it."""
        for future in (self.opened, self.ended):
            future.set_running_or_notify_cancel()  # who gives up waiting does not stop the thread
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs (OB-10)."""
        return self._thread.is_alive()

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            memory = self._open()
        except BaseException as exc:  # boundary: whoever waits for it raises it
            self._give_back()
            self.opened.set_exception(exc)
            self.ended.set_result(None)
            return
        self.opened.set_result(memory)
        try:
            self._work()
        finally:
            self._give_back()
            self.ended.set_result(None)

    def _open(self) -> Memory:
        """The first attempt. A database that cannot be written is still read, where that can be."""
        self._prune_at = time.monotonic() + FIRST_PRUNE
        try:
            self._connected()
        except (sqlite3.Error, OSError) as exc:
            self._failed(exc)
            self._recall()
        return self._pending.memory()

    def _recall(self) -> None:
        """Learn at least what the file says. The second way is for where not even a lock can be written."""
        path = self._database.path
        for opened in (partial(connect, path, "ro"), partial(connect_unwritable, path)):
            try:
                with contextlib.closing(opened()) as db:
                    self._pending.meet(rows.read_memory(db, self._owner), rows.last_number(db))
                    return
            except sqlite3.Error as exc:
                if primary(exc) == sqlite3.SQLITE_BUSY:
                    return  # somebody writes: looking past their lock might show what is half written

    def _work(self) -> None:
        ending = False
        while not ending:
            ending = self._pending.wait(math.inf if self._failing else self._prune_at)
            self._write()
            if not ending and not self._failing and time.monotonic() >= self._prune_at:
                self._prune()

    def _write(self) -> None:
        """Write what there is: intents first, alone and for good. A failure leaves it for the next time."""
        wishes = self._pending.wishes()
        try:
            self._connected()
            if wishes:
                self._write_changes(full=True)
                _settle(wishes, None)
                wishes = []
            elif self._failing:
                self._write_changes(full=False)
            self._write_rows()
        except _FAILURES as exc:
            _settle(wishes, self._failed(exc))
        except Exception as exc:  # boundary: a bug must not end the thread, nor come back with the same row
            log.exception("Writing the store broke", extra={"event_type": "store_broke"})
            self._drop_rows()
            _settle(wishes, self._failed(exc))
        else:
            self._failing, self._retry = False, RETRY[0]
            self._outcome(None)

    def _write_changes(self, *, full: bool) -> None:
        """Write the ledger's changes. After a failure something in any case, to see that it can be done."""
        changes = self._pending.changes()
        try:
            with self._transaction(full=full) as db:
                rows.write_numbers(db, self._owner, changes.numbers)
                rows.write_kept(db, changes.kept)
                rows.write_facts(db, self._owner, changes.facts)
                if self._failing:
                    db.execute(f"PRAGMA user_version={self._database.version}")
        except BaseException:
            self._pending.again(changes)
            raise

    def _write_rows(self) -> None:
        """Write the rest in one transaction."""
        changes = self._pending.changes()
        events, entries = self._pending.rows(), self._pending.entries()
        if not (changes or events or entries):
            return
        try:
            with self._transaction() as db:
                rows.write_numbers(db, self._owner, changes.numbers)
                rows.write_kept(db, changes.kept)
                rows.write_facts(db, self._owner, changes.facts)
                rows.write_events(db, events)
                rows.write_requests(db, entries)
        except BaseException:
            self._pending.again(changes)
            raise
        self._pending.written(events, entries)
        self._rows_written += len(events) + len(entries)
        if self._rows_written >= PRUNE_ROWS:
            self._rows_written = 0
            self._prune_at = min(self._prune_at, time.monotonic())

    def _drop_rows(self) -> None:
        self._pending.written(self._pending.rows(), self._pending.entries())

    def _prune(self) -> None:
        try:
            with self._transaction() as db:
                self._shrinking = prune(db, self._keep, shrinking=self._shrinking)
            more = self._shrinking or give_back(db)
        except _FAILURES as exc:
            self._failed(exc)
            more = self._shrinking = False
        self._prune_at = time.monotonic() + (PRUNE_PAUSE if more else PRUNE_INTERVAL)

    # -- the connection ------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self, *, full: bool = False) -> Iterator[sqlite3.Connection]:
        db = self._connected()
        db.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite has rolled it back itself, as with a full disk
                db.execute("ROLLBACK")
            raise

    def _connected(self) -> sqlite3.Connection:
        """The connection; a new one where there is none, or where the file is not the one it was."""
        if self._db is not None and self._database.moved():
            self._give_back()  # the lock too: it may have gone with the file
        if self._db is None:
            db = self._database.connect()
            try:
                self._pending.meet(rows.read_memory(db, self._owner), rows.last_number(db))
            except BaseException:
                db.close()
                raise
            self._db = db
            self.connections += 1
        return self._db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _give_back(self) -> None:
        self._disconnect()
        self._database.close()

    # -- trouble -------------------------------------------------------------------------------

    def _failed(self, exc: Exception) -> Trouble:
        """Tell what is the matter, and try again later."""
        trouble = trouble_of(exc, self._database.path)
        if is_damage(exc):
            self._disconnect()  # the next attempt looks at the file and moves it aside
        self._failing = True
        self._outcome(trouble)
        self._pending.later(self._retry)
        self._retry = min(self._retry * 2, RETRY[1])
        return trouble


def _settle(wishes: list[Future[None]], trouble: Trouble | None) -> None:
    for wish in wishes:
        if trouble is None:
            wish.set_result(None)
        else:
            wish.set_exception(trouble.error())
