"""A store that forgets everything at the end: rows in a ring, intents by key.

Owns nothing that must survive; the durable store comes behind the same port.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import islice

from hestia.core.errors import StoreUnavailable
from hestia.core.model import InstanceKey
from hestia.core.ports import Handle, Intent, Row

ROW_LIMIT = 10_000


class MemoryStore:
    """Fits `core.ports.Store`. limit: rows kept; the oldest go first."""

    def __init__(self, *, limit: int = ROW_LIMIT) -> None:
        self._rows: deque[Row] = deque(maxlen=limit)
        self._intents: dict[InstanceKey, Intent] = {}
        self._handles: dict[InstanceKey, Handle] = {}
        self._closed = False

    async def intend(self, intent: Intent) -> None:
        """Keep an intent until its key is closed. Raises StoreUnavailable after `aclose`."""
        if self._closed:
            raise StoreUnavailable("The store is closed.", remedy="Start the gateway again: hestia serve")
        self._intents[intent.key] = intent

    def handle_made(self, key: InstanceKey, handle: Handle) -> None:
        """Remember how to find what was made for an intent."""
        self._handles[key] = handle

    def closed(self, key: InstanceKey, reason: str) -> None:
        """The generation is over: nothing of it is left to look for."""
        self._intents.pop(key, None)
        self._handles.pop(key, None)

    def append(self, row: Row) -> None:
        """Add one event to the timeline."""
        self._rows.append(row)

    def rows(self, *, service: str = "", limit: int = 100) -> list[Row]:
        """The newest rows first, of one service or of all."""
        newest = (row for row in reversed(self._rows) if not service or row.service == service)
        return list(islice(newest, max(0, limit)))

    @property
    def intents(self) -> Mapping[InstanceKey, Intent]:
        """What may run: intents not yet closed."""
        return self._intents

    @property
    def handles(self) -> Mapping[InstanceKey, Handle]:
        """Handles of the intents not yet closed, where one was reported."""
        return self._handles

    async def aclose(self) -> None:
        """Take no further intents. Twice is fine."""
        self._closed = True

    def __repr__(self) -> str:
        return f"<MemoryStore rows={len(self._rows)} intents={len(self._intents)}>"
