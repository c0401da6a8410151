"""Metrics as JSON wants them: `name[label=value,…]` under counters, timers and gauges, and by service.

The names are those of the catalogue without `hestia_`, times in milliseconds. Requests are counted there by
method and route template, as was asked for; `responses_total` has the classes of status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from hestia.telemetry.metrics import Metrics, Value
from hestia.telemetry.numbers import Counter, Histogram
from hestia.telemetry.traffic import Cell

OF_REQUESTS: Final = frozenset(  # told another way, see `_requests`
    (
        "hestia_requests_total",
        "hestia_request_duration_seconds",
        "hestia_api_requests_total",
        "hestia_api_request_duration_seconds",
    )
)
AT_ONCE: Final = 256  # cells looked at in one go: about 2 ms


class Numbers:
    """Of one service, or of all: name with labels → number. A number added to one that is there joins it."""

    def __init__(self) -> None:
        self.counters: dict[str, Counter] = {}
        self._durations: dict[str, list[Histogram]] = {}
        self.gauges: dict[str, float] = {}

    def add(self, name: str, value: Value) -> None:
        if isinstance(value, Counter):
            self.counters.setdefault(name, Counter()).add(value.value, value.at)
        elif isinstance(value, Histogram):
            self._durations.setdefault(name, []).append(value)
        else:
            there_is = self.gauges.get(name, 0.0)
            oldest = name.startswith("queue_oldest_waiter")
            self.gauges[name] = max(there_is, value) if oldest else there_is + value

    @property
    def timers(self) -> dict[str, Histogram]:
        """Durations by name; where several joined, they are put together here, all at once."""
        return {
            name: parts[0] if len(parts) == 1 else Histogram.merged(parts)
            for name, parts in self._durations.items()
        }


class Document:
    """whole: of everything. services: of each that was ever used, or the only one that was asked for."""

    def __init__(self, only: str) -> None:
        self.whole = Numbers()
        self.services: dict[str, Numbers] = {}
        self._only = only

    @classmethod
    async def read(cls, metrics: Metrics, *, only: str = "") -> Document:
        """Collect them, giving the loop back in between. only: a service, "" for all."""
        document = cls(only)
        cells = list(metrics.cells().items())
        for first in range(0, len(cells), AT_ONCE):
            document._requests(cells[first : first + AT_ONCE])
            await asyncio.sleep(0)
        for family, points in metrics.families():
            await asyncio.sleep(0)
            if family.name in OF_REQUESTS:
                continue
            for labels, value in points:
                pairs = dict(zip(family.labels, labels, strict=True))
                service = pairs.pop("service", "")
                document._add(service, _named(family.name, pairs, value), value)
        return document

    def _add(self, service: str, name: str, value: Value) -> None:
        if not self._only:
            self.whole.add(name, value)
        if service and self._only in ("", service):
            self.services.setdefault(service, Numbers()).add(name, value)

    def _requests(self, cells: list[tuple[tuple[str, str, str, str], Cell]]) -> None:
        """A switch of protocols ends when its WebSocket does: that is no duration of an answer."""
        for (service, method, status, path), cell in cells:
            if self._only not in ("", service):
                continue
            count = Counter(cell.count, cell.at)
            self._add(service, f"requests_total[method={method},path={path}]", count)
            self._add(service, f"responses_total[status={status}]", count)
            if status != "1xx":
                self._add(service, f"request_duration_ms[method={method}]", cell)


def _named(name: str, labels: Mapping[str, str], value: Value) -> str:
    short = name.removeprefix("hestia_")
    if isinstance(value, Histogram):
        short = short.removesuffix("_seconds") + "_ms"
    inside = ",".join("=".join(pair) for pair in labels.items())
    return f"{short}[{inside}]" if inside else short
