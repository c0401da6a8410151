"""One line per request, off the hot path: kept as they are, rendered and written in batches (OB-01).

Owns the line's two forms and when a batch is written. The record is the proxy's; a path comes without its
query, and header values never get here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from hestia.telemetry.logs import Form
from hestia.telemetry.text import clock_text, json_text, plain, utc_text
from hestia.telemetry.writer import Stream

FLUSH_INTERVAL = 0.2
BATCH = 256  # lines rendered in one go: about 0.6 ms


class AccessRecord(Protocol):
    """What is known about a request at its end. It must not change after it was handed over.

    at: wall-clock seconds at the end. service: "" for the gateway's own. route: kind of the match
    (`prefix`, `host`, `control`, …). path: without query. status: 0 when none was sent. *_ms: milliseconds,
    0.0 where that part did not happen. attempts: tries upstream. aborted: side that broke the exchange off
    (`client`, `upstream`, `gateway`), "" if none did. code: of the problem, or "".
    """

    @property
    def at(self) -> float: ...
    @property
    def request_id(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def queue_ms(self) -> float: ...
    @property
    def connect_ms(self) -> float: ...
    @property
    def head_ms(self) -> float: ...
    @property
    def total_ms(self) -> float: ...
    @property
    def attempts(self) -> int: ...
    @property
    def reused(self) -> bool: ...
    @property
    def aborted(self) -> str: ...
    @property
    def code(self) -> str: ...


Render = Callable[[AccessRecord], str]

_JSON: Final = (
    '{"timestamp":"%s","level":"INFO","event_type":"request","service_id":"%s","request_id":%s,'
    '"message":"request","method":%s,"route":"%s","path":%s,"status":%d,"bytes_in":%d,"bytes_out":%d,'
    '"queue_ms":%.1f,"connect_ms":%.1f,"head_ms":%.1f,"total_ms":%.1f,"attempts":%d,"reused":%s,'
    '"aborted":"%s","code":"%s"}\n'
)


class _Second:
    """Remembers the text of the last second: most lines of a batch share it."""

    __slots__ = ("prefix", "seconds")

    def __init__(self) -> None:
        self.seconds = -1
        self.prefix = ""

    def text(self, at: float) -> str:
        seconds = int(at)
        if seconds != self.seconds:
            self.seconds = seconds
            self.prefix = utc_text(seconds)[:-4]
        return "%s%03dZ" % (self.prefix, (at - seconds) * 1000)  # noqa: UP031 - faster than an f-string here


def json_renderer() -> Render:
    """Lines as JSON objects. What a client chose (id, method, path) is escaped; the rest are our words."""
    second = _Second()

    def render(record: AccessRecord) -> str:
        return _JSON % (
            second.text(record.at),
            record.service,
            json_text(record.request_id),
            json_text(record.method),
            record.route,
            json_text(record.path),
            record.status,
            record.bytes_in,
            record.bytes_out,
            record.queue_ms,
            record.connect_ms,
            record.head_ms,
            record.total_ms,
            record.attempts,
            "true" if record.reused else "false",
            record.aborted,
            record.code,
        )

    return render


def console_renderer() -> Render:
    """Short lines for people; what did not happen is left out."""

    def render(record: AccessRecord) -> str:
        parts = [
            clock_text(record.at),
            str(record.status or "-"),
            plain(record.method),
            plain(record.path),
            duration(record.total_ms),
        ]
        if record.queue_ms >= 1.0:
            parts.append(f"(waited {duration(record.queue_ms)})")
        if record.attempts > 1:
            parts.append(f"{record.attempts} attempts")
        if record.aborted:
            parts.append(f"broken off by {record.aborted}")
        if record.code:
            parts.append(record.code)
        parts.append(plain(record.request_id))
        return " ".join(parts) + "\n"

    return render


def duration(ms: float) -> str:
    """Milliseconds in the unit a person would use."""
    if ms < 10:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


class AccessLog:
    """Takes records; writes them every `flush_interval` seconds, in pieces of at most 256 lines.

    stream: gets whole lines; a `LineWriter` so that a slow reader does not hold the loop. form: `json` or
    `console`.
    """

    def __init__(
        self, stream: Stream, *, form: Form = "json", flush_interval: float = FLUSH_INTERVAL
    ) -> None:
        self._stream = stream
        self._render = json_renderer() if form == "json" else console_renderer()
        self._interval = flush_interval
        self._records: list[AccessRecord] = []
        self._timer: asyncio.TimerHandle | None = None

    def record(self, record: AccessRecord) -> None:
        """Take one record. On the hot path: an append, and now and then a batch."""
        records = self._records
        records.append(record)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._due)
        elif len(records) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Render and write what is there."""
        records, self._records = self._records, []
        if records:
            self._stream.write("".join(map(self._render, records)).encode("utf-8", "backslashreplace"))
            self._stream.flush()

    def close(self) -> None:
        """Write the rest. The stream stays open: it is not ours."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()

    def _due(self) -> None:
        self._timer = None
        self.flush()
