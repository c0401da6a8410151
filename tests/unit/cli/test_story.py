"""What is told about the past, as lines (CL-18, OB-19)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hestia.cli.screen import Screen
from hestia.cli.story import event_line, request_lines, service_lines
from tests.fakes.api_server import last_error, status

NOW = datetime(2026, 1, 31, 12, 4, 0, tzinfo=UTC)
PIPE = Screen(terminal=False, colour=False, redraw=False, drawn_marks=False, width=None)


def part(name: str, start: float, took: float, text: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "startMs": start, "durationMs": took, "text": text, "instance": "", **more}


def event(after: str, text: str, at: str = "2026-01-31T12:03:04.120Z") -> dict[str, Any]:
    return {"id": 1, "at": at, "after": after, "text": text}


def test_a_request_is_told_in_time_order_and_ends_with_what_to_do() -> None:
    told = {
        "method": "POST",
        "path": "/services/sdxl/api/\x1b[2Jtxt2img",
        "status": 503,
        "code": "service_start_failed",
        "totalMs": 33100.0,
        "matched": "matched service sdxl by its path",
        "end": "answered by the gateway: 503 service_start_failed",
        "detail": "The program ended with 137.",
        "do": "hestia start sdxl",
        "parts": [
            part("queue", 0.0, 33100.0, "waited", parts=[part("back_off", 0.0, 33100.0, "its start failed")])
        ],
    }
    assert list(request_lines(told)) == [
        "POST /services/sdxl/api/\\x1b[2Jtxt2img   503 service_start_failed   after 33 s",
        "   0.00 s  matched service sdxl by its path",
        "   0.00 s  queue           33 s  waited",
        "   0.00 s    back-off      33 s  its start failed",
        "  33.10 s  answered by the gateway: 503 service_start_failed",
        "why: The program ended with 137.",
        "do: hestia start sdxl",
    ]


@pytest.mark.parametrize(("first", "named"), [("gpu-1", True), ("gpu-2", False)])
def test_cl_18_attempts_at_several_instances_are_told_with_the_name_of_each(
    first: str, *, named: bool
) -> None:
    parts = [
        part("pause", 0.0, 10.0, "attempt failed: nobody listens", instance=first),
        part("connect", 10.0, 2.0, "connecting", instance="gpu-2"),
    ]
    told = {"method": "GET", "path": "/", "status": 200, "totalMs": 12.0, "matched": "m", "end": "e"}
    lines = list(request_lines({**told, "parts": parts}))
    ends = [" (gpu-1)", " (gpu-2)"] if named else ["nobody listens", "connecting"]
    assert [line.endswith(end) for line, end in zip(lines[2:4], ends, strict=True)] == [True, True]


def test_a_request_that_has_not_ended_says_what_it_does_and_behind_whom() -> None:
    told = {
        "method": "GET",
        "path": "/services/a/",
        "status": 0,
        "totalMs": 12400.0,
        "finished": False,
        "matched": "matched service a by its path",
        "end": "not ended: waits for a, which starts (boot), 2 before it",
        "now": {"state": "waiting", "position": 3, "behind": ["r0", "r\x071"]},
        "parts": [part("queue", 0.0, 12400.0, "waited")],
    }
    assert list(request_lines(told)) == [
        "GET /services/a/   under way for 12 s",
        "   0.00 s  matched service a by its path",
        "   0.00 s  queue           12 s  waited",
        "  12.40 s  not ended: waits for a, which starts (boot), 2 before it",
        "behind: r0, r\\x071",
    ]


@pytest.mark.parametrize(
    ("phase", "more", "events", "why", "following"),
    [
        ("cold", {}, [], "it was not started since the store remembers; nobody asked for it", "next request"),
        ("cold", {}, [event("cold", "a is cold: idle")], "a is cold: idle", "starts on the next request"),
        ("hot", {"inFlight": 1}, [event("hot", "a is hot: a request came (r)")], "in use", "while in use"),
        ("starting", {"estimatedReadyMs": 22000}, [event("starting", "a starts: x")], "a starts: x", "~22 s"),
        (
            "failed",
            {"lastError": last_error("It ended with 3."), "retryAt": "2026-01-31T12:04:41.000Z"},
            [event("failed", "a has failed: it ended with 3")],
            "a has failed: it ended with 3",
            "a request may start it again in 41 s",
        ),
    ],
)
def test_ob_19_explain_of_a_service_says_why_where_what_next_and_when(
    phase: str, more: dict[str, Any], events: list[dict[str, Any]], why: str, following: str
) -> None:
    lines = list(service_lines(status("a", phase, **more), events, PIPE, NOW))
    assert why in lines[1]
    assert "it has one instance, so there is no choice" in lines[2]
    assert following in lines[3]
    assert lines[-1].endswith(events[-1]["text"] if events else following)


def test_an_event_is_one_line_with_its_time() -> None:
    found = event("hot", "a is hot:\na request\x07 came")
    at = datetime(2026, 1, 31, 12, 3, 4, tzinfo=UTC).astimezone().strftime("%H:%M:%S")
    assert event_line(found, PIPE, NOW) == f"{at}  a is hot: a request\\x07 came"


TERMINAL = Screen(terminal=True, colour=False, redraw=True, drawn_marks=False, width=60)


def test_ob_19_each_of_several_instances_says_why_it_is_not_used_and_what_comes_next() -> None:
    told = status("pair", "hot")
    one = {**told["instances"][0], "id": "one", "phase": "failed", "retryAt": "2026-01-31T12:04:41Z",
           "unused": "it failed 3 times lately, so it is left alone for a while"}  # fmt: skip
    two = {**told["instances"][0], "id": "two", "idleStopAt": "2026-01-31T12:09:00Z", "unused": ""}
    lines = list(service_lines({**told, "instances": [one, two]}, [], PIPE, NOW))
    assert lines[-5:] == [
        "  one  ! failed",
        "    unused it failed 3 times lately, so it is left alone for a while",
        "    next   a request may start it again in 41 s",
        "  two  * hot",
        "    next   stops in 5 min",
    ]


def test_cl_18_no_reason_is_cut_off_on_a_narrow_terminal() -> None:
    reason = "a has failed: the program ended with exit status 3, 0.1 s after its start, of something long"
    lines = list(service_lines(status("a", "failed"), [event("failed", reason)], TERMINAL, NOW))
    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines).split()).count(reason) == 2, "as the reason, and in what led there"


def test_an_error_under_the_name_of_its_service_does_not_name_it_again() -> None:
    told = status("bad", "failed", lastError=last_error("bad: the program ended with exit status 3."))
    lines = list(service_lines(told, [], PIPE, NOW))
    assert any(line.endswith(": the program ended with exit status 3.") for line in lines)
    assert "bad: " not in "\n".join(lines)
