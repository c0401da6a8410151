"""Room on machines: what runs has it, what starts asks for it, and who decides is `core.room` (EV).

A reservation belongs to a generation, from before its start until it is confirmed gone; nobody counts them
anywhere else, so none can leak: what a machine holds is what its slots say (EV-15). A start that waits is
`starting` without a job: `Slot.seek`. Every change of state on a machine with limits leads to a look at it,
and one look decides and marks everything in the same step (EV-08). Works through `core.steps`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hestia.core import dependencies, reasons, residents
from hestia.core import lifecycle as lc
from hestia.core.effects import AwaitRoom, MadeRoom, RefuseStart, RunBusyProbe, RunStart, Timer
from hestia.core.idle import Busy, Sequence
from hestia.core.lease import WANTED
from hestia.core.lifecycle import State
from hestia.core.model import Machine, MachineId, ServiceId
from hestia.core.records import Reservation, Seek, ServiceRecord, Slot
from hestia.core.room import (
    INSTANCES,
    Amounts,
    Decision,
    Eviction,
    Holder,
    Place,
    Start,
    decide,
    fits,
    limits,
    total,
)

if TYPE_CHECKING:
    from hestia.core.steps import Steps

Tenants = dict[MachineId, list[Slot]]
ASK_AGAIN: Final = 15.0  # seconds until a busy probe is asked again for its room
SOCKET_CLOSE: Final = 6.0  # seconds silent sockets get to close, as for an idle stop


def index(services: Mapping[ServiceId, ServiceRecord], machines: Mapping[MachineId, Machine]) -> Tenants:
    """The instances of each machine that has limits."""
    found: Tenants = {name: [] for name, machine in machines.items() if limits(machine)}
    for record in services.values() if found else ():
        for slot in record.slots.values():
            if slot.settings.machine in found and slot.settings.managed:
                found[slot.settings.machine].append(slot)
    return found


def needs(slot: Slot) -> Amounts:
    """What an instance takes on its machine."""
    return {**slot.service.settings.needs, INSTANCES: 1}


def is_full(steps: Steps, slot: Slot) -> bool:
    """Whether a start of this instance would have to wait for room now."""
    name = slot.settings.machine
    if name not in steps.tenants:
        return False
    held = [one.reservation.takes for one in _holding(steps, name) if one.reservation is not None]
    return bool(_seeking(steps, name)) or not fits(total([*held, needs(slot)]), limits(steps.machines[name]))


# -- a start ---------------------------------------------------------------------------------------


def begin(steps: Steps, slot: Slot, now: float) -> None:
    """A start may begin as far as others are concerned: as soon as there is room for it."""
    machine = steps.machines.get(slot.settings.machine)
    capacity = limits(machine) if machine is not None else {}
    if machine is None or not capacity or not slot.settings.managed:
        _run(steps, slot, now)
        return
    if not fits(needs(slot), capacity):
        end_seek(steps, slot)
        told = reasons.impossible(slot, machine)
        steps.effects.append(RefuseStart(slot.key(steps.gateway), told))
        return
    if slot.seek is None:
        arrived = min((waiter.arrived for waiter in residents.waiters(slot)), default=now)
        steps.seeks += 1
        slot.seek = Seek(since=max(arrived, slot.gave_way_at), at=now, order=steps.seeks)
    look(steps, machine.id, now)


def reconsider(steps: Steps, now: float) -> None:
    """Machines were described anew: look at each, and at starts that wait (EV-13: nothing is killed)."""
    for record in steps.services.values():
        for slot in record.slots.values():
            if slot.seek is not None:
                begin(steps, slot, now)
    for name in steps.tenants:
        look(steps, name, now)


def _run(steps: Steps, slot: Slot, now: float) -> None:
    end_seek(steps, slot)
    reserve(slot, now)
    slot.begun_at = now
    steps.effects.append(RunStart(slot.key(steps.gateway), slot.record.episode))


def reserve(slot: Slot, now: float) -> None:
    """The generation that this instance is at takes its room."""
    if slot.settings.managed:
        slot.reservation = Reservation(slot.settings.machine, needs(slot), now)


def end_seek(steps: Steps, slot: Slot) -> None:
    """The start of this instance looks for room no more."""
    if slot.seek is not None:
        slot.seek = None
        steps.timer(slot, Timer.ROOM, None)


# -- what changes --------------------------------------------------------------------------------


def moved(steps: Steps, slot: Slot, before: State, now: float) -> MachineId:
    """An instance changed its state, and with it what it has. Returns the machine where that matters."""
    record, place = slot.record, slot.reservation.machine if slot.reservation else slot.settings.machine
    if record.state is not State.STARTING:
        end_seek(steps, slot)
    match record.state:
        case State.HOT if slot.reservation is None:  # somebody else started it
            reserve(slot, now)
        case State.HOT if before is State.STARTING and slot.begun_at is not None:
            slot.took, slot.begun_at = now - slot.begun_at, None
        case State.STOPPING | State.DRAINING:
            slot.gave_way_at = now
            if slot.reservation is None and before in (State.COLD, State.FAILED):
                reserve(slot, now)  # a late result: it is there after all
        case State.COLD | State.FAILED if not record.stuck:
            slot.reservation = slot.begun_at = None
        case State.FAILED if slot.reservation is None:
            reserve(slot, now)
    return place


def released(steps: Steps, slot: Slot, now: float) -> None:
    """A lease of an instance was given back, or became a socket: where somebody wants its room, it may have
    become idle."""
    use, held = slot.use, slot.reservation
    if use is None or held is None or use.waiting is not WANTED:
        return
    if not residents.busy_leases(slot, now):
        look(steps, held.machine, now)


def queue_changed(steps: Steps, record: ServiceRecord, now: float) -> None:
    """Somebody waits for a service, or does no more: a start that only waits for room is needed more than
    before, or not at all (SF-14), and what has no waiters may go."""
    if not steps.tenants or steps.closing:
        return
    for slot in record.slots.values():
        if slot.seek is not None:
            look(steps, slot.settings.machine, now)
        elif slot.reservation is not None and slot.reservation.machine in steps.wanted:
            look(steps, slot.reservation.machine, now)
    for name in record.settings.depends_on:  # those who wait for this service wait for these
        if name in steps.services:
            queue_changed(steps, steps.services[name], now)


def answered(steps: Steps, slot: Slot, said: Busy, sequence: Sequence, now: float) -> bool:
    """A busy probe ended. Where somebody wants the room it may have been asked for that, before it was idle
    for long: then the answer is for the room alone. True: that was all."""
    use, held = slot.use, slot.reservation
    if use is None or held is None or use.waiting is not WANTED:
        return False
    if said is Busy.FREE:
        slot.said_free = sequence
    else:
        slot.ask_room_at = now + ASK_AGAIN
    look(steps, held.machine, now)
    return slot.state is not State.HOT or now < use.last_used + slot.idle_timeout


# -- one look at one machine ---------------------------------------------------------------------


def look(steps: Steps, name: MachineId, now: float) -> None:
    """Give room to whoever may have it now; evict, where that is decided. What follows from doing that is
    looked at afterwards, in the same step."""
    if name not in steps.tenants or steps.closing:
        return
    if name in steps.looking:
        steps.looking[name] = True
        return
    steps.looking[name] = True
    while steps.looking[name]:
        steps.looking[name] = False
        _look_once(steps, name, now)
    del steps.looking[name]


def _look_once(steps: Steps, name: MachineId, now: float) -> None:
    waiting = _seeking(steps, name)
    if not waiting and name not in steps.wanted:
        return
    for slot in waiting:
        if _give_up(steps, slot, now):
            return
    seeking = {place_of(slot): slot for slot in _seeking(steps, name)}
    holding = {place_of(slot): slot for slot in _holding(steps, name)}
    _want(holding, wanted=bool(seeking))
    if not seeking:
        steps.wanted.discard(name)
        return
    steps.wanted.add(name)
    urgent = any(residents.urgent(steps, slot) for slot in seeking.values())
    for slot in holding.values() if urgent else ():
        _ask(steps, slot, now)
    starts = [_start(steps, slot) for slot in seeking.values()]
    holders = [_holder(steps, slot, now) for slot in holding.values()]
    decision = decide(limits(steps.machines[name]), holders, starts, now)
    _tell(steps, decision, seeking, holding, now)
    for eviction in decision.evictions:
        _evict(steps, name, eviction, seeking, holding, now)
    for place in decision.granted:
        _grant(steps, seeking[place], now)
    for slot in seeking.values():
        if slot.seek is not None:
            steps.timer(slot, Timer.ROOM, _look_at(steps, slot, decision, now))


def _seeking(steps: Steps, name: MachineId) -> list[Slot]:
    return [slot for slot in steps.tenants[name] if slot.seek is not None]


def _holding(steps: Steps, name: MachineId) -> Iterator[Slot]:
    for slot in steps.tenants[name]:
        if slot.reservation is not None and slot.reservation.machine == name:
            yield slot


def _want(holding: Mapping[Place, Slot], *, wanted: bool) -> None:
    """See to it that the end of a lease is told while somebody wants the room (`Lease.close`)."""
    for slot in holding.values():
        if slot.use is not None:
            slot.use.waiting = WANTED if wanted else slot.service.queue.waiters


def _start(steps: Steps, slot: Slot) -> Start:
    settings, seek = slot.service.settings, slot.seek
    assert seek is not None, "it does not look for room"
    return Start(
        place=place_of(slot),
        needs=needs(slot),
        since=seek.since,
        patience=settings.max_room_wait,
        priority=settings.priority,
        order=seek.order,
        urgent=residents.urgent(steps, slot),
        spares=dependencies.all_needed(steps, slot.service),
    )


def _holder(steps: Steps, slot: Slot, now: float) -> Holder:
    held, use = slot.reservation, slot.use
    assert held is not None, "it has no room"
    return Holder(
        place=place_of(slot),
        takes=held.takes,
        stay=residents.stay(steps, slot, now)[0],
        priority=slot.service.settings.priority,
        last_used=use.last_used if use is not None else slot.record.since,
        free_from=residents.free_from(slot),
        since=residents.waits_since(steps, slot),
        turn_until=residents.turn_until(slot),
    )


def place_of(slot: Slot) -> Place:
    return slot.record.service, slot.record.id


def _look_at(steps: Steps, slot: Slot, decision: Decision, now: float) -> float | None:
    """When a start that waits is looked at next without an event."""
    assert slot.seek is not None, "it does not look for room"
    instants = [decision.look_at.get(place_of(slot), math.inf)]
    if not residents.urgent(steps, slot):
        instants.append(_given_up_at(slot))
    elif decision.look_at:
        held = [one.ask_room_at for one in _holding(steps, slot.settings.machine) if not one.asking]
        instants += [at for at in held if at > now]
    at = min(instants)
    return at if at < math.inf else None


# -- starts that wait ------------------------------------------------------------------------------


def _given_up_at(slot: Slot) -> float:
    """Until when a start that nobody waits for looks for room."""
    settings, seek = slot.service.settings, slot.seek
    if seek is None or slot.record.cause in residents.STANDING:
        return math.inf
    return seek.at + settings.max_room_wait + settings.room_wait + settings.stop_grace


def _give_up(steps: Steps, slot: Slot, now: float) -> bool:
    """End a start that only waits for room and that nobody waits for any more (SF-14)."""
    if residents.wanted(steps, slot):
        return False
    if slot.record.cause == "demand":
        event = lc.StartGivenUp(service=slot.record.service, instance=slot.record.id)
        steps.step(slot, event, now)
        return True
    if now < _given_up_at(slot):
        return False
    told = reasons.no_room(slot, now)
    end_seek(steps, slot)
    steps.effects.append(RefuseStart(slot.key(steps.gateway), told))
    return True


def _grant(steps: Steps, slot: Slot, now: float) -> None:
    if slot.seek is None or slot.state is not State.STARTING:
        return  # what was done before it in this look ended it
    if dependencies.missing(steps, slot):  # one of them went meanwhile
        end_seek(steps, slot)
        dependencies.begin(steps, slot, now)
        return
    seek, key = slot.seek, slot.key(steps.gateway)
    if seek.seen:
        text = f"{slot.settings.machine}: {seek.seen}"
        steps.effects.append(AwaitRoom(key, slot.record.episode, text))
    _run(steps, slot, now)


def _tell(
    steps: Steps,
    decision: Decision,
    seeking: Mapping[Place, Slot],
    holding: Mapping[Place, Slot],
    now: float,
) -> None:
    """Say what each start waits for, when that is another thing than before."""
    freed = {eviction.start for eviction in decision.evictions}
    said = [(slot, residents.stay(steps, slot, now)) for slot in holding.values()]
    for place, slot in seeking.items():
        seek = slot.seek
        if seek is None or place in decision.granted or place in freed:
            continue
        key = tuple((place_of(one), stay, word) for one, (stay, word) in said)
        if key == seek.key:
            continue
        seek.key, seek.names = key, [one.record.service for one, _ in said]
        seek.holders = "; ".join(residents.words(one, word) for one, (_, word) in said)
        seek.seen = seek.seen or "; ".join(residents.past(one, word) for one, (_, word) in said)
        text = f"waiting for room on {slot.settings.machine}: {seek.holders}"
        steps.effects.append(AwaitRoom(slot.key(steps.gateway), slot.record.episode, text))


# -- those who give way ----------------------------------------------------------------------------


def _ask(steps: Steps, slot: Slot, now: float) -> None:
    """A holder that looks idle may work on something that makes no traffic: ask it first (ID-07)."""
    use = slot.use
    if use is None or slot.asking or now < slot.ask_room_at or not residents.is_unasked(slot, now):
        return
    if now >= residents.free_from(slot) and residents.stay(steps, slot, now)[1] == residents.UNASKED:
        slot.asking = True
        steps.effects.append(RunBusyProbe(use.key, use.endpoint, Sequence.of(use)))


def _evict(
    steps: Steps,
    name: MachineId,
    eviction: Eviction,
    seeking: Mapping[Place, Slot],
    holding: Mapping[Place, Slot],
    now: float,
) -> None:
    """Carry one eviction out: one event for it, then each victim goes, and cannot come back (EV-07)."""
    start = seeking[eviction.start]
    victims = [holding[place] for place in eviction.victims]
    if start.seek is None or any(victim.state not in (State.HOT, State.STARTING) for victim in victims):
        return  # what was done before it in this look changed that
    seek, machine = start.seek, start.settings.machine
    told = [residents.evicted(steps, victim, now) for victim in victims]
    if seek.seen:
        seek.seen += f"; {', '.join(residents.going(steps, victim, now) for victim in victims)}"
    else:
        seek.seen = "; ".join(told)
    seek.key, seek.names = eviction, [victim.record.service for victim in victims]
    seek.holders = ", ".join(f"{name} is stopping" for name in seek.names)
    key, episode = start.key(steps.gateway), start.record.episode
    steps.effects.append(
        MadeRoom(key, episode, name, tuple(victim.key(steps.gateway) for victim in victims), tuple(told))
    )
    text = f"waiting for room on {machine}: {seek.holders}"
    steps.effects.append(AwaitRoom(key, episode, text))
    for victim in victims:
        evict(steps, victim, start.record.service, now)


def evict(steps: Steps, slot: Slot, service: ServiceId, now: float) -> None:
    """Stop one instance for another service. Those who wait for it wait on (SF-07, EV-11)."""
    quiet = residents.only_silent_sockets(slot, now)
    event = lc.StopRequested(
        service=slot.record.service,
        instance=slot.record.id,
        busy=slot.use is not None and slot.use.open > 0,
        keep_waiters=True,
        cause=f"evicted_for:{service}",
    )
    steps.step(slot, event, now)
    if slot.state is State.DRAINING:  # it ends in any case (ID-10)
        slot.record = replace(slot.record, abort_on_drain=True)
        if quiet:
            steps.timer(slot, Timer.DRAIN, now + SOCKET_CLOSE)
