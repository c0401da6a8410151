"""Checks of the machine: its clock, how many files may be open, its memory."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import psutil

import hestia
from hestia.cli.doctor.finding import Finding, fail, ok, warn
from hestia.cli.doctor.folder import MIB
from hestia.cli.doctor.running import process_of
from hestia.cli.doctor.world import World
from hestia.cli.text import countdown, duration, instant, plain
from hestia.edge.limits import CLIENTS_SHARE, CONNECTIONS, FULL_SHARE

# -- clock -------------------------------------------------------------------------------------

AHEAD: Final = 60.0  # seconds a file may be younger than now: another machine may have written it
FAR: Final = 3600.0  # seconds by which a clock is wrong for certificates, too
WATCHED: Final = 0.3  # seconds for which both clocks are compared
STEP: Final = 0.1  # seconds between them from which on the clock was set meanwhile
SLEPT: Final = 60.0  # seconds of suspend that are worth a word
FILES: Final = 200  # of the state folder


@dataclass(frozen=True, slots=True)
class ClockLook:
    """now: wall clock, seconds since 1970. stamps: instants that cannot be in the future, with what they are.

    step: seconds by which the wall clock moved against the monotonic one while it was watched. slept:
    seconds that the machine was suspended since it was started.
    """

    now: float
    stamps: tuple[tuple[str, float], ...]
    step: float
    slept: float


def clock(world: World) -> Finding:
    """Look at the clock for a moment."""
    before = _offset()
    time.sleep(WATCHED)
    step = _offset() - before
    slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return judge_clock(ClockLook(time.time(), tuple(stamps(world)), step, slept))


def _offset() -> float:
    """Wall clock minus monotonic clock; the closest of a few readings, as one may be torn apart by load."""
    readings = []
    for _ in range(5):
        first, wall, second = time.monotonic(), time.time(), time.monotonic()
        readings.append((second - first, wall - (first + second) / 2))
    return min(readings)[1]


def stamps(world: World) -> Iterator[tuple[str, float]]:
    """Instants of the past: files that were written, and the start of the gateway."""
    files = [Path(hestia.__file__)]
    if world.settings is not None and world.settings.config_path:
        files.append(Path(world.settings.config_path))
    with contextlib.suppress(OSError):
        files += islice(Path(world.gateway.state_dir).iterdir(), FILES)
    for file in files:
        with contextlib.suppress(OSError):
            yield str(file), file.stat().st_mtime
    running = world.asked.running()
    started = instant(running.started_at) if running is not None else None
    if started is not None:
        yield "the start of the running gateway", started.timestamp()


def judge_clock(seen: ClockLook) -> Finding:
    """What can be said of a clock without asking another one."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seen.now))
    do = "set it, and keep it right: timedatectl set-ntp true"
    what, latest = max(seen.stamps, key=lambda one: one[1], default=("", 0.0))
    ahead = latest - seen.now
    if ahead > AHEAD:
        text = f"this machine says {now}, but {plain(what)} is {countdown(ahead)} younger than that"
        return (fail if ahead > FAR else warn)("clock", text, "", do)
    if abs(seen.step) > STEP:
        return warn("clock", f"{now}; it was moved by {seen.step:+.1f} s just now", "", do)
    slept = (
        f"; the machine was suspended for {duration(seen.slept)} since its start"
        if seen.slept > SLEPT
        else ""
    )
    return ok("clock", f"{now}, later than every file of ours{slept}")


# -- open files --------------------------------------------------------------------------------

FEW_CLIENTS: Final = 64


@dataclass(frozen=True, slots=True)
class FilesLook:
    """limit: files that may be open. used: that the running gateway has open, None when it cannot be seen."""

    limit: int
    used: int | None = None


def open_files(world: World) -> Finding:
    """The limit of the running gateway where it can be seen, else what a new one would raise its own to."""
    pid = process_of(world.gateway.state_dir)
    with contextlib.suppress(psutil.Error, OSError):
        if pid:
            process = psutil.Process(pid)
            return judge_files(FilesLook(_count(process.rlimit(psutil.RLIMIT_NOFILE)[0]), process.num_fds()))
    return judge_files(FilesLook(_count(resource.getrlimit(resource.RLIMIT_NOFILE)[1])))


def _count(limit: int) -> int:
    return 1 << 20 if limit == resource.RLIM_INFINITY else limit


def judge_files(seen: FilesLook) -> Finding:
    """For how many clients that is enough (`edge.limits`)."""
    clients = min(CONNECTIONS, int(seen.limit * CLIENTS_SHARE))
    wanted = int(CONNECTIONS / CLIENTS_SHARE)
    do = f"raise it to {wanted}: LimitNOFILE= of the unit, ulimits of the container, or ulimit -Hn"
    used = f", {seen.used} of them are open in the gateway" if seen.used is not None else ""
    text = f"{seen.limit} may be open{used}: enough for {clients} clients at once"
    if clients < FEW_CLIENTS:
        return fail("files", text, "", do)
    if seen.used is not None and seen.used >= seen.limit * FULL_SHARE:
        return fail("files", f"{text}, and nearly all are taken: requests are refused", "", do)
    if clients < CONNECTIONS:
        return warn("files", text, "", do)
    return ok("files", text)


# -- memory ------------------------------------------------------------------------------------

MEMORY_NEEDED: Final = 64 * MIB  # bytes; the gateway itself takes about as much
MEMORY_WANTED: Final = 256 * MIB
CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryLook:
    """Bytes. available: that programs can still get. bound: it is this container's limit that says so."""

    available: int
    bound: bool = False


def memory() -> Finding:
    """What is left on this machine, or in this container."""
    machine = int(psutil.virtual_memory().available)
    inside = left_in(CGROUP)
    bound = inside is not None and inside < machine
    return judge_memory(MemoryLook(inside if bound and inside is not None else machine, bound))


def left_in(cgroup: Path) -> int | None:
    """Bytes left below the memory limit of a control group (version 2); None without a limit."""
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        cached = _inactive((cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return max(int(limit) - used + cached, 0) if limit.isdecimal() else None


def _inactive(lines: Iterable[str]) -> int:
    """Bytes of file cache, which the kernel gives up first."""
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)


def judge_memory(seen: MemoryLook) -> Finding:
    """Whether the gateway can work in it; what services need, nobody knows beforehand."""
    where = "below the limit of this container" if seen.bound else "on this machine"
    text = f"{seen.available // MIB} MiB are available {where}"
    do = (
        "stop a service, or raise the limit of the container" if seen.bound else "stop a service, or add swap"
    )
    if seen.available < MEMORY_NEEDED:
        return fail("memory", f"only {text}", "", do)
    if seen.available < MEMORY_WANTED:
        return warn("memory", f"only {text}", "", do)
    return ok("memory", text)
