"""Errors to problem documents (RFC 9457): the one table of status codes, for the edge and the API alike.

Owns status, title, Proxy-Status word, phase and what callers without `read` are told. The words of one
failure are the error's own. Source: SPEC 3, proxy-semantics ER-01…09.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hestia.core import errors as e

TAIL_LINES: Final = 20
QUOTE_LIMIT: Final = 4000  # characters of a detail; output of a program may be long (ER-09)


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of error is answered.

    proxy_status: error word of RFC 9209, "" for none. phase: parse, auth, route, read, queue, connect,
    head, any. retryable: whether the same request may succeed later. category: for callers who may not
    read details.
    """

    status: int
    title: str
    proxy_status: str
    phase: str
    retryable: bool
    category: str


TABLE: Final[Mapping[type[e.HestiaError], Row]] = {
    e.HestiaError: Row(500, "Internal error", "proxy_internal_error", "any", False, "Hestia failed."),
    e.InternalError: Row(500, "Internal error", "proxy_internal_error", "any", False, "Hestia failed."),
    e.ConfigError: Row(
        500, "Configuration error", "proxy_configuration_error", "any", False, "It is set up wrongly."
    ),
    e.StoreUnavailable: Row(
        503, "Store unavailable", "proxy_internal_error", "queue", True, "It cannot start now."
    ),
    # not found
    e.NotFound: Row(404, "Not found", "destination_not_found", "route", False, "There is nothing here."),
    e.ServiceNotFound: Row(
        404, "Service not found", "destination_not_found", "route", False, "No such service."
    ),
    e.InstanceNotFound: Row(
        404, "Instance not found", "destination_not_found", "route", False, "No such instance."
    ),
    e.UnknownHost: Row(
        421, "Unknown host", "http_request_denied", "route", False, "This name is not served here."
    ),
    # admission
    e.AdmissionError: Row(503, "Busy", "connection_limit_reached", "queue", True, "The service is busy."),
    e.QueueFull: Row(503, "Queue full", "connection_limit_reached", "queue", True, "Too many requests wait."),
    e.QueueTimeout: Row(
        503, "Still starting", "destination_unavailable", "queue", True, "It is not ready yet."
    ),
    e.GatewayDraining: Row(
        503, "Shutting down", "destination_unavailable", "queue", True, "The gateway stops."
    ),
    e.Dormant: Row(503, "Dormant", "destination_unavailable", "queue", True, "The service is asleep."),
    e.Accepted: Row(202, "Starting", "", "queue", True, "The service starts."),
    e.AlreadyRunning: Row(409, "Already running", "", "any", False, "It runs already."),
    # starting
    e.StartError: Row(
        503, "Service start failed", "destination_unavailable", "queue", True, "It did not start."
    ),
    e.StartFailed: Row(
        503, "Service start failed", "destination_unavailable", "queue", True, "It did not start."
    ),
    e.StartTimeout: Row(
        503, "Service start timeout", "destination_unavailable", "queue", True, "It is not ready."
    ),
    e.StartStopped: Row(503, "Service stopped", "destination_unavailable", "queue", True, "It was stopped."),
    e.BreakerOpen: Row(
        503, "Service keeps failing", "destination_unavailable", "queue", True, "It did not start."
    ),
    e.EngineError: Row(
        503, "Service start failed", "destination_unavailable", "queue", True, "It did not start."
    ),
    e.EngineUnavailable: Row(
        503, "Engine unavailable", "destination_unavailable", "queue", True, "It did not start."
    ),
    e.EngineRefused: Row(
        503, "Service start failed", "destination_unavailable", "queue", True, "It did not start."
    ),
    e.HandleUnknown: Row(404, "Not found", "", "any", False, "There is no output."),
    # upstream
    e.UpstreamError: Row(
        502, "Upstream failed", "connection_terminated", "head", True, "The service failed."
    ),
    e.ConnectFailed: Row(
        502, "Upstream connect failed", "connection_refused", "connect", True, "It cannot be reached."
    ),
    e.ConnectTimeout: Row(
        504, "Upstream connect timeout", "connection_timeout", "connect", True, "It does not answer."
    ),
    e.UpstreamTlsFailed: Row(
        502, "Upstream TLS failed", "tls_protocol_error", "connect", True, "It cannot be reached."
    ),
    e.UpstreamDisconnected: Row(
        502, "Upstream disconnected", "connection_terminated", "head", True, "It broke off."
    ),
    e.UpstreamTimeout: Row(
        504, "Upstream timeout", "http_response_timeout", "head", True, "It took too long."
    ),
    e.UpstreamProtocolError: Row(
        502, "Upstream answer invalid", "http_protocol_error", "head", False, "Bad answer."
    ),
    e.UpstreamInvalidStatus: Row(
        502, "Upstream status invalid", "http_protocol_error", "head", False, "Bad answer."
    ),
    e.HandshakeFailed: Row(
        502, "Upstream handshake failed", "http_upgrade_failed", "head", False, "Bad handshake."
    ),
    # the client's side
    e.ClientError: Row(400, "Bad request", "http_request_error", "parse", False, "The request is malformed."),
    e.BadRequest: Row(400, "Bad request", "http_request_error", "parse", False, "The request is malformed."),
    e.BadFraming: Row(
        400, "Bad framing", "http_request_error", "parse", False, "The request's length is unclear."
    ),
    e.BadHost: Row(400, "Bad host", "http_request_error", "parse", False, "The Host is malformed."),
    e.PathRejected: Row(
        400, "Path rejected", "http_request_error", "parse", False, "The path is not accepted."
    ),
    e.MethodNotAllowed: Row(405, "Method not allowed", "", "route", False, "The method is not offered here."),
    e.RequestTimeout: Row(
        408, "Request timeout", "http_request_error", "read", True, "The request came too slowly."
    ),
    e.BodyTooLarge: Row(
        413, "Body too large", "http_request_error", "parse", False, "The body is too large."
    ),
    e.TargetTooLong: Row(
        414, "Target too long", "http_request_error", "parse", False, "The address is too long."
    ),
    e.HeadTooLarge: Row(
        431, "Head too large", "http_request_error", "parse", False, "The head is too large."
    ),
    e.ExpectationFailed: Row(417, "Expectation failed", "", "parse", False, "The expectation is unknown."),
    e.UnsupportedCoding: Row(
        501, "Unsupported coding", "http_request_error", "parse", False, "Unknown coding."
    ),
    e.VersionNotSupported: Row(
        505, "HTTP version not supported", "", "parse", False, "HTTP/1.1 is spoken here."
    ),
    e.LoopDetected: Row(
        508, "Loop detected", "proxy_loop_detected", "route", False, "The request came back."
    ),
    e.Forbidden: Row(403, "Forbidden", "http_request_denied", "auth", False, "This is not allowed."),
    e.CrossSiteWake: Row(
        403, "Cross-site wake", "http_request_denied", "route", False, "Another site asked."
    ),
    e.ClientGone: Row(499, "Client closed", "", "any", False, "The client left."),
}

