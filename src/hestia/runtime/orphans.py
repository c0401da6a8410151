"""What an earlier gateway left and nobody wants any more: ended, or left alone by policy, and said so.

A service has an orphan where its engine was changed, where another generation was started meanwhile, or
where the setting that named it is gone. Starts in the same place wait until it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hestia.core.errors import EngineError, EngineRefused, EngineUnavailable
from hestia.core.model import InstanceId, InstanceKey, OnExit, ServiceId
from hestia.core.ports import Engine, Found, Handle, Kept, Observed, Presence, Store
from hestia.core.world import World
from hestia.runtime.records import Note
from hestia.runtime.tasks import Tasks

log = logging.getLogger(__name__)

ORPHAN_GRACE: Final = 10.0  # seconds between asking an orphan to end and ending it

Place = tuple[ServiceId, InstanceId]
Find = Callable[[InstanceKey, Handle | None, str], Awaitable[Found | Observed]]


@dataclass(frozen=True, slots=True)
class _Leaving:
    """One that is being ended, or could not be. task: its result is what stood in the way."""

    key: InstanceKey
    engine: str
    handle: Handle | None
    task: asyncio.Task[EngineError | None]


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """One that no setting names. kept: its row in the store, where it has one."""

    key: InstanceKey
    engine: str
    handle: Handle | None
    kept: Kept | None = None


class Orphans:
    """See the module docstring. find: what is known of a generation that may run. note: writes an event."""

    def __init__(
        self,
        world: World,
        *,
        engines: Mapping[str, Engine],
        store: Store,
        tasks: Tasks,
        policy: OnExit,
        find: Find,
        note: Note,
    ) -> None:
        self._world = world
        self._engines = engines
        self._store = store
        self._tasks = tasks
        self.policy = policy
        self._find = find
        self._note = note
        self._left_alone: dict[InstanceKey, LeftAlone] = {}
        self._said: set[InstanceKey] = set()
        self._leaving: dict[Place, _Leaving] = {}

    def known(self, kept: Kept) -> None:
        """The store knows it, and has no place for it."""
        key, engine = kept.intent.key, kept.intent.engine
        if self._stays_alone(key):
            self._left_alone[key] = LeftAlone(key, engine, kept.handle, kept)
            self._tasks.spawn(self._look_at(kept), f"look at orphan {key}")
        else:
            self.leave(key, engine, kept.handle)

    def leave(self, key: InstanceKey, engine: str, handle: Handle | None) -> None:
        """Nobody wants it any more: end it, or leave it by policy and say so, once."""
        if self._stays_alone(key):
            self._left_alone.setdefault(key, LeftAlone(key, engine, handle))
            if key not in self._said:
                self._said.add(key)
                log.warning(
                    "%s runs and no setting names it; it is left alone (orphan_policy: keep)",
                    key,
                    extra={"event_type": "orphan_kept", "service_id": key.service},
                )
                self._tell("OrphanKept", key, "orphan_policy is keep")
            return
        self._left_alone.pop(key, None)
        place = key.service, key.instance
        before = self._leaving.get(place)
        task = self._tasks.spawn(
            self._end(key, engine, handle, None if before is None else before.task), f"end orphan {key}"
        )
        self._leaving[place] = _Leaving(key, engine, handle, task)

    def named_again(self) -> list[LeftAlone]:
        """Those that a setting names now, newest first; they are no business of this any more."""
        named = [key for key in self._left_alone if self._is_named(key)]
        return sorted((self._left_alone.pop(key) for key in named), key=lambda one: -one.key.generation)

    def give_up(self, service: ServiceId) -> None:
        """A person says so: forget what no engine here can end, so that its place is free."""
        for place, one in list(self._leaving.items()):
            if place[0] != service or one.engine in self._engines or not one.task.done():
                continue
            del self._leaving[place]
            self._store.closed(one.key, "given_up")
            log.warning(
                "Given up, and perhaps still running: %s (its engine %s is not installed)",
                one.key,
                one.engine,
                extra={"event_type": "orphan_given_up", "service_id": service},
            )
            self._tell("OrphanGivenUp", one.key, f"its engine {one.engine} is not installed any more")

    def _is_named(self, key: InstanceKey) -> bool:
        service = self._world.services.get(key.service)
        return service is not None and key.instance in service.slots

    def _stays_alone(self, key: InstanceKey) -> bool:
        """Whether it is left alone: by policy, and no setting names it."""
        return self.policy is OnExit.KEEP and not self._is_named(key)

    async def _look_at(self, kept: Kept) -> None:
        """Whether what is left alone still runs; a row of what has ended is closed."""
        key, engine = kept.intent.key, kept.intent.engine
        if engine in self._engines:
            found = await self._find(key, kept.handle, engine)
            if key not in self._left_alone:
                return  # a setting names it again
            if isinstance(found, Observed) and found.presence is Presence.GONE:
                await self.tidy(engine, kept.handle)
                self._store.closed(key, "orphan")
                self._left_alone.pop(key, None)
                return
        self.leave(key, engine, kept.handle)

    async def _end(
        self,
        key: InstanceKey,
        engine: str,
        handle: Handle | None,
        before: asyncio.Task[EngineError | None] | None,
    ) -> EngineError | None:
        """End one orphan after those before it. Returns what stands in the way; the sweep tries again."""
        if before is not None:
            await asyncio.wait({before})
        try:
            await self._end_now(key, engine, handle)
        except Exception as exc:  # boundary: whatever goes wrong, a start that waits for this must hear of it
            error = exc if isinstance(exc, EngineError) else _broken(key, exc)
            log.warning(
                "Cannot be ended: %s (%s)",
                key,
                error.detail,
                extra={"event_type": "orphan_stays", "service_id": key.service},
            )
            self._tell("OrphanStays", key, error.detail)
            return error
        self._store.closed(key, "orphan")
        self._tell("OrphanEnded", key, "an earlier gateway had started it")
        return None

    async def _end_now(self, key: InstanceKey, engine: str, handle: Handle | None) -> None:
        if engine not in self._engines:
            raise EngineUnavailable(
                f'"{key}" was started by the engine "{engine}", which is not there any more.',
                sent=False,
                remedy="install the engine again; or end it by hand, then give it up: "
                f"hestia stop --force {key.service}",
            )
        if handle is None:
            found = await self._find(key, None, engine)
            handle = found.handle if isinstance(found, Found) else None
            if isinstance(found, Observed) and found.presence is Presence.UNKNOWN:
                raise may_run(key, found.reason)
        if handle is not None:
            log.info(
                "Ending what no setting names any more: %s",
                key,
                extra={"event_type": "orphan_stop", "service_id": key.service},
            )
            await self._engines[engine].stop(handle, grace=ORPHAN_GRACE)

    def _tell(self, event: str, key: InstanceKey, cause: str) -> None:
        self._note(
            event,
            cause=cause,
            actor="",
            service=key.service,
            instance=key.instance,
            generation=key.generation,
            data={},
        )

    async def settled(self, key: InstanceKey) -> None:
        """Return when no orphan is in its place. Raises EngineRefused: one cannot be ended."""
        place = key.service, key.instance
        leaving = self._leaving.get(place)
        if leaving is None:
            return
        if leaving.task.done() and leaving.task.result() is not None:
            self.leave(leaving.key, leaving.engine, leaving.handle)  # perhaps it ends now
            leaving = self._leaving[place]
        error = await asyncio.shield(leaving.task)
        if error is not None:
            raise EngineRefused(
                f"What an earlier gateway started for it cannot be ended: {error.detail}",
                permanent=False,
                resource="",
                remedy=error.remedy,
                cause="stuck",
                stage="engine",
            )

    async def tidy(self, engine: str, handle: Handle | None) -> None:
        """Let an engine remove what is left of something that ended while no gateway looked."""
        if handle:
            with contextlib.suppress(EngineError):
                await self._engines[engine].stop(handle, grace=ORPHAN_GRACE)


def may_run(key: InstanceKey, reason: str) -> EngineUnavailable:
    """It cannot be ended, because nobody can say how to find it."""
    return EngineUnavailable(f"{key} may still run: {reason}.", sent=False)


def _broken(key: InstanceKey, exc: Exception) -> EngineError:
    return EngineUnavailable(f"ending {key} failed inside Hestia ({type(exc).__name__}: {exc})", sent=True)
