"""Records of requests on their way to whoever reads them: kept as they are, handed on in batches.

Owns when a batch is full or due. Who ends a request pays for an append, and one in 32 for a batch.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from hestia.core.requests import RequestRecord

FLUSH_INTERVAL: Final = 0.2  # seconds after which nothing waits any longer
FULL: Final = 32  # records handed on in one go: the request that has to do it waits about 0.1 ms


class Reader(Protocol):
    """Takes records, whose list is not its own, and is told when nothing more comes for now."""

    def take(self, records: list[RequestRecord]) -> None: ...
    def flush(self) -> None: ...


class Batches:
    """Hands records to its readers, in their order; see the module docstring. interval: in seconds."""

    def __init__(self, *readers: Reader, interval: float = FLUSH_INTERVAL) -> None:
        self._readers = readers
        self._interval = interval
        self._records: list[RequestRecord] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reader: Reader) -> None:
        """Hand records to one more."""
        self._readers += (reader,)

    def record(self, record: RequestRecord) -> None:
        """Take one record. On the hot path: an append, and now and then a batch."""
        records = self._records
        records.append(record)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._due)
        if len(records) >= FULL:
            self.hand_on()

    def hand_on(self) -> None:
        """Let every reader see what is there by now."""
        records, self._records = self._records, []
        if records:
            for reader in self._readers:
                reader.take(records)

    def close(self) -> None:
        """Hand the rest on."""
        if self._timer is not None:
            self._timer.cancel()
        self._due()

    def _due(self) -> None:
        self._timer = None
        self.hand_on()
        for reader in self._readers:
            reader.flush()
