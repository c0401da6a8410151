"""What the gateway says about its machines: what they have, who has it, who waits. Reads only.

A snapshot may be shown, never acted on. Instants are aware UTC datetimes, amounts bytes or whole pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hestia.core import residents
from hestia.core.model import MachineId
from hestia.core.records import Slot
from hestia.core.room import INSTANCES
from hestia.core.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """How much there is of one resource. used may exceed total: what was found running is never killed."""

    total: int
    used: int
    is_size: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """An instance that has room. why: how it stays, such as `is busy (2 requests)`. gives_way: to whom:
    `at_once`, `after_wait` (to who waited `max_room_wait`), `never`, or `leaving`."""

    service: str
    instance: str
    phase: str
    since: datetime
    takes: Mapping[str, int]
    gives_way: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A start that waits for room. since: from when on. text: for whom, in words."""

    service: str
    instance: str
    since: datetime
    needs: Mapping[str, int]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineStatus:
    """One machine. declared: `machines` describes it. services: how many may run there. running: instances
    that are not confirmed gone."""

    id: str
    address: str
    role: str
    tags: tuple[str, ...]
    declared: bool
    services: int
    running: int
    max_instances: int | None
    resources: Mapping[str, Resource] = field(default_factory=dict)
    residents: tuple[Resident, ...] = ()
    waiting: tuple[Waiting, ...] = ()


GIVES_WAY = {"idle": "at_once", "used": "after_wait", "fixed": "never", "leaving": "leaving"}


def machine_statuses(world: World, now: float) -> list[MachineStatus]:
    """All of them, those that are described first. now: loop-clock seconds."""
    there: dict[MachineId, list[Slot]] = {name: [] for name in world.machines}
    for record in world.services.values():
        for slot in record.slots.values():
            held = slot.reservation.machine if slot.reservation is not None else slot.settings.machine
            there.setdefault(held, []).append(slot)
    return [_status(world, name, slots, now) for name, slots in there.items() if name in world.machines]


def _status(world: World, name: MachineId, slots: Iterable[Slot], now: float) -> MachineStatus:
    machine, known = world.machines[name], list(slots)
    holding = [slot for slot in known if slot.reservation is not None]
    used: dict[str, int] = {}
    for slot in holding:
        for resource, amount in (slot.reservation.takes if slot.reservation else {}).items():
            used[resource] = used.get(resource, 0) + amount
    return MachineStatus(
        id=name,
        address=machine.address,
        role=machine.role,
        tags=machine.tags,
        declared=machine.declared,
        services=len({slot.record.service for slot in known}),
        running=len(holding),
        max_instances=machine.max_instances,
        resources={
            resource: Resource(total=total, used=used.get(resource, 0), is_size=resource in machine.sizes)
            for resource, total in machine.resources.items()
        },
        residents=tuple(_resident(world, slot, now) for slot in holding),
        waiting=tuple(_waiting(slot, now) for slot in known if slot.seek is not None),
    )


def _resident(world: World, slot: Slot, now: float) -> Resident:
    stay, word = world.stay(slot, now)
    takes = slot.reservation.takes if slot.reservation is not None else {}
    return Resident(
        service=slot.record.service,
        instance=slot.record.id,
        phase=slot.record.state,
        since=_wall(slot.record.since, now),
        takes={name: amount for name, amount in takes.items() if name != INSTANCES},
        gives_way="after_wait" if word == "fresh" else GIVES_WAY[stay],
        why=residents.words(slot, word).removeprefix(f"{slot.record.service} "),
    )


def _waiting(slot: Slot, now: float) -> Waiting:
    seek = slot.seek
    assert seek is not None, "it does not look for room"
    return Waiting(
        service=slot.record.service,
        instance=slot.record.id,
        since=_wall(seek.since, now),
        needs=slot.service.settings.needs,
        text=seek.holders,
    )


def _wall(at: float, now: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=now - at)
