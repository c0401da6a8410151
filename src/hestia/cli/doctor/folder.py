"""Checks of the state folder: whether it can be used by this user, and whether there is room in it."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from hestia.cli.doctor.finding import Finding, fail, ok, warn
from hestia.cli.doctor.running import process_of
from hestia.cli.doctor.world import World
from hestia.cli.text import plain
from hestia.engines.process_options import ProcessOptions
from hestia.store.choose import database_path

MIB: Final = 2**20
ROOM_NEEDED: Final = 16 * MIB  # bytes; below it a start cannot be relied on
ROOM_WANTED: Final = 256 * MIB  # beside what the output of the programs may grow to
INODES_NEEDED: Final = 16
LOOKED_AT: Final = 1000  # entries of the folder
_OUTPUT_PARTS: Final = 2 * 3  # of one program: a rotated part beside the current one, of three generations


@dataclass(frozen=True, slots=True)
class FolderLook:
    """What was found at the state folder. there: the folder itself, or the nearest one above it that exists.

    owner, mode: of `there`. refused: why it cannot be looked at. unusable: entries in it that this user
    cannot read and write. user: who looks. pid: of the gateway that has it.
    """

    path: str
    there: str
    user: str
    owner: str = ""
    mode: int = 0
    is_folder: bool = True
    usable: bool = True
    read_only: bool = False
    unusable: tuple[str, ...] = ()
    refused: str = ""
    pid: int = 0


def state_folder(world: World) -> Finding:
    """Look at the state folder of this configuration."""
    path = world.gateway.state_dir
    return judge(look(path, pid=process_of(path)))


def look(path: str, *, pid: int = 0) -> FolderLook:
    """Look at a folder without changing it."""
    user = _name(os.geteuid())
    there = nearest_above(Path(path))
    try:
        status = there.stat()
        usable = os.access(there, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
        return FolderLook(
            path,
            str(there),
            user,
            owner=_name(status.st_uid),
            mode=stat.S_IMODE(status.st_mode),
            is_folder=stat.S_ISDIR(status.st_mode),
            usable=usable,
            read_only=bool(os.statvfs(there).f_flag & os.ST_RDONLY),
            unusable=unusable_in(there) if usable and str(there) == path else (),
            pid=pid,
        )
    except OSError as exc:
        return FolderLook(path, str(there), user, refused=exc.strerror or str(exc))


def nearest_above(path: Path) -> Path:
    """The path, or the nearest one above it that is there. One that cannot be looked at counts as there."""
    for one in (path, *path.parents):
        try:
            one.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return one
        return one
    return Path("/")


def unusable_in(folder: Path) -> tuple[str, ...]:
    """Names in the folder that this user cannot read and write, such as what a run as root left behind."""
    found = []
    with os.scandir(folder) as entries:
        for entry in islice(entries, LOOKED_AT):
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                continue
            wanted = os.R_OK | os.W_OK | (os.X_OK if entry.is_dir() else 0)
            if not os.access(entry.path, wanted, effective_ids=True):
                found.append(entry.name)
    return tuple(sorted(found))


def judge(seen: FolderLook) -> Finding:
    """What the look means."""
    path, where = plain(seen.path), "state_dir"
    if (broken := _broken(seen)) is not None:
        return fail("folder", broken[0], where, broken[1])
    if seen.there != seen.path:
        return ok("folder", f"{path} is made with the first start", where)
    if seen.mode & (stat.S_IWGRP | stat.S_IWOTH):
        text = f"other users can change what is in {path} (mode {seen.mode:o})"
        return warn("folder", text, where, f"chmod 700 {shlex.quote(seen.there)}")
    used = f", in use by the gateway (pid {seen.pid})" if seen.pid else ""
    return ok("folder", f"{path} belongs to {seen.owner}{used}", where)


def _broken(seen: FolderLook) -> tuple[str, str] | None:
    """Why it cannot be used, and what to do."""
    path, there, user = plain(seen.path), plain(seen.there), seen.user
    elsewhere, quoted = "or name another folder: state_dir, HESTIA_STATE_DIR", shlex.quote(seen.there)
    if seen.refused:
        do = f"let {user} into it (look: namei -l {shlex.quote(seen.path)}), {elsewhere}"
        return f"{path} cannot be looked at by user {user}: {seen.refused}", do
    if not seen.is_folder:
        return f"{there} is not a folder", f"remove it, {elsewhere}"
    if seen.read_only:
        return f"{path} is on a file system that is read-only", f"mount it writable, {elsewhere}"
    take = f"sudo chown -R {user} {quoted}"
    if not seen.usable:
        what = f"{path} cannot be used" if seen.there == seen.path else f"{path} cannot be made"
        text = f"{what} by user {user}: {there} belongs to {seen.owner} (mode {seen.mode:o})"
        return text, f"{take}, or run Hestia as {seen.owner}, {elsewhere}"
    if seen.unusable:
        names = ", ".join(plain(name) for name in seen.unusable[:5])
        return f"user {user} cannot read and write {names} in {path}", take
    return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# -- room --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Space:
    """free: bytes that this user may still write. inodes: files it may still make, None without a limit."""

    path: str
    free: int
    inodes: int | None


def disk(world: World) -> Iterator[Finding]:
    """Whether there is room for state and output, and for the database where it is on another disk."""
    state = nearest_above(Path(world.gateway.state_dir))
    yield from room_at(state, "state_dir", output_of(world))
    if (database := database_path(world.gateway)) is None:
        return
    there = nearest_above(database.parent)
    with contextlib.suppress(OSError):  # said of the folder
        if there.stat().st_dev != state.stat().st_dev:
            yield from room_at(there, "database_url", 0)


def room_at(there: Path, where: str, output: int) -> Iterator[Finding]:
    """Whether there is room at a folder. where: the key that names it."""
    try:
        found = os.statvfs(there)
    except OSError as exc:
        if exc.errno != errno.EACCES:  # said by the check of the folder
            do = f"df {shlex.quote(str(there))}"
            yield fail("disk", f"{plain(str(there))}: {exc.strerror}", where, do)
        return
    inodes = found.f_favail if found.f_files else None
    space = Space(str(there), found.f_bavail * found.f_frsize, inodes)
    yield judge_space(space, output, where)


def output_of(world: World) -> int:
    """Bytes that the captured output of all programs may grow to."""
    options = [instance.options for service in world.services for instance in service.instances]
    return sum(one.log_max * _OUTPUT_PARTS for one in options if isinstance(one, ProcessOptions))


def judge_space(space: Space, output: int, where: str = "state_dir") -> Finding:
    """Whether that is enough."""
    path, where = plain(space.path), "state_dir"
    do = f"make room (see what takes it: du -xh {shlex.quote(space.path)} | sort -h | tail), or move {where}"
    text = f"{size_text(space.free)} free at {path}"
    if space.inodes is not None and space.inodes < INODES_NEEDED:
        return fail("disk", f"{path} takes no more files: {space.inodes} are left", where, do)
    if space.free < ROOM_NEEDED:
        return fail("disk", f"only {text}", where, do)
    if space.free < ROOM_WANTED + output:
        more = f", and the output of the programs may take {size_text(output)}" if output else ""
        return warn("disk", f"only {text}{more}", where, do)
    return ok("disk", text, where)


def size_text(count: int) -> str:
    """Bytes in binary units (CL-15)."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}" if count < 10 * unit else f"{count // unit} {name}"
    return f"{count} B"
