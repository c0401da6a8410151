"""A collector of OpenTelemetry over OTLP/HTTP, in a thread of its own.

Decodes what it gets with the protocol's own package, and keeps it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

Value = str | int | float | bool
SERVER = trace_pb2.Span.SPAN_KIND_SERVER
INTERNAL = trace_pb2.Span.SPAN_KIND_INTERNAL
ERROR = trace_pb2.Status.STATUS_CODE_ERROR


@dataclass(frozen=True, slots=True)
class Got:
    """One span. begin, end: nanoseconds. ids: hexadecimal. links: (trace, span). resource: who sent it."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    begin: int
    end: int
    attributes: Mapping[str, Value]
    links: tuple[tuple[str, str], ...]
    status: int
    message: str
    resource: Mapping[str, Value]

    @property
    def ms(self) -> float:
        """How long it took."""
        return (self.end - self.begin) / 1e6


class Collector:
    """See the module docstring. status: what it answers with. headers: of the last request."""

    def __init__(self) -> None:
        self.status = 200
        self.spans: list[Got] = []
        self.asked = 0
        self.paths: set[str] = set()
        self.headers: Mapping[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def requests(self) -> list[Got]:
        """Spans of requests, in the order of their ends."""
        return sorted((one for one in self.spans if one.kind == SERVER), key=lambda one: one.end)

    def starts(self) -> list[Got]:
        """Spans of starts."""
        return [one for one in self.spans if one.name.startswith("start ")]

    def within(self, parent: Got) -> list[Got]:
        """Its parts, in order."""
        found = [one for one in self.spans if one.parent == parent.id and one.trace == parent.trace]
        return sorted(found, key=lambda one: one.begin)

    def _take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            who = _plain(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_got(span, who) for span in scope.spans]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.asked += 1
                collector.paths.add(self.path)
                collector.headers = {name.lower(): value for name, value in self.headers.items()}
                if collector.status == 200:
                    collector._take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens, until the block ends."""
    collector = Collector()
    collector._thread.start()
    try:
        yield collector
    finally:
        collector._server.shutdown()
        collector._thread.join()
        collector._server.server_close()


def _got(span: trace_pb2.Span, resource: Mapping[str, Value]) -> Got:
    return Got(
        name=span.name,
        kind=span.kind,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        begin=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_plain(span.attributes),
        links=tuple((one.trace_id.hex(), one.span_id.hex()) for one in span.links),
        status=span.status.code,
        message=span.status.message,
        resource=resource,
    )


def _plain(pairs: Iterator[KeyValue]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        assert kind is not None
        found[pair.key] = getattr(pair.value, kind)
    return found