REASONS: Final[Mapping[int, bytes]] = {
    200: b"OK",
    202: b"Accepted",
    204: b"No Content",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    508: b"Loop Detected",
}


def row_of(error: e.HestiaError) -> Row:
    """The row of an error's class, along its bases."""
    for kind in type(error).__mro__:
        if (row := TABLE.get(kind)) is not None:
            return row
    raise LookupError(type(error).__name__)  # pragma: no cover - HestiaError has a row


def document(
    error: e.HestiaError, *, request_id: str, details: bool = True
) -> tuple[int, dict[str, object], list[tuple[bytes, bytes]]]:
    """(status, problem document, header fields) of an error.

    details: whether the caller may read what helps the owner: address, command, output (ER-01).
    """
    row = row_of(error)
    text = full_text(error) if details else row.category
    body: dict[str, object] = {
        "type": f"urn:hestia:error:{error.code}",
        "title": row.title,
        "status": row.status,
        "detail": text,
        "code": error.code,
        "error": text,
    }
    optional: dict[str, object] = {
        "serviceId": error.service_id,
        "requestId": request_id,
        "phase": row.phase,
        "attempts": error.attempts,
        "retryable": row.retryable,
        "cause": error.cause,
        "stage": error.stage,
    }
    body.update({key: value for key, value in optional.items() if value not in ("", None)})
    fields = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if row.proxy_status:
        fields.append((b"proxy-status", b"hestia; error=" + row.proxy_status.encode()))
    seconds = error.retry_after
    if seconds is None and row.status == 503:
        seconds = 1.0
    if seconds is not None:
        body["retry_after_ms"] = round(seconds * 1000)
        fields.append((b"retry-after", str(max(1, math.ceil(seconds))).encode()))
    body["help"] = f"/help/errors/{error.code}"
    return row.status, body, fields


def full_text(error: e.HestiaError) -> str:
    """What happened, the last lines of output, and what to do: one text everywhere (ET-02)."""
    parts = [error.detail]
    if error.tail:
        parts.append("Last output:\n" + "\n".join(f"  {line}" for line in error.tail[-TAIL_LINES:]))
    text = "\n".join(parts)[:QUOTE_LIMIT]
    return f"{text}\nDo: {error.remedy}" if error.remedy and error.tail else _sentence(text, error.remedy)


def _sentence(text: str, remedy: str) -> str:
    return f"{text} Do: {remedy}" if remedy else text


def render(
    error: e.HestiaError, *, request_id: str, details: bool = True
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """(status, header fields without a length, body bytes)."""
    status, body, fields = document(error, request_id=request_id, details=details)
    return status, fields, json.dumps(body, ensure_ascii=False).encode()
