"""The captured output of programs: where it is kept, its end, following it, and its bound on disk.

A program writes into a file itself (never a pipe: its reader's end would kill it, AD-09), in append mode,
so that copy-truncate bounds the file without the program's help (EN-15). What a program writes between
copy and truncation, a few milliseconds of a flood, is lost.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from hestia.core.model import InstanceKey

LAST_LINES: Final = 200
LAST_BYTES: Final = 64 * 1024
_KEPT_GENERATIONS: Final = 3
_FOLLOW_INTERVAL: Final = 0.05  # seconds, with jitter up to its double; a person reads what follows
_ROTATE_INTERVAL: Final = 0.25  # seconds between looks at the sizes; a fifth of it while one grows fast
_CONTROL: Final = re.compile(
    r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]"
)
_LINE_MAX: Final = 500  # characters of one line that an error carries


def log_path(folder: Path, key: InstanceKey) -> Path:
    """The file of one generation: `<folder>/<service>/<instance>/<generation>.log`."""
    return folder / _folder_name(key.service) / _folder_name(key.instance) / f"{key.generation}.log"


def _folder_name(name: str) -> str:
    quoted = quote(name, safe="")
    return quoted.replace(".", "%2E") if not quoted.strip(".") else quoted  # "..": the folder above


def open_log(path: Path) -> int:
    """A descriptor for a program to write to; only our user may read the file. The caller closes it.

    The file begins anew: another try of the same generation must not be explained by what the first said.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _rotated(path).unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def prune(path: Path) -> None:
    """Remove the output of all but the last three generations beside this one's file."""
    generations = {
        int(name[0])
        for name in (entry.name.split(".") for entry in path.parent.iterdir())
        if name[0].isdigit()
    }
    for generation in sorted(generations)[:-_KEPT_GENERATIONS]:
        for old in path.parent.glob(f"{generation}.log*"):
            old.unlink(missing_ok=True)


def last_output(path: Path, *, lines: int = LAST_LINES, limit: int = LAST_BYTES) -> tuple[bytes, int]:
    """The last lines, at most `limit` bytes, and the offset in the file where they end.

    Takes the rest from the rotated part when the file has just begun anew. Raises FileNotFoundError.
    """
    text, end = _last_bytes(path, limit)
    if len(text) < limit and text.count(b"\n") < lines:
        with suppress(FileNotFoundError):
            older, _ = _last_bytes(_rotated(path), limit - len(text))
            text = older + text
    whole = text.splitlines(keepends=True)
    if len(text) >= limit and len(whole) > 1:
        whole = whole[1:]  # its beginning was cut off
    return b"".join(whole[-lines:]), end


def tail(path: Path, *, lines: int, secrets: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The last lines for an error: plain text without control characters and without these secrets."""
    try:
        text, _ = last_output(path, lines=lines)
    except OSError:
        return ()
    plain = _CONTROL.sub("", text.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n"))
    for secret in secrets:
        plain = plain.replace(secret, "***")
    return tuple(line[:_LINE_MAX] for line in plain.splitlines()[-lines:])


async def follow(path: Path, *, offset: int, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """What is written from `offset` on, in pieces as they come, until `ended` and all is read."""
    while True:
        last_round = ended()  # asked before reading: what was written before the end is still read
        piece, offset = _piece(path, offset)
        if piece:
            yield piece
        elif last_round:
            return
        else:
            await asyncio.sleep(_FOLLOW_INTERVAL * (1 + random.random()))


class Rotation:
    """Keeps each file at twice its `log_max` at most, plus what comes in one interval.

    rotate_in_thread: runs a function that copies a few MiB outside the event loop.
    """

    def __init__(self, in_thread: Callable[[Callable[[], None]], asyncio.Future[None]]) -> None:
        self._in_thread = in_thread
        self._files: dict[Path, tuple[int, int]] = {}  # → log_max, size at the last look
        self._busy: set[Path] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, path: Path, log_max: int) -> None:
        self._files.setdefault(path, (log_max, 0))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_ROTATE_INTERVAL, self._look)

    def remove(self, path: Path) -> None:
        """Leave a file alone; one that is too large is cut a last time."""
        if path in self._files:
            self._look_at(path)
            del self._files[path]
        if not self._files:
            self.close()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        fast = [self._look_at(path) for path in list(self._files)]
        interval = _ROTATE_INTERVAL / 5 if any(fast) else _ROTATE_INTERVAL
        self._timer = asyncio.get_running_loop().call_later(interval, self._look)

    def _look_at(self, path: Path) -> bool:
        """Rotate a file that is too large; tells whether it grows so fast that one looks more often."""
        log_max, before = self._files[path]
        try:
            size = path.stat().st_size
        except OSError:
            return False
        self._files[path] = log_max, size
        if size > log_max and path not in self._busy:
            self._busy.add(path)
            done = self._in_thread(lambda: rotate(path, log_max))
            done.add_done_callback(lambda future: self._rotated(path, future))
        return abs(size - before) > log_max // 8

    def _rotated(self, path: Path, future: asyncio.Future[None]) -> None:
        self._busy.discard(path)
        if not future.cancelled():
            future.exception()  # a full disk: looked at again in the next round


def rotate(path: Path, log_max: int) -> None:
    """Copy the last `log_max` bytes to `<path>.1` and begin the file anew."""
    part = path.with_name(path.name + ".part")
    with open(path, "r+b") as file, open(part, "wb", opener=_private) as copy:
        file.seek(max(0, file.seek(0, os.SEEK_END) - log_max))
        left = log_max  # a program that writes faster than we copy must not hold us here
        while left and (piece := file.read(min(left, 1 << 20))):
            copy.write(piece)
            left -= len(piece)
        file.truncate(0)
    part.replace(_rotated(path))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _rotated(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _last_bytes(path: Path, limit: int) -> tuple[bytes, int]:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - limit))
        text = file.read(limit)
        return text, file.tell()


def _piece(path: Path, offset: int) -> tuple[bytes, int]:
    try:
        with open(path, "rb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                offset = 0  # rotated since
            file.seek(offset)
            text = file.read(LAST_BYTES)
    except FileNotFoundError:
        return b"", 0
    return text, offset + len(text)
