"""The file of the database: whose it is, whether it is sound, how it is made and brought up to date.

Owns the file and what stands beside it: its lock, what is being made (`.new`), what was moved aside
(`.damaged-…`) and what was there before an upgrade (`.before-…`). A file is made whole under another name
and renamed, so that a kill at any instant leaves the old one or the new one (AD-18).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from hestia.core.errors import ConfigError
from hestia.store import trouble
from hestia.store.lock import Held, take
from hestia.store.schema import APPLICATION_ID, STEPS, Step

log = logging.getLogger(__name__)

BUSY_TIMEOUT: Final = 1.0  # seconds to wait for another program that writes
CHECK_LIMIT: Final = 2.0  # seconds the look at a file may take; what is longer than that is let be
_STEPS_PER_LOOK: Final = 10_000  # of SQLite's machine, a few milliseconds
_WAL_LIMIT: Final = 8 * 1024 * 1024  # bytes that the write-ahead log keeps of a large one


class Damaged(Exception):
    """The file is no sound database."""


class Database:
    """One file; its folder is made. steps: what makes it, see `schema`. Not for two threads at once."""

    def __init__(self, path: Path, *, steps: Sequence[Step] = STEPS) -> None:
        self.path = path
        self._steps = steps
        self._lock = -1
        self._inode = 0

    def connect(self) -> sqlite3.Connection:
        """Take the file, see to it that it is sound and of today, and open it for writing.

        Raises ConfigError (somebody else's, or of a newer version), sqlite3.Error, OSError.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take()
        self._beside("new").unlink(missing_ok=True)
        version = self._version()
        if version < self.version:
            self._make(version)
        db = connect(self.path, "rw")
        try:
            for pragma in (f"journal_size_limit={_WAL_LIMIT}", "synchronous=NORMAL", "temp_store=MEMORY"):
                db.execute(f"PRAGMA {pragma}")
            db.execute("BEGIN IMMEDIATE")  # now is the time to learn that it cannot be written
            db.execute("ROLLBACK")
        except BaseException:
            db.close()
            raise
        self._inode = self._inode_now()
        return db

    @property
    def version(self) -> int:
        """Of today's files."""
        return len(self._steps)

    def moved(self) -> bool:
        """Whether another file, or none, stands there now."""
        return self._inode_now() != self._inode

    def close(self) -> None:
        """Give the file back. Twice is fine."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- whose it is ---------------------------------------------------------------------------

    def _take(self) -> None:
        if self._lock >= 0:
            return
        try:
            self._lock = take(lock_of(self.path))
        except Held as exc:
            raise ConfigError(
                f'{exc.who} uses the database "{self.path}".',
                remedy="stop it, or give this one another file: database_url (HESTIA_DATABASE_URL)",
            ) from exc

    def _version(self) -> int:
        """How many steps the file has seen; 0 where there is none, or none that can be used any more."""
        if not self.path.exists():
            return 0
        try:
            version = inspect(self.path)
        except Damaged as exc:
            self._move_aside(str(exc))
            return 0
        if version > self.version:
            raise ConfigError(
                f'The database "{self.path}" is of a newer version of Hestia'
                f" ({version}; this one knows {self.version}).",
                remedy=f"upgrade Hestia, or move the file away: mv {self.path} {self.path}.newer",
            )
        return version

    # -- making --------------------------------------------------------------------------------

    def _make(self, version: int) -> None:
        """Make the file, or a copy of it that is brought up to date, and put it in its place."""
        new = self._beside("new")
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with contextlib.closing(connect(new, "rw")) as made:
            if version:
                with contextlib.closing(connect(self.path, "rw")) as old:
                    old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    old.backup(made)
            else:
                made.execute("PRAGMA auto_vacuum=INCREMENTAL")
            made.execute("PRAGMA journal_mode=DELETE")  # one file to rename
            made.execute("PRAGMA synchronous=FULL")
            made.execute("BEGIN IMMEDIATE")
            for step in self._steps[version:]:
                for statement in step:
                    made.execute(statement)
            made.execute(f"PRAGMA application_id={APPLICATION_ID}")
            made.execute(f"PRAGMA user_version={self.version}")
            made.execute("COMMIT")
            if version and (fault := _fault(made, limit=None)):
                raise sqlite3.DatabaseError(f"the upgraded copy is not sound: {fault}")
            made.execute("PRAGMA journal_mode=WAL")
        if version:
            self._keep_old(version)
        new.replace(self.path)
        _sync_folder(self.path.parent)

    def _keep_old(self, version: int) -> None:
        old = self._beside(f"before-{self.version}")
        old.unlink(missing_ok=True)
        os.link(self.path, old)
        log.warning(
            "The database was brought up from version %d to %d; the old one is kept as %s",
            version,
            self.version,
            old,
            extra={"event_type": "store_upgraded"},
        )

    def _move_aside(self, why: str) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = self._beside(f"damaged-{stamp}")
        number = 1
        while aside.exists():
            number += 1
            aside = self._beside(f"damaged-{stamp}-{number}")
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.path}{suffix}", f"{aside}{suffix}")
        self.path.rename(aside)
        log.error(
            "The database %s is damaged (%s). It is kept as %s, and a new one is begun; what still runs is "
            "looked for without it",
            self.path,
            why,
            aside,
            extra={"event_type": "store_damaged"},
        )

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")

    def _inode_now(self) -> int:
        try:
            return self.path.stat().st_ino
        except FileNotFoundError:
            return 0


def lock_of(path: Path) -> Path:
    """The lock that the gateway of a database holds."""
    return path.with_name(f"{path.name}.lock")


def connect(path: Path, mode: str, *, more: str = "") -> sqlite3.Connection:
    """Open a file. mode: `ro` or `rw`. Raises sqlite3.Error."""
    return sqlite3.connect(
        f"file:{quote(os.fspath(path))}?mode={mode}{more}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions are written out
    )


def connect_unwritable(path: Path) -> sqlite3.Connection:
    """Open a file that stands where nothing can be written, its write-ahead log included.

    Without file locks and with an index of the log in memory alone: nobody else can write there either.
    """
    db = connect(path, "ro", more="&vfs=unix-none")
    try:
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
    except BaseException:
        db.close()
        raise
    return db


def inspect(path: Path, *, limit: float | None = CHECK_LIMIT) -> int:
    """Version of a database of ours. limit: seconds for looking; None looks at everything.

    Raises Damaged, ConfigError (of another program), sqlite3.OperationalError.
    """
    if not path.stat().st_size:
        raise Damaged("it is empty")
    try:
        with contextlib.closing(connect(path, "rw")) as db:
            (application,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION_ID or not version:
                raise ConfigError(
                    f'"{path}" is a database of another program, not of Hestia.',
                    remedy="set database_url (HESTIA_DATABASE_URL) to a file that Hestia may have for itself",
                )
            if fault := _fault(db, limit=limit):
                raise Damaged(fault)
            return int(version)
    except sqlite3.DatabaseError as exc:
        if trouble.is_damage(exc):
            raise Damaged(str(exc)) from exc
        raise


def _fault(db: sqlite3.Connection, *, limit: float | None) -> str:
    """What is wrong inside; "" where nothing is, or where looking took too long."""
    end = None if limit is None else time.monotonic() + limit
    if end is not None:
        db.set_progress_handler(lambda: time.monotonic() > end, _STEPS_PER_LOOK)
    try:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as exc:
        if trouble.primary(exc) != sqlite3.SQLITE_INTERRUPT:
            raise
        log.info("The database was not looked at to its end", extra={"event_type": "store_unchecked"})
        return ""
    finally:
        db.set_progress_handler(None, 0)
    return "" if found == "ok" else str(found).replace("\n", " ")


def _sync_folder(folder: Path) -> None:
    """A rename is for good once the folder is written."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
