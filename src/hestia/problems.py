"""Error → problem document (RFC 9457). The only table of status codes; the words of an error are its own.

Serves the data path (`render`: head fields and body as bytes) and FastAPI (`document`) alike. Who may read
details is decided by the caller; without `read` the detail is the category. Source: proxy-semantics ER-04.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hestia.core import errors as e

Fields = list[tuple[bytes, bytes]]  # lower-case names

DETAIL_LIMIT: Final = 4096  # characters of a detail without its tail; nobody reads more
TAIL_LINES: Final = 20
ALLOWED: Final = b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"
PROXY_NAME: Final = "hestia"  # this proxy in `Proxy-Status` (RFC 9209)


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of errors is answered.

    status: HTTP status. title: short, the same for every error of the class. phase: where it happened.
    proxy: error type of RFC 9209 or "" for none. retryable: whether the same request may succeed later.
    category: the detail for callers who may not read details.
    """

    status: int
    title: str
    phase: str
    proxy: str
    retryable: bool
    category: str


_START = "The service could not be started."
_NOT_NOW = "The service cannot take the request right now."
_REQUEST = "The request cannot be served as it was sent."
_UPSTREAM = "The service did not answer properly."

TABLE: Final[Mapping[type[e.HestiaError], Row]] = MappingProxyType(
    {
        e.HestiaError: Row(500, "Internal error", "any", "proxy_internal_error", False, "Hestia failed."),
        e.StrategyRefused: Row(
            500, "Strategy failed", "route", "proxy_internal_error", False, "The service cannot be routed to."
        ),
        e.ConfigError: Row(
            500, "Configuration error", "any", "proxy_configuration_error", False, "Hestia is misconfigured."
        ),
        e.NotFound: Row(404, "Not found", "route", "destination_not_found", False, "There is nothing here."),
        e.ServiceNotFound: Row(
            404, "Service not found", "route", "destination_not_found", False, "There is no such service."
        ),
        e.UnknownHost: Row(
            421, "Unknown host", "route", "http_request_denied", False, "This host is not served here."
        ),
        # -- admission ---------------------------------------------------------------------------
        e.AdmissionError: Row(503, "Busy", "queue", "connection_limit_reached", True, _NOT_NOW),
        e.QueueFull: Row(503, "Queue full", "queue", "connection_limit_reached", True, _NOT_NOW),
        e.QueueTimeout: Row(503, "Queue timeout", "queue", "destination_unavailable", True, _NOT_NOW),
        e.GatewayOverloaded: Row(
            503, "Gateway overloaded", "read", "connection_limit_reached", True, "Hestia is full."
        ),
        e.GatewayDraining: Row(503, "Shutting down", "queue", "destination_unavailable", True, _NOT_NOW),
        e.Dormant: Row(503, "Dormant", "queue", "destination_unavailable", True, "The service sleeps."),
        e.Accepted: Row(202, "Accepted", "queue", "", True, "The service is being started."),
        e.AlreadyRunning: Row(409, "Already running", "route", "", False, "The service runs already."),
        # -- starting ----------------------------------------------------------------------------
        e.StartError: Row(503, "Service start failed", "queue", "destination_unavailable", True, _START),
        e.StartTimeout: Row(503, "Service start timeout", "queue", "destination_unavailable", True, _START),
        e.EngineError: Row(503, "Service start failed", "queue", "destination_unavailable", True, _START),
        e.StoreUnavailable: Row(
            503,
            "Store unavailable",
            "queue",
            "destination_unavailable",
            True,
            "Hestia cannot start anything.",
        ),
        # -- upstream ----------------------------------------------------------------------------
        e.UpstreamError: Row(502, "Upstream disconnected", "head", "connection_terminated", True, _UPSTREAM),
        e.ConnectFailed: Row(
            502, "Upstream connect failed", "connect", "destination_ip_unroutable", True, _UPSTREAM
        ),
        e.ConnectTimeout: Row(
            504, "Upstream connect timeout", "connect", "connection_timeout", True, _UPSTREAM
        ),
        e.UpstreamTlsFailed: Row(
            502, "Upstream TLS failed", "connect", "tls_protocol_error", True, _UPSTREAM
        ),
        e.UpstreamTimeout: Row(504, "Upstream timeout", "head", "http_response_timeout", True, _UPSTREAM),
        e.UpstreamProtocolError: Row(
            502, "Upstream sent no valid response", "head", "http_protocol_error", False, _UPSTREAM
        ),
        e.AnswerTooLarge: Row(
            502, "Answer too large", "body", "http_response_body_size", False, "The answer is too large."
        ),
        e.HandshakeFailed: Row(502, "Handshake failed", "head", "http_upgrade_failed", False, _UPSTREAM),
        # -- the client's side -------------------------------------------------------------------
        e.ClientError: Row(400, "Bad request", "parse", "http_request_error", False, _REQUEST),
        e.BadFraming: Row(400, "Bad framing", "parse", "http_request_error", False, _REQUEST),
        e.BadHost: Row(400, "Bad host", "parse", "http_request_error", False, _REQUEST),
        e.PathRejected: Row(400, "Path rejected", "parse", "http_request_error", False, _REQUEST),
        e.MethodNotAllowed: Row(405, "Method not allowed", "route", "http_request_error", False, _REQUEST),
        e.RequestTimeout: Row(
            408, "Request timeout", "read", "http_request_error", True, "The request came too slowly."
        ),
        e.BodyTooLarge: Row(413, "Body too large", "parse", "http_request_error", False, _REQUEST),
        e.TargetTooLong: Row(414, "Target too long", "parse", "http_request_error", False, _REQUEST),
        e.HeadTooLarge: Row(431, "Head too large", "parse", "http_request_error", False, _REQUEST),
        e.ExpectationFailed: Row(417, "Expectation failed", "parse", "http_request_error", False, _REQUEST),
        e.UnsupportedCoding: Row(501, "Unsupported coding", "parse", "http_request_error", False, _REQUEST),
        e.VersionNotSupported: Row(
            505, "HTTP version not supported", "parse", "http_request_error", False, _REQUEST
        ),
        e.LoopDetected: Row(
            508, "Loop detected", "route", "proxy_loop_detected", False, "The request came back to Hestia."
        ),
        e.Forbidden: Row(
            403, "Forbidden", "auth", "http_request_denied", False, "The request is not allowed."
        ),
        e.CrossSiteWake: Row(
            403, "Cross-site wake", "route", "http_request_denied", False, "The request is not allowed."
        ),
        e.ClientGone: Row(499, "Client gone", "any", "", False, "The client left."),
    }
)

