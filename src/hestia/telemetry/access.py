"""One line per request, rendered and written in batches, off the hot path (OB-01).

Owns the line's two forms. Queries are left out; header values never get here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hestia.core.requests import RequestRecord
from hestia.telemetry.logs import Form
from hestia.telemetry.text import clock_text, json_text, plain, utc_text
from hestia.telemetry.writer import Stream

BATCH = 256  # lines written in one go
REMEMBERED = 1024  # texts
REMEMBERED_SIZE = 256  # bytes of one


Render = Callable[[RequestRecord], str]

_JSON: Final = (
    '{"timestamp":"%s","level":"INFO","event_type":"request","service_id":"%s","request_id":%s,'
    '"message":"request","method":%s,"route":"%s","path":%s,"status":%d,"bytes_in":%d,"bytes_out":%d,'
    '"queue_ms":%.1f,"connect_ms":%.1f,"head_ms":%.1f,"total_ms":%.1f,"attempts":%d,"reused":%s,'
    '"aborted":"%s","code":"%s","fallback":%s}\n'
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


class _Texts:
    """JSON texts of bytes that a client chose and that come again: methods and paths."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[bytes, str] = {}

    def text(self, value: bytes) -> str:
        known = self.known
        found = known.get(value)
        if found is None:
            if len(known) >= REMEMBERED:
                known.clear()
            found = json_text(value.decode("latin-1"))
            if len(value) <= REMEMBERED_SIZE:
                known[value] = found
        return found


def json_renderer() -> Render:
    """Lines as JSON objects. What a client chose (id, method, path) is escaped; the rest are our words."""
    second, texts = _Second(), _Texts()

    def render(record: RequestRecord) -> str:
        (at, service, request_id, method, route, target, status,
         *numbers, reused, aborted, code, fallback, _, _, _, _) = record  # fmt: skip
        return _JSON % (
            second.text(at),
            service,
            json_text(request_id.decode("latin-1")),
            texts.text(method),
            route,
            texts.text(target.partition(b"?")[0]),
            status,
            *numbers,
            "true" if reused else "false",
            aborted,
            code,
            "true" if fallback else "false",
        )

    return render


def console_renderer() -> Render:
    """Short lines for people; what did not happen is left out."""

    def render(record: RequestRecord) -> str:
        parts = [
            clock_text(record.at),
            str(record.status or "-"),
            plain(record.method.decode("latin-1")),
            plain(record.path),
            duration(record.total_ms),
        ]
        if record.queue_ms >= 1.0:
            parts.append(f"(waited {duration(record.queue_ms)})")
        if record.attempts > 1:
            parts.append(f"{record.attempts} attempts")
        if record.fallback:
            parts.append("by the fallback")
        if record.aborted:
            parts.append(f"broken off by {record.aborted}")
        if record.code:
            parts.append(record.code)
        parts.append(plain(record.request_id.decode("latin-1")))
        return " ".join(parts) + "\n"

    return render


def duration(ms: float) -> str:
    """Milliseconds in the unit a person would use."""
    if ms < 10:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


class AccessLog:
    """Renders records as lines; writes them in pieces of at most 256, and whenever it is told to.

    stream: gets whole lines; a `LineWriter` so that a slow reader does not hold the loop. form: `json` or
    `console`. Fits `batches.Reader`.
    """

    def __init__(self, stream: Stream, *, form: Form = "json") -> None:
        self._stream = stream
        self._render = json_renderer() if form == "json" else console_renderer()
        self._lines: list[str] = []

    def take(self, records: list[RequestRecord]) -> None:
        """Render them; write what has become a piece."""
        self._lines += map(self._render, records)
        if len(self._lines) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is rendered. The stream is never closed here: it is not ours."""
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write("".join(lines).encode("utf-8", "backslashreplace"))
            self._stream.flush()
