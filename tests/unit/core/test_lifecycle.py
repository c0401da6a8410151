"""The table: every pair of state and event has rows or is refused, and the page drawn from it is fresh."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripts.make_lifecycle import PAGE, events, page

from hestia.core.errors import HestiaError, StartFailed
from hestia.core.lifecycle import (
    TABLE,
    AdoptionDecided,
    AdoptionMissed,
    AdoptionUnknown,
    Do,
    Drained,
    DrainElapsed,
    EngineStarted,
    Event,
    FoundRunning,
    HandleMade,
    IdleElapsed,
    IllegalTransition,
    Instance,
    InstanceGone,
    ProbePassed,
    StartDecided,
    StartGivenUp,
    State,
    StopFailed,
    StopFinished,
    StopRequested,
    StopRetried,
    row_for,
    step,
)
from hestia.core.lifecycle import StartFailed as StartFailedEvent
from hestia.core.model import Endpoint, InstanceId, ServiceId

S, A = ServiceId("s"), InstanceId("a")
ENDPOINT = Endpoint("http", "127.0.0.1", 9000)
ERROR = StartFailed("exit status 3", exit_status=3)

EVENTS: list[Event] = [
    StartDecided(service=S, instance=A, cause="demand", actor="r1", episode="e1"),
    FoundRunning(service=S, instance=A, endpoint=ENDPOINT),
    HandleMade(service=S, instance=A, handle={"pid": 1}),
    EngineStarted(service=S, instance=A, handle={"pid": 1}, endpoint=ENDPOINT),
    ProbePassed(service=S, instance=A),
    StartFailedEvent(service=S, instance=A, error=ERROR, left_over=False),
    StartFailedEvent(service=S, instance=A, error=ERROR, left_over=True, again=True),
    InstanceGone(service=S, instance=A, error=ERROR, unstable=False),
    InstanceGone(service=S, instance=A, error=ERROR, unstable=True),
    IdleElapsed(service=S, instance=A, sockets=False),
    IdleElapsed(service=S, instance=A, sockets=True),
    *(
        StopRequested(service=S, instance=A, busy=busy, force=force, restart=again, keep_waiters=again)
        for busy in (False, True)
        for force in (False, True)
        for again in (False, True)
    ),
    Drained(service=S, instance=A),
    DrainElapsed(service=S, instance=A),
    StopFinished(service=S, instance=A),
    StopFailed(service=S, instance=A, error=HestiaError("still there")),
    StopRetried(service=S, instance=A),
    AdoptionDecided(service=S, instance=A, number=4),
    AdoptionMissed(service=S, instance=A),
    StartGivenUp(service=S, instance=A),
    AdoptionUnknown(service=S, instance=A, error=HestiaError("no answer")),
]


def instances() -> list[Instance]:
    """One record of each kind that a guard can tell apart, in every state."""
    plain = Instance(S, A, generation=3, since=5.0, endpoint=ENDPOINT, handle={"pid": 9})
    kinds = [
        plain,
        replace(plain, endpoint=None, handle=None),
        replace(plain, failed=True, error=ERROR),
        replace(plain, stuck=True, error=ERROR),
        replace(plain, stuck=True, unknown=True, error=ERROR),
        replace(plain, abort_on_drain=True),
        replace(plain, restart=True),
    ]
    records = [replace(kind, state=state) for state in State for kind in kinds]
    return [one for one in records if one.endpoint or one.state not in (State.HOT, State.DRAINING)]


PAIRS = [(instance, event) for instance in instances() for event in EVENTS]


def accepted(instance: Instance, event: Event) -> bool:
    try:
        row_for(instance, event)
    except IllegalTransition:
        return False
    return True


def test_every_event_class_is_in_the_table_and_in_this_test() -> None:
    assert {event for _, event in TABLE} == set(events())
    assert {type(event) for event in EVENTS} == set(events())


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", events())
def test_every_pair_has_rows_or_is_refused(state: State, event: type[Event]) -> None:
    tried = [(one, what) for one, what in PAIRS if one.state is state and type(what) is event]
    assert any(accepted(*pair) for pair in tried) == ((state, event) in TABLE)


@pytest.mark.parametrize(("state", "event"), list(TABLE))
def test_every_row_can_be_reached(state: State, event: type[Event]) -> None:
    """A row behind one that always applies would be a lie in the diagram."""
    rows = TABLE[state, event]
    tried = [(one, what) for one, what in PAIRS if one.state is state and type(what) is event]
    assert {id(row_for(*pair)) for pair in tried if accepted(*pair)} == {id(row) for row in rows}


def test_an_illegal_event_raises_and_changes_nothing() -> None:
    """`step` is pure: the record handed in is the record still held, whether accepted or refused."""
    refused = 0
    for instance, event in PAIRS:
        before = replace(instance)
        if accepted(instance, event):
            step(instance, event, 9.0)
        else:
            refused += 1
            with pytest.raises(IllegalTransition, match=type(event).__name__):
                step(instance, event, 9.0)
        assert instance == before
    assert refused > 100


def test_a_step_keeps_the_promises_of_a_record() -> None:
    for instance, event in PAIRS:
        if accepted(instance, event):
            check_promises(instance, event)


def check_promises(instance: Instance, event: Event) -> None:
    moved, things = step(instance, event, 9.0)
    assert moved.generation in (instance.generation, instance.generation + 1)
    raised = moved.generation > instance.generation
    begins = isinstance(event, FoundRunning) or (
        moved.state is State.STARTING and instance.state is not State.STARTING
    )
    if isinstance(event, AdoptionDecided):
        assert moved.generation == event.number, "what is adopted keeps its number"
        return
    assert raised == begins, "a generation is raised when a start is decided, and only then"
    assert (moved.since == 9.0) == (moved.state is not instance.state)
    if moved.state is State.COLD:
        assert (moved.handle, moved.endpoint, moved.external) == (None, None, False)
    if moved.state is State.HOT:
        assert moved.endpoint is not None
    if moved.state is State.STOPPING and instance.state is not State.STOPPING:
        assert Do.RUN_STOP in things, "stopping means that somebody was asked to stop it"
    if instance.state is State.HOT and moved.state is not State.HOT:
        assert things[0] is Do.CLOSE_ADMISSION, "no lease from the decision on (ID-05)"
    if Do.ABORT_LEASES in things:
        assert things.index(Do.ABORT_LEASES) < things.index(Do.RUN_STOP), "INV-4"


def test_fb15_a_stuck_instance_is_neither_started_nor_found() -> None:
    stuck = Instance(S, A, state=State.FAILED, generation=1, stuck=True, error=ERROR)
    for event in EVENTS[:2]:
        with pytest.raises(IllegalTransition):
            step(stuck, event, 0.0)


def test_ad10_what_nobody_can_tell_of_is_neither_started_nor_found_but_asked_for_again() -> None:
    unknown = Instance(S, A, state=State.FAILED, generation=4, stuck=True, unknown=True, error=ERROR)
    for event in EVENTS[:2]:
        with pytest.raises(IllegalTransition):
            step(unknown, event, 0.0)
    again, things = step(unknown, AdoptionDecided(service=S, instance=A, number=4), 1.0)
    assert (again.state, again.generation, things) == (State.STARTING, 4, (Do.RUN_ADOPTION,))


def test_a_probe_that_passes_before_the_engine_answered_is_refused() -> None:
    starting = Instance(S, A, state=State.STARTING, generation=1)
    with pytest.raises(IllegalTransition):
        step(starting, ProbePassed(service=S, instance=A), 0.0)


def test_inv9_who_and_why_is_noted() -> None:
    cold = Instance(S, A)
    starting, _ = step(cold, EVENTS[0], 1.0)
    assert (starting.cause, starting.actor, starting.episode) == ("demand", "r1", "e1")
    event = StopRequested(service=S, instance=A, busy=False, cause="api", actor="user:me")
    stopping, _ = step(starting, event, 2.0)
    assert (stopping.cause, stopping.actor) == ("api", "user:me")


def test_the_page_is_drawn_from_the_table_as_it_is() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "stale: run python scripts/make_lifecycle.py"


def test_the_page_shows_every_row() -> None:
    text = page()
    assert text.count("```mermaid\nstateDiagram-v2\n") == 1
    rows = sum(len(rows) for rows in TABLE.values())
    listed = text.split("## Rows")[1].split("## Events")[0]
    assert listed.count("\n| ") - 1 == rows
