"""How back-off and the history of starts are written into the store's facts and read back (AD-13, QF-16).

Facts are small JSON objects by kind and name (`service/instance`). Instants are wall-clock seconds there and
loop-clock seconds here. What cannot be read is as if it had never been written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from hestia.core.backoff import FRESH, BackoffState, Spent
from hestia.core.effects import Moved
from hestia.core.errors import HestiaError, StartFailed
from hestia.core.lifecycle import State
from hestia.core.model import InstanceId, ServiceId
from hestia.core.ports import Store
from hestia.core.steps import ADOPTED_GRACE

GRACE: Final = "grace"  # kind of the fact: until when an adopted generation stays in any case

Fact = Mapping[str, object]
Place = tuple[ServiceId, InstanceId]


def keep_move(store: Store, moved: Moved) -> bool:
    """Store what a transition means to the next gateway. Whether the generation is over."""
    if moved.after in (State.COLD, State.FAILED) and not moved.stuck:
        store.closed(moved.key, moved.cause)
        return True
    if moved.event not in ("AdoptionDecided", "AdoptionUnknown"):  # until it is found, what was, counts
        store.noted(moved.key, state=moved.after)
    return False


def name_of(place: Place) -> str:
    """`service/instance`; neither holds a slash."""
    return f"{place[0]}/{place[1]}"


def place_of(name: str) -> Place:
    service, _, instance = name.partition("/")
    return ServiceId(service), InstanceId(instance)


def fact_of(backoff: BackoffState, error: HestiaError | None, *, now: float, wall: float) -> Fact | None:
    """None when there is nothing to remember."""
    if backoff == FRESH:
        return None
    fact: dict[str, object] = {
        "failures": [wall - (now - at) for at in backoff.failures],
        "retry_at": wall + (backoff.retry_at - now) if backoff.retry_at else 0.0,
        "open": backoff.open,
        "trips": backoff.trips,
    }
    if error is not None:
        fact |= {
            "detail": error.detail,
            "remedy": error.remedy,
            "cause": error.cause,
            "stage": error.stage,
            "tail": list(error.tail),
        }
    return fact


def backoff_of(fact: Fact, *, now: float, wall: float) -> BackoffState:
    """Instants in the future are clamped: a clock that was wrong once locks nothing for days (CK-03)."""
    try:
        failures = tuple(now - max(0.0, wall - float(str(at))) for at in _list(fact.get("failures")))
        retry_at = float(str(fact.get("retry_at", 0.0)))
        trips = int(str(fact.get("trips", 0)))
    except (TypeError, ValueError):
        return FRESH
    left = retry_at - wall if retry_at else 0.0
    if not math.isfinite(left) or not failures:
        return FRESH
    return BackoffState(
        failures=failures,
        retry_at=now + min(left, 3600.0) if left > 0 else 0.0,
        open=bool(fact.get("open")) and left > 0,
        trips=max(0, trips),
    )


def fact_of_spent(spent: Spent, *, now: float, wall: float) -> Fact | None:
    """None when there is nothing to remember."""
    return {"failures": [wall - (now - at) for at in spent]} if spent else None


def spent_of(fact: Fact, *, now: float, wall: float) -> Spent:
    """As `backoff_of`."""
    try:
        return tuple(now - max(0.0, wall - float(str(at))) for at in _list(fact.get("failures")))
    except ValueError:
        return ()


def error_of(fact: Fact, service: ServiceId) -> HestiaError | None:
    """Why the last start failed, as it was told then."""
    detail = fact.get("detail")
    if not isinstance(detail, str) or not detail:
        return None
    return StartFailed(
        detail,
        remedy=str(fact.get("remedy") or ""),
        cause=str(fact.get("cause") or ""),
        stage=str(fact.get("stage") or ""),
        service_id=service,
        tail=tuple(str(line) for line in _list(fact.get("tail"))),
    )


def grace_of(generation: int, wall: float) -> Fact:
    """A generation was adopted now."""
    return {"generation": generation, "until": wall + ADOPTED_GRACE}


def grace_left(fact: Fact | None, generation: int, last_used: float | None, wall: float) -> float | None:
    """Seconds of an earlier grace that go on; None where there is none, or it was used meanwhile."""
    if fact is None or fact.get("generation") != generation:
        return None
    until = fact.get("until")
    if not isinstance(until, int | float) or not wall < until <= wall + ADOPTED_GRACE:
        return None
    if last_used is not None and last_used > until - ADOPTED_GRACE:
        return None
    return until - wall


def failed_at(fact: Fact, wall: float) -> float:
    """Wall-clock seconds of the last failure."""
    times = [float(at) for at in _list(fact.get("failures")) if isinstance(at, int | float)]
    return min(wall, max(times, default=wall))


def stages_of(fact: Fact) -> list[dict[str, float]]:
    """Starts of the history, oldest first: seconds by stage, `""` for the whole."""
    return [
        {str(name): float(value) for name, value in row.items()}
        for row in _list(fact.get("starts"))
        if isinstance(row, Mapping) and all(isinstance(value, int | float) for value in row.values())
    ]


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
