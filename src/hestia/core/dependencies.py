"""Services that need others (`depends_on`, SF-12): what they need starts first, and stays while they run.

A start that waits is `starting` without a job: `Slot.awaiting`. It goes on when everything it needs is hot,
and fails with the reason of what failed. Nobody counts who holds whom: a service is held while one that needs
it is not cold, so there is nothing that could leak, and what was adopted holds what it needs by being there.
Works through `core.steps`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from hestia.core import reasons
from hestia.core.effects import AwaitDependencies, RefuseStart, Timer
from hestia.core.errors import HestiaError
from hestia.core.lifecycle import State
from hestia.core.model import ServiceId, ServiceSettings
from hestia.core.records import ServiceRecord, Slot

if TYPE_CHECKING:
    from hestia.core.steps import Steps

Dependants = dict[ServiceId, list[ServiceRecord]]
NOTHING: Final[Mapping[ServiceId, ServiceSettings]] = {}


def index(
    services: Mapping[ServiceId, ServiceRecord], coming: Mapping[ServiceId, ServiceSettings] = NOTHING
) -> Dependants:
    """Who needs whom: a service → those that name it. coming: settings that they will have."""
    found: Dependants = {}
    for service, record in services.items():
        for name in coming.get(service, record.settings).depends_on:
            found.setdefault(name, []).append(record)
    return found


# -- a start that needs others ---------------------------------------------------------------------


def begin(steps: Steps, slot: Slot, now: float) -> None:
    """A start was decided: run it, or first what it needs."""
    lacking = missing(steps, slot)
    key, slot.awaiting = slot.key(steps.gateway), bool(lacking)
    if not lacking:
        steps.make_room(slot, now)
        return
    names = tuple(record.settings.id for record in lacking)
    steps.effects.append(AwaitDependencies(key, slot.record.episode, names))
    for record in lacking:
        error = _ensure(steps, record, now, actor=slot.record.service)
        if error is not None:
            _refuse(steps, slot, record, error)
            return


def missing(steps: Steps, slot: Slot) -> list[ServiceRecord]:
    """What this instance needs and what is not hot."""
    needed = [steps.services[name] for name in slot.service.settings.depends_on if name in steps.services]
    return [record for record in needed if not _is_hot(record)]


def all_needed(steps: Steps, record: ServiceRecord) -> frozenset[ServiceId]:
    """What a service needs, and what that needs."""
    found: set[ServiceId] = set()
    pending = list(record.settings.depends_on)
    while pending:
        name = pending.pop()
        if name in steps.services and name not in found:
            found.add(name)
            pending += steps.services[name].settings.depends_on
    return frozenset(found)


def hopeless(steps: Steps, record: ServiceRecord, now: float) -> bool:
    """Whether a start would fail at once, for want of something that is not to be had."""
    needed = [steps.services[name] for name in record.settings.depends_on if name in steps.services]
    return any(not any(slot.hoped_for(now) for slot in other.slots.values()) for other in needed)


def became_hot(steps: Steps, record: ServiceRecord, now: float) -> None:
    """What others may wait for is hot. While the gateway ends, nothing begins any more."""
    if steps.closing:
        return
    for slot in waiting(steps, record):
        begin(steps, slot, now)


def failed(steps: Steps, slot: Slot, error: HestiaError, now: float, *, final: bool = False) -> None:
    """An instance of what others wait for failed: on to the next one, or they fail with it.

    final: somebody stopped the service, so that the others do not begin instead.
    """
    record = slot.service
    others = not final and [
        other
        for other in record.slots.values()
        if other is not slot
        and (other.under_way or (other.may_begin(now) and other.record.episode != record.episode))
    ]
    for one in waiting(steps, record):
        told = _ensure(steps, record, now, actor=one.record.service) if others else error
        if told is not None:
            _refuse(steps, one, record, told)


def recheck(steps: Steps, record: ServiceRecord, now: float) -> None:
    """Somebody may wait for this service, and nothing of it may be under way."""
    for slot in waiting(steps, record):
        error = _ensure(steps, record, now, actor=slot.record.service)
        if error is not None:
            _refuse(steps, slot, record, error)


# -- holding what is needed ------------------------------------------------------------------------


def holds(steps: Steps, record: ServiceRecord) -> bool:
    """Whether a service that needs this one is not cold; what somebody else started does not count."""
    return any(_holds(dependant) for dependant in steps.dependants.get(record.settings.id, ()))


def holders(steps: Steps, record: ServiceRecord) -> list[ServiceId]:
    """The services of which `holds` speaks."""
    dependants = steps.dependants.get(record.settings.id, ())
    return [dependant.settings.id for dependant in dependants if _holds(dependant)]


def _holds(dependant: ServiceRecord) -> bool:
    return any(_runs(slot) and not slot.record.external for slot in dependant.slots.values())


def misses(steps: Steps, record: ServiceRecord) -> bool:
    """Whether a service that is in use needs this one, so that it comes back after a crash."""
    return any(
        slot.state in (State.HOT, State.DRAINING) and not slot.record.external
        for dependant in steps.dependants.get(record.settings.id, ())
        for slot in dependant.slots.values()
    )


def in_use(steps: Steps, record: ServiceRecord) -> bool:
    """Whether a service that needs this one runs, or is being started: not one whose start waits."""
    return any(
        _runs(slot) and not slot.record.external and not slot.held_back
        for dependant in steps.dependants.get(record.settings.id, ())
        for slot in dependant.slots.values()
    )


def let_go(steps: Steps, record: ServiceRecord, now: float) -> None:
    """An instance is gone. If it was the last of its service, idleness of what it needs counts from now."""
    if any(_runs(slot) for slot in record.slots.values()):
        return
    for name in record.settings.depends_on:
        for slot in steps.services[name].slots.values() if name in steps.services else ():
            if slot.use is not None and slot.state is State.HOT:
                slot.use.last_used = now


def _runs(slot: Slot) -> bool:
    return slot.under_way or slot.record.stuck


def _is_hot(record: ServiceRecord) -> bool:
    return any(slot.state is State.HOT for slot in record.slots.values())


def waiting(steps: Steps, record: ServiceRecord) -> Iterator[Slot]:
    """Instances whose start waits for this service."""
    for dependant in steps.dependants.get(record.settings.id, ()):
        for slot in dependant.slots.values():
            if slot.awaiting and slot.state is State.STARTING:
                yield slot


def _ensure(steps: Steps, record: ServiceRecord, now: float, *, actor: str) -> HestiaError | None:
    """See to it that a service gets hot; the reason where that is hopeless."""
    slots = list(record.slots.values())
    if any(slot.state in (State.STARTING, State.HOT) for slot in slots):
        return None
    ready = [slot for slot in slots if slot.may_begin(now)]
    leaving = [slot for slot in slots if slot.state in (State.DRAINING, State.STOPPING)]
    if ready or leaving:  # what is leaving starts again when it is gone
        slot = min(ready, key=lambda slot: slot.tried_at(record.episode)) if ready else leaving[0]
        steps.begin(slot, now, cause="dependency", actor=actor)
        return None
    hoped = [slot for slot in slots if slot.hoped_for(now)]
    if not hoped:
        return reasons.not_now(slots[0], now)
    soonest = min(hoped, key=lambda slot: slot.ready_at(now))
    steps.timer(soonest, Timer.RETRY, soonest.ready_at(now))
    return None


def _refuse(steps: Steps, slot: Slot, record: ServiceRecord, error: HestiaError) -> None:
    """Fail a start that waits, once: the result comes back as an event, like that of any start."""
    slot.awaiting = False
    told = reasons.dependency_failed(slot.record.service, record.settings.id, error)
    steps.effects.append(RefuseStart(slot.key(steps.gateway), told))
