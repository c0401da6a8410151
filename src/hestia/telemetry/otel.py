"""Sends spans to a collector of OpenTelemetry, in a thread of its own. Only this module knows its library.

Owns the bound on what waits, and saying once that a collector cannot be reached. Import it only where traces
are wanted: the library is an extra, and takes its time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hestia.core.model import Telemetry
from hestia.core.requests import RequestRecord
from hestia.telemetry.spans import Generation, Span, of_request
from hestia.telemetry.traces import Item, TraceCounts

log = logging.getLogger(__name__)

WAITING: Final = 8192  # requests and starts that may wait to be sent
AT_ONCE: Final = 256  # sent in one go
DELAY: Final = 1.0  # seconds in which more may come
CLOSE_LIMIT: Final = 1.5  # seconds for what waits at the end
LAST_MOMENT: Final = 0.3  # then for the call under way to be given up
STARTS_KNOWN: Final = 1024  # starts that a request may be linked to
PATH: Final = "/v1/traces"
DEFAULT_NAME: Final = "hestia"
UNNAMED: Final = "unknown_service"  # how the library's own name for nobody begins

_LIBRARY: Final = logging.getLogger("opentelemetry")
_FAR: Final = TraceContextTextMapPropagator()


class _Ended(SpanProcessor):
    """Keeps spans that ended until they are taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        """What has ended since the last call."""
        spans, self._spans = self._spans, []
        return spans


class _Complaints(logging.Handler):
    """Hears what the library complains of: a line for each try is too much, but only it knows the reason."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard(record.getMessage())


class OtlpSender:
    """Fits `traces.Sender`. scheme: of the gateway's own address. instance: the gateway's id."""

    def __init__(
        self, settings: Telemetry, *, version: str, instance: str, scheme: str, counts: TraceCounts
    ) -> None:
        self._scheme = scheme
        self._counts = counts
        self._complaints = _Complaints(self._failed)
        _LIBRARY.addHandler(self._complaints)
        _LIBRARY.propagate = False
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # at DEBUG two lines for each batch
        self._exporter = OTLPSpanExporter(
            endpoint=settings.otlp_endpoint + PATH if settings.otlp_endpoint else None,
            headers=dict(settings.headers) or None,
        )
        self._ended = _Ended()
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=_resource(settings, version, instance), shutdown_on_exit=False
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("hestia", version)
        self._starts: OrderedDict[Generation, SpanContext] = OrderedDict()
        self._items: deque[Item] = deque()
        self._news, self._closing = threading.Event(), threading.Event()
        self._given_up = False
        self._unreachable = False
        self._untold = False
        self._thread = threading.Thread(target=self._run, name="hestia-traces", daemon=True)
        self._thread.start()

    def put(self, items: Sequence[Item]) -> None:
        """Take what there is room for, and count the rest."""
        room = WAITING - len(self._items)
        self._items.extend(items[: max(0, room)])
        if len(items) > room:
            self._counts.drop("full", len(items) - max(0, room))
        if items:
            self._news.set()

    def close(self) -> None:
        """Send what waits, for at most 2 s. Safe to call twice."""
        self._closing.set()
        self._news.set()
        self._thread.join(CLOSE_LIMIT)
        if self._thread.is_alive():
            self._given_up = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # theirs has no types; wakes it where it waits to try again
            self._thread.join(LAST_MOMENT)
        if self._items:
            self._counts.drop("closing", len(self._items))
            self._items.clear()
        if not self._thread.is_alive():  # else what it still says would go to standard error as it is
            _LIBRARY.removeHandler(self._complaints)

    # -- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set() or (self._items and not self._given_up):
            self._news.wait()
            self._news.clear()
            self._closing.wait(DELAY)
            while self._items and not self._given_up:
                self._send([self._items.popleft() for _ in range(min(AT_ONCE, len(self._items)))])

    def _send(self, items: list[Item]) -> None:
        made = sum(self._make_of(item) for item in items)
        spans = self._ended.take()
        if not spans:
            return
        try:
            done = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as exc:  # of whatever a library raises: the thread goes on
            done = False
            self._failed(f"{type(exc).__name__}: {exc}")
        if done:
            self._counts.sent.add(made, time.time())
            self._reached()
        else:
            self._counts.drop("failed", made)
            self._failed("no reason given")

    def _reached(self) -> None:
        if self._unreachable:
            self._unreachable = False
            log.info("Traces are sent again", extra={"event_type": "traces_sent_again"})

    def _failed(self, reason: str) -> None:
        """Say it once, until it works again."""
        if self._unreachable or self._given_up:
            return
        self._unreachable = True
        log.warning(
            "Traces cannot be sent, and are dropped until they can: %s; look at telemetry.otlp_endpoint",
            reason,
            extra={"event_type": "traces_unsent"},
        )

    # -- spans of the library ------------------------------------------------------------------

    def _make_of(self, item: Item) -> bool:
        """Make the trace of one item; whether it was made. One that cannot be told is dropped alone."""
        try:
            told = of_request(item, None, scheme=self._scheme) if isinstance(item, RequestRecord) else item
            return self._make(told)
        except Exception as exc:  # whatever it is: the thread goes on with the others
            self._counts.drop("failed", 1)
            if not self._untold:
                self._untold = True
                log.exception(
                    "A trace cannot be made, and is dropped: %s", exc, extra={"event_type": "trace_unmade"}
                )
            return False

    def _make(self, span: Span) -> bool:
        """Make one trace, unless who asked wants none; whether it was made."""
        around = Context()
        if span.trace:
            around = _FAR.extract({"traceparent": span.trace.decode("latin-1")}, context=around)
            asked = get_current_span(around).get_span_context()
            if asked.is_valid and not asked.trace_flags.sampled:
                return False
        links = []
        if span.is_request and span.about is not None and (start := self._starts.get(span.about)) is not None:
            links.append(Link(start))
        context = self._made(span, around, SpanKind.SERVER if span.is_request else SpanKind.INTERNAL, links)
        if not span.is_request and span.about is not None:
            self._starts[span.about] = context
            if len(self._starts) > STARTS_KNOWN:
                self._starts.popitem(last=False)
        return True

    def _made(self, span: Span, around: Context, kind: SpanKind, links: Sequence[Link] = ()) -> SpanContext:
        made = self._tracer.start_span(
            span.name, around, kind, dict(span.attributes), links, start_time=span.begin
        )
        within = set_span_in_context(made, around) if span.parts else around
        for part in span.parts:
            self._made(part, within, SpanKind.INTERNAL)
        if span.failed:
            made.set_status(Status(StatusCode.ERROR, span.failed))
        made.end(span.end)
        return made.get_span_context()

    def __repr__(self) -> str:
        return f"<OtlpSender waiting={len(self._items)} sent={self._counts.sent.value:g}>"


def _resource(settings: Telemetry, version: str, instance: str) -> Resource:
    """Who speaks; a name from the configuration wins over that of the environment."""
    named = {SERVICE_NAME: settings.service_name} if settings.service_name else {}
    found = Resource.create({"service.version": version, "service.instance.id": instance, **named})
    if str(found.attributes.get(SERVICE_NAME, UNNAMED)).startswith(UNNAMED):
        found = found.merge(Resource({SERVICE_NAME: DEFAULT_NAME}))
    return found
