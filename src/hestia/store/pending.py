"""What was handed over and is not in the database yet. Both sides meet here: the loop adds, the writer takes.

Owns the bound on what waits, and what is still there to be written after a failure. What must not be lost,
generations and facts, waits as its last state: however long it takes, it does not grow. Events and requests
wait in rings; the oldest go first and are counted.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final

from hestia.core.model import InstanceKey
from hestia.core.ports import Handle, Intent, Kept, Memory, RequestEntry, Row, StoredRow
from hestia.store.ledger import Fact, Ledger, Place

LINGER: Final = 0.05  # seconds a change may wait for others to share its transaction
ROW_LIMIT: Final = 10_000
REQUEST_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class Changes:
    """What the ledger holds now of what has changed; None is gone."""

    kept: Mapping[InstanceKey, Kept | None]
    numbers: Mapping[Place, int]
    facts: Mapping[Fact, Mapping[str, object] | None]

    def __bool__(self) -> bool:
        return bool(self.kept or self.numbers or self.facts)


class Pending:
    """Every method may be called from any thread and waits for no disk."""

    def __init__(self, *, row_limit: int = ROW_LIMIT, request_limit: int = REQUEST_LIMIT) -> None:
        self._changed = threading.Condition()
        self._ledger = Ledger()
        self._kept: set[InstanceKey] = set()
        self._numbers: set[Place] = set()
        self._facts: set[Fact] = set()
        self._rows: deque[StoredRow] = deque(maxlen=row_limit)
        self._entries: deque[RequestEntry] = deque(maxlen=request_limit)
        self._wishes: list[Future[None]] = []
        self._last = 0
        self._due = math.inf  # when the writer is to look, on the monotonic clock
        self._ending = False
        self.lost = 0  # events and requests that had to go before they were written

    def memory(self) -> Memory:
        """What is known now."""
        with self._changed:
            return self._ledger.memory()

    # -- the loop's side -----------------------------------------------------------------------

    def intend(self, intent: Intent) -> Future[None]:
        """Done when it is committed, or has the reason why not."""
        wish: Future[None] = Future()
        key = intent.key
        with self._changed:
            self._ledger.intend(intent)
            self._kept.add(key)
            self._numbers.add((key.service, key.instance))
            self._wishes.append(wish)
            self._due = 0.0
            self._changed.notify_all()
        return wish

    def handle_made(self, key: InstanceKey, handle: Handle) -> None:
        with self._changed:
            if self._ledger.handle_made(key, handle):
                self._kept.add(key)
                self._soon()

    def noted(self, key: InstanceKey, fields: Mapping[str, object]) -> None:
        with self._changed:
            if self._ledger.noted(key, **fields):
                self._kept.add(key)
                self._soon()

    def closed(self, key: InstanceKey) -> None:
        with self._changed:
            if self._ledger.closed(key):
                self._kept.add(key)
                self._soon()

    def fact(self, kind: str, name: str, value: Mapping[str, object] | None) -> None:
        with self._changed:
            if self._ledger.fact(kind, name, value):
                self._facts.add((kind, name))
                self._soon()

    def append(self, row: Row) -> int:
        with self._changed:
            self.lost += len(self._rows) == self._rows.maxlen
            self._last += 1
            self._rows.append(StoredRow(self._last, row))
            self._soon()
            return self._last

    def record(self, entry: RequestEntry) -> None:
        with self._changed:
            self.lost += len(self._entries) == self._entries.maxlen
            self._last += 1
            self._entries.append(replace(entry, id=self._last))
            self._soon()

    def end(self) -> None:
        """Have the writer write what there is, and end."""
        with self._changed:
            self._ending = True
            self._due = 0.0
            self._changed.notify_all()

    def rows(self) -> list[StoredRow]:
        """Events that are not in the database yet, the oldest first."""
        with self._changed:
            return list(self._rows)

    def entries(self) -> list[RequestEntry]:
        """Requests that are not in the database yet, the oldest first."""
        with self._changed:
            return list(self._entries)

    def _soon(self) -> None:
        if self._due == math.inf:
            self._due = time.monotonic() + LINGER
            self._changed.notify_all()

    # -- the writer's side ---------------------------------------------------------------------

    def wait(self, until: float) -> bool:
        """Return when there is something to write, or at `until` (monotonic). Whether to end after that."""
        with self._changed:
            while (left := min(self._due, until) - time.monotonic()) > 0:
                self._changed.wait(None if left == math.inf else left)
            self._due = math.inf
            return self._ending

    def wishes(self) -> list[Future[None]]:
        """Intents that somebody waits for, those apart who gave up. Each is to be settled."""
        with self._changed:
            taken, self._wishes = self._wishes, []
        return [one for one in taken if one.set_running_or_notify_cancel()]

    def changes(self) -> Changes:
        """What has changed; it counts as written unless it is given to `again`."""
        with self._changed:
            ledger = self._ledger
            changes = Changes(
                kept={key: ledger.kept.get(key) for key in self._kept},
                numbers={place: ledger.numbers[place] for place in self._numbers},
                facts={fact: ledger.facts.get(fact) for fact in self._facts},
            )
            self._kept, self._numbers, self._facts = set(), set(), set()
            return changes

    def again(self, changes: Changes) -> None:
        """These were not written."""
        with self._changed:
            self._kept |= changes.kept.keys()
            self._numbers |= changes.numbers.keys()
            self._facts |= changes.facts.keys()

    def meet(self, memory: Memory, last: int) -> None:
        """Another file is written from now on, perhaps the first: each gets what only the other knows.

        last: the highest number of an event or a request in it; what waits gets higher ones.
        """
        with self._changed:
            self._ledger.merge(memory, apart=self._kept | self._facts)
            self._kept |= self._ledger.kept.keys()
            self._numbers |= self._ledger.numbers.keys()
            self._facts |= self._ledger.facts.keys()
            waiting = [ring[0].id for ring in (self._rows, self._entries) if ring]
            shift = last + 1 - min(waiting, default=self._last + 1)
            if shift > 0:
                self._last += shift
                for at, row in enumerate(self._rows):
                    self._rows[at] = StoredRow(row.id + shift, row.row)
                for at, entry in enumerate(self._entries):
                    self._entries[at] = replace(entry, id=entry.id + shift)

    def written(self, rows: list[StoredRow], entries: list[RequestEntry]) -> None:
        """These are in the database now."""
        with self._changed:
            for ring, taken in ((self._rows, rows), (self._entries, entries)):
                gone = len(taken)
                while taken and ring and ring[0].id <= taken[-1].id:
                    ring.popleft()
                    gone -= 1
                self.lost -= gone  # pushed out while they were being written: not lost after all

    def later(self, pause: float) -> None:
        """Look again after `pause` seconds, whatever is handed over until then; an intent comes at once."""
        with self._changed:
            if not self._wishes and not self._ending:
                self._due = time.monotonic() + pause

    def take_lost(self) -> int:
        """How many events and requests were lost since the last time."""
        with self._changed:
            lost, self.lost = self.lost, 0
            return lost

    def __repr__(self) -> str:
        return f"<Pending rows={len(self._rows)} requests={len(self._entries)} {self._ledger!r}>"
