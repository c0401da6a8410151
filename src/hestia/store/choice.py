"""Which events and requests somebody asked for; the same meaning for every store.

Owns the choosing among entries in memory. A database asks the same with its own means.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from hestia.core.ports import RequestEntry, Row, StoredRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Fields as in `core.ports.StoreReader`; "" and None choose everything."""

    service: str = ""
    instance: str = ""
    event: str = ""
    episode: str = ""
    request_id: str = ""
    since: float | None = None
    until: float | None = None
    before: int | None = None
    limit: int = 100

    def rows(self, newest_first: Iterable[StoredRow]) -> list[StoredRow]:
        """Those of the events that are meant."""
        return list(islice((one for one in newest_first if self._wants_row(one.id, one.row)), self.count))

    def entries(self, newest_first: Iterable[RequestEntry]) -> list[RequestEntry]:
        """Those of the requests that are meant."""
        return list(islice((one for one in newest_first if self._wants_entry(one)), self.count))

    @property
    def count(self) -> int:
        """How many entries at most."""
        return max(0, self.limit)

    def _wants(self, number: int, at: float, service: str) -> bool:
        return (
            (not self.service or service == self.service)
            and (self.before is None or number < self.before)
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
        )

    def _wants_row(self, number: int, row: Row) -> bool:
        return (
            self._wants(number, row.at, row.service)
            and (not self.instance or row.instance == self.instance)
            and (not self.event or row.event == self.event)
            and (not self.episode or row.episode == self.episode)
        )

    def _wants_entry(self, entry: RequestEntry) -> bool:
        return self._wants(entry.id, entry.at, entry.service) and (
            not self.request_id or entry.request_id == self.request_id
        )
