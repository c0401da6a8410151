"""A lock file that one process holds for its life, and that says who it is.

The kernel gives it back when the process ends, however it ends. Owns the file's content: a pid.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final

PATIENCE: Final = 0.1  # seconds in which one who only asked who holds it has let go again
_PAUSE: Final = 0.005


class Held(Exception):
    """Another process has it. holder: its pid as text, "" where it has not written it yet."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder

    @property
    def who(self) -> str:
        """The beginning of a sentence."""
        return f"Another gateway (pid {self.holder})" if self.holder else "Another gateway"


def take(path: Path) -> int:
    """Lock the file, made if there is none; close what is returned to give it back. Raises Held, OSError."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(lock)
    except OSError as exc:
        holder = os.read(lock, 32).decode("ascii", "replace").strip()
        os.close(lock)
        if isinstance(exc, BlockingIOError):
            raise Held(holder) from exc
        raise
    with contextlib.suppress(OSError):  # a full disk: it is locked all the same, and says nothing
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    return lock


def take_unwritable(path: Path) -> int:
    """Lock a file that is there, or a folder, without writing. Raises Held, OSError."""
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(lock)
    except OSError as exc:
        os.close(lock)
        if isinstance(exc, BlockingIOError):
            raise Held("") from exc
        raise
    return lock


def _lock(lock: int) -> None:
    """Raises BlockingIOError: somebody has it, and for longer than `holder` does. Raises OSError."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
        time.sleep(_PAUSE)


def holder(path: Path) -> str:
    """Pid of the process that has the lock, as text; "" when nobody has it, or it cannot be asked."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(lock, 32).decode("ascii", "replace").strip() or "?"
    except OSError:
        return ""
    finally:
        os.close(lock)
    return ""
