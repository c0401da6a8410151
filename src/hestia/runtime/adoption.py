"""What an earlier gateway left: taken over, or ended, and nothing started beside it (lifecycle.md AD).

Two sources are compared: what the store kept, and what each engine finds under this gateway's id. Known and
running is adopted; known and gone is closed; running and unknown is adopted where the configuration has a
place for it, else it is an orphan. An engine that cannot answer is asked again; silence proves nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from hestia.core import effects as fx
from hestia.core import lifecycle as lc
from hestia.core.errors import EngineError, EngineRefused, EngineUnavailable
from hestia.core.lifecycle import State
from hestia.core.model import InstanceId, InstanceKey, OnExit, ServiceId
from hestia.core.ports import Discovered, Engine, Found, Handle, Kept, Memory, Observed, Presence, Store
from hestia.core.steps import ADOPTED_GRACE
from hestia.core.urls import parse_base_url
from hestia.core.world import World
from hestia.runtime.memory import (
    GRACE,
    Fact,
    backoff_of,
    error_of,
    grace_left,
    grace_of,
    name_of,
    place_of,
    spent_of,
)
from hestia.runtime.orphans import Orphans, may_run
from hestia.runtime.records import Note
from hestia.runtime.tasks import Tasks

log = logging.getLogger(__name__)

ASK_LIMIT: Final = 30.0  # seconds until what cannot be asked for is unknown (AD-10)
ASK_TIMEOUT: Final = 10.0  # seconds of one question
ASK_AGAIN: Final = (0.2, 5.0)  # seconds between questions: the first pause, doubled up to the second

Place = tuple[ServiceId, InstanceId]


@dataclass(slots=True)
class _Asked:
    """What one engine answered last. done: it did, or `ASK_LIMIT` is over. answered: it did, ever."""

    found: dict[InstanceKey, Found] = field(default_factory=dict)
    complete: bool = False
    answered: bool = False
    trouble: str = ""
    refused: EngineRefused | None = None  # it will not answer before somebody mends something
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Adoption:
    """See the module docstring. perform: takes the world's effects. policy: of orphans."""

    def __init__(
        self,
        world: World,
        *,
        engines: Mapping[str, Engine],
        store: Store,
        tasks: Tasks,
        perform: Callable[[list[fx.Effect]], None],
        clock: Callable[[], float],
        policy: OnExit,
        note: Note,
    ) -> None:
        self._world = world
        self._engines = engines
        self._store = store
        self._tasks = tasks
        self._perform = perform
        self._clock = clock
        self.orphans = Orphans(
            world, engines=engines, store=store, tasks=tasks, policy=policy, find=self.find, note=note
        )
        self._asked: dict[str, _Asked] = {}
        self._kept: dict[InstanceKey, Kept] = {}
        self._graces: Mapping[tuple[str, str], Fact] = {}

    # -- at boot -------------------------------------------------------------------------------

    def restore(self, memory: Memory) -> None:
        """Put back what the store kept, before anything happens (AD-11: this asks nobody)."""
        now, wall = self._clock(), time.time()
        self._graces = {key: fact for key, fact in memory.facts.items() if key[0] == GRACE}
        for place, number in memory.generations.items():
            self._world.remember(*place, generation=number)
        for (kind, name), fact in memory.facts.items():
            if kind == "backoff" and self._slot_exists(place := place_of(name)):
                backoff = backoff_of(fact, now=now, wall=wall)
                self._world.remember(*place, backoff=backoff, error=error_of(fact, place[0]))
            elif kind == "spent":
                self._world.remember_spent(ServiceId(name), spent_of(fact, now=now, wall=wall))
        by_age = sorted(memory.kept, key=lambda kept: kept.intent.key.generation)
        newest = {(kept.intent.key.service, kept.intent.key.instance): kept.intent.key for kept in by_age}
        for kept in by_age:
            key = kept.intent.key
            if kept.external or kept.intent.engine == "none":
                self._store.closed(key, "external")
            elif self._has_place(kept) and newest[key.service, key.instance] == key:
                self._kept[key] = kept
                self._adopt(key, kept.handle, kept.last_used)
            else:
                self.orphans.known(kept)

    @property
    def engines(self) -> list[str]:
        """Names of those that can be asked."""
        return [name for name in self._engines if name != "none"]

    def begin(self) -> None:
        """Ask every engine what it finds."""
        for name in self.engines:
            self.begin_with(name)

    def begin_with(self, name: str) -> None:
        """Ask one engine what it finds; from here on a start waits for the answer."""
        if name in self.engines:
            self._asked_of(name)
            self._tasks.spawn(self._ask_at_boot(name), f"discover {name}")

    def _slot_exists(self, place: Place) -> bool:
        service = self._world.services.get(place[0])
        return service is not None and place[1] in service.slots

    def _has_place(self, kept: Kept) -> bool:
        key = kept.intent.key
        if not self._slot_exists((key.service, key.instance)):
            return False
        return self._world.slot(key.service, key.instance).settings.engine == kept.intent.engine

    def _adopt(self, key: InstanceKey, handle: Handle | None, last_used: float | None) -> None:
        """last_used: wall-clock seconds; one in the future counts as now (CK-03)."""
        now, wall = self._clock(), time.time()
        used = None if last_used is None else now - max(0.0, wall - last_used)
        effects = self._world.adopt(
            key.service,
            key.instance,
            now,
            generation=key.generation,
            handle=handle,
            last_used=used,
            grace_until=now + self._grace(key, last_used, wall),
        )
        self._perform(effects)

    def _grace(self, key: InstanceKey, last_used: float | None, wall: float) -> float:
        """Seconds that it stays in any case: each time nobody used it since, the rest of the first time, so
        that restarts in a row keep nothing up for ever (AD-12)."""
        name = name_of((key.service, key.instance))
        left = grace_left(self._graces.get((GRACE, name)), key.generation, last_used, wall)
        if left is not None:
            return left
        self._store.fact(GRACE, name, grace_of(key.generation, wall))
        return ADOPTED_GRACE

    # -- asking --------------------------------------------------------------------------------

    async def _ask_at_boot(self, name: str) -> None:
        """Ask one engine for everything of ours until it answers; after `ASK_LIMIT` nobody waits for it."""
        asked = self._asked_of(name)
        until, (pause, longest) = self._clock() + ASK_LIMIT, ASK_AGAIN
        while True:
            answer = await self.ask(name)
            if answer is not None:
                for found in answer.found:
                    self.place(name, found)
            if answer is not None or asked.refused is not None or self._clock() >= until:
                asked.done.set()
            if answer is not None:
                return
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)

    async def ask(self, name: str) -> Discovered | None:
        """Everything of ours that one engine finds now; None when it does not answer."""
        asked = self._asked_of(name)
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                answer = await self._engines[name].discover(self._world.gateway)
        except TimeoutError:
            asked.trouble, asked.refused = f"it did not answer within {ASK_TIMEOUT:g} s", None
        except EngineError as error:
            asked.trouble = error.detail
            asked.refused = error if isinstance(error, EngineRefused) and error.permanent else None
        except Exception as exc:  # boundary: a bug in an engine is no answer, and nobody may wait for it
            trouble = f"asking it failed inside Hestia ({type(exc).__name__}: {exc})"
            if trouble != asked.trouble:  # it is asked again and again
                extra = {"event_type": "discover_broke", "engine": name}
                log.exception("Asking %s what runs broke", name, extra=extra)
            asked.trouble = trouble
        else:
            asked.complete, asked.answered, asked.refused = answer.complete, True, None
            asked.found = {found.key: found for found in answer.found}
            return answer
        return None

    def is_pending(self, engine: str) -> bool:
        """Whether it is not known yet what of this engine runs: who answers may be ours."""
        asked = self._asked.get(engine)
        return asked is not None and not asked.answered

    def _asked_of(self, name: str) -> _Asked:
        return self._asked.setdefault(name, _Asked())

    def place(self, engine: str, found: Found) -> None:
        """Something of ours runs: it is known, gets its place back, or is an orphan (AD-03)."""
        key = found.key
        place = key.service, key.instance
        free = self._slot_exists(place) and self._world.slot(*place).settings.engine == engine
        slot = self._world.slot(*place) if free else None
        idle = slot is not None and slot.state in (State.COLD, State.FAILED) and not slot.record.stuck
        if self._world.is_current(key) and (key in self._kept or not idle):
            self._outdated(engine, found)
            return
        if slot is not None and idle and slot.record.generation <= key.generation:
            self._adopt(key, found.handle, None)
            self._outdated(engine, found)
            return
        if slot is not None and slot.record.external and slot.record.endpoint == found.observed.endpoint:
            return  # it was taken for somebody else's while nobody could say that it is ours; it serves
        self.orphans.leave(key, engine, found.handle)

    def take_back(self) -> None:
        """After new settings: what was left alone and has a place again returns to it, or is ended before
        anything is started there. Nothing runs twice."""
        for left in self.orphans.named_again():
            key, asked = left.key, self._asked_of(left.engine)
            slot = self._world.slot(key.service, key.instance)
            idle = slot.state in (State.COLD, State.FAILED) and not slot.record.stuck
            fits = slot.settings.engine == left.engine and slot.record.generation <= key.generation
            if not (idle and fits):
                self.orphans.leave(key, left.engine, left.handle)
                continue
            if left.kept is not None:
                self._kept[key] = left.kept
            self._adopt(key, left.handle, None if left.kept is None else left.kept.last_used)
            if (found := asked.found.get(key)) is not None:
                self._outdated(left.engine, found)
            if left.handle is not None:  # the answer may be old: whether it still runs is asked again
                asked.found.pop(key, None)

    def _outdated(self, engine: str, found: Found) -> None:
        key = found.key
        settings = self._world.slot(key.service, key.instance).settings
        if found.options_hash and settings.engine == engine and found.options_hash != settings.options_hash:
            self._perform(self._world.outdate(key.service, key.instance, self._clock()))

    # -- for jobs ------------------------------------------------------------------------------

    async def find(self, key: InstanceKey, handle: Handle | None, engine: str) -> Found | Observed:
        """What is known of a generation that may run: found, or observed gone, or unknown after a while."""
        asked = self._asked_of(engine)
        await asked.done.wait()
        if (found := asked.found.get(key)) is not None:
            return found
        if handle is None:
            if asked.complete:
                return Observed(handle={}, presence=Presence.GONE, reason="nothing bears its key")
            return Observed(
                handle={},
                presence=Presence.UNKNOWN,
                reason=asked.trouble or "the list was cut short",
                pending=asked.answered,
            )
        until, (pause, longest) = self._clock() + ASK_LIMIT, ASK_AGAIN
        while True:
            observed = await self._inspect(engine, handle)
            if observed.presence is not Presence.UNKNOWN or self._clock() >= until:
                break
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)
        if observed.presence is Presence.RUNNING:
            return Found(key, handle, "", self._filled(key, observed))
        return observed

    async def _inspect(self, engine: str, handle: Handle) -> Observed:
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                return await self._engines[engine].inspect(handle)
        except EngineError as error:
            reason = error.detail
        except TimeoutError:
            reason = f"it did not answer within {ASK_TIMEOUT:g} s"
        return Observed(handle=handle, presence=Presence.UNKNOWN, reason=reason)

    async def handle_of(self, key: InstanceKey, engine: str) -> Handle | None:
        """How to find a generation whose handle was never stored; None when nothing of it runs.

        Raises EngineUnavailable: nobody can say.
        """
        if key not in self._kept:
            return None  # we started it: the engine left nothing, or has told its handle
        found = await self.find(key, None, engine)
        if isinstance(found, Observed) and found.presence is Presence.UNKNOWN:
            raise may_run(key, found.reason)
        return found.handle if isinstance(found, Found) else None

    def _filled(self, key: InstanceKey, observed: Observed) -> Observed:
        """With the address as it was stored, where the engine does not say it."""
        kept = self._kept.get(key)
        if observed.endpoint is not None or kept is None or not kept.endpoint:
            return observed
        return Observed(
            handle=observed.handle,
            presence=observed.presence,
            key=key,
            endpoint=parse_base_url(kept.endpoint),
            health_url=kept.health_url,
        )

    def was_ending(self, key: InstanceKey) -> bool:
        """Whether its stop had been decided: a drain has nothing left to wait for after a restart (AD-13)."""
        kept = self._kept.get(key)
        return kept is not None and kept.state in (State.DRAINING, State.STOPPING, State.FAILED)

    async def settled(self, key: InstanceKey, engine: str) -> bool:
        """Return when a start of this generation cannot meet anything else that an earlier gateway left.

        True when this very generation runs: numbers begin again where the store was lost.

        Raises EngineUnavailable: nobody can say. EngineRefused: what is in the way does not end.
        """
        asked = self._asked.get(engine)
        if asked is not None and not asked.answered:
            await asked.done.wait()
            if not asked.answered and asked.refused is not None:
                raise asked.refused.twin()
            if not asked.answered:
                raise EngineUnavailable(
                    f'The engine "{engine}" cannot say what already runs: {asked.trouble}.', sent=False
                )
        await self.orphans.settled(key)
        return asked is not None and key in asked.found


def missed(key: InstanceKey) -> lc.AdoptionMissed:
    """It ended while no gateway looked."""
    return lc.AdoptionMissed(service=key.service, instance=key.instance, generation=key.generation)


def not_known(key: InstanceKey, observed: Observed) -> lc.AdoptionUnknown:
    """Nobody can say whether it runs."""
    error = EngineUnavailable(
        f'An earlier gateway started "{key.service}", and nobody can say whether it still runs: '
        f"{observed.reason or 'no answer'}.",
        sent=True,
        remedy=f"hestia stop {key.service} --force gives it up",
        cause="unknown",
    )
    error.service_id, error.retry_after = key.service, ASK_LIMIT
    return lc.AdoptionUnknown(
        service=key.service, instance=key.instance, generation=key.generation, error=error
    )
