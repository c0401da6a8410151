"""The gateway that takes the place: finds the old one, is given its sockets, waits until it may begin.

Until `take` the old gateway goes on as if nobody had asked; to leave it so, close the conversation.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Final

from hestia.core.errors import ConfigError
from hestia.core.model import InstanceId, ServiceId
from hestia.edge.given import Given, Heard
from hestia.runtime.held import InUse
from hestia.store.lock import holder
from hestia.takeover import wire
from hestia.takeover.wire import UNDER_WAY

ANSWER_LIMIT: Final = 10.0  # seconds for the old gateway's first answer
LEAVE_LIMIT: Final = 180.0  # seconds it may take to serve those who wait and to leave the store


class Predecessor:
    """The running gateway, asked and willing. given: its listening sockets. pid, version: its own."""

    def __init__(self, sock: socket.socket, given: Given, pid: int, version: str) -> None:
        self._sock = sock
        self.given = given
        self.pid = pid
        self.version = version

    async def take(self) -> list[InUse]:
        """Ask it to go; return when it has left the store, with what it still relays. Raises ConfigError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LEAVE_LIMIT):
                await loop.sock_sendall(self._sock, wire.line(take=True))
                told = await wire.receive(self._sock, loop.sock_recv)
            return [_in_use(one) for one in told["yours"]]
        except TimeoutError as exc:
            raise ConfigError(
                f"The gateway (pid {self.pid}) did not leave its place within {LEAVE_LIMIT:g} s.",
                remedy=f"look at its log; if it hangs: kill -9 {self.pid}, then: hestia serve",
            ) from exc
        except (wire.Closed, OSError, LookupError, TypeError, ValueError) as exc:
            raise ConfigError(
                f"The gateway (pid {self.pid}) ended, or took its place back, before this one could have it.",
                remedy="look whether it runs (hestia status); if not: hestia serve",
            ) from exc

    async def serves(self) -> None:
        """Tell it that this gateway serves now."""
        await asyncio.get_running_loop().sock_sendall(self._sock, wire.line(serving=True))

    async def ended(self) -> None:
        """Return when nothing is open there any more."""
        try:
            await wire.receive(self._sock, asyncio.get_running_loop().sock_recv)
        except wire.Closed:
            return

    def close(self) -> None:
        """Leave it alone. Twice is fine."""
        self._sock.close()
        self.given.close()


def find(state_dir: str, *, version: str) -> Predecessor | None:
    """Ask the gateway of this state folder; None when none runs. Blocks. Raises ConfigError."""
    path = wire.place(state_dir)
    pid = holder(Path(state_dir) / "gateway.lock")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(ANSWER_LIMIT)
        try:
            with wire.short_path(path) as short:
                sock.connect(short)
        except PermissionError as exc:
            raise _refused(pid, f'this user may not read "{path.parent}"', "run this as its user") from exc
        except OSError as exc:
            if not pid:
                sock.close()
                return None
            why = "it is older, or runs behind uvicorn, and cannot hand its place over"
            raise _refused(pid, why, f"end it (kill {pid}), then: hestia serve") from exc
        return _asked(sock, pid, version)
    except BaseException:
        sock.close()
        raise


def _asked(sock: socket.socket, pid: str, version: str) -> Predecessor:
    try:
        sock.sendall(wire.line(protocol=wire.PROTOCOL, version=version, pid=os.getpid()))
        data, descriptors, _, _ = socket.recv_fds(sock, wire.LINE_LIMIT, wire.SOCKETS_LIMIT)
    except TimeoutError as exc:
        raise _refused(
            pid, f"it did not answer within {ANSWER_LIMIT:g} s", "look at it: hestia status"
        ) from exc
    except OSError as exc:
        raise _refused(pid, f"it cut the conversation ({exc.strerror or exc})", "try again") from exc
    socks = [socket.socket(fileno=one) for one in descriptors]
    told = wire.parsed(data)
    services = told.get("services", [])
    if not socks or len(socks) != len(services):
        for one in socks:
            one.close()
        why = str(told.get("refused") or "its answer is not understood")
        remedy = "wait for its end" if why == UNDER_WAY else f"end it (kill {pid}), then: hestia serve"
        raise _refused(pid, why, remedy)
    given = Given(Heard(str(name), one) for name, one in zip(services, socks, strict=True))
    sock.setblocking(False)
    return Predecessor(sock, given, int(told.get("pid", 0)), str(told.get("version", "")))


def _refused(pid: str, why: str, remedy: str) -> ConfigError:
    who = f"The running gateway (pid {pid})" if pid else "The running gateway"
    return ConfigError(f"{who} gives its place to no other: {why}.", remedy=remedy)


def _in_use(row: list[object]) -> InUse:
    service, instance, generation, leases = row
    if not isinstance(generation, int) or not isinstance(leases, int):
        raise TypeError("generation and leases are numbers")
    return InUse(ServiceId(str(service)), InstanceId(str(instance)), generation, leases)
