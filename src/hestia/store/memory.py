"""A store that forgets everything at the end of the process: entries in rings, generations by key.

Owns nothing that must survive: `database_url: memory`, and tests. Opened again after `aclose`, the same
object still knows what it knew, as a file would.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hestia.core.errors import StoreUnavailable
from hestia.core.model import GatewayId, InstanceKey
from hestia.core.ports import Handle, Intent, Kept, Memory, RequestEntry, Row, StoredRow
from hestia.store.choice import Choice
from hestia.store.ledger import Ledger

ROW_LIMIT: Final = 10_000
REQUEST_LIMIT: Final = 1000


class MemoryStore:
    """Fits `core.ports.Store`. limit: events kept; the oldest go first."""

    trouble: str = ""

    def __init__(self, *, limit: int = ROW_LIMIT) -> None:
        self._rows: deque[StoredRow] = deque(maxlen=limit)
        self._requests: deque[RequestEntry] = deque(maxlen=REQUEST_LIMIT)
        self._ledgers: dict[GatewayId, Ledger] = {}
        self._ledger = Ledger()
        self._last = 0
        self._open = False

    async def open(self, owner: GatewayId) -> Memory:
        """What was handed over before, of this gateway alone."""
        self._open = True
        self._ledger = self._ledgers.setdefault(owner, Ledger())
        return self._ledger.memory()

    async def intend(self, intent: Intent) -> None:
        """Keep an intent until its key is closed. Raises StoreUnavailable: not open."""
        if not self._open:
            raise StoreUnavailable("The store is closed.", remedy="start the gateway again: hestia serve")
        self._ledger.intend(intent)

    def handle_made(self, key: InstanceKey, handle: Handle) -> None:
        """Remember how to find what was made for an intent."""
        if self._open:
            self._ledger.handle_made(key, handle)

    def noted(
        self,
        key: InstanceKey,
        *,
        state: str | None = None,
        endpoint: str | None = None,
        health_url: str | None = None,
        last_used: float | None = None,
        external: bool | None = None,
    ) -> None:
        """Remember what is known of a generation."""
        if self._open:
            self._ledger.noted(
                key,
                state=state,
                endpoint=endpoint,
                health_url=health_url,
                last_used=last_used,
                external=external,
            )

    def closed(self, key: InstanceKey, reason: str) -> None:
        """The generation is over: nothing of it is left to look for."""
        if self._open:
            self._ledger.closed(key)

    def fact(self, kind: str, name: str, value: Mapping[str, object] | None) -> None:
        """Remember a fact, or forget it."""
        if self._open:
            self._ledger.fact(kind, name, value)

    def append(self, row: Row) -> int:
        """Add one event to the timeline; its number."""
        if not self._open:
            return 0
        self._last += 1
        self._rows.append(StoredRow(self._last, row))
        return self._last

    def record(self, entry: RequestEntry) -> None:
        """Keep what is known of a request."""
        if self._open:
            self._last += 1
            self._requests.append(replace(entry, id=self._last))

    async def events(
        self,
        *,
        service: str = "",
        instance: str = "",
        event: str = "",
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[StoredRow]:
        """The newest events first."""
        choice = Choice(
            service=service,
            instance=instance,
            event=event,
            since=since,
            until=until,
            before=before,
            limit=limit,
        )
        return choice.rows(reversed(self._rows))

    async def episode(self, episode: str) -> list[StoredRow]:
        """All events of one episode, the first one first."""
        return Choice(episode=episode, limit=len(self._rows)).rows(self._rows) if episode else []

    async def request(self, request_id: str) -> RequestEntry | None:
        """The newest request of that id."""
        found = Choice(request_id=request_id, limit=1).entries(reversed(self._requests))
        return found[0] if found and request_id else None

    async def requests(
        self,
        *,
        service: str = "",
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[RequestEntry]:
        """The newest requests first."""
        choice = Choice(service=service, since=since, until=until, before=before, limit=limit)
        return choice.entries(reversed(self._requests))

    @property
    def kept(self) -> Mapping[InstanceKey, Kept]:
        """Generations not yet closed."""
        return self._ledger.kept

    async def aclose(self) -> None:
        """Take nothing further. Twice is fine."""
        self._open = False

    def __repr__(self) -> str:
        return f"<MemoryStore rows={len(self._rows)} {self._ledger!r}>"
