"""What the gateway before this one still relays: counted here as use, so that nothing of it is stopped.

A takeover leaves open streams with the old gateway for a while. To the new one, which decides about the
instances meanwhile, they are leases without an exchange behind them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from hestia.core.lease import Lease
from hestia.core.lifecycle import State
from hestia.core.model import InstanceId, ServiceId
from hestia.core.world import World


class InUse(NamedTuple):
    """One instance, the generation that runs, and how many leases of it are open."""

    service: ServiceId
    instance: InstanceId
    generation: int
    leases: int


def in_use(world: World) -> list[InUse]:
    """What is open now."""
    return [
        InUse(record.settings.id, name, slot.use.key.generation, slot.use.open)
        for record in world.services.values()
        for name, slot in record.slots.items()
        if slot.use is not None and slot.use.open
    ]


async def hold(
    world: World,
    used: Iterable[InUse],
    until: Awaitable[object],
    *,
    changed: asyncio.Event,
    release: Callable[[Lease], None],
) -> None:
    """Take leases of what was in use once it is adopted; give them back when `until` is over.

    changed: set after each transition. What is not adopted is not held.
    """
    leases: list[Lease] = []
    waiting = list(used)
    over = asyncio.ensure_future(until)  # noqa: TID251 - ends here
    try:
        while waiting and not over.done():
            leases += _taken(world, waiting)
            if waiting:
                change = asyncio.ensure_future(_changed(changed))  # noqa: TID251 - ends here
                await asyncio.wait({over, change}, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
        await over
    finally:
        over.cancel()
        for lease in leases:
            release(lease)


async def _changed(event: asyncio.Event) -> None:
    event.clear()
    await event.wait()


def _taken(world: World, waiting: list[InUse]) -> list[Lease]:
    """Leases of what is hot by now; leaves in `waiting` what may still become so."""
    leases: list[Lease] = []
    for one in list(waiting):
        service = world.services.get(one.service)
        slot = service.slots.get(one.instance) if service is not None else None
        if slot is not None and slot.record.generation == one.generation:
            if slot.state is State.STARTING:
                continue
            if slot.state is State.HOT and slot.use is not None:
                leases += [slot.use.grant() for _ in range(one.leases)]
        waiting.remove(one)
    return leases
