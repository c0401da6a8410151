"""Reads the table of running processes, /proc: who is it, does it live, who belongs together.

Owns no state and sends no signals. A process is named by pid, start time and boot id together, because
pids are used again (AD-05); the start time is in clock ticks since boot, which no clock change moves.
Source: proc(5). A zombie is gone (AD-06).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from hestia.core.model import InstanceKey

KEY_VARIABLE: Final = "HESTIA_KEY"


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for ever. ticks: start time in clock ticks since boot."""

    pid: int
    ticks: int
    boot: str


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of the table. threads: 0 for a zombie whose threads are all gone."""

    pid: int
    parent: int
    group: int
    session: int
    ticks: int
    state: str
    threads: int

    @property
    def alive(self) -> bool:
        """A zombie is gone, unless only its first thread has ended."""
        return self.state not in "ZXx" or self.threads > 1


@lru_cache(maxsize=1)
def boot_id() -> str:
    """What tells this boot of the machine from any other."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def read_stat(pid: int) -> Stat | None:
    """The line of one process, None when there is none. Raises PermissionError where /proc hides it."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses: take the last one.
    fields = text[text.rfind(b")") + 2 :].split()
    parent, group, session, threads, ticks = (int(fields[i]) for i in (1, 2, 3, 17, 19))
    return Stat(pid, parent, group, session, ticks, fields[0].decode(), threads)


def identify(pid: int) -> Identity | None:
    """Who has this pid now, alive or zombie."""
    stat = read_stat(pid)
    return None if stat is None else Identity(pid, stat.ticks, boot_id())


def lives(identity: Identity) -> bool:
    """Whether exactly this process still runs. Raises PermissionError where /proc hides it."""
    if identity.boot != boot_id():
        return False
    stat = read_stat(identity.pid)
    return stat is not None and stat.ticks == identity.ticks and stat.alive


def memory_kills() -> int:
    """How often the kernel killed for want of memory since boot, on the machine or in any cgroup."""
    try:
        with open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


def living() -> list[Stat]:
    """Everything that runs. What vanishes meanwhile or is hidden from us is left out."""
    return list(_living())


def _living() -> Iterator[Stat]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = read_stat(int(name))
            except OSError:
                continue
            if stat is not None and stat.alive:
                yield stat


def environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty when it is gone, hidden or overwritten by it."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            text = file.read()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in text.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, mark, value in pairs if mark}


def bearing(prefix: str) -> list[tuple[Stat, InstanceKey, dict[str, str]]]:
    """Every living process whose instance key begins with the prefix, with its environment."""
    found = []
    for stat in living():
        variables = environment(stat.pid)
        text = variables.get(KEY_VARIABLE, "")
        if text.startswith(prefix) and stat.pid != os.getpid():
            try:
                found.append((stat, InstanceKey.parse(text), variables))
            except ValueError:
                continue
    return found


def members(main: Identity, key: str) -> list[Stat]:
    """Every living process of an instance, its main one first if it lives.

    That is the main process, its session and group, their descendants, and whoever bears the key:
    a double fork leaves the group, a program that rewrites its title loses the key. What bears another
    key is another gateway's instance below ours and is left out, with its descendants.
    """
    if main.boot != boot_id():
        return []
    table = [stat for stat in living() if stat.ticks >= main.ticks and stat.pid != os.getpid()]
    slot = read_stat(main.pid)
    ours = slot is None or slot.ticks == main.ticks  # else the pid, and with it the group, is somebody else's
    found: dict[int, Stat] = {}
    for stat in table:
        near = ours and main.pid in (stat.pid, stat.session, stat.group)
        bears = environment(stat.pid).get(KEY_VARIABLE)
        if bears == key or (near and bears is None):
            found[stat.pid] = stat
    _add_descendants(found, table, key)
    return sorted(found.values(), key=lambda stat: (stat.pid != main.pid, stat.ticks))


def _add_descendants(found: dict[int, Stat], table: Iterable[Stat], key: str) -> None:
    children: dict[int, list[Stat]] = {}
    for stat in table:
        children.setdefault(stat.parent, []).append(stat)
    todo = list(found)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child.pid not in found and environment(child.pid).get(KEY_VARIABLE, key) == key:
                found[child.pid] = child
                todo.append(child.pid)
