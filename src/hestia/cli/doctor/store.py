"""Checks of the database file: is there one, can it be read, is it one. `hestia db check` reads all of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from hestia.cli.doctor import folder
from hestia.cli.doctor.finding import Finding, Level, fail, ok, skip
from hestia.cli.doctor.world import World
from hestia.cli.text import plain
from hestia.store.choose import database_path

MAGIC: Final = b"SQLite format 3\0"  # the beginning of every database (sqlite.org/fileformat2.html §1.2)
_KEY: Final = "database_url"
_MADE: Final = "is made with the first start"


def database(world: World) -> Finding:
    """Look at the file, without opening it as a database: that would take part in its locks."""
    path = database_path(world.gateway)
    if path is None:
        return skip("store", "nothing is kept beyond the end of the gateway (database_url is memory:)", _KEY)
    seen = folder.look(str(path.parent))
    if seen.there != seen.path or (bad := folder.judge(seen)).level is Level.FAIL:
        if str(path.parent) == world.gateway.state_dir:
            said = "cannot be written where its folder cannot" if os.path.lexists(path) else _MADE
            return skip("store", f"{plain(str(path))} {said}; see folder", _KEY)
        if seen.there != seen.path:
            return ok("store", f"{plain(str(path))} {_MADE}", _KEY)
        return Finding(bad.level, "store", bad.text, _KEY, bad.do)
    return judge(path, *beginning(path))


def beginning(path: Path) -> tuple[bytes | None, int, str]:
    """The first bytes of a file and its size; None without a file; why it cannot be read, "" when it can."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)), path.stat().st_size, ""
    except FileNotFoundError:
        return None, 0, ""
    except OSError as exc:
        return b"", 0, exc.strerror or str(exc)


def judge(path: Path, first: bytes | None, size: int, refused: str) -> Finding:
    """What the beginning of the file means."""
    name = plain(str(path))
    if first is None:
        return ok("store", f"{name} {_MADE}", _KEY)
    if refused:
        return fail("store", f"{name} cannot be read: {refused}", _KEY, f"ls -l {name}")
    if first and first != MAGIC:
        return fail("store", f"{name} is no database, or damaged at its beginning", _KEY, "hestia db check")
    return ok("store", f"{name}, {folder.size_text(size)}; all of it is read by: hestia db check", _KEY)
