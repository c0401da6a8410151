"""What a waiting page shows of each state, and to whom (experience.md WP-06, WP-07, WP-08, WP-15)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from hestia.api.waiting_theme import BUILT_IN
from hestia.api.waiting_view import Shown, duration, shown
from hestia.core.errors import HestiaError, StartFailed
from hestia.core.model import ServiceId
from hestia.runtime.status import ErrorStatus, InstanceStatus, ServiceStatus, StageStatus
from hestia.runtime.visits import Phase, Visit

THEN = datetime(2026, 1, 1, tzinfo=UTC)
A = ServiceId("a")
INSTANCE = InstanceStatus(
    id="main",
    phase="starting",
    machine="gpu-1",
    engine="process",
    address="",
    generation=1,
    in_flight=0,
    since=THEN,
    started_at=None,
    last_used_at=None,
    idle_stop_at=None,
    retry_at=None,
    external=False,
    stages=(),
    last_error=None,
)
KNOWN = [{"engine": 1.0, "probe": 19.0, "": 20.0}] * 5


class Places:
    """Who waits, and what is remembered, as a test says."""

    def __init__(self, ahead: int = 0, rows: list[dict[str, float]] | None = None) -> None:
        self._ahead = ahead
        self._rows = rows or []

    def ahead(self, visit: Visit) -> int:
        return self._ahead

    def starts(self, service: ServiceId, instance: str) -> list[dict[str, float]]:
        return self._rows


def visit(phase: Phase = Phase.WAITING, error: HestiaError | None = None) -> Visit:
    made = Visit(A, ("10.0.0.7", b"localhost:8080/services/a/deep?x=1"), 0.0)
    made.phase, made.error = phase, error
    return made


def status(*stages: StageStatus, **instance: Any) -> ServiceStatus:
    """A service of one instance. instance: fields of it (any of them, hence Any)."""
    one = replace(INSTANCE, stages=stages, **instance)
    return ServiceStatus(
        id="a",
        phase=one.phase,
        machine=one.machine,
        engine="process",
        queue=1,
        in_flight=0,
        last_used_at=None,
        idle_stop_at=None,
        started_at=None,
        since=THEN,
        retry_at=None,
        estimated_ready=None,
        episode="",
        idle_timeout=60.0,
        last_error=None,
        instances=(one,),
    )


def stage(name: str, seconds: float, *, done: bool = False, text: str = "") -> StageStatus:
    return StageStatus(name=name, text=text, seconds=seconds, done=done)


def show(
    seen: ServiceStatus, places: Places | None = None, *, of: Visit | None = None, detail: bool = True
) -> Shown:
    return shown(of or visit(), seen, places or Places(), detail=detail, request_id="req_1")


def test_wp06_the_stages_that_were_that_is_and_that_follow() -> None:
    now = show(status(stage("engine", 1.5, done=True), stage("boot", 2.0)), Places(rows=KNOWN))
    assert [(one.name, one.mark) for one in now.stages] == [
        ("Start", "done"),
        ("Boot", "run"),
        ("Ready to answer", "todo"),
    ]
    assert now.stages[-1].usual == 19.0


def test_wp06_the_estimate_says_where_it_comes_from() -> None:
    seen = status(stage("engine", 8.0))
    assert show(seen).lead == "This is its first start here, so nobody knows how long it takes."
    assert show(seen, Places(rows=KNOWN)).lead == "About 12 s more, from the last 5 starts."
    assert show(seen, Places(rows=KNOWN[:1])).lead == "About 12 s more, from the last start."
    now = show(status(stage("engine", 31.0)), Places(rows=KNOWN))
    assert now.lead == "It takes longer than usual (usually 20 s)."
    assert now.late


def test_wp06_progress_never_runs_backwards_and_is_never_full() -> None:
    """A second attempt begins at nothing; what was shown stays."""
    one = visit()
    places = Places(rows=KNOWN)
    assert show(status(stage("engine", 10.0)), places, of=one).share == 0.5
    assert show(status(stage("engine", 1.0)), places, of=one).share == 0.5
    assert show(status(stage("engine", 99.0)), places, of=one).share == 0.95
    assert show(status(stage("engine", 99.0)), places, of=one).title == "Starting a, 95 %"


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (
            status(stage("room", 3.0, text="waiting for room on gpu-1: sdxl, in use by 2 requests")),
            "Waiting for room on gpu-1: sdxl, in use by 2 requests.",
        ),
        (status(stage("dependency", 3.0, text="waiting for db")), "Waiting for db."),
        (status(phase="draining", in_flight=2), "An earlier copy ends first: 2 open."),
        (status(phase="stopping"), "An earlier copy is being stopped first."),
        (
            status(
                phase="failed",
                retry_at=THEN,
                last_error=ErrorStatus(code="x", detail="It broke.", cause="", stage="", remedy="", at=THEN),
            ),
            "The last try failed, so there is a pause before the next one. It broke.",
        ),
    ],
    ids=["room", "dependency", "draining", "stopping", "back-off"],
)
def test_wp07_it_says_whom_or_what_it_waits_for(seen: ServiceStatus, words: str) -> None:
    now = show(seen)
    assert now.why == (words,)
    assert words.replace("'", "&#39;") in BUILT_IN.part(now)


def test_wp07_the_wait_for_room_is_no_part_of_the_start() -> None:
    now = show(status(stage("room", 60.0, done=True), stage("engine", 5.0)), Places(rows=KNOWN))
    assert now.share == 0.25


def test_wp15_others_see_stages_and_the_id_and_nothing_of_the_owner() -> None:
    error = StartFailed("Command /opt/secret failed.", remedy="mend /opt/secret", tail=("secret",))
    for one in (
        show(status(stage("engine", 1.0, text="starts /opt/secret")), detail=False),
        show(status(stage("room", 1.0, text="waiting for secret")), detail=False),
        show(status(), of=visit(Phase.FAILED, error), detail=False),
    ):
        page = BUILT_IN.page(one, "n")
        assert "secret" not in page
        assert "gpu-1" not in page
        assert "req_1" in page
    assert "/opt/secret" in BUILT_IN.page(show(status(), of=visit(Phase.FAILED, error)), "n")


def test_wp08_text_of_others_is_text() -> None:
    error = StartFailed("<script>x</script>", remedy="<i>", tail=("</pre><b>",))
    page = BUILT_IN.page(show(status(), of=visit(Phase.FAILED, error)), "n")
    for forged in ("<script>x", "<i>", "</pre><b>"):
        assert forged not in page


@pytest.mark.parametrize("phase", Phase)
def test_wp09_only_what_waits_comes_back_by_itself(phase: Phase) -> None:
    page = BUILT_IN.page(show(status(), of=visit(phase)), "n")
    waits = phase in (Phase.WAITING, Phase.ENDING)
    assert ('content="5;url=./deep?x=1"' in page) == waits


@pytest.mark.parametrize("phase", Phase)
def test_wp12_each_page_is_small(phase: Phase) -> None:
    error = StartFailed("It broke. " * 20, remedy="mend it", tail=("a line of output " * 6,) * 20)
    seen = status(stage("engine", 1.0, done=True, text="x" * 200), stage("boot", 1.0, text="y" * 200))
    page = BUILT_IN.page(show(seen, Places(rows=KNOWN), of=visit(phase, error)), "n" * 16)
    assert len(page.encode()) <= 14 * 1024


def test_nothing_but_time_passing_is_no_news() -> None:
    before = show(status(stage("engine", 1.0)))
    assert show(status(stage("engine", 2.0))).facts == before.facts
    assert show(status(stage("engine", 1.0, done=True), stage("boot", 0.1))).facts != before.facts
    assert show(status(stage("engine", 2.0)), Places(ahead=3)).facts != before.facts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.3, "0.3 s"),
        (0.99, "1 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (125.0, "2 min 5 s"),
        (3600.0, "1 h 0 min"),
        (3725.0, "1 h 2 min"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text
