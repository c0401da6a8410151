"""What became of requests: all of them for a while in memory, those that waited or failed in the store.

Owns the ring, what is worth storing, and how much of it at most: a flood of failures is told as far as it
helps, and costs the requests beside it nothing. Fits `telemetry.batches.Reader`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from hestia.core.ports import RequestEntry, StoreReader
from hestia.core.requests import RequestRecord, Step
from hestia.runtime import journeys
from hestia.runtime.timeline import Timeline

KEPT: Final = 10_000  # requests in memory
KEPT_BYTES: Final = 8 * 2**20  # of what clients chose: ids and targets
AT_ONCE: Final = 4  # told in one go: about 0.2 ms
BURST, RATE = 1000.0, 50.0  # stored at once, and per second in the long run
LEFT: Final = frozenset(("client_closed",))  # codes that are no failure of anything here
EVENTS: Final = {"failed": "RequestRetried", "fallback": "RequestFellBack"}


class Keeper(StoreReader, Protocol):
    """The store, as far as it is needed here."""

    def record(self, entry: RequestEntry) -> None: ...


class Note(Protocol):
    """Writes an event down that is no transition."""

    def __call__(
        self,
        event: str,
        *,
        cause: str,
        actor: str,
        service: str,
        instance: str,
        generation: int,
        data: dict[str, object],
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which requests. slow_ms: at least that long; 0 is all of them."""

    service: str = ""
    failed: bool = False
    waited: bool = False
    slow_ms: float = 0.0
    limit: int = 100

    def takes(self, record: RequestRecord) -> bool:
        return (
            (not self.service or record.service == self.service)
            and (not self.failed or has_failed(record))
            and (not self.waited or has_waited(record))
            and record.total_ms >= self.slow_ms
        )


class Records:
    """See the module docstring. clock: loop-clock seconds. told: of each that is stored."""

    def __init__(
        self,
        store: Keeper,
        timeline: Timeline,
        *,
        clock: Callable[[], float],
        told: Callable[[RequestRecord], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._timeline = timeline
        self._clock = clock
        self._told = told
        self._batches: deque[tuple[int, list[RequestRecord]]] = deque()
        self._count = self._bytes = 0
        self._due: deque[RequestRecord] = deque()
        self._writing: asyncio.Handle | None = None
        self._budget, self._budget_at = BURST, clock()
        self.unstored = 0  # beyond what is stored at most

    # -- coming in -----------------------------------------------------------------------------

    def take(self, records: list[RequestRecord]) -> None:
        """Remember a batch; what is worth storing is written a little later."""
        size = 0
        for record in records:
            size += len(record.target) + len(record.request_id)
            if record.steps or record.code or record.status >= 500:
                self._look(record)
        self._batches.append((size, records))
        self._count += len(records)
        self._bytes += size
        while self._count > KEPT or (self._bytes > KEPT_BYTES and len(self._batches) > 1):
            size, oldest = self._batches.popleft()
            self._count -= len(oldest)
            self._bytes -= size

    def flush(self) -> None:
        """Nothing waits here for more."""

    def _look(self, record: RequestRecord) -> None:
        if not record.service or not (has_waited(record) or has_failed(record)):
            return
        if not self._may_store():
            self.unstored += 1
            return
        self._due.append(record)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().call_soon(self._write)

    def _may_store(self) -> bool:
        now = self._clock()
        self._budget = min(BURST, self._budget + (now - self._budget_at) * RATE)
        self._budget_at = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True

    def _write(self) -> None:
        """Store a few, then let the loop go on."""
        self._writing = None
        for _ in range(min(AT_ONCE, len(self._due))):
            record = self._due.popleft()
            self._told(record)
            self._store.record(self._entry(record))
        if self._due:
            self._writing = asyncio.get_running_loop().call_soon(self._write)

    def close(self) -> None:
        """Store what waits; before the store is closed."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        while self._due:
            self._store.record(self._entry(self._due.popleft()))

    # -- being asked ---------------------------------------------------------------------------

    async def request(self, request_id: str) -> RequestEntry | None:
        """The newest request of that id that is remembered. Raises StoreUnavailable."""
        name = request_id.encode("latin-1", "replace")
        for record in self._newest():
            if record.request_id == name:
                return self._entry(record)
        return await self._store.request(request_id)

    def requests(self, wanted: Wanted) -> list[RequestEntry]:
        """Those in memory, newest first."""
        found: list[RequestEntry] = []
        for record in self._newest():
            if len(found) >= wanted.limit:
                break
            if wanted.takes(record):
                found.append(self._entry(record))
        return found

    def _newest(self) -> Iterator[RequestRecord]:
        for _, batch in reversed(self._batches):
            yield from reversed(batch)

    def _entry(self, record: RequestRecord) -> RequestEntry:
        return RequestEntry(
            request_id=record.request_id.decode("latin-1"),
            at=record.at - record.total_ms / 1000,
            service=record.service,
            document=journeys.tell(record, self._timeline),
        )

    def __repr__(self) -> str:
        return f"<Records kept={self._count} due={len(self._due)} unstored={self.unstored}>"


def has_waited(record: RequestRecord) -> bool:
    """It did not get its instance at once, or not at the first attempt."""
    return any(step.what in ("queued", "failed", "fallback", "kept") for step in record.steps)


def has_failed(record: RequestRecord) -> bool:
    """Something on this side of the client went wrong; one that left is no failure once it was answered."""
    return record.status >= 500 or (bool(record.code) and record.code not in LEFT) or record.status == 499


def tell_events(record: RequestRecord, note: Note) -> None:
    """The further attempts of a request, as events."""
    for step in record.steps:
        if (event := EVENTS.get(step.what)) is not None:
            note(
                event,
                cause=step.text,
                actor=record.request_id.decode("latin-1"),
                service=record.service,
                instance=step.instance,
                generation=step.generation,
                data={"after_ms": round(_since(record, step) * 1000)},
            )


def _since(record: RequestRecord, step: Step) -> float:
    """Seconds from the arrival to a step."""
    return record.total_ms / 1000 - (record.steps[-1].at - step.at)
