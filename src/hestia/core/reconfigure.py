"""Takes new settings of a service into its record: only what differs is touched (SPEC 2, AD-17, ID-19).

A service that is not configured any more is *retired*: nobody new is served, what runs is drained and
stopped, and its record goes when nothing of it is left. Works through `core.steps`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hestia.core import dependencies, reservations, warm
from hestia.core import lifecycle as lc
from hestia.core.difference import Difference
from hestia.core.effects import EndpointClosed, Retired, Timer
from hestia.core.errors import ServiceNotFound
from hestia.core.lifecycle import State
from hestia.core.model import NEVER, InstanceSettings, Machine, MachineId, ServiceId, ServiceSettings
from hestia.core.records import ServiceRecord, Slot

if TYPE_CHECKING:
    from hestia.core.steps import Steps

GRACE: Final = 10.0  # seconds at least until a shortened idle timeout stops what was idle for longer (ID-19)
SPREAD: Final = 10.0  # seconds over which such stops are spread


def take(
    steps: Steps,
    known: dict[ServiceId, ServiceRecord],
    services: Mapping[ServiceId, ServiceSettings],
    machines: Mapping[MachineId, Machine],
    difference: Difference,
    now: float,
) -> None:
    """Take a new configuration. known: every record. services, machines: all that is configured now."""
    steps.machines, steps.tenants = machines, {}  # nobody gets room until everything is known
    for service in difference.added:
        known.setdefault(service, ServiceRecord(services[service], steps.numbers))
    steps.dependants = dependencies.index(known, services)
    for service in difference.removed:
        retire(steps, known[service], now)
    for at, service in enumerate(difference.changed):
        place = at / len(difference.changed)
        change(steps, known[service], services[service], now, place)
    for service in difference.added:
        record = known[service]
        if record.retired:  # it was taken out and is not gone yet
            change(steps, record, services[service], now, 0.0)
        else:
            warm.look(steps, record, now)
    order = {name: at for at, name in enumerate(services)}
    for name in sorted(known, key=lambda name: order.get(name, len(order))):
        known[name] = known.pop(name)  # the order that people wrote
    steps.tenants = reservations.index(known, machines)
    reservations.reconsider(steps, now)


def change(steps: Steps, record: ServiceRecord, settings: ServiceSettings, now: float, spread: float) -> None:
    """New settings of a known service. spread: 0…1, this service's place among those that stop now."""
    record.retired = False
    trusted = record.settings.tls_verify or not settings.tls_verify
    record.settings = settings
    wanted = {one.id: one for one in settings.instances}
    for name, slot in list(record.slots.items()):
        if name not in wanted:
            _retire(steps, slot, now)
    for name, one in wanted.items():
        known = record.slots.get(name)
        if known is None:
            record.slots[name] = Slot(record, one, steps.numbers.get((settings.id, name), 0))
        else:
            _change_instance(steps, known, one, now, GRACE + SPREAD * spread)
    record.default = tuple(wanted)
    if not trusted:  # connections of before were made without a look at the certificate
        steps.effects += [
            EndpointClosed(slot.use.key) for slot in record.slots.values() if slot.use is not None
        ]
    for waiter in record.queue:
        waiter.then = tuple(name for name in waiter.then if name in wanted)
        waiter.candidates = tuple(name for name in waiter.candidates if name in wanted) or record.default
    for slot in record.slots.values():
        if slot.held_back and slot.state is State.STARTING:  # it may need others, or other room, now
            reservations.end_seek(steps, slot)
            dependencies.begin(steps, slot, now)
    warm.look(steps, record, now)
    steps.recheck(record, now)


def _change_instance(steps: Steps, slot: Slot, settings: InstanceSettings, now: float, grace: float) -> None:
    before = slot.settings
    if not _differs(before, settings) or _is_gone(slot) or slot.held_back:
        slot.settings, slot.pending, slot.outdated = settings, None, False
    else:  # what runs is looked after and stopped by those who started it
        slot.pending, slot.outdated = settings, True
        if not before.managed or slot.record.external:
            _retire(steps, slot, now)  # nobody here started it: requests go to the new address
    use, limit = slot.use, slot.service.settings.max_in_flight
    if use is None:
        return
    use.limit = math.inf if limit is None else limit
    use.warm_limit = slot.service.settings.warm_concurrency
    use.data = None  # what the data path made of the old settings
    if slot.state is not State.HOT:
        return
    if slot.idle_timeout == NEVER:
        steps.timer(slot, Timer.IDLE, None)
    else:
        due = use.last_used + slot.idle_timeout
        steps.timer(slot, Timer.IDLE, due if due > now else now + grace)


def _differs(before: InstanceSettings, after: InstanceSettings) -> bool:
    """Whether what runs is not what would be started now."""
    moves = after.managed and before.machine != after.machine
    return moves or (before.engine, before.options_hash, before.base_url) != (
        after.engine,
        after.options_hash,
        after.base_url,
    )


def retire(steps: Steps, record: ServiceRecord, now: float) -> None:
    """A service that is configured no more: answer who waits, drain what runs, then forget it (DR-08)."""
    record.retired = True
    record.warm = False
    gone = ServiceNotFound(
        f'The service "{record.settings.id}" was taken out of the configuration.',
        service_id=record.settings.id,
        remedy="hestia status lists those that are there",
    )
    for waiter in record.queue:
        steps.refuse(record, waiter, gone)
    for slot in record.slots.values():
        _retire(steps, slot, now)
    forget_if_gone(steps, record)


def _retire(steps: Steps, slot: Slot, now: float) -> None:
    if slot.state is State.COLD:
        return
    event = lc.StopRequested(
        service=slot.record.service,
        instance=slot.record.id,
        busy=slot.use is not None and slot.use.open > 0,
        keep_waiters=True,
        cause="config",
    )
    steps.step(slot, event, now)
    if slot.state is State.DRAINING:  # at the end of its drain it does not go back into service
        slot.record = replace(slot.record, abort_on_drain=True)


def forget_if_gone(steps: Steps, record: ServiceRecord) -> None:
    """Drop what is configured no more and of which nothing is left: instances, then the service."""
    if record.retired:
        if all(_is_gone(slot) for slot in record.slots.values()):
            steps.effects.append(Retired(record.settings.id))
        return
    for name in [name for name in record.slots if name not in record.default]:
        if _is_gone(record.slots[name]):
            forget_slot(steps, record.slots.pop(name))


def forget_slot(steps: Steps, slot: Slot) -> None:
    """Its record goes; the numbers of its generations are never used again, should it come back."""
    steps.numbers[(slot.record.service, slot.record.id)] = slot.record.generation


def _is_gone(slot: Slot) -> bool:
    return slot.state is State.COLD or (slot.state is State.FAILED and not slot.record.stuck)
