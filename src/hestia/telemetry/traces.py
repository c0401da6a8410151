"""Which requests become spans, at little cost to the loop: what went straight through is only handed on.

Owns the choice and its bounds. Those that were held up are told a few at a time, like those that are stored;
in a flood of them the rest goes without its parts.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from hestia.core.ports import Row
from hestia.core.requests import RequestRecord
from hestia.telemetry.numbers import Counter
from hestia.telemetry.spans import Span, Starts, of_request, was_held_up
from hestia.telemetry.traffic import of

AT_ONCE: Final = 4  # told in one go: about 0.2 ms
DUE: Final = 1000  # that wait to be told with their parts
LONGEST: Final = 1024  # bytes of a path, more is cut off

Tell = Callable[[RequestRecord], Mapping[str, object]]
Item = Span | RequestRecord  # a record is made into a span where it is sent


class TraceCounts:
    """sent: what a collector took. dropped: what none got, by reason: `full`, `failed`, `closing`."""

    def __init__(self) -> None:
        self.sent = Counter()
        self.dropped: dict[str, Counter] = {}

    def drop(self, reason: str, count: int) -> None:
        of(self.dropped, reason, Counter).add(count, time.time())


class Sender(Protocol):
    """Sends what it is given; never waits, never raises."""

    def put(self, items: Sequence[Item]) -> None: ...
    def close(self) -> None: ...


class Traces:
    """Fits `batches.Reader` and `core.ports.Recorder`. tell: the story of a request, for its parts."""

    def __init__(
        self, sender: Sender, *, sample: float, tell: Tell, scheme: str, clock: Callable[[], float]
    ) -> None:
        self._sender = sender
        self._sample = sample
        self._tell = tell
        self._scheme = scheme
        self._starts = Starts(clock, lambda span: sender.put((span,)))
        self._due: deque[RequestRecord] = deque()
        self._telling: asyncio.Handle | None = None

    def take(self, records: list[RequestRecord]) -> None:
        """Choose among them. What a traceparent says of sampling is seen to where they are sent."""
        straight: list[Item] = []
        for record in records:
            if not record.service:
                continue
            if len(record.target) > LONGEST:
                record = record._replace(target=record.target.partition(b"?")[0][:LONGEST])
            if was_held_up(record):
                if record.steps and len(self._due) < DUE:
                    self._due.append(record)
                else:
                    straight.append(record)
            elif record.trace or random.random() < self._sample:
                straight.append(record)
        if straight:
            self._sender.put(straight)
        if self._due and self._telling is None:
            self._telling = asyncio.get_running_loop().call_soon(self._tell_some)

    def flush(self) -> None:
        """Nothing waits here for more."""

    def transition(self, row: Row) -> None:
        """An instance changed its state."""
        self._starts.transition(row)

    def stage(self, service: str, instance: str, name: str, text: str, episode: str) -> None:
        """A part of a start began."""
        self._starts.stage(service, instance, name, text, episode)

    async def aclose(self) -> None:
        """Send what is there, in a moment or not at all."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._sender.put(list(self._due))  # without their parts: there is no time left
        self._due.clear()
        await asyncio.to_thread(self._sender.close)

    def _tell_some(self) -> None:
        """Tell a few, then let the loop go on."""
        self._telling = None
        some = [self._due.popleft() for _ in range(min(AT_ONCE, len(self._due)))]
        self._sender.put([of_request(one, self._tell(one), scheme=self._scheme) for one in some])
        if self._due:
            self._telling = asyncio.get_running_loop().call_soon(self._tell_some)
