"""The table of problems: every error has a row, and every document is safe to show."""

from __future__ import annotations

import json

import pytest

from hestia.core import errors
from hestia.core.errors import HestiaError
from hestia.problems import TABLE, document, render, row


def _leaves(kind: type[HestiaError] = HestiaError) -> list[type[HestiaError]]:
    """Of the tree itself: `config.errors` has a class of its own, which another test file may have loaded."""
    below = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
    return [leaf for one in below for leaf in _leaves(one)] if below else [kind]


def _make(kind: type[HestiaError], **facts: object) -> HestiaError:
    needs: dict[str, object] = {
        "EngineUnavailable": {"sent": False},
        "EngineRefused": {"permanent": True},
    }.get(kind.__name__, {})  # type: ignore[assignment]
    return kind("what happened", **{**facts, **needs})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", _leaves(), ids=lambda kind: kind.__name__)
def test_er_04_every_leaf_has_a_row_of_its_own_family(kind: type[HestiaError]) -> None:
    """No leaf falls back to 500 by accident."""
    found = row(_make(kind))
    assert found is not TABLE[HestiaError] or kind is errors.InternalError
    assert found.title
    assert found.category


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (errors.BadFraming, 400, "bad_framing"),
        (errors.CrossSiteWake, 403, "cross_site_wake"),
        (errors.ServiceNotFound, 404, "service_not_found"),
        (errors.MethodNotAllowed, 405, "method_not_allowed"),
        (errors.RequestTimeout, 408, "request_timeout"),
        (errors.TargetTooLong, 414, "target_too_long"),
        (errors.ExpectationFailed, 417, "expectation_failed"),
        (errors.UnknownHost, 421, "unknown_host"),
        (errors.HeadTooLarge, 431, "head_too_large"),
        (errors.UnsupportedCoding, 501, "unsupported_coding"),
        (errors.ConnectFailed, 502, "upstream_connect_failed"),
        (errors.UpstreamTlsFailed, 502, "upstream_tls_failed"),
        (errors.UpstreamInvalidStatus, 502, "upstream_invalid_status"),
        (errors.BreakerOpen, 503, "service_start_failed"),
        (errors.QueueTimeout, 503, "queue_timeout"),
        (errors.ConnectTimeout, 504, "upstream_connect_timeout"),
        (errors.UpstreamTimeout, 504, "upstream_header_timeout"),
        (errors.VersionNotSupported, 505, "http_version_not_supported"),
        (errors.LoopDetected, 508, "loop_detected"),
    ],
)
def test_er_04_status_and_code(kind: type[HestiaError], status: int, code: str) -> None:
    found, members, _ = document(_make(kind), request_id="req_1")
    assert (found, members["status"], members["code"]) == (status, status, code)
    assert members["type"] == f"urn:hestia:error:{code}"


def test_er_01_members_and_fields() -> None:
    error = errors.StartFailed(
        'Service "a" exited with status 3.',
        remedy="hestia logs a",
        service_id="a",
        retry_after=1.2,
        tail=("first", "boom"),
    )
    error.attempts = 2
    status, fields, body = render(error, request_id="req_1")
    members = json.loads(body)
    assert status == 503
    assert members["error"] == members["detail"]
    assert members["detail"].splitlines()[0] == error.detail
    assert "Do: hestia logs a" in members["detail"]
    assert "boom" in members["detail"]
    assert (members["serviceId"], members["requestId"], members["attempts"]) == ("a", "req_1", 2)
    assert (members["retryable"], members["retry_after_ms"], members["phase"]) == (True, 1200, "queue")
    assert (members["cause"], members["stage"]) == ("exited", "boot")
    assert members["help"] == "/help/errors/service_start_failed"
    named = dict(fields)
    assert named[b"retry-after"] == b"2"
    assert named[b"content-length"] == str(len(body)).encode()
    assert named[b"cache-control"] == b"no-store"
    assert named[b"proxy-status"].startswith(b"hestia; error=")
    assert named[b"x-request-id"] == b"req_1"


def test_er_01_callers_without_read_get_the_category() -> None:
    error = errors.ConnectFailed("Nobody listens at 10.0.0.1:99.", cause="refused", tail=("secret",))
    _, members, fields = document(error, request_id="req_1", read=False)
    assert "10.0.0.1" not in json.dumps(members)
    assert "secret" not in json.dumps(members)
    assert "cause" not in members
    assert dict(fields)[b"proxy-status"] == b"hestia; error=connection_refused"


def test_retry_after_is_at_least_one_second_and_never_infinite() -> None:
    assert dict(render(errors.QueueFull("x", retry_after=0.0), request_id="r")[1])[b"retry-after"] == b"1"
    assert b"retry-after" not in dict(
        render(errors.QueueFull("x", retry_after=float("inf")), request_id="r")[1]
    )


def test_er_09_details_are_bounded_and_escaped() -> None:
    status, _, body = render(errors.BadRequest('a"b\r\n\udcff' + "x" * 100_000), request_id="r")
    assert status == 400
    assert len(body) < 20_000
    assert json.loads(body.decode("utf-8"))["detail"].startswith('a"b\r\n')


def test_et_07_a_fault_of_ours_names_the_command_that_reports_it() -> None:
    _, told, _ = document(errors.InternalError("Hestia failed."), request_id="req_7kq2")
    assert str(told["detail"]).splitlines() == [
        "Hestia failed.",
        "Do: report it with what this prints: hestia doctor --report req_7kq2",
    ]
    assert told["status"] == 500
