"""Numbers of the life cycle: what a transition counts as."""

from __future__ import annotations

from typing import Any

from hestia.core.ports import Row
from hestia.telemetry.lives import WORDS, Lives


class Clock:
    """A clock that stands."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def row(before: str, after: str, event: str, cause: str = "demand", **changed: Any) -> Row:
    """One transition. changed: fields of Row (any of them, hence Any)."""
    fields: dict[str, Any] = {
        "at": 1000.0, "service": "llm", "instance": "main", "generation": 1, "actor": "",
    }  # fmt: skip
    return Row(event=event, before=before, after=after, cause=cause, **{**fields, **changed})


def test_a_start_that_becomes_hot_is_told_by_its_stages() -> None:
    clock = Clock()
    lives = Lives(clock)
    lives.transition(row("cold", "starting", "StartDecided"))
    lives.stage("llm", "main", "engine", "starting", "ep")
    clock.now += 2.0
    lives.stage("llm", "main", "output", "loading", "ep")
    lives.stage("llm", "main", "probe", "GET /", "ep")
    lives.stage("llm", "main", "probe", "GET / again", "ep")
    clock.now += 3.0
    lives.transition(row("starting", "hot", "ProbePassed"))
    assert {key: counter.value for key, counter in lives.starts.items()} == {("llm", "demand"): 1}
    assert lives.took["llm"].total == 5000.0
    assert {key: one.total for key, one in lives.stages.items()} == {
        ("llm", "engine"): 2000.0,
        ("llm", "probe"): 3000.0,
    }


def test_a_start_that_found_something_running_is_no_cold_start() -> None:
    lives = Lives(Clock())
    lives.transition(row("cold", "starting", "StartDecided"))
    lives.transition(row("starting", "hot", "ProbePassed"))
    lives.transition(row("cold", "hot", "FoundRunning", cause="external", service="other"))
    assert not lives.took
    assert not lives.stages
    assert list(lives.seen) == ["llm", "other"]


def test_an_adoption_is_no_start_and_has_its_outcome() -> None:
    lives = Lives(Clock())
    for after, event in (("hot", "ProbePassed"), ("cold", "AdoptionMissed"), ("failed", "AdoptionUnknown")):
        lives.transition(row("cold", "starting", "AdoptionDecided", cause="adopted"))
        lives.stage("llm", "main", "probe", "GET /", "ep")
        lives.transition(row("starting", after, event, cause="adopted"))
    assert [key[1] for key in lives.adoptions] == ["hot", "cold", "failed"]
    assert not lives.starts
    assert not lives.took
    assert not lives.failures


def test_a_failed_start_is_a_failure_and_no_stop() -> None:
    lives = Lives(Clock())
    lives.transition(row("cold", "starting", "StartDecided", cause="api"))
    lives.stage("llm", "main", "engine", "starting", "ep")
    lives.transition(row("starting", "stopping", "StartFailed", data={"code": "start_timeout"}))
    lives.transition(row("stopping", "failed", "StopFinished", data={"code": "start_timeout"}))
    assert {key: counter.value for key, counter in lives.failures.items()} == {("llm", "start_timeout"): 1}
    assert not lives.stops
    assert not lives.stop_failures
    assert not lives.took


def test_stops_have_their_reason_and_hot_time_ends_with_them() -> None:
    lives = Lives(Clock())
    lives.transition(row("hot", "draining", "StopRequested", cause="api", lasted=60.0))
    lives.transition(row("draining", "stopping", "Drained", cause="api", lasted=1.0))
    lives.transition(row("stopping", "failed", "StopFailed", cause="stuck", data={"code": "engine_refused"}))
    lives.transition(row("failed", "stopping", "StopRetried", cause="stuck"))
    lives.transition(row("hot", "stopping", "IdleElapsed", cause="idle", lasted=5.5))
    lives.transition(row("hot", "stopping", "StopRequested", cause="evicted_for:lab", lasted=1.0))
    assert {key: counter.value for key, counter in lives.stops.items()} == {
        ("llm", "api"): 1,
        ("llm", "idle"): 1,
        ("llm", "evicted_for"): 1,
    }
    assert list(lives.stop_failures) == [("llm", "engine_refused")]
    assert lives.hot["llm"].value == 66.5


def test_ob_04_words_of_others_are_bounded() -> None:
    lives = Lives(Clock())
    for number in range(WORDS * 3):
        lives.transition(row("hot", "stopping", "InstanceGone", cause=f"word{number}"))
        lives.transition(row("cold", "starting", "StartDecided"))
        lives.stage("llm", "main", f"stage{number}", "", "ep")
        lives.transition(row("starting", "hot", "ProbePassed"))
    assert len(lives.stops) <= WORDS + 1
    assert list(lives.stages) == [("llm", "other")]
    assert sum(counter.value for counter in lives.stops.values()) == WORDS * 3
