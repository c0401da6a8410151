"""What can be the matter with a database, in words: a failure of SQLite or of the disk → a sentence.

Owns the texts and which failures mean that the file itself is damaged.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hestia.core.errors import ConfigError, StoreUnavailable

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FREE: Final = "free some space there; the gateway goes on by itself then"
_ELSEWHERE: Final = "or set database_url to another file"


@dataclass(frozen=True, slots=True)
class Trouble:
    """kind: one word, the same for what is the same. detail: what is the matter. remedy: what to do."""

    kind: str
    detail: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.detail} To do: {self.remedy}."

    def error(self) -> StoreUnavailable:
        """The same as an error."""
        return StoreUnavailable(self.detail, remedy=self.remedy, cause="store", retry_after=5.0)


def trouble_of(exc: Exception, path: Path) -> Trouble:
    """What a failure means."""
    name = f'The database "{path}"'
    if isinstance(exc, ConfigError):
        return Trouble("refused", exc.detail, exc.remedy)
    if isinstance(exc, OSError) and exc.errno in _NO_ROOM:
        return Trouble("full", f"{name} cannot be written: its disk is full.", _FREE)
    if isinstance(exc, OSError):
        forbidden = exc.errno in _FORBIDDEN
        kind = "read_only" if forbidden else "unusable"
        return Trouble(kind, f"{name} cannot be used: {exc.strerror or exc}.", _permit(path))
    code = primary(exc)
    if code == sqlite3.SQLITE_FULL:
        return Trouble("full", f"{name} cannot be written: its disk is full.", _FREE)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return Trouble("read_only", f"{name} cannot be written ({exc}).", _permit(path))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Trouble(
            "locked", f"{name} is locked by another program.", f"end that program; fuser {path} names it"
        )
    if is_damage(exc):
        return Trouble(
            "damaged", f"{name} is damaged ({exc}).", "nothing: it is moved aside and a new one is made"
        )
    return Trouble("unusable", f"{name} cannot be written: {exc}.", "look at the disk and its log (dmesg)")


def _permit(path: Path) -> str:
    mend = "mount its disk for writing" if is_read_only(path) else "correct the permissions of its folder"
    return f"{mend}, {_ELSEWHERE}"


def is_read_only(path: Path) -> bool:
    """Whether the file system of a file or folder, there or not, takes no writing at all."""
    for one in (path, *path.parents):
        try:
            return bool(os.statvfs(one).f_flag & os.ST_RDONLY)
        except OSError:
            continue
    return False


def slow(path: Path, seconds: float) -> Trouble:
    """The disk has not answered for so long."""
    return Trouble(
        "slow",
        f'The database "{path}" was not written within {seconds:g} s: its disk is too slow or hangs.',
        "look at the disk and its log (dmesg), or set database_url to a file on another one",
    )


def is_damage(exc: Exception) -> bool:
    """Whether the file is at fault: its content is not that of a database."""
    return primary(exc) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def primary(exc: Exception) -> int:
    """SQLite's primary result code; 0 where it is not SQLite's (https://sqlite.org/rescode.html)."""
    return int(getattr(exc, "sqlite_errorcode", 0) or 0) & 0xFF
