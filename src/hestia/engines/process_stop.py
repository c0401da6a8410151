"""Ends everything that belongs to one instance: TERM, grace, KILL, and a look whether all are gone.

Signals go to the group at once and, through a pidfd, to each process that left it; a pid that was used
again is never hit. Source: lifecycle.md EN-02, EN-10, FB-15; pidfd_send_signal(2).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from hestia.core.errors import EngineRefused
from hestia.engines.process_exits import wait_ended
from hestia.engines.process_handle import Launched
from hestia.engines.process_table import Identity, Stat, boot_id, read_stat

_KILL_TIMEOUT: Final = 5.0  # seconds; only an uninterruptible sleep or a frozen cgroup outlasts SIGKILL
_BIRTH_INTERVAL: Final = 0.05  # seconds: longest wait before looking for children born meanwhile

Members = Callable[[], Awaitable[list[Stat]]]  # what of the instance lives now


async def end_all(instance: Launched, members: Members, *, grace: float) -> None:
    """Return when nothing of the instance is left; nothing there is success.

    grace: seconds between TERM and KILL; 0 is KILL at once. Cancelled: signals that were sent
    stay sent. Raises EngineRefused(cause="stuck") when something outlasts KILL for 5 seconds.
    """
    left = await members()
    if grace > 0:
        left = await _signal_until_gone(instance, left, members, signal.SIGTERM, timeout=grace)
    left = await _signal_until_gone(instance, left, members, signal.SIGKILL, timeout=_KILL_TIMEOUT)
    if left:
        pids = ", ".join(str(stat.pid) for stat in left)
        denied = not all(_may_signal(stat) for stat in left)
        raise EngineRefused(
            f"process {pids} of {instance.key} is still there {_KILL_TIMEOUT:g} s after SIGKILL"
            + (": it runs as another user" if denied else f" (state {left[0].state})"),
            permanent=False,
            cause="stuck",
            remedy=f"sudo kill -KILL {left[0].pid}" if denied else f"cat /proc/{left[0].pid}/stack",
        )


def terminate(instance: Launched) -> None:
    """Send TERM to the group of a program that was just made, and wait for nothing."""
    stat = read_stat(instance.pid)
    if stat is not None and stat.ticks == instance.ticks:
        _send(instance, [stat], signal.SIGTERM)


async def _signal_until_gone(
    instance: Launched, left: list[Stat], members: Members, number: signal.Signals, *, timeout: float
) -> list[Stat]:
    """Signal everything once, those born later too; return what is left after `timeout` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    told: set[tuple[int, int]] = set()
    while left:
        fresh = [stat for stat in left if (stat.pid, stat.ticks) not in told]
        told.update((stat.pid, stat.ticks) for stat in fresh)
        _send(instance, fresh, number)
        remaining = deadline - loop.time()
        if remaining <= 0:
            break
        await wait_ended((_identity(stat) for stat in left), timeout=remaining)
        left = await members()
        if left and fresh == []:
            await asyncio.sleep(min(_BIRTH_INTERVAL, max(0.0, deadline - loop.time())))
    return left


def _send(instance: Launched, processes: list[Stat], number: signal.Signals) -> None:
    if any(stat.group == instance.group for stat in processes):
        # One call for the whole group: nothing can fork its way out in between.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(instance.group, number)
            if number == signal.SIGTERM:
                os.killpg(instance.group, signal.SIGCONT)  # a stopped program cannot take the TERM
    for stat in processes:
        if stat.group != instance.group:
            _send_exactly(stat, number)


def _send_exactly(stat: Stat, number: int) -> bool:
    """Signal one process if it still is the same one; False when we may not."""
    try:
        descriptor = os.pidfd_open(stat.pid)
    except OSError:
        return True
    try:
        now = read_stat(stat.pid)
        if now is not None and now.ticks == stat.ticks:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    finally:
        os.close(descriptor)
    return True


def _may_signal(stat: Stat) -> bool:
    return _send_exactly(stat, 0)


def _identity(stat: Stat) -> Identity:
    return Identity(stat.pid, stat.ticks, boot_id())