# A cause (experience.md 5) says more than the class where RFC 9209 has a word for it.
_PROXY_BY_CAUSE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "refused": "connection_refused",
        "dns": "dns_error",
        "unreachable": "destination_ip_unroutable",
        "certificate": "tls_certificate_error",
        "head_too_large": "http_response_header_section_size",
    }
)


def row(error: e.HestiaError) -> Row:
    """The row of the error's class, or of the nearest class above it."""
    for kind in type(error).__mro__:
        if (found := TABLE.get(kind)) is not None:
            return found
    raise AssertionError("HestiaError itself has a row")


def document(
    error: e.HestiaError, *, request_id: str, read: bool = True
) -> tuple[int, dict[str, object], Fields]:
    """Status, members of the problem, and the head fields that go with it (without content-length).

    read: whether the caller may see details. `content-type` is among the fields.
    """
    found = row(error)
    detail = _detail(error, request_id) if read else found.category
    members: dict[str, object] = {
        "type": f"urn:hestia:error:{error.code}",
        "title": found.title,
        "status": found.status,
        "detail": detail,
        "code": error.code,
        "error": detail,  # Ollama clients read it, OpenAI clients show it
    }
    if error.service_id:
        members["serviceId"] = error.service_id
    if request_id:
        members["requestId"] = request_id
    members["phase"] = found.phase
    if error.attempts is not None:
        members["attempts"] = error.attempts
    members["retryable"] = found.retryable
    if error.retry_after is not None and math.isfinite(error.retry_after):
        members["retry_after_ms"] = max(0, round(error.retry_after * 1000))
    if read and error.cause:
        members["cause"] = error.cause
    if error.stage:
        members["stage"] = error.stage
    members["help"] = f"/help/errors/{error.code}"
    return found.status, members, _fields(error, found, request_id)


def render(error: e.HestiaError, *, request_id: str, read: bool = True) -> tuple[int, Fields, bytes]:
    """Status, head fields (content-length included) and body of the answer."""
    status, members, fields = document(error, request_id=request_id, read=read)
    body = to_json(members)
    fields.append((b"content-length", str(len(body)).encode()))
    return status, fields, body


def to_json(members: Mapping[str, object]) -> bytes:
    """A document that no browser can take for a page, even where somebody sniffs (ER-09)."""
    text = json.dumps(members, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    return text.encode("utf-8", "backslashreplace")


def _fields(error: e.HestiaError, found: Row, request_id: str) -> Fields:
    fields = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    reason = _PROXY_BY_CAUSE.get(error.cause, found.proxy) if found.phase != "queue" else found.proxy
    status = PROXY_NAME + (f"; error={reason}" if reason else "")
    fields.append((b"proxy-status", status.encode()))
    if error.retry_after is not None and math.isfinite(error.retry_after):
        fields.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    if found.status == 405:
        fields.append((b"allow", ALLOWED))  # RFC 9110 §15.5.6
    if request_id:
        fields.append((b"x-request-id", request_id.encode("latin-1", "replace")))
    return fields


def _detail(error: e.HestiaError, request_id: str) -> str:
    """What happened, what to do, the last lines of output. The first line stands alone (ET-01)."""
    parts = [error.detail[:DETAIL_LIMIT]]
    remedy = error.remedy[:DETAIL_LIMIT]
    if isinstance(error, e.InternalError):  # ours, so that there is one thing to do about it (ET-07)
        remedy = f"report it with what this prints: hestia doctor --report {request_id}".rstrip()
    if remedy:
        parts.append(f"Do: {remedy}")
    if error.tail:
        parts.append("Last output:\n" + "\n".join(error.tail[-TAIL_LINES:]))
    return "\n".join(parts)
