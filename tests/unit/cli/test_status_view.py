"""The status table at several widths, the notes, and the full view (CL-14, CL-16)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hestia.cli import view
from hestia.cli.screen import Screen
from tests.fakes.api_server import last_error, stage, status

NOW = datetime(2026, 1, 31, 12, 4, 4, 120000, tzinfo=UTC)
PIPE = Screen(terminal=False, colour=False, redraw=False, drawn_marks=True, width=None)


def terminal(width: int, *, colour: bool = False, drawn: bool = False) -> Screen:
    return Screen(terminal=True, colour=colour, redraw=True, drawn_marks=drawn, width=width)


SERVICES = [
    status("ollama", "hot", inFlight=2, lastUsedAt="2026-01-31T12:04:00Z"),
    status("whisper", "hot", lastUsedAt="2026-01-31T12:02:04Z", idleStopAt="2026-01-31T12:07:04Z"),
    status(
        "sdxl",
        "starting",
        machineId="gpu-server-number-01",
        queuePending=3,
        estimatedReadyMs=22000,
        stages=[stage("engine", "starting the program", ms=12000, done=False)],
    ),
    status("jupyter", "draining", inFlight=1, machineId="hpc"),
    status("comfyui-with-a-name-of-forty-letters-xx", "cold", machineId="gpu-server-number-01"),
    status(
        "cloud-ml",
        "failed",
        retryAt="2026-01-31T12:04:45Z",
        lastError=last_error("the program ended with exit code 137 after 3 s: killed, out of memory"),
    ),
]


@pytest.mark.parametrize("width", [60, 80, 100, 132, 200])
def test_cl14_every_line_fits_the_terminal(width: int) -> None:
    lines = view.table(SERVICES, terminal(width), NOW)
    assert max(len(line) for line in lines) <= width
    assert len(lines) == 1 + len(SERVICES)
    for title in ("SERVICE", "STATE", "NEXT"):
        assert title in lines[0]
    for phase in ("* hot", "> starting", "~ draining", "- cold", "! failed"):
        assert any(phase in line for line in lines)


def test_cl14_at_80_columns_last_used_goes_and_the_countdown_stays() -> None:
    lines = view.table(SERVICES, terminal(80), NOW)
    assert "LAST USED" not in lines[0]
    assert "NOTE" in lines[0]
    assert "stops in 3 min" in lines[2]
    assert "ready in ~22 s" in lines[3]
    assert "retry in 41 s" in lines[6]
    assert "comfyui-" in lines[5]
    assert "-xx" in lines[5]


def test_cl14_in_a_pipe_nothing_is_cut_and_tabs_part_the_columns() -> None:
    lines = view.table(SERVICES, PIPE, NOW)
    assert [len(line.split("\t")) for line in lines] == [8] * 7
    assert lines[5].split("\t")[:3] == [
        "comfyui-with-a-name-of-forty-letters-xx",
        "cold",
        "gpu-server-number-01",
    ]
    assert view.table(SERVICES, PIPE, NOW, header=False) == lines[1:]


def test_cl04_colour_is_beside_the_word_and_not_in_its_place() -> None:
    coloured = view.table(SERVICES, terminal(80, colour=True), NOW)[6]
    assert "\x1b[31m! failed" in coloured


def test_cl26_a_service_cannot_steer_the_terminal() -> None:
    bad = status("x\x1b[2J", "failed", lastError=last_error("said \x1b]0;owned\x07\nsecond line"))
    text = "\n".join([*view.table([bad], terminal(80), NOW), *view.details(bad, PIPE, NOW, url="http://h")])
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize("phase", ["cold", "starting", "hot", "draining", "stopping", "failed", "suspect"])
def test_cl16_every_state_says_what_happens_next(phase: str) -> None:
    text = "\n".join(view.details(status("ollama", phase), PIPE, NOW, url="http://localhost:8080"))
    assert phase in text
    assert "next" in text
    assert "http://localhost:8080/services/ollama/" in text


def test_cl16_the_last_error_comes_with_output_and_remedy() -> None:
    failed = status("ollama", "failed", lastError=last_error("it ended", tail=["first", "last"]))
    lines = view.details(failed, PIPE, NOW, url="http://localhost:8080")
    assert "  last error 60 s ago: it ended" in lines
    assert lines[-3:] == ["    | first", "    | last", "  do: correct `command`"]


def test_an_older_gateway_without_phase_is_shown_by_its_state() -> None:
    seeds = {"serviceId": "a", "state": "hot", "machineId": "local", "readiness": "ready", "queuePending": 0}
    assert "hot" in view.table([seeds], PIPE, NOW)[1]
    assert view.details(seeds, PIPE, NOW, url="http://localhost:8080")


def test_the_fallback_is_shown_where_there_is_one() -> None:
    without = view.details(status("a", "hot"), PIPE, NOW, url="http://g")
    with_one = view.details(status("a", "hot", fallbackUrl="http://b.lan:1"), PIPE, NOW, url="http://g")
    assert [line for line in with_one if line not in without] == ["  fallback  http://b.lan:1"]


def test_a_port_of_its_own_is_shown_where_there_is_one() -> None:
    without = view.details(status("a", "hot", port=None), PIPE, NOW, url="http://g")
    with_one = view.details(status("a", "hot", port=8081), PIPE, NOW, url="http://g")
    assert [line for line in with_one if line not in without] == ["  own port  8081"]


def test_a_start_that_waits_for_room_says_so_and_where_to_look() -> None:
    words = "waiting for room on gpu-1: comfyui is busy (2 requests)"
    waits = status("sdxl", "starting", stages=[stage("room", words, ms=12000, done=False)])
    assert view.note_of(waits, NOW) == "waits for room, 12 s"
    assert view.next_sentence(waits, NOW) == "starts when there is room: hestia machines"
    assert words in "\n".join(view.details(waits, PIPE, NOW, url="http://localhost:8080"))


def test_fb_04_the_budget_of_failed_starts_is_shown() -> None:
    budget: dict[str, int | None] = {
        "failures": 20,
        "perHour": 20,
        "freeInMs": 754000,
        "episodeStarts": 0,
        "perEpisode": 4,
    }
    lines = view.details(status("a", "failed", budget=budget), PIPE, NOW, url="http://h")
    assert "  failures  20 of 20 in the last hour: no request starts it for 12 min" in lines
    budget = {"failures": 1, "perHour": 20, "freeInMs": None, "episodeStarts": 2, "perEpisode": 4}
    lines = view.details(status("a", "starting", budget=budget), PIPE, NOW, url="http://h")
    assert "  failures  1 of 20 in the last hour; this start is try 2 of 4" in lines


def test_ob_19_what_another_service_needs_is_kept_and_says_for_whom() -> None:
    told = status("db", "hot")
    told["instances"][0]["keptFor"] = ["app"]
    assert view.next_of(told, NOW) == "kept for app"
    assert view.next_sentence(told, NOW) == "stays up while app needs it (depends_on)"
    told["instances"][0]["keptFor"] = ["app", "web"]
    assert view.next_of(told, NOW) == "kept for app +1"
    told["instances"][0]["keptFor"] = []
    told["instances"][0]["keptWarm"] = True
    assert view.next_of(told, NOW) == "kept warm"
    assert view.next_sentence(told, NOW) == "stays up: keep_warm says so"


def test_a_retry_that_is_less_than_a_second_away_is_in_1_s() -> None:
    soon = status("a", "failed", retryAt="2026-01-31T12:04:04.300Z")
    assert view.next_of(soon, NOW) == "retry in 1 s"
    due = status("a", "failed", retryAt="2026-01-31T12:04:03Z")
    assert view.next_of(due, NOW) == "retry on request"


def test_a_service_that_was_not_used_since_its_start_is_not_idle_since_before() -> None:
    used = status("a", "hot", startedAt="2026-01-31T12:04:00Z", lastUsedAt="2026-01-31T11:00:00Z")
    assert view.note_of(used, NOW) == "not used again yet"


def test_the_stage_in_which_a_start_failed_is_not_ok() -> None:
    done = [stage("engine", "starts x", ms=3, done=True), stage("boot", "process 1", ms=90, done=True)]
    told = status("a", "failed", stages=done)
    told["instances"][0]["lastError"] = last_error("the program ended", stage="boot")
    lines = view.details(told, PIPE, NOW, url="http://h")
    assert any(line.split()[:2] == ["ok", "engine"] for line in lines)
    assert any(line.split()[:2] == ["FAIL", "boot"] for line in lines)
