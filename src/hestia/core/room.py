"""Who gets room on a machine, who gives way, who waits: one pure decision over everything on that machine.

Theory. A machine has capacity: named amounts, of which `instances` (how many may run) is one like the others.
A *holder* is a generation that is not confirmed gone; a *start* wants room and has not begun. `decide` goes
through the starts in order of rank and gives each the first that applies:

1. It fits beside everything that is there: granted.
2. It fits as soon as what is being stopped is gone: that room is kept for it, it waits.
3. It would fit if holders went that may go: they are evicted, and their room is kept for it.
4. It waits, and whoever comes after it may take what is free meanwhile (QF-05).

Idle holders may go when their `min_hot` is over. For a start that has waited for its `patience` the others go
as well (QF-06), so rule 4 is bounded; only those who had waited for a fresh holder have their turn first, for
as long as its `min_hot`: else a start that takes longer than the patience would serve one request (QF-07).
Rank is priority, which waiting raises until it equals the highest (QF-08), then time of arrival. All
resources of a start are taken at once or none (EV-10). Nothing here changes or logs anything (EV-09); time is
an argument, equal input gives equal output (EV-05).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import Final

from hestia.core.model import InstanceId, Machine, ServiceId

INSTANCES: Final = "instances"  # the resource of which every instance takes one
SMALL: Final = 3  # sets of victims up to this size are searched for the smallest; larger ones are made small

Amounts = Mapping[str, int]  # resource → how much of it; bytes, or whole pieces
Place = tuple[ServiceId, InstanceId]


class Stay(StrEnum):
    """How firmly a holder has its room."""

    LEAVING = "leaving"  # it is being stopped; its room is free when it is gone (EV-02)
    IDLE = "idle"  # nobody uses it
    USED = "used"  # somebody does, or waits for it: it goes only for who has waited long enough
    FIXED = "fixed"  # it never goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A generation that has room. Instants are loop-clock seconds.

    free_from: end of its `min_hot`. since: for a start that others wait for, since when they do: nobody who
    came later cuts it short (EV-12). turn_until: it serves those who had waited for its start until then.
    """

    place: Place
    takes: Amounts
    stay: Stay
    priority: int = 0
    last_used: float = 0.0
    free_from: float = -math.inf
    since: float = math.inf
    turn_until: float = -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start that wants room. since: loop-clock seconds from which on it waits. patience: `max_room_wait`.

    order: among those that wait since the same instant. urgent: somebody waits for it; otherwise it takes
    only what is free. spares: services that it needs itself, so that it would evict them in vain.
    """

    place: Place
    needs: Amounts
    since: float
    patience: float
    priority: int = 0
    order: int = 0
    urgent: bool = True
    spares: frozenset[ServiceId] = frozenset()

    def overdue(self, now: float) -> bool:
        """Whether it has waited as long as others may keep it waiting."""
        return now >= self.since + self.patience


@dataclass(frozen=True, slots=True)
class Eviction:
    """Who gives way, and for whom."""

    victims: tuple[Place, ...]
    start: Place


@dataclass(frozen=True, slots=True)
class Decision:
    """granted: starts that begin now, in order. look_at: when time alone may change what a start gets."""

    granted: tuple[Place, ...] = ()
    evictions: tuple[Eviction, ...] = ()
    look_at: Mapping[Place, float] = field(default_factory=dict)


def limits(machine: Machine) -> dict[str, int]:
    """All that a machine limits."""
    found = dict(machine.resources)
    if machine.max_instances is not None:
        found[INSTANCES] = machine.max_instances
    return found


def amount_text(machine: Machine, name: str, amount: int) -> str:
    """An amount of a resource for people: `14 GiB`, `2`."""
    if name not in machine.sizes:
        return str(amount)
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if abs(amount) >= 2**power:
            return f"{amount / 2**power:.4g} {unit}"
    return f"{amount} B"


def decide(capacity: Amounts, holders: Sequence[Holder], starts: Sequence[Start], now: float) -> Decision:
    """Decide about one machine. See the module docstring for the rules."""
    held = total(holder.takes for holder in holders)
    staying = total(holder.takes for holder in holders if holder.stay is not Stay.LEAVING)
    left = [holder for holder in holders if holder.stay in (Stay.IDLE, Stay.USED)]
    granted: list[Place] = []
    evictions: list[Eviction] = []
    look_at: dict[Place, float] = {}
    for start in ranked(starts, now):
        wanted = total((staying, start.needs))
        if fits(wanted, capacity):
            staying = wanted
            if fits(total((held, start.needs)), capacity):
                held = total((held, start.needs))
                granted.append(start.place)
            continue
        if not start.urgent:
            continue
        candidates = [holder for holder in left if may_go(holder, start, now)]
        victims = choose(candidates, short(wanted, capacity))
        if victims:
            evictions.append(Eviction(tuple(victim.place for victim in victims), start.place))
            left = [holder for holder in left if holder not in victims]
            staying = _less(wanted, total(victim.takes for victim in victims))
        elif (at := _next_look(start, left, now)) is not None:
            look_at[start.place] = at
    return Decision(tuple(granted), tuple(evictions), look_at)


def ranked(starts: Iterable[Start], now: float) -> list[Start]:
    """The starts in the order in which they get room."""
    known = list(starts)
    highest = max((start.priority for start in known), default=0)

    def aged(start: Start) -> float:
        waited = (now - start.since) / start.patience if start.patience > 0 else 1.0
        return start.priority + (highest - start.priority) * min(1.0, max(0.0, waited))

    return sorted(known, key=lambda start: (not start.urgent, -aged(start), start.since, start.order))


def may_go(holder: Holder, start: Start, now: float) -> bool:
    """Whether a holder may be evicted for this start."""
    if holder.place[0] in start.spares:
        return False
    if start.overdue(now):
        may_be_cut = start.since < holder.since and now >= holder.turn_until
        return holder.stay is Stay.IDLE or (holder.stay is Stay.USED and may_be_cut)
    return holder.stay is Stay.IDLE and now >= holder.free_from


def choose(candidates: Iterable[Holder], missing: Amounts) -> tuple[Holder, ...]:
    """The victims that make room: a smallest set; among those the idle before the used, then the lowest
    priority, then the least recently used. Empty where all together are not enough (EV-06)."""
    useful = sorted(
        (one for one in candidates if any(one.takes.get(name) for name in missing)),
        key=lambda one: (one.stay is Stay.USED, one.priority, one.last_used, one.place),
    )
    if not _frees(useful, missing):
        return ()
    for size in range(1, min(SMALL, len(useful)) + 1):
        for chosen in combinations(useful, size):
            if _frees(chosen, missing):
                return chosen
    chosen_so_far: list[Holder] = []
    for one in useful:
        chosen_so_far.append(one)
        if _frees(chosen_so_far, missing):
            break
    for one in reversed(chosen_so_far[:-1]):  # whose going turned out to be needless stays
        rest = [other for other in chosen_so_far if other is not one]
        if _frees(rest, missing):
            chosen_so_far = rest
    return tuple(chosen_so_far)


def total(amounts: Iterable[Amounts]) -> dict[str, int]:
    """The sum, by resource."""
    found: dict[str, int] = {}
    for one in amounts:
        for name, amount in one.items():
            found[name] = found.get(name, 0) + amount
    return found


def fits(amounts: Amounts, capacity: Amounts) -> bool:
    """Whether a machine has that much of everything. What it does not limit it has enough of."""
    return not short(amounts, capacity)


def short(amounts: Amounts, capacity: Amounts) -> dict[str, int]:
    """By how much the amounts exceed the capacity; only resources of which there is too little."""
    return {name: amounts[name] - limit for name, limit in capacity.items() if amounts.get(name, 0) > limit}


def _less(amounts: Amounts, freed: Amounts) -> dict[str, int]:
    return {name: amount - freed.get(name, 0) for name, amount in amounts.items()}


def _frees(holders: Iterable[Holder], missing: Amounts) -> bool:
    freed = total(holder.takes for holder in holders)
    return all(freed.get(name, 0) >= amount for name, amount in missing.items())


def _next_look(start: Start, holders: Iterable[Holder], now: float) -> float | None:
    """When time alone may change what this start gets; None when only an event can."""
    instants = [holder.free_from for holder in holders]
    instants.append(start.since + start.patience)
    return min((at for at in instants if now < at < math.inf), default=None)
