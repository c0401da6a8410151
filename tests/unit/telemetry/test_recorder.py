"""Transitions as log lines with the seeds' event names."""

from __future__ import annotations

import logging

import pytest

from hestia.core.ports import Recorder, Row
from hestia.telemetry.recorder import LogRecorder


def row(before: str, after: str, **changes: object) -> Row:
    values: dict[str, object] = {
        "at": 1.0,
        "service": "ollama",
        "instance": "ollama",
        "generation": 3,
        "event": "StartDecided",
        "before": before,
        "after": after,
        "cause": "demand",
        "actor": "req_abc123",
        "episode": "ep_1",
        "lasted": 1.5,
    }
    return Row(**{**values, **changes})  # type: ignore[arg-type]  # a table of keyword arguments


@pytest.fixture
def recorder(caplog: pytest.LogCaptureFixture) -> Recorder:
    caplog.set_level(logging.DEBUG, "hestia.lifecycle")
    return LogRecorder()


@pytest.mark.parametrize(
    ("before", "after", "event_type", "message", "level"),
    [
        ("cold", "starting", "service_start", "Starting service: ollama", "INFO"),
        ("starting", "hot", "service_hot", "Service is hot: ollama", "INFO"),
        ("hot", "draining", "service_drain", "Draining service: ollama", "INFO"),
        ("draining", "stopping", "service_stop", "Stopping service: ollama", "INFO"),
        ("stopping", "cold", "service_cold", "Service is cold: ollama", "INFO"),
        ("starting", "failed", "service_failed", "Service failed: ollama", "WARNING"),
        ("hot", "hot", "service_hot", "Service is hot: ollama", "DEBUG"),
    ],
)
def test_ob13_each_transition_is_one_line(
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    before: str,
    after: str,
    event_type: str,
    message: str,
    level: str,
) -> None:
    recorder.transition(row(before, after))
    (record,) = caplog.records
    assert (record.getMessage(), record.levelname) == (message, level)
    fields = vars(record)
    assert fields["event_type"] == event_type
    assert (fields["from"], fields["to"], fields["lasted_ms"]) == (before, after, 1500)
    assert (fields["service_id"], fields["generation"], fields["episode"]) == ("ollama", 3, "ep_1")


@pytest.mark.parametrize(
    ("cause", "actor", "request_id"),
    [
        ("demand", "req_1", "req_1"),
        ("api", "api:req_2", "req_2"),
        ("api", "api", ""),
        ("idle", "", ""),
        ("restart", "cli:x", ""),
    ],
)
def test_request_that_caused_it_is_named(
    recorder: Recorder, caplog: pytest.LogCaptureFixture, cause: str, actor: str, request_id: str
) -> None:
    recorder.transition(row("cold", "starting", cause=cause, actor=actor))
    assert vars(caplog.records[0])["request_id"] == request_id


def test_data_of_the_row_is_shown_and_cannot_break_the_line(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    data = {"code": "service_start_failed", "message": "m", "name": "n", "cause": "other"}
    recorder.transition(row("starting", "failed", data=data))
    fields = vars(caplog.records[0])
    assert fields["code"] == "service_start_failed"
    assert fields["data_message"] == "m"
    assert fields["data_name"] == "n"
    assert fields["cause"] == "demand"


def test_second_instance_is_named(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    recorder.transition(row("cold", "starting", instance="b"))
    assert caplog.records[0].getMessage() == "Starting service: ollama (b)"


def test_stages_are_debug(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    recorder.stage("ollama", "ollama", "boot", "waiting for port 11434", "ep_1")
    (record,) = caplog.records
    assert record.levelname == "DEBUG"
    assert vars(record)["stage"] == "boot"


def test_what_is_taken_over_is_not_called_started(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.transition(row("cold", "starting", cause="adopted", actor=""))
    assert [one.getMessage() for one in caplog.records] == ["Taking over service: ollama"]
