"""What a person does with the file: look at it, make it small, copy it. For `hestia db`.

Owns what may be done while a gateway runs: looking and copying, which disturb nobody.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hestia.core.errors import ConfigError
from hestia.store.database import Damaged, connect, connect_unwritable, inspect, lock_of
from hestia.store.lock import Held, holder, take
from hestia.store.retention import size, used
from hestia.store.trouble import is_damage, trouble_of

FAULTS: Final = 20  # told at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a database is. size, used: bytes. oldest: of the events, wall-clock seconds, UTC; None without any.

    generations: what may run. faults: what is wrong in it. holder: pid of the gateway that has it, or "".
    """

    path: str
    version: int = 0
    size: int = 0
    used: int = 0
    events: int = 0
    requests: int = 0
    generations: int = 0
    oldest: float | None = None
    faults: tuple[str, ...] = ()
    holder: str = ""


def check(path: Path) -> Condition:
    """Look at everything in the file. Raises ConfigError: there is none, or it cannot be read."""
    _must_exist(path)
    held, on_disk = holder(lock_of(path)), path.stat().st_size
    try:
        with contextlib.closing(_readable(path)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            found = [str(text) for (text,) in db.execute(f"PRAGMA integrity_check({FAULTS})")]
            faults = tuple(" ".join(text.split()) for text in found if text != "ok")
            if faults:
                return Condition(path=str(path), version=version, size=on_disk, faults=faults, holder=held)
            (oldest,) = db.execute("SELECT min(at) FROM events").fetchone()
            return Condition(
                path=str(path),
                version=version,
                size=size(db),
                used=used(db),
                events=_count(db, "events"),
                requests=_count(db, "requests"),
                generations=_count(db, "generations"),
                oldest=oldest,
                holder=held,
            )
    except sqlite3.DatabaseError as exc:
        if is_damage(exc):
            return Condition(path=str(path), size=on_disk, faults=(str(exc),), holder=held)
        raise _refused(exc, path) from exc


def vacuum(path: Path) -> tuple[int, int]:
    """Write the file anew without what is free in it; its size before and after.

    Raises ConfigError: a gateway has it, there is none, or it cannot be done.
    """
    _must_exist(path)
    try:
        lock = take(lock_of(path))
    except Held as exc:
        raise ConfigError(
            f'A gateway (pid {exc.holder}) uses the database "{path}"; it gives free room back by itself.',
            remedy="stop the gateway first, or leave it to it",
        ) from exc
    except OSError as exc:
        raise _refused(exc, path) from exc
    try:
        inspect(path, limit=None)
        before = path.stat().st_size
        with contextlib.closing(connect(path, "rw")) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before, path.stat().st_size
    except (Damaged, sqlite3.Error, OSError) as exc:
        raise _refused(exc, path) from exc
    finally:
        os.close(lock)


def backup(path: Path, target: Path) -> int:
    """Copy the file as it is at this moment, a gateway running or not; bytes of the copy.

    Raises ConfigError: there is none, the target is there already, or it cannot be written.
    """
    _must_exist(path)
    if target.exists():
        raise ConfigError(f'"{target}" is there already.', remedy="name another file, or remove it")
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with contextlib.closing(_readable(path)) as db, contextlib.closing(connect(part, "rw")) as copy:
            db.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, whole
        part.replace(target)
        return target.stat().st_size
    except (sqlite3.Error, OSError) as exc:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise _refused(exc, path if is_damage(exc) else target) from exc


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(
            f'There is no database "{path}".',
            remedy="hestia serve makes it; hestia config show tells database_url and state_dir",
        )


def _readable(path: Path) -> sqlite3.Connection:
    """A connection that reads, also where nothing can be written. Raises sqlite3.Error."""
    db = connect(path, "ro")
    try:
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        db.close()
        return connect_unwritable(path)
    except BaseException:
        db.close()
        raise
    return db


def _count(db: sqlite3.Connection, table: str) -> int:
    (number,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(number)


def _refused(exc: Exception, path: Path) -> ConfigError:
    if isinstance(exc, Damaged) or is_damage(exc):
        return ConfigError(
            f'The database "{path}" is damaged ({exc}).',
            remedy="start the gateway: it moves the file aside and begins a new one",
        )
    trouble = trouble_of(exc, path)
    return ConfigError(trouble.detail, remedy=trouble.remedy)
