"""Does everything move that should (OB-10), and who was forgotten is answered all the same (OB-11).

Owns what counts as stuck. Nothing here is needed as long as timers and jobs do what they promise: each answer
of the watchdog is a fault of Hestia, counted and said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from hestia.core import effects as fx
from hestia.core.lifecycle import State
from hestia.core.model import InstanceId, ServiceId
from hestia.core.ports import Store
from hestia.core.records import ServiceRecord, Slot
from hestia.core.world import World
from hestia.runtime.records import Note
from hestia.runtime.starts import StartJob

log = logging.getLogger(__name__)

LAG: Final = 1.0  # seconds by which the loop may be late
OVERDUE: Final = 5.0  # seconds past its deadline after which a waiter is a problem
FORGOTTEN: Final = 1.0  # seconds past its deadline after which the watchdog answers it
START_SLACK: Final = 90.0  # seconds beyond its limit that a start may take, to look and to clean up
JOB_SLACK: Final = 5.0  # seconds without a job under way after which a start is a problem


class Progress:
    """See the module docstring. starts: the running or last start job of each instance.

    note: writes an event. lag: seconds by which the loop is late, again and again.
    """

    def __init__(
        self,
        world: World,
        starts: Mapping[tuple[ServiceId, InstanceId], StartJob],
        store: Store,
        *,
        clock: Callable[[], float],
        perform: Callable[[list[fx.Effect]], None],
        note: Note,
        lag: Callable[[], float],
    ) -> None:
        self._world = world
        self._starts = starts
        self._store = store
        self._clock = clock
        self._perform = perform
        self._note = note
        self._lag = lag
        self._trouble = ""
        self.released = 0  # waiters that the watchdog had to answer

    # -- what is wrong -------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Everything that does not move, in words; empty when all is well."""
        found = list(self.stuck())
        if self._store.trouble:
            found.append(f"store: {self._store.trouble}")
        return found

    def stuck(self) -> Iterator[str]:
        """What keeps requests from being answered as they should be."""
        now = self._clock()
        if (lag := self._lag()) >= LAG:
            yield f"loop: it was {lag:.1f} s late"
        for service, record in self._world.services.items():
            if late := self._late(record, now - OVERDUE):
                yield f"{service}: {late} waiters are past their deadline"
            for slot in record.slots.values():
                if slot.state is State.STARTING and not slot.held_back and self._hangs(slot, now):
                    yield f"{service}/{slot.record.id}: its start does not move"

    def job(self, slot: Slot) -> StartJob | None:
        """The running or last start of an instance."""
        return self._starts.get((slot.record.service, slot.record.id))

    @staticmethod
    def _late(record: ServiceRecord, deadline: float) -> int:
        """How many wait whose deadline was before this."""
        return sum(one.deadline < deadline for one in record.queue.waiters.values())

    def _hangs(self, slot: Slot, now: float) -> bool:
        """Whether a start has no job any more, or one that takes longer than it may."""
        settings, since = slot.service.settings, now - slot.record.since
        limit = settings.start_timeout if slot.settings.managed else settings.appear_timeout
        job = self.job(slot)
        works = job is not None and job.task is not None and not job.task.done()
        return since > limit + START_SLACK or (not works and since > JOB_SLACK)

    # -- what is done about it -----------------------------------------------------------------

    def look(self) -> None:
        """One look of the sweep: answer who was forgotten, say when the store is in trouble or over it."""
        now = self._clock()
        for service, record in list(self._world.services.items()):
            late = self._late(record, now - FORGOTTEN)
            if late:
                self.released += late
                log.error(
                    "%d requests were past their time and not answered until now. This is a fault of Hestia",
                    late,
                    extra={"event_type": "watchdog_released", "service_id": service},
                )
                self._tell("WatchdogReleased", "deadline", service=service, data={"count": late})
                self._perform(self._world.timer(service, None, fx.Timer.QUEUE, now))
        self._look_at_store()

    def _look_at_store(self) -> None:
        trouble = self._store.trouble
        if trouble and not self._trouble:
            self._tell("StoreTroubled", trouble)
        elif self._trouble and not trouble:
            self._tell("StoreRecovered", "written")
        self._trouble = trouble

    def _tell(
        self, event: str, cause: str, *, service: str = "", data: Mapping[str, object] | None = None
    ) -> None:
        self._note(
            event, cause=cause, actor="", service=service, instance="", generation=0, data=dict(data or {})
        )
