"""Services on their machines: what they need exists there and fits, and how long they may wait for it.

Looks at everything together; how it is written is in `config.machines`, what fits is decided in `core.room`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hestia.config.check import Checker
from hestia.config.errors import nearest, one_of
from hestia.config.machines import Bytes, amounts
from hestia.config.tree import Node
from hestia.core.model import Machine, MachineId, ServiceId, ServiceSettings, machines_of
from hestia.core.room import INSTANCES, limits, short, total

Services = dict[ServiceId, ServiceSettings]


def with_room(
    checker: Checker,
    services: Services,
    machines: Mapping[MachineId, Machine],
    homes: Mapping[str, Mapping[str, Node]],
) -> Services:
    """The services with what waiting for room may take. homes: service → its nodes by key."""
    before = len(checker.problems)
    for name, settings in services.items():
        for machine in {one.machine for one in settings.instances if one.managed}:
            known = machines.get(machine, Machine(id=machine, declared=False))
            _check_needs(checker, settings, known, homes[name])
    every = machines_of(machines, services.values())
    if len(checker.problems) > before:
        return services
    for name, settings in services.items():
        if settings.depends_on:
            _check_with_dependencies(checker, settings, services, every, homes[name])
    going = _longest_to_go(services, every)
    return {name: _with_wait(settings, going) for name, settings in services.items()}


def warnings(services: Services, machines: Mapping[MachineId, Machine]) -> Iterator[str]:
    """What has no effect, and names that look misspelt."""
    for name, settings in services.items():
        for one in settings.instances:
            near = nearest(one.machine, sorted(machines)) if one.machine not in machines else ""
            if near:
                yield (
                    f"services.{name}.machine: {one.machine!r} is not described in `machines`, so it has no "
                    f"limits; did you mean {near!r}?"
                )
        if settings.needs and not any(one.managed for one in settings.instances):
            yield f"services.{name}.needs has no effect with engine none: nothing is started here"


def _check_needs(
    checker: Checker, settings: ServiceSettings, machine: Machine, home: Mapping[str, Node]
) -> None:
    """Every resource is one of the machine, counted as there, and there is enough of it (EV-06)."""
    path = f"services.{settings.id}.needs"
    for name, amount in settings.needs.items():
        node = _item(home, name)
        if name not in machine.resources:
            has = f"it has {one_of(sorted(machine.resources))}" if machine.resources else "it names none"
            checker.add(
                node,
                f"{path}.{name}",
                f"the machine {machine.id!r} has no resource {name!r}: {has}",
                nearest=nearest(name, list(machine.resources)),
                remedy=f"add machines.{machine.id}.resources.{name}, or correct the name",
            )
        elif isinstance(amount, Bytes) != (name in machine.sizes):
            given = amounts({name: amount})[name]
            there = amounts({name: machine.resources[name]})[name]
            checker.add(
                node,
                f"{path}.{name}",
                f"{given} cannot be compared with {there}, which the machine {machine.id!r} has",
                remedy="write both as sizes with their unit, or both as numbers",
            )
        elif amount > machine.resources[name]:
            there = amounts({name: machine.resources[name]})[name]
            checker.add(
                node,
                f"{path}.{name}",
                f"{amounts({name: amount})[name]} is more than the machine {machine.id!r} has: {there}",
                remedy=f"lower it, or raise machines.{machine.id}.resources.{name}",
            )


def _check_with_dependencies(
    checker: Checker,
    settings: ServiceSettings,
    services: Services,
    machines: Mapping[MachineId, Machine],
    home: Mapping[str, Node],
) -> None:
    """A service and all that it needs must fit together, or it could never start."""
    together, pending = {settings.id: settings}, list(settings.depends_on)
    while pending:
        needed = pending.pop()
        if needed in services and needed not in together:
            together[needed] = services[needed]
            pending += services[needed].depends_on
    for machine in {one.machine for one in settings.instances}:
        there = [one for one in together.values() if _is_on(one, machine)]
        known = machines.get(machine)
        if known is None or len(there) < 2:
            continue
        missing = short(total({**one.needs, INSTANCES: 1} for one in there), limits(known))
        for name in missing:
            where = "max_instances" if name == INSTANCES else f"resources.{name}"
            checker.add(
                home["depends_on"],
                f"services.{settings.id}.depends_on",
                f"{one_of([one.id for one in there]).replace(' or ', ' and ')} do not fit on the machine "
                f"{machine!r} together, so {settings.id!r} could never start",
                remedy=f"raise machines.{machine}.{where}, or move one of them to another machine",
            )


def _is_on(settings: ServiceSettings, machine: MachineId) -> bool:
    return any(one.machine == machine and one.managed for one in settings.instances)


def _longest_to_go(services: Services, machines: Mapping[MachineId, Machine]) -> dict[MachineId, float]:
    """How long those may take to go that have the room, by machine with limits."""
    found: dict[MachineId, float] = {}
    for settings in services.values():
        for one in settings.instances:
            if one.managed and one.machine in machines and limits(machines[one.machine]):
                longest = settings.drain_timeout + settings.stop_grace
                found[one.machine] = max(found.get(one.machine, 0.0), longest)
    return found


def _with_wait(settings: ServiceSettings, going: Mapping[MachineId, float]) -> ServiceSettings:
    waits = [going[one.machine] for one in settings.instances if one.managed and one.machine in going]
    return replace(settings, room_wait=settings.max_room_wait + max(waits)) if waits else settings


def _item(home: Mapping[str, Node], name: str) -> Node:
    node = home["needs"]
    return (node.mapping or {}).get(name, node)
