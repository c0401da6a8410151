"""Both forms of a log line: fields, order, escapes, and what never gets in."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from hestia.telemetry.logs import LineHandler, choose_colour, choose_form, configure
from tests.fakes.streams import KeepingStream

log = logging.getLogger("hestia.test")


@pytest.fixture
def stream() -> Iterator[KeepingStream]:
    root = logging.getLogger()
    level = root.level
    yield KeepingStream()
    for handler in root.handlers[:]:
        if isinstance(handler, LineHandler):
            root.removeHandler(handler)
    root.setLevel(level)


def test_json_line_has_the_fields_of_the_seeds_in_their_order(stream: KeepingStream) -> None:
    configure(stream)
    log.info(
        "Starting service: %s",
        "ollama",
        extra={"request_id": "req_abc123", "service_id": "ollama", "event_type": "service_start", "n": 3},
    )
    (line,) = stream.text.splitlines()
    fields = json.loads(line)
    assert list(fields)[:6] == [
        "timestamp",
        "level",
        "event_type",
        "service_id",
        "request_id",
        "message",
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("timestamp"))
    assert fields == {
        "level": "INFO",
        "event_type": "service_start",
        "service_id": "ollama",
        "request_id": "req_abc123",
        "message": "Starting service: ollama",
        "logger": "hestia.test",
        "n": 3,
    }


def test_json_line_stays_one_line_whatever_is_in_it(stream: KeepingStream) -> None:
    configure(stream)
    log.info("two\nlines\x1b[31m\u2028", extra={"path": "/a\r\n{}\x9b\ud800"})
    assert stream.blocks[0].count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in stream.blocks[0][:-1])
    assert json.loads(stream.text)["message"] == "two\nlines\x1b[31m\u2028"


def test_json_line_of_an_exception_carries_its_traceback(stream: KeepingStream) -> None:
    configure(stream)
    try:
        raise RuntimeError("went wrong")
    except RuntimeError:
        log.exception("It broke")
    fields = json.loads(stream.text)
    assert fields["level"] == "ERROR"
    assert fields["error"] == "RuntimeError: went wrong"
    assert "test_logs.py" in fields["traceback"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_ob20_secret_fields_are_hidden(stream: KeepingStream, form: str) -> None:
    configure(stream, form=choose_form(form, terminal=False))
    log.info(
        "request",
        extra={
            "Authorization": "canary",
            "set-cookie": "canary",
            "api_key": "canary",
            "semaphore_password": "canary",
            "X-Token": "canary",
        },
    )
    assert "canary" not in stream.text
    assert stream.text.count("***") == 5


def test_value_that_is_not_json_is_shown_as_text(stream: KeepingStream) -> None:
    configure(stream)
    log.info("x", extra={"thing": {1}, "where": b"bytes"})
    assert json.loads(stream.text)["thing"] == "{1}"


def test_cl26_console_line_is_short_and_cannot_steer_a_terminal(stream: KeepingStream) -> None:
    configure(stream, form="console")
    log.info(
        "hello \x1b]0;title\x07 wörld",
        extra={"event_type": "x", "generation": 3, "cause": "a b", "empty": "", "forced": False},
    )
    assert re.fullmatch(r'\d\d:\d\d:\d\d INFO    hello \\x1b\]0;title\\x07 wörld  cause="a b"\n', stream.text)


def test_console_exception_is_indented_below(stream: KeepingStream) -> None:
    configure(stream, form="console")
    try:
        raise RuntimeError("went\x1bwrong")
    except RuntimeError:
        log.exception("It broke")
    first, *rest = stream.text.splitlines()
    assert "ERROR   It broke" in first
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in stream.text


def test_cl04_colour_marks_only_the_level(stream: KeepingStream) -> None:
    configure(stream, form="console", colour=True)
    log.info("fine")
    log.warning("doubtful")
    fine, doubtful = stream.text.splitlines()
    assert "\x1b" not in fine
    assert "\x1b[33mWARNING\x1b[0m doubtful" in doubtful


@pytest.mark.parametrize(
    ("environment", "terminal", "colour"),
    [
        ({"TERM": "xterm"}, True, True),
        ({}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
    ],
)
def test_cl04_colour_needs_a_terminal_that_wants_it(
    environment: dict[str, str], terminal: bool, colour: bool
) -> None:
    assert choose_colour(environment, terminal=terminal) is colour


@pytest.mark.parametrize(
    ("wanted", "terminal", "form"),
    [
        ("auto", True, "console"),
        ("auto", False, "json"),
        ("json", True, "json"),
        ("console", False, "console"),
    ],
)
def test_form_auto_follows_the_terminal(wanted: str, terminal: bool, form: str) -> None:
    assert choose_form(wanted, terminal=terminal) == form


def test_level_is_kept_and_a_second_set_up_replaces_the_first(stream: KeepingStream) -> None:
    second = KeepingStream()
    configure(stream, level="DEBUG")
    configure(second, level="WARNING")
    log.info("not shown")
    log.warning("shown")
    assert stream.blocks == []
    assert len(second.blocks) == 1


def test_libraries_are_quiet_below_warning(stream: KeepingStream) -> None:
    configure(stream, level="DEBUG")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("asyncio").debug("Using selector")
    logging.getLogger("uvicorn.error").warning("odd")
    assert [json.loads(line)["message"] for line in stream.text.splitlines()] == ["odd"]
