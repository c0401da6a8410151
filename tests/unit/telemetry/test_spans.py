"""Spans of what happened: what a record and a start become."""

from __future__ import annotations

from typing import Any

import pytest

from hestia.core.requests import RequestRecord, Step
from hestia.telemetry.spans import Span, Starts, of_request, was_held_up
from tests.unit.telemetry.test_access import served
from tests.unit.telemetry.test_lives import Clock, row

END = Step("end", 10.0)


def made(**changed: Any) -> Span:
    """The span of a request. changed: fields of its record (any of them, hence Any)."""
    return of_request(served(**changed), None, scheme="http")


def starts(clock: Clock) -> tuple[Starts, list[Span]]:
    told: list[Span] = []
    return Starts(clock, told.append), told


@pytest.mark.parametrize(
    ("changed", "held"),
    [
        ({}, False),
        ({"status": 404}, False),
        ({"steps": (Step("chosen", 1.0), END)}, False),
        ({"steps": (Step("stale", 1.0), END)}, False),
        ({"steps": (Step("queued", 1.0), END)}, True),
        ({"steps": (Step("refused", 1.0), END)}, True),
        ({"status": 500}, True),
        ({"status": 499}, True),
        ({"aborted": "upstream"}, True),
        ({"code": "queue_full", "status": 429}, True),
    ],
)
def test_who_waited_or_failed_was_held_up(changed: dict[str, Any], held: bool) -> None:
    assert was_held_up(served(**changed)) is held


def test_a_request_has_its_instants_to_the_microsecond() -> None:
    span = made(at=1_800_000_000.25, total_ms=12.345)
    assert span.end == 1_800_000_000_250_000_000
    assert span.end - span.begin == 12_345_000


def test_a_request_never_shows_its_query() -> None:
    span = made(target=b"/services/llm/x?key=canary")
    assert span.attributes["url.path"] == "/services/llm/x"
    assert "canary" not in repr(span)


@pytest.mark.parametrize(
    ("route", "name"),
    [("prefix", "GET /services/llm/{path}"), ("host", "GET /{path}"), ("port", "GET /{path}")],
)
def test_the_name_is_method_and_route(route: str, name: str) -> None:
    assert made(service="llm", method=b"GET", route=route).name == name


def test_a_method_that_is_none_of_https_has_no_name_of_its_own() -> None:
    span = made(service="llm", method=b"BREW", route="host")
    assert span.name == "HTTP /{path}"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "BREW"


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"status": 500}, "500"),
        ({"status": 503, "code": "start_failed"}, "start_failed"),
        ({"status": 200, "aborted": "upstream", "code": "upstream_timeout"}, "upstream_timeout"),
    ],
)
def test_what_went_wrong_on_this_side_is_an_error(changed: dict[str, Any], kind: str) -> None:
    span = made(**changed)
    assert (span.attributes["error.type"], span.failed) == (kind, kind)


@pytest.mark.parametrize("changed", [{"status": 404}, {"status": 499, "aborted": "client"}])
def test_what_the_client_did_is_none(changed: dict[str, Any]) -> None:
    assert made(**changed).failed == ""


def test_parts_of_the_story_become_parts_within_parts() -> None:
    inner = {"name": "boot", "startMs": 0.5, "durationMs": 2.0, "text": "boots", "instance": "main"}
    queue = {"name": "queue", "startMs": 0.5, "durationMs": 3.0, "text": "waited", "instance": ""}
    record: RequestRecord = served(at=1000.0, total_ms=4.0, steps=(Step("queued", 1.0), END))
    span = of_request(
        record, {"end": "answered 200", "queueMs": 3.0, "parts": [{**queue, "parts": [inner]}]}, scheme="http"
    )
    (part,) = span.parts
    assert (part.name, part.begin - span.begin, part.end - part.begin) == ("queue", 500_000, 3_000_000)
    assert part.attributes == {"hestia.text": "waited"}
    assert part.parts[0].attributes == {"hestia.text": "boots", "hestia.instance": "main"}
    assert span.about == (record.service, record.instance, record.generation)


def test_a_start_has_its_stages_without_gaps() -> None:
    clock = Clock()
    recorder, told = starts(clock)
    recorder.transition(row("cold", "starting", "StartDecided", actor="req_1"))
    clock.now += 1.0
    recorder.stage("llm", "main", "engine", "starting", "ep")
    recorder.stage("llm", "main", "output", "loading", "ep")
    clock.now += 2.0
    recorder.stage("llm", "main", "probe", "GET /", "ep")
    recorder.stage("llm", "main", "probe", "GET / again", "ep")
    clock.now += 3.0
    recorder.transition(row("starting", "hot", "ProbePassed", at=1000.0, lasted=6.0, episode="ep"))
    (span,) = told
    assert (span.name, span.begin, span.end, span.failed) == ("start llm", 994 * 10**9, 1000 * 10**9, "")
    assert span.about == ("llm", "main", 1)
    assert span.attributes["hestia.actor"] == "req_1"
    assert [(one.name, one.begin // 10**9, one.end // 10**9) for one in span.parts] == [
        ("engine", 995, 997),
        ("probe", 997, 1000),
    ]
    assert span.parts[1].attributes["hestia.text"] == "GET / again"


def test_a_start_that_failed_says_why() -> None:
    recorder, told = starts(Clock())
    recorder.transition(row("cold", "starting", "StartDecided"))
    recorder.stage("llm", "main", "engine", "starting", "ep")
    data = {"code": "start_failed", "detail": "it ended with 3"}
    recorder.transition(row("starting", "stopping", "StartFailed", data=data))
    assert (told[0].failed, told[0].attributes["error.type"]) == ("it ended with 3", "start_failed")


def test_what_was_found_running_is_no_start() -> None:
    recorder, told = starts(Clock())
    recorder.transition(row("cold", "starting", "StartDecided"))
    recorder.transition(row("starting", "hot", "ProbePassed"))
    recorder.transition(row("cold", "starting", "AdoptionDecided"))
    recorder.stage("llm", "main", "engine", "", "ep")
    recorder.transition(row("starting", "hot", "ProbePassed"))
    recorder.stage("llm", "main", "engine", "", "ep")
    assert told == []
