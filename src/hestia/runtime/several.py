"""What strategies may know of the instances of a service, and the little they may do to them.

Fits `proxy.choosing.Instances`. Looking is a snapshot or a probe; what is started goes through the world.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hestia.core.effects import Effect
from hestia.core.model import InstanceId, ServiceId
from hestia.core.records import ServiceRecord
from hestia.core.urls import fill_port, uses_port_mark
from hestia.core.world import World
from hestia.runtime.model_lists import ModelLists
from hestia.runtime.probes import ask, target_for
from hestia.runtime.starts import LOOK_TIMEOUT


class Several:
    """look: finds what others started. perform: does the effects of a decision."""

    def __init__(
        self,
        world: World,
        *,
        look: Callable[[ServiceId], Awaitable[None]],
        perform: Callable[[list[Effect]], None],
        clock: Callable[[], float],
        is_draining: Callable[[], bool],
    ) -> None:
        self._world = world
        self._look = look
        self._perform = perform
        self._clock = clock
        self._is_draining = is_draining
        self._lists = ModelLists(world.services, clock)
        self.models = self._lists.merged

    def record(self, service: ServiceId) -> ServiceRecord | None:
        """The record of a service, for those who look and change nothing."""
        return self._world.services.get(service)

    def reconfigured(self) -> None:
        """The services, or their instances, are others now."""
        self._lists.forget()

    def spill_over(self, service: ServiceId, instance: InstanceId, *, actor: str) -> None:
        """Start one more instance because a strategy says so, unless one starts already (SF-16)."""
        if not self._is_draining():
            self._perform(self._world.spill_over(service, instance, self._clock(), actor=actor))

    async def answers(self, service: ServiceId, instance: InstanceId) -> bool:
        """Probe an instance that is hot. False: it is not there, or not ready."""
        record = self._world.services.get(service)
        slot = record.slots.get(instance) if record is not None else None
        if slot is None or slot.record.endpoint is None or self._is_draining():
            return False
        verify, health = slot.service.settings.tls_verify, slot.settings.health_url
        if uses_port_mark(health):
            health = fill_port(health, slot.record.endpoint.port)
        target = target_for(slot.record.endpoint, health, tls_verify=verify)
        return (await ask(target, timeout=LOOK_TIMEOUT)).ready

    async def look(self, service: ServiceId) -> None:
        """Find what others started, and what of it is gone (RD-15)."""
        if not self._is_draining():
            await self._look(service)
