"""What a waiting page shows, worked out from a visit and the status of its service. Pure.

Owns the words, the share of the start that is done (it never falls) and who may read what. Source:
experience.md WP-06, WP-07, WP-08, WP-15, ET.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from hestia import problems
from hestia.core.errors import HestiaError
from hestia.core.model import LOCAL, ServiceId
from hestia.runtime.status import InstanceStatus, ServiceStatus
from hestia.runtime.visits import Phase, Visit

TAIL: Final = 12  # lines of output beside a failure
FULL: Final = 0.95  # share of the start that is shown at most before it is over
_WAITS: Final = ("room", "dependency")  # stages before the start itself
_NAMES: Final = {
    "room": "Room on the machine",
    "dependency": "Services that it needs",
    "machine": "Machine",
    "engine": "Start",
    "boot": "Boot",
    "probe": "Ready to answer",
}
_HEADS: Final = {
    Phase.WAITING: "Starting {}",
    Phase.HOT: "{} is ready",
    Phase.FAILED: "{} could not be started",
    Phase.ASLEEP: "{} is asleep again",
    Phase.LEFT: "You no longer wait for {}",
    Phase.ENDING: "The gateway restarts",
}
_LEADS: Final = {
    Phase.HOT: "It opens now.",
    Phase.ASLEEP: "Nobody used it for a while, so it was stopped. It starts when you want it to.",
    Phase.LEFT: "A start that is under way goes on without you.",
    Phase.ENDING: "It is asked again every few seconds.",
}


@dataclass(frozen=True, slots=True)
class StageShown:
    """mark: `done`, `run` or `todo`. usual: seconds, None where nothing is known."""

    name: str
    mark: str
    seconds: float
    usual: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is nothing to wait for. what: in a sentence. tried: how often, and what is next."""

    code: str
    what: str
    do: str
    tail: tuple[str, ...]
    tried: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Times in seconds. left: until it is ready, None where nobody knows. share: of the start that is done,
    0…1, None where nobody knows. here: the address of the page, seen from itself. past: what the
    estimate comes from. facts: equal while nothing but time has passed."""

    phase: str
    visit: str
    service: str
    machine: str
    heading: str
    lead: str
    title: str
    said: str
    stages: tuple[StageShown, ...] = ()
    elapsed: float = 0.0
    usual: float | None = None
    left: float | None = None
    late: bool = False
    known: int = 0
    share: float | None = None
    ahead: int = 0
    why: tuple[str, ...] = ()
    failure: Failure | None = None
    request_id: str = ""
    detail: bool = False
    here: str = ""
    past: str = ""
    facts: str = field(default="", compare=False)


class Places(Protocol):
    """What is needed of `runtime.visits.Visits`."""

    def ahead(self, visit: Visit) -> int: ...
    def starts(self, service: ServiceId, instance: str) -> list[dict[str, float]]: ...


def duration(seconds: float) -> str:
    """In at most two units, as people say it (CL-15)."""
    whole = int(seconds + 0.05)
    if 0.05 <= seconds < 0.95:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def shown(visit: Visit, status: ServiceStatus, places: Places, *, detail: bool, request_id: str) -> Shown:
    """What to show now. detail: who looks may read what helps the owner."""
    phase, service = visit.phase, visit.service
    heading = _HEADS[phase].format(service)
    if phase is not Phase.WAITING:
        failure = _failure(visit.error, status, detail=detail) if phase is Phase.FAILED else None
        lead = failure.what if failure is not None else _LEADS.get(phase, "")
        return Shown(
            phase=phase,
            visit=visit.id,
            service=service,
            machine="",
            heading=heading,
            lead=lead,
            title=heading,
            said=heading if failure is None else f"{heading}. {failure.what}",
            failure=failure,
            request_id=request_id,
            detail=detail,
            here=_here(visit.target),
            facts=f"{phase} {failure}",
        )
    return _waiting(visit, status, places, detail=detail, request_id=request_id)


def _waiting(visit: Visit, status: ServiceStatus, places: Places, *, detail: bool, request_id: str) -> Shown:
    one = _lead(status)
    rows = places.starts(visit.service, one.id)
    stages = _stages(one, rows, detail=detail)
    begun = [stage for stage in one.stages if stage.name not in _WAITS]
    elapsed = sum(stage.seconds for stage in begun)
    usual = _median([row[""] for row in rows if "" in row])
    left = max(0.0, usual - elapsed) if usual is not None and begun else usual
    late = usual is not None and elapsed > usual
    if usual:
        visit.shown = max(visit.shown, min(FULL, elapsed / usual))
    share = visit.shown if usual else None
    ahead, why = places.ahead(visit), _why(one, detail=detail)
    running = next((stage.name for stage in stages if stage.mark == "run"), "")
    percent = f", {share * 100:.0f} %" if share is not None else ""
    lead = _estimate(left, usual, len(rows), late=late)
    return Shown(
        phase=visit.phase,
        visit=visit.id,
        service=visit.service,
        machine=one.machine if detail and one.machine != LOCAL else "",
        heading=_HEADS[Phase.WAITING].format(visit.service),
        lead=lead,
        title=f"Starting {visit.service}{percent}",
        said=f"Starting {visit.service}{': ' + running if running else ''}{percent}. {lead}",
        stages=stages,
        elapsed=elapsed,
        usual=usual,
        left=None if late else left,
        late=late,
        known=len(rows),
        share=share,
        ahead=ahead,
        why=why,
        request_id=request_id,
        detail=detail,
        here=_here(visit.target),
        past=_past(len(rows)),
        facts=repr(
            [(stage.name, stage.mark, stage.text) for stage in stages]
            + [one.phase, ahead, why, late, left is not None and left // 5]
        ),
    )


def _here(target: str) -> str:
    """The page's own address as a link on it. Without script a page comes back by it: one that names no
    address, or one with a fragment, is no reload in a browser that stands at a fragment."""
    path, mark, query = target.partition("?")
    return "./" + path.rpartition("/")[2] + mark + query if path else ""


def _lead(status: ServiceStatus) -> InstanceStatus:
    """The instance that is closest to serving."""
    return next((one for one in status.instances if one.phase == status.phase), status.instances[0])


def _estimate(left: float | None, usual: float | None, known: int, *, late: bool) -> str:
    if usual is None or left is None:
        return "This is its first start here, so nobody knows how long it takes."
    if late:
        return f"It takes longer than usual (usually {duration(usual)})."
    return f"About {duration(max(1.0, left))} more, from {_past(known)}."


def _past(known: int) -> str:
    return "the last start" if known == 1 else f"the last {known} starts"


def _stages(one: InstanceStatus, rows: Sequence[dict[str, float]], *, detail: bool) -> tuple[StageShown, ...]:
    """Those that were, the one that is, and those that usually follow."""
    found = [
        StageShown(
            _NAMES.get(stage.name, stage.name.capitalize()),
            "done" if stage.done else "run",
            stage.seconds,
            stage.usual,
            stage.text if detail and stage.name not in _WAITS else "",  # those are said apart
        )
        for stage in one.stages
        if not (stage.name in _WAITS and stage.done and stage.seconds < 1)
    ]
    been = {stage.name for stage in one.stages}
    for name in sorted(rows[-1] if rows else (), key=_place):
        if name and name not in been and name not in _WAITS:
            usual = _median([row[name] for row in rows if name in row])
            found.append(StageShown(_NAMES.get(name, name.capitalize()), "todo", 0.0, usual, ""))
    return tuple(found)


def _place(name: str) -> int:
    """Where a stage stands among the others."""
    return list(_NAMES).index(name) if name in _NAMES else len(_NAMES)


def _why(one: InstanceStatus, *, detail: bool) -> tuple[str, ...]:
    """What it waits for beside its own start (WP-07)."""
    match one.phase:
        case "draining":
            return (f"An earlier copy ends first: {one.in_flight} open.",)
        case "stopping":
            return ("An earlier copy is being stopped first.",)
        case "failed" if one.retry_at is not None:
            reason = f" {one.last_error.detail}" if detail and one.last_error is not None else ""
            return (f"The last try failed, so there is a pause before the next one.{reason}",)
        case _:
            pass
    running = one.stages[-1] if one.stages and not one.stages[-1].done else None
    if running is not None and running.name == "room" and not detail:
        return ("Others use its machine; it waits for room.",)
    if running is not None and running.name == "dependency" and not detail:
        return ("It waits for another service that it needs.",)
    if running is not None and running.name in _WAITS:
        return (running.text[:1].upper() + running.text[1:] + ".",)
    return ()


def _failure(error: HestiaError | None, status: ServiceStatus, *, detail: bool) -> Failure:
    if error is None:
        return Failure("service_start_failed", "The last start failed.", "", (), "")
    tried = ""
    spent = status.budget
    if detail and spent.failures:
        times = "once" if spent.failures == 1 else f"{spent.failures} times"
        tried = f"It failed {times} within the last hour."
    if not detail:
        return Failure(error.code, problems.row(error).category, "", (), "")
    return Failure(error.code, error.detail, error.remedy, tuple(error.tail[-TAIL:]), tried)


def _median(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
