"""What is looked at again and again while nothing happens: whether the records are still true.

Every 5 s whoever was forgotten is answered (OB-11), and the clocks are compared, to see that the machine was
asleep (CK-02); every 15 s the time of last use is stored (AD-12); every minute each engine is asked what runs
(AD-20), because a watch may have missed it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Final

from hestia.core import effects as fx
from hestia.core.lifecycle import State
from hestia.core.model import InstanceKey
from hestia.core.world import World
from hestia.runtime.adoption import Adoption
from hestia.runtime.progress import Progress
from hestia.runtime.reconcile import Watcher
from hestia.runtime.records import Note

log = logging.getLogger(__name__)

TICK: Final = 5.0  # seconds between looks at the clocks
NOTE_EVERY: Final = 3  # ticks between notes of last use
SWEEP_EVERY: Final = 12  # ticks between questions to the engines
WALL_MOVED: Final = 1.0  # seconds by which the wall clock must have moved to mean that it was set
ASLEEP: Final = 10.0  # seconds by which the clocks must differ to mean that the machine slept


class Sweep:
    """See the module docstring. boot_clock: seconds that go on while the machine sleeps."""

    def __init__(
        self,
        *,
        world: World,
        adoption: Adoption,
        watcher: Watcher,
        note_use: Callable[[], None],
        perform: Callable[[list[fx.Effect]], None],
        clock: Callable[[], float],
        boot_clock: Callable[[], float],
        progress: Progress,
        note: Note,
    ) -> None:
        self._world = world
        self._adoption = adoption
        self._watcher = watcher
        self._note_use = note_use
        self._perform = perform
        self._clock = clock
        self._boot_clock = boot_clock
        self._progress = progress
        self._event = note
        self._gap = boot_clock() - clock()
        self._wall = time.time() - boot_clock()
        self._strays: set[InstanceKey] = set()

    async def run(self) -> None:
        """Look for ever; one tick that breaks does not end the others."""
        tick = 0
        while True:
            await asyncio.sleep(TICK * random.uniform(0.9, 1.1))
            tick += 1
            try:
                await self.look(note=tick % NOTE_EVERY == 0, ask=tick % SWEEP_EVERY == 0)
            except Exception:  # boundary: a sweep that breaks must not be the last one
                log.exception("A sweep broke", extra={"event_type": "sweep_broke"})

    async def look(self, *, note: bool, ask: bool) -> None:
        """One tick."""
        self._progress.look()
        slept = self._slept()
        if slept:
            self._event(
                "MachineSlept",
                cause="suspend",
                actor="",
                service="",
                instance="",
                generation=0,
                data={"slept_s": round(slept, 1)},
            )
            log.warning(
                "This machine was asleep for %.0f s: looking at everything again",
                slept,
                extra={"event_type": "machine_slept", "slept_s": round(slept, 1)},
            )
            self._perform(self._world.slept(slept, self._clock()))
        elif self._wall_was_set():
            self._perform(self._world.look_at_calendars(self._clock()))
        if note:
            self._note_use()
        if ask or slept:
            await self.ask()

    def _slept(self) -> float:
        """Seconds that the machine was suspended since the last look (CK-02); 0 when it was not."""
        gap = self._boot_clock() - self._clock()
        grown, self._gap = gap - self._gap, gap
        return grown if grown > ASLEEP else 0.0

    def _wall_was_set(self) -> bool:
        """Whether somebody set the clock on the wall since the last look; calendars follow it (ID-16)."""
        wall = time.time() - self._boot_clock()
        moved, self._wall = abs(wall - self._wall), wall
        return moved > WALL_MOVED

    async def ask(self) -> None:
        """Compare the records with what every engine finds (AD-20)."""
        strays: set[InstanceKey] = set()
        for engine in self._adoption.engines:
            answer = await self._adoption.ask(engine)
            if answer is None:
                continue
            for found in answer.found:
                if not self._is_stray(found.key):
                    self._adoption.place(engine, found)
                elif found.key in self._strays:  # twice in a row: no stop that is just ending
                    self._adoption.orphans.leave(found.key, engine, found.handle)
                else:
                    strays.add(found.key)
            if answer.complete:
                await self._missing(engine, {found.key for found in answer.found})
        self._strays = strays

    def _is_stray(self, key: InstanceKey) -> bool:
        """It runs though its record says that it is gone."""
        if not self._world.is_current(key):
            return False
        slot = self._world.slot(key.service, key.instance)
        return slot.state is State.COLD or (slot.state is State.FAILED and not slot.record.stuck)

    async def _missing(self, engine: str, found: set[InstanceKey]) -> None:
        """Whoever is hot and was not found: ask for it by its handle, which ends it if it is gone."""
        for record in list(self._world.services.values()):
            for slot in record.slots.values():
                key = slot.key(self._world.gateway)
                if slot.settings.engine == engine and slot.state is State.HOT and key not in found:
                    await self._watcher.inspect(slot, key)
