"""Notices in the event loop that a process has ended: own child or adopted, by pidfd (AD-07).

Reaps own children, so that none stays a zombie, and keeps their exact exit. Nobody else in the gateway
may wait for these children. Source: pidfd_open(2), waitid(2) with P_PIDFD.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from hestia.engines.process_table import Identity, boot_id, memory_kills, read_stat

_REMEMBERED: Final = 256  # exits kept for a later `inspect`; a hint is taken up within seconds


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended; status and signal are None when it was no child of ours: then nobody knows.

    ours: we had sent a signal. memory_killer: the kernel's out-of-memory killer was at work meanwhile.
    """

    status: int | None = None
    signal: int | None = None
    ours: bool = False
    memory_killer: bool = False


class ExitWatch:
    """Tells `on_exit` once for each attached process that ends."""

    def __init__(self, on_exit: Callable[[Identity, Exit], None]) -> None:
        self._on_exit = on_exit
        self._open: dict[Identity, int] = {}  # → pidfd with a reader in the loop
        self._ended: OrderedDict[Identity, Exit] = OrderedDict()
        self._signalled: set[Identity] = set()
        self._kills: dict[Identity, int] = {}  # → count of memory_kills when it was attached

    def attach(self, identity: Identity) -> None:
        """Watch a process; again is harmless. One that has ended already is told of in this call."""
        if identity in self._open or identity in self._ended:
            return
        descriptor = _open_exactly(identity)
        if descriptor is None:
            self._end(identity, Exit())
            return
        self._open[identity] = descriptor
        self._kills[identity] = memory_kills()
        asyncio.get_running_loop().add_reader(descriptor, self._readable, identity)

    def expect(self, identity: Identity) -> None:
        """Take note that we are about to send a signal, so that its end is not read as a crash."""
        if identity in self._open:
            self._signalled.add(identity)

    def settle(self, identity: Identity) -> None:
        """Take an exit that happened up to now into account at once, without a round of the loop."""
        if identity in self._open:
            self._readable(identity)

    def exit_of(self, identity: Identity) -> Exit | None:
        """How an attached process ended, None while it has not (or was forgotten long ago)."""
        return self._ended.get(identity)

    def close(self) -> None:
        """Watch nothing any more. The processes stay."""
        for identity in list(self._open):
            self._forget(identity)

    def _readable(self, identity: Identity) -> None:
        exited = _reap(self._open[identity], identity)
        if exited is not None:
            self._forget(identity)
            self._end(identity, exited)

    def _forget(self, identity: Identity) -> None:
        descriptor = self._open.pop(identity)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)

    def _end(self, identity: Identity, exited: Exit) -> None:
        ours = identity in self._signalled
        self._signalled.discard(identity)
        before = self._kills.pop(identity, None)
        killed = exited.signal == signal.SIGKILL and before is not None and memory_kills() > before
        exited = replace(exited, ours=ours, memory_killer=killed and not ours)
        self._ended[identity] = exited
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        self._on_exit(identity, exited)


async def wait_ended(processes: Iterable[Identity], *, timeout: float) -> None:
    """Return when all these processes have ended, or after `timeout` seconds. Cancel-safe."""
    loop = asyncio.get_running_loop()
    waiting: dict[int, asyncio.Future[None]] = {}
    try:
        for identity in processes:
            descriptor = _open_exactly(identity)
            if descriptor is not None:
                waiting[descriptor] = loop.create_future()
                loop.add_reader(descriptor, _resolve, waiting[descriptor])
        if waiting:
            await asyncio.wait(waiting.values(), timeout=timeout)
    finally:
        for descriptor in waiting:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _open_exactly(identity: Identity) -> int | None:
    """A pidfd of exactly this process; None when it is gone and, if it was our child, reaped."""
    if identity.boot != boot_id():
        return None
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    # Only now is the pid held: had it been used again before, the start time tells.
    stat = read_stat(identity.pid)
    if stat is not None and stat.ticks == identity.ticks:
        return descriptor
    os.close(descriptor)
    return None


def _reap(descriptor: int, identity: Identity) -> Exit | None:
    """How the process of this pidfd ended; None while it lives. Leaves no zombie of ours."""
    with suppress(ChildProcessError):  # adopted, or reaped by another engine object of this gateway
        found = os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)
        if found is None:
            return None
        if found.si_code == os.CLD_EXITED:
            return Exit(status=found.si_status)
        return Exit(signal=found.si_status)
    stat = read_stat(identity.pid)
    running = stat is not None and stat.ticks == identity.ticks and stat.alive
    return None if running else Exit()
