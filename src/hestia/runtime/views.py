"""Builds the snapshots of `runtime.status` from the records. Reads only; nothing is decided from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from hestia.core.errors import HestiaError
from hestia.core.lifecycle import State
from hestia.core.model import NEVER, InstanceId, ServiceId
from hestia.core.ports import Automates, Automation, Engine
from hestia.core.records import Slot
from hestia.core.world import World
from hestia.runtime import standing
from hestia.runtime.history import History
from hestia.runtime.starts import StartJob
from hestia.runtime.status import ErrorStatus, InstanceStatus, ServiceStatus, StageStatus

# the instance that speaks for its service: the one that is closest to serving
_RANK = {
    State.HOT: 0,
    State.STARTING: 1,
    State.DRAINING: 2,
    State.STOPPING: 3,
    State.FAILED: 4,
    State.COLD: 5,
}
Place = tuple[ServiceId, InstanceId]


class Views:
    """Snapshots for people and programs. starts: the running or last start job of each instance."""

    def __init__(
        self,
        world: World,
        history: History,
        starts: Mapping[Place, StartJob],
        engines: Mapping[str, Engine],
        clock: Callable[[], float],
    ) -> None:
        self._engines = engines
        self._world = world
        self._history = history
        self._starts = starts
        self._clock = clock
        self._errors: dict[Place, tuple[HestiaError, datetime]] = {}

    def note_error(self, place: Place, error: HestiaError, at: datetime | None = None) -> None:
        """Remember when the last thing went wrong, now if not said; it survives the instance (OB-17)."""
        self._errors[place] = (error, at or datetime.now(UTC))

    def estimate(self, service: ServiceId) -> float | None:
        """Seconds until the service is ready, while it starts and when history knows (QF-16)."""
        record = self._world.services.get(service)
        if record is None:
            return None
        found = []
        for slot in record.slots.values():
            if slot.state is State.STARTING:
                remaining = self._history.remaining(service, slot.record.id, self._elapsed(slot))
                if remaining is not None:
                    found.append(remaining)
        return min(found, default=None)

    def _elapsed(self, slot: Slot) -> float:
        """Seconds since the job of a start began; what it waits for before counts as nothing."""
        job = self._starts.get((slot.record.service, slot.record.id))
        if slot.held_back or job is None or job.key.generation != slot.record.generation:
            return 0.0
        return self._clock() - job.clock.began

    def service(self, service: ServiceId) -> ServiceStatus:
        """Raises ServiceNotFound."""
        record = self._world.service(service)
        slots = list(record.slots.values())
        lead = min(slots, key=lambda slot: (_RANK[slot.state], slot.use is not None and slot.use.suspect))
        instances = tuple(self._instance(slot) for slot in slots)
        first = instances[slots.index(lead)]
        used = [status.last_used_at for status in instances if status.last_used_at is not None]
        errors = [status.last_error for status in instances if status.last_error is not None]
        return ServiceStatus(
            id=service,
            phase=first.phase,
            machine=first.machine,
            engine=first.engine,
            queue=len(record.queue),
            in_flight=sum(status.in_flight for status in instances),
            last_used_at=max(used, default=None),
            idle_stop_at=first.idle_stop_at,
            started_at=first.started_at,
            since=first.since,
            retry_at=first.retry_at,
            estimated_ready=self.estimate(service),
            episode=lead.record.episode,
            idle_timeout=record.settings.idle_timeout,
            last_error=max(errors, key=lambda error: error.at, default=None),
            instances=instances,
            fallback_url=record.settings.fallback_url,
            port=record.settings.port,
            automation=first.automation,
            budget=standing.budget(record, self._clock()),
        )

    def _instance(self, slot: Slot) -> InstanceStatus:
        record, use, now = slot.record, slot.use, self._clock()
        idle_at, retry = None, standing.retries_at(slot, now)
        stays = slot.idle_timeout == NEVER or self._world.stays(slot)
        if record.state is State.HOT and use is not None and not use.open and not stays:
            idle_at = self._wall(max(use.last_used + slot.idle_timeout, slot.looked_at or 0.0))
        endpoint = record.endpoint
        used = use.last_used if use is not None and use.granted else slot.last_used
        return InstanceStatus(
            id=record.id,
            phase="suspect"
            if use is not None and use.suspect and record.state is State.HOT
            else record.state,
            machine=slot.settings.machine,
            engine=slot.settings.engine,
            address=str(endpoint) if endpoint is not None else slot.settings.base_url,
            generation=record.generation,
            in_flight=use.open if use is not None else 0,
            since=self._wall(record.since),
            started_at=self._wall(use.hot_since) if use is not None else None,
            last_used_at=None if used is None else self._wall(used),
            idle_stop_at=idle_at,
            retry_at=None if retry is None else self._wall(retry),
            external=record.external,
            stages=self._stages(slot),
            last_error=self._error(slot),
            automation=self._automation(slot),
            unused=standing.unused(slot, now),
            kept_for=tuple(self._world.kept_for(slot)) if record.state is State.HOT else (),
            kept_warm=record.state is State.HOT and self._world.kept_warm(slot),
        )

    def _automation(self, slot: Slot) -> Automation | None:
        engine = self._engines.get(slot.settings.engine)
        if not isinstance(engine, Automates):
            return None
        return engine.automation(slot.record.service, slot.record.id)

    def _stages(self, slot: Slot) -> tuple[StageStatus, ...]:
        place = (slot.record.service, slot.record.id)
        job = self._starts.get(place)
        if job is None or job.key.generation != slot.record.generation:
            return ()
        return tuple(
            StageStatus(
                name=name, text=text, seconds=seconds, done=done, usual=self._history.usual(*place, name)
            )
            for name, text, seconds, done in job.clock.durations(self._clock())
        )

    def _error(self, slot: Slot) -> ErrorStatus | None:
        noted = self._errors.get((slot.record.service, slot.record.id))
        if noted is None:
            return None
        error, at = noted
        return ErrorStatus(
            code=error.code,
            detail=error.detail,
            cause=error.cause,
            stage=error.stage,
            remedy=error.remedy,
            at=at,
            tail=error.tail,
        )

    def last_error(self, service: ServiceId) -> HestiaError | None:
        """The last thing that went wrong with any instance of it."""
        of = [noted for (name, _), noted in self._errors.items() if name == service]
        return max(of, key=lambda noted: noted[1])[0] if of else None

    def _wall(self, at: float) -> datetime:
        """The wall-clock instant of a loop-clock one. 0 ("since ever") is the start of the process."""
        ago = self._clock() - at if at and math.isfinite(at) else 0.0
        return datetime.now(UTC) - timedelta(seconds=ago)
