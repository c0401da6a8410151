"""Asks what is hot whether it still lives, in the way in which its start was probed (RD-06).

Owns the question and the probes under way, not what follows from an answer: that is `core.liveness`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from hestia.core import effects as fx
from hestia.core.errors import UpstreamTimeout
from hestia.core.model import Endpoint, InstanceId, InstanceKey, ServiceId
from hestia.core.urls import fill_port
from hestia.core.world import World
from hestia.runtime.probes import Answer, Target, ask, pace, target_for
from hestia.runtime.records import Note
from hestia.runtime.starts import StartJob
from hestia.runtime.tasks import Tasks

log = logging.getLogger(__name__)

LIMIT: Final = 5.0  # seconds until a probe counts as failed


class LivenessProbes:
    """Runs the probes that the world asks for.

    starts: the running or last start job of each instance. perform: takes what follows from an answer. note:
    writes an event down. on_error: remembers what went wrong last.
    """

    def __init__(
        self,
        world: World,
        starts: Mapping[tuple[ServiceId, InstanceId], StartJob],
        *,
        tasks: Tasks,
        perform: Callable[[list[fx.Effect]], None],
        clock: Callable[[], float],
        note: Note,
        on_error: Callable[[tuple[ServiceId, InstanceId], UpstreamTimeout], None],
    ) -> None:
        self._world = world
        self._starts = starts
        self._tasks = tasks
        self._perform = perform
        self._clock = clock
        self._note = note
        self._on_error = on_error
        self._under_way: dict[InstanceKey, asyncio.Task[None]] = {}

    def begin(self, probe: fx.RunLivenessProbe) -> None:
        """Ask; the answer comes to the world."""
        self._under_way[probe.key] = self._tasks.spawn(self._ask(probe), f"liveness {probe.key}")

    def forget(self, key: InstanceKey) -> None:
        """This generation is in service no more."""
        if (task := self._under_way.pop(key, None)) is not None:
            task.cancel()

    def doubted(self, doubt: fx.Doubted) -> None:
        """Say that an instance became a suspect, or is none any more."""
        key = doubt.key
        self._note(
            "InstanceSuspected" if doubt.suspect else "InstanceRecovered",
            cause="probe",
            actor="",
            service=key.service,
            instance=key.instance,
            generation=key.generation,
            data={"detail": doubt.said},
        )
        if not doubt.suspect:
            return
        extra = {"event_type": "suspected", "service_id": key.service, "detail": doubt.said}
        log.warning('"%s" is hot and does not answer its probe: %s', key.service, doubt.said, extra=extra)
        error = UpstreamTimeout(
            f'"{key.service}" is hot and does not answer its probe: {doubt.said}.',
            cause="hung",
            service_id=key.service,
            remedy=f"hestia logs {key.service}",
        )
        self._on_error((key.service, key.instance), error)

    async def _ask(self, probe: fx.RunLivenessProbe) -> None:
        key = probe.key
        answer = Answer(False, False, 0, "the probe broke inside Hestia")
        try:
            target = self._target(key, probe.endpoint)
            answer = await self._answer(target, probe.patience)
            listens = Target(probe.endpoint, "", target.tls_verify)
            if probe.patience and answer.ready and target.endpoint != probe.endpoint:
                answer = await self._answer(listens, probe.patience)  # health is asked at another address
        except Exception:  # boundary: a probe that breaks is a failed one, not one for ever
            log.exception("A liveness probe broke", extra={"event_type": "liveness_broke"})
        self._under_way.pop(key, None)
        said = f"{answer.text} ({self._target(key, probe.endpoint).url})"
        effects = self._world.liveness(key, said, self._clock(), alive=answer.ready, refused=answer.refused)
        self._perform(effects)

    async def _answer(self, target: Target, patience: float) -> Answer:
        began = self._clock()
        while True:
            answer = await ask(target, timeout=LIMIT)
            elapsed = self._clock() - began
            if answer.ready or elapsed >= patience:
                return answer
            await asyncio.sleep(pace(elapsed, local=target.local))

    def _target(self, key: InstanceKey, endpoint: Endpoint) -> Target:
        """As its start was probed; for what somebody else started, as the settings say."""
        job = self._starts.get((key.service, key.instance))
        if job is not None and job.key == key and job.prober is not None:
            return job.prober.target
        slot = self._world.slot(key.service, key.instance)
        health = fill_port(slot.settings.health_url, endpoint.port)
        return target_for(endpoint, health, tls_verify=slot.service.settings.tls_verify)
