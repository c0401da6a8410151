"""How many connections there may be: of clients in all and from one address, and open files in all.

Counts, decides nothing else. Source: proxy-semantics LI-08, LI-14.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

CONNECTIONS: Final = 4096  # of clients at once (LI-08)
PER_PEER: Final = 512  # of them from one address that is neither this machine nor a trusted proxy
TURNED_AWAY: Final = 4  # a further one for each so many is answered 503 at once; beyond that they are closed
CLIENTS_SHARE: Final = 0.4  # of the open files: a request may need a second one for its service
FULL_SHARE: Final = 0.8  # of the open files, from which on no connection to a service is made (LI-14)
RECOUNT_INTERVAL: Final = 10.0  # seconds

_at_start: list[int] = []  # the limit of open files before it was raised


class Room:
    """Connections of clients. open_files: as many as the system gives. trusted: addresses and networks."""

    def __init__(self, open_files: int, trusted: Iterable[str] = ()) -> None:
        self.limit = max(1, min(CONNECTIONS, int(open_files * CLIENTS_SHARE)))
        self._trusted: tuple[IPv4Network | IPv6Network, ...] = ()
        self.trust(trusted)
        self._peers: dict[str, int] = {}
        self._count = 0

    def trust(self, trusted: Iterable[str]) -> None:
        """Addresses and networks that may have any number of connections, from now on."""
        self._trusted = tuple(ip_network(one) for one in trusted)

    def enter(self, peer: str) -> str:
        """Count one in, from `peer`, "" on a unix socket. Returns why it cannot be served, or ""."""
        self._count += 1
        here = self._peers[peer] = self._peers.get(peer, 0) + 1
        if self._count > self.limit:
            return f"{self.limit} connections are open, which is as many as the gateway takes."
        if here > PER_PEER and not self._is_free(peer):
            return f"{PER_PEER} connections from {peer} are open, which is as many as one address gets."
        return ""

    def leave(self, peer: str) -> None:
        """Count one out."""
        self._count -= 1
        left = self._peers[peer] - 1
        if left:
            self._peers[peer] = left
        else:
            del self._peers[peer]

    def is_crowded(self, peer: str) -> bool:
        """Whether one more from there would not even be answered."""
        if self._count >= self.limit + self.limit // TURNED_AWAY:
            return True
        return self._peers.get(peer, 0) >= PER_PEER + PER_PEER // TURNED_AWAY and not self._is_free(peer)

    def _is_free(self, peer: str) -> bool:
        """Whether connections from there are not limited by themselves."""
        if not peer or peer == "::1" or peer.startswith("127."):
            return True
        return bool(self._trusted) and any(ip_address(peer) in network for network in self._trusted)


class OpenFiles:
    """Whether the process has files left for connections to services.

    sockets: how many connections of both sides there are, cheap to ask. Everything else (logs, pipes of
    programs, listeners) changes slowly and is counted every few seconds.
    """

    def __init__(self, sockets: Callable[[], int], limit: int | None = None) -> None:
        self.limit = open_files_limit() if limit is None else limit
        self._full = int(self.limit * FULL_SHARE)
        self._sockets = sockets
        self._others = 0
        self._recount_at = 0.0

    def is_full(self) -> bool:
        return self._others + self._sockets() >= self._full

    def look(self, now: float) -> None:
        """Called by the sweep. now: loop-clock seconds."""
        if now < self._recount_at:
            return
        self._recount_at = now + RECOUNT_INTERVAL
        with contextlib.suppress(OSError):  # there is no file left to look with
            self._others = max(0, len(os.listdir("/proc/self/fd")) - self._sockets())


def raise_open_files_limit() -> None:
    """As many as the system allows (LI-14)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not _at_start:
        _at_start.append(soft)
    with contextlib.suppress(ValueError, OSError):  # an unlimited one may be beyond what the kernel takes
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files_at_start() -> int | None:
    """The soft limit before it was raised; None: it was not."""
    return _at_start[0] if _at_start else None


def open_files_limit() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
