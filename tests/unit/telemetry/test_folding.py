"""Repeated lines (lifecycle OB-18): the first, then every power of two, never a change of state."""

from __future__ import annotations

import io
import json
import logging

from hestia.telemetry import folding, logs


def lines(stream: io.BytesIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def handler(stream: io.BytesIO) -> logs.LineHandler:
    made = logs.LineHandler(stream)
    made.setFormatter(logs.JsonFormatter())
    return made


def record(level: int, message: str, **more: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "probe", "levelno": level, "levelname": logging.getLevelName(level), "msg": message, **more}
    )


def test_ob_18_ten_thousand_failing_probes_are_fourteen_lines() -> None:
    stream = io.BytesIO()
    written = handler(stream)
    for _ in range(10_000):
        written.handle(record(logging.WARNING, "The probe failed", service_id="a"))
    assert [line.get("repeated", 1) for line in lines(stream)] == [2**n for n in range(14)]
    assert {line["message"] for line in lines(stream)} == {"The probe failed"}


def test_ob_18_what_differs_is_said_and_so_is_every_change_of_state() -> None:
    stream = io.BytesIO()
    written = handler(stream)
    for number in range(3):
        error = ValueError(number)
        written.handle(record(logging.WARNING, "It failed", service_id=f"s{number}"))
        written.handle(record(logging.WARNING, "Service failed: a", service_id="a", generation=number))
        written.handle(record(logging.INFO, "Said again"))
        written.handle(record(logging.ERROR, "Broke", exc_info=(ValueError, error, None)))
    assert len(lines(stream)) == 12


def test_ob_18_after_a_quiet_time_it_is_news_again_and_memory_is_bounded() -> None:
    fold = folding.Folding()

    def passes(text: str, at: float) -> bool:
        return fold.filter(record(logging.WARNING, text, created=at))

    assert [passes("x", 0.0), passes("x", 1.0), passes("x", 2.0)] == [True, True, False]
    assert passes("x", 2.0 + folding.QUIET + 1)
    for number in range(2 * folding.KEPT):
        assert passes(f"y{number}", 3.0)
    assert len(fold._seen) == folding.KEPT
