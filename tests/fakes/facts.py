"""Waiting for facts in tests: no sleeping for luck, one generous deadline for everything.

`Bell` is rung by the thing that changes; `eventually` is for facts that nobody announces.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable

PATIENCE = float(os.environ.get("HESTIA_TEST_PATIENCE", "20"))  # seconds until a fact is given up
"""Seconds until a wait is given up: long enough for a loaded two-core machine."""


class Bell:
    """Wakes whoever waits for a predicate each time something changed."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Something changed: let every waiter look again."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, predicate: Callable[[], bool], what: str, *, timeout: float = PATIENCE) -> None:
        """Return once `predicate` holds. Raises AssertionError naming `what` after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not predicate():
                    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting.add(future)
                    await future
        except TimeoutError:
            raise AssertionError(f"waited {timeout:g} s in vain for: {what}") from None


async def eventually(
    predicate: Callable[[], bool], what: str | Callable[[], str], *, timeout: float = PATIENCE
) -> None:
    """Look again and again until `predicate` holds. Raises AssertionError naming `what`."""
    try:
        async with asyncio.timeout(timeout):
            while not predicate():
                await asyncio.sleep(0.005)
    except TimeoutError:
        told = what if isinstance(what, str) else what()
        raise AssertionError(f"waited {timeout:g} s in vain for: {told}") from None


def open_sockets() -> set[tuple[int, object, object]]:
    """Every named socket this process has open: family, own name, peer's name.

    Nameless ones are the event loop's own pairs, which come and go with each run of it.
    """
    found = set()
    for text in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.stat(int(text)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(text))) as copy:
                name = copy.getsockname()
                if name:
                    found.add((int(copy.family), name, _peer(copy)))
        except OSError:
            continue  # closed between listing and looking
    return found


def _peer(one: socket.socket) -> object:
    try:
        return one.getpeername()
    except OSError:
        return None  # listening, or the other side has gone
