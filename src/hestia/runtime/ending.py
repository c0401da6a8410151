"""The end of a gateway: what has to stop is stopped, in order; what stays for the next one is left as it is.

Which is which, `on_exit` says. Nothing begins any more when this is called.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from hestia.core.lifecycle import State
from hestia.core.model import OnExit, ServiceId
from hestia.core.records import Slot
from hestia.core.world import World
from hestia.runtime.performer import Performer


class Ending:
    """See the module docstring. everything: stop what is to stay as well."""

    def __init__(self, world: World, performer: Performer, *, clock: Callable[[], float]) -> None:
        self._world = world
        self._performer = performer
        self._clock = clock

    async def stop_all(self, *, timeout: float, everything: bool) -> list[str]:
        """Stop what does not stay; what is left after `timeout` seconds is named."""
        told: set[ServiceId] = set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                self._end_next(told, everything)
                while self._left(everything):
                    self._performer.changed.clear()
                    await self._performer.changed.wait()
                    self._end_next(told, everything)
        self._performer.note_use()
        self._performer.forget_timers()
        return self._left(everything, stuck=True)

    def hurry(self, *, everything: bool) -> None:
        """End the grace of every stop under way."""
        for _ in range(2):  # what begins to stop just now as well
            for service in list(self._world.services):
                self._end(service, everything)

    def staying(self) -> list[str]:
        """What runs on without a gateway, as `service/instance`."""
        return [_name(slot) for slot in self._slots() if self._stays(slot)]

    def _end_next(self, told: set[ServiceId], everything: bool) -> None:
        """Stop every service that none which has to end needs any more (SF-12), each once."""
        ending = set(self._left(everything))
        for service in list(self._world.services):
            dependants = [slot for slot in self._slots() if service in slot.service.settings.depends_on]
            if service not in told and not any(_name(slot) in ending for slot in dependants):
                told.add(service)
                self._end(service, everything)

    def _end(self, service: ServiceId, everything: bool) -> None:
        """Stop what has to end; what stops already is hurried. What is unknown cannot be ended."""
        ends = [
            slot.record.id
            for slot in self._world.service(service).slots.values()
            if (everything or not self._stays(slot)) and not slot.record.unknown
        ]
        self._performer.perform(
            self._world.stop(service, self._clock(), force=True, cause="shutdown", only=ends)
        )

    def _left(self, everything: bool, *, stuck: bool = False) -> list[str]:
        """What has not ended and is to. stuck: also what could not be stopped, or found."""
        ended = (State.COLD, State.FAILED)
        return [
            _name(slot)
            for slot in self._slots()
            if (slot.state not in ended or (stuck and slot.record.stuck))
            and (everything or not self._stays(slot))
        ]

    def _stays(self, slot: Slot) -> bool:
        """Whether it runs on without a gateway: it is to, or what stays needs it, and a later gateway can
        take it over."""
        record = slot.record
        found = record.endpoint is not None or record.cause == "adopted"
        runs = record.state is State.HOT or (record.state is State.STARTING and found) or record.unknown
        if not runs or record.external or not slot.settings.managed:
            return False
        needed_by = [one for one in self._slots() if record.service in one.service.settings.depends_on]
        return slot.service.settings.on_exit is OnExit.KEEP or any(self._stays(one) for one in needed_by)

    def _slots(self) -> list[Slot]:
        return [slot for record in self._world.services.values() for slot in record.slots.values()]


def _name(slot: Slot) -> str:
    return f"{slot.record.service}/{slot.record.id}"
