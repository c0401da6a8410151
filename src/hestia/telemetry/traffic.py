"""Numbers of requests: each record adds to a few counters that were made when they were first needed.

Owns what a request counts as. What a client chose is never a name here: unknown methods are `other`, paths
are templates, statuses are classes (OB-04).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable
from typing import Final, TypeVar

from hestia.core.requests import RequestRecord
from hestia.telemetry.numbers import BOUNDS, Counter, Histogram

METHODS: Final = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"])
OTHER: Final = "other"
SHORTCUTS: Final = 4096  # exact statuses and methods remembered; what is counted is not bounded by it
NOWHERE: Final = "none"  # path of what was refused before anybody knew whose it was
# Where a request came in, as the template of its route.
PATHS: Final = {"prefix": "/services/{serviceId}/{path}", "host": "/{path}", "port": "/{path}"}

K = TypeVar("K", bound=Hashable)


class Cell(Histogram):
    """Requests alike in service, method, class of status and route: how long they took, and more.

    at: wall-clock seconds of the last end. bytes_*: of bodies.
    """

    __slots__ = ("at", "bytes_in", "bytes_out")

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0
        self.bytes_in = self.bytes_out = 0


class Traffic:
    """Fits `batches.Reader`. template: the route of a path of the gateway's own API, "" for none.

    cells: by service, method, class of status, path. errors: by service and code of the problem. aborted:
    by service and the side that broke off. retries, fallbacks: by service. waits: time in the queue, by
    service. A request that no service was found for has "" as service.
    """

    def __init__(self, template: Callable[[str], str] = lambda _path: "") -> None:
        self.template = template
        self.cells: dict[tuple[str, str, str, str], Cell] = {}
        self.errors: dict[tuple[str, str], Counter] = {}
        self.aborted: dict[tuple[str, str], Counter] = {}
        self.retries: dict[str, Counter] = {}
        self.fallbacks: dict[str, Counter] = {}
        self.waits: dict[str, Histogram] = {}
        self._shortcuts: dict[tuple[str, bytes, int, str], Cell] = {}

    def take(self, records: list[RequestRecord]) -> None:
        """Count them. Per request a look-up, a search among the bounds and some additions."""
        shortcuts = self._shortcuts
        for record in records:
            (at, service, _, method, route, _, status, size_in, size_out, queue, _, _, took,
             tries, _, side, code, spare, _, _, _, _) = record  # fmt: skip
            cell = shortcuts.get((service, method, status, route))
            if cell is None:
                cell = self._cell(record)
            cell.at = at
            if size_in:
                cell.bytes_in += size_in
            cell.bytes_out += size_out
            cell.buckets[bisect_left(BOUNDS, took)] += 1  # `Histogram.add`, without the call
            cell.total += took
            if took < cell.least:
                cell.least = took
            if took > cell.most:
                cell.most = took
            if queue or tries > 1 or code or side or spare:
                self._rare(record)

    def flush(self) -> None:
        """Nothing waits here."""

    def _cell(self, record: RequestRecord) -> Cell:
        """Where a record is counted; the way there is remembered, except for the gateway's own paths."""
        method = record.method.decode("latin-1")
        method = method if method in METHODS else OTHER
        status = f"{record.status // 100}xx" if 100 <= record.status < 600 else OTHER
        own = record.route == "control"
        path = self.template(record.path) or OTHER if own else PATHS.get(record.route, NOWHERE)
        cell = of(self.cells, (record.service, method, status, path), Cell)
        if not own and method != OTHER:
            if len(self._shortcuts) >= SHORTCUTS:
                self._shortcuts.clear()
            self._shortcuts[record.service, record.method, record.status, record.route] = cell
        return cell

    def _rare(self, record: RequestRecord) -> None:
        """What most requests do not have: a wait, further attempts, a problem, an end before its time."""
        service, at = record.service, record.at
        if record.queue_ms:
            of(self.waits, service, Histogram).add(record.queue_ms)
        if record.attempts > 1:
            of(self.retries, service, Counter).add(record.attempts - 1, at)
        if record.fallback:
            of(self.fallbacks, service, Counter).add(1, at)
        if record.code:
            of(self.errors, (service, record.code), Counter).add(1, at)
        if record.aborted:
            of(self.aborted, (service, record.aborted), Counter).add(1, at)


V = TypeVar("V")


def of(numbers: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """The number under this key, made at first use."""
    found = numbers.get(key)
    if found is None:
        found = numbers[key] = make()
    return found
