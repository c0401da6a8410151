"""Leases and the use counters of an instance: the part of the world that the hot path touches.

A `Use` stands beside the frozen record of one generation. Granting and releasing a lease are plain
synchronous calls; `Lease.close` says whether somebody must look (a waiter, a drain).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from hestia.core.errors import HestiaError
from hestia.core.model import Endpoint, InstanceKey

if TYPE_CHECKING:
    from hestia.core.records import Slot


WANTED: Final[Mapping[int, object]] = {0: None}  # stands for somebody who wants the room (`Use.waiting`)


class Holder(Protocol):
    """What holds a lease: an exchange. Both calls are synchronous and may release the lease at once."""

    def abort(self, reason: HestiaError) -> None:
        """End the exchange now; the lease is released before this returns."""
        ...

    def close_socket(self) -> None:
        """Close a spliced WebSocket at a frame boundary (WS-13); the release follows within seconds."""
        ...


class Use:
    """Use counters of one generation. `admitting` is true exactly while its instance is hot.

    limit: leases at once (`math.inf` is unlimited). warm: a response head below 500 was seen, or the
    warm-up window is over. data: a place for the proxy to keep what it computed for this generation.
    last_used: loop-clock seconds of the last end of use. waiting: who queues for its service, or `WANTED`;
    not empty while somebody must look when a lease ends. sockets: leases that are spliced WebSockets.
    suspect: nobody knows whether it lives (`core.liveness`). awaited: the next head below 500 is news.
    ready_since: when a probe last found that it had become ready.
    """

    __slots__ = (
        "admitting",
        "awaited",
        "data",
        "endpoint",
        "granted",
        "hot_since",
        "key",
        "last_used",
        "leases",
        "limit",
        "owner",
        "ready_since",
        "sockets",
        "suspect",
        "waiting",
        "warm",
        "warm_limit",
    )

    def __init__(
        self,
        key: InstanceKey,
        endpoint: Endpoint,
        *,
        limit: int | None,
        warm_limit: int,
        now: float,
        owner: Slot,
    ) -> None:
        self.key = key
        self.endpoint = endpoint
        self.limit: float = math.inf if limit is None else limit
        self.warm_limit = warm_limit
        self.admitting = True
        self.warm = False
        self.owner = owner
        self.waiting: Mapping[int, object] = owner.service.queue.waiters
        self.leases: set[Lease] = set()
        self.sockets = 0
        self.granted = 0
        self.suspect = False
        self.awaited = True
        self.hot_since = self.ready_since = now
        self.last_used = now
        self.data: object = None

    @property
    def open(self) -> int:
        """Leases not yet released."""
        return len(self.leases)

    @property
    def room(self) -> bool:
        """Whether one more lease may be granted now."""
        if not self.admitting:
            return False
        taken = len(self.leases)
        return taken < self.limit and (self.warm or taken < self.warm_limit)

    def grant(self) -> Lease:
        """Hand out a lease. Only while `room`."""
        assert self.admitting, "a lease is granted only while hot (INV-3)"
        self.granted += 1
        lease = Lease(self)
        self.leases.add(lease)
        return lease

    def __repr__(self) -> str:
        return f"<Use {self.key} open={len(self.leases)} granted={self.granted} admitting={self.admitting}>"


class Lease:
    """Right to send one request to one generation of one instance, until its response ends."""

    __slots__ = ("holder", "is_quiet", "is_socket", "use")

    def __init__(self, use: Use) -> None:
        self.use = use
        self.holder: Holder | None = None
        self.is_socket = self.is_quiet = False

    @property
    def endpoint(self) -> Endpoint:
        return self.use.endpoint

    def became_socket(self) -> bool:
        """The exchange is a spliced WebSocket from here on (ID-03), which may be no use. True when somebody
        must look: the world's `released`."""
        if self.is_socket or self not in self.use.leases:
            return False
        self.is_socket = True
        self.use.sockets += 1
        return len(self.use.waiting) > 0

    def hush(self) -> None:
        """From here on it is no use of the instance and does not keep it up (CQ-11)."""
        self.is_quiet = True

    def touched(self, now: float) -> None:
        """A data frame passed."""
        if not self.is_quiet:
            self.use.last_used = now

    def close(self, now: float) -> bool:
        """Give the lease back; safe to call twice. True when somebody must look: the world's `released`."""
        use = self.use
        if self not in use.leases:
            return False
        use.leases.discard(self)
        if self.is_socket:
            use.sockets -= 1
        if not self.is_quiet:
            use.last_used = now
        self.holder = None
        return not use.admitting or use.suspect or len(self.use.waiting) > 0

    def __repr__(self) -> str:
        return f"<Lease {self.use.key} {'socket' if self.is_socket else 'request'}>"
