"""What a start waits for before its job begins: other services, or room on its machine. Shows and tells it.

Nothing is decided here, and nothing waits: the world says when the start may begin.
"""

from __future__ import annotations

from collections.abc import Callable

from hestia.core import effects as fx
from hestia.core.model import InstanceId, InstanceKey, ServiceId
from hestia.core.ports import Recorder
from hestia.runtime.records import Note
from hestia.runtime.starts import StartJob


class Waits:
    """See the module docstring. starts: the running or last start job of each instance."""

    def __init__(
        self,
        starts: dict[tuple[ServiceId, InstanceId], StartJob],
        *,
        recorder: Recorder,
        note: Note,
        clock: Callable[[], float],
    ) -> None:
        self._starts = starts
        self._recorder = recorder
        self._note = note
        self._clock = clock

    def show(self, key: InstanceKey, episode: str, stage: str, text: str) -> None:
        """A start waits, or waits for something else than before."""
        place = (key.service, key.instance)
        job = self._starts.get(place)
        if job is None or job.key != key:
            job = self._starts[place] = StartJob(key, episode, self._clock())
        job.clock.enter(stage, text, self._clock())
        self._recorder.stage(*place, stage, text, episode)

    def ended(self, key: InstanceKey, episode: str) -> StartJob:
        """The start begins: its job, with what it waited for as its first stages."""
        place = (key.service, key.instance)
        waited, job = self._starts.get(place), StartJob(key, episode, self._clock())
        if waited is not None and waited.key == key:
            job.clock.stages = waited.clock.stages
        self._starts[place] = job
        return job

    def made_room(self, made: fx.MadeRoom) -> None:
        """One event for one eviction: for whom, who goes, and why those (EV-09)."""
        self._note(
            "MadeRoom",
            cause=f"evicted_for:{made.key.service}",
            actor="",
            service=made.key.service,
            instance=made.key.instance,
            generation=made.key.generation,
            data={
                "machine": made.machine,
                "victims": [f"{victim.service}/{victim.instance}" for victim in made.victims],
                "told": list(made.told),
            },
        )
