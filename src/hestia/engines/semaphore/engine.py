"""The engine `semaphore`: the port's methods. The pieces are beside it.

It keeps no life-cycle state: what runs is told by tasks that bear the key and by the address. Kept are
connections, output of tasks, and what was last seen of them, to be shown. Source: engines.md C6,
lifecycle.md EN-60…66.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar, Final
from weakref import WeakValueDictionary

from hestia.core.errors import EngineError, EngineRefused, HandleUnknown
from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId
from hestia.core.ports import (
    Automation,
    Discovered,
    EngineContext,
    Handle,
    Observed,
    Presence,
    Report,
    Started,
    StartSpec,
)
from hestia.engines.knock import knock
from hestia.engines.semaphore.connection import Connection
from hestia.engines.semaphore.discover import find_all
from hestia.engines.semaphore.follow import Limits
from hestia.engines.semaphore.handle import START, STOP, Place
from hestia.engines.semaphore.look import look
from hestia.engines.semaphore.options import SemaphoreOptions
from hestia.engines.semaphore.output import Output
from hestia.engines.semaphore.projects import Projects
from hestia.engines.semaphore.seen import Seen
from hestia.engines.semaphore.servers import Servers, project_of
from hestia.engines.semaphore.start import SemaphoreStart
from hestia.engines.semaphore.stop import SemaphoreStop
from hestia.engines.semaphore.tasks import Task, Tasks
from hestia.engines.semaphore.work import Work

SETTLE: Final = 6.0  # seconds until a task that was asked for is to be seen: one tick of its queue and more
_INSPECT: Final = 8.0  # seconds for the server's part of an inspection; who asks waits 10
_REFRESH: Final = 1.5  # seconds for fetching output that is not known yet
_OUTPUTS_KEPT: Final = 64  # generations whose output is kept
_NO_CHANGES: Final[tuple[Observed, ...]] = ()  # looped over, so that what never yields is a generator


class SemaphoreEngine:
    """Starts and stops services through templates of a Semaphore."""

    name: ClassVar[str] = "semaphore"
    settle_time: ClassVar[float] = SETTLE
    Options: ClassVar[type[SemaphoreOptions]] = SemaphoreOptions

    def __init__(self, context: EngineContext, *, settle: float = SETTLE) -> None:
        """Store what is needed. settle: seconds after which a task whose answer was lost has appeared."""
        self._settle = settle
        self._servers = Servers(context.configured)
        self._outputs: dict[InstanceKey, Output] = {}
        self._seen = Seen()
        self._locks: WeakValueDictionary[tuple[InstanceKey, str], asyncio.Lock] = WeakValueDictionary()
        self._closed = asyncio.Event()

    async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
        """Run the start template, or follow the task that bears the key, to its end.

        Raises EngineRefused, EngineUnavailable, StartFailed. Cancelled: a handle was reported if anything
        may have been made.
        """
        options = spec.options
        if not isinstance(options, SemaphoreOptions):
            raise EngineRefused("These are no options of the engine semaphore.", permanent=True)
        async with self._lock(key, START):
            connection = self._servers.of(options)
            report.stage("engine", f"semaphore: asking {connection.base}")
            project = await Projects(connection).resolve(project_of(options))
            work = self._work(key, connection, project, options)
            work.output.begin()
            return await SemaphoreStart(work, spec, options, report).run()

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """End what the start made. Raises EngineRefused(cause="stuck"), EngineUnavailable."""
        place = Place.read(handle)
        if place is None:
            return
        async with self._lock(place.key, STOP):
            work, options = self._work_of(place)
            await SemaphoreStop(work, place, look, options.stop_template).run(grace)
            work.output.end()

    async def inspect(self, handle: Handle) -> Observed:
        """By its tasks and its address. Where the server does not answer, the address alone says running."""
        place = Place.read(handle)
        if place is None:
            return Observed(
                handle=handle, presence=Presence.GONE, reason="not a handle of engine 'semaphore'"
            )
        try:
            async with asyncio.timeout(_INSPECT):
                told = await self._by_tasks(place)
        except TimeoutError:
            return await self._by_address(place, f"Semaphore did not answer within {_INSPECT:g} s")
        except EngineError as trouble:
            return await self._by_address(place, trouble.detail)
        return told if told is not None else await self._by_address(place)

    async def _by_tasks(self, place: Place) -> Observed | None:
        """What its tasks say: it is on its way, or gone; None when the address has the last word."""
        work, _ = self._work_of(place)
        start = await work.tasks.get(place.task) if place.task else await work.newest(place.start, START)
        if start is not None:
            work.seen(start)
            if start.never_ran:
                return _gone(place, f"Semaphore's task {start.id} never ran")
            if not start.is_over:
                return _running(place, pending=True)
        stopped = await work.newest(place.stop, STOP)
        if stopped is not None and (start is None or stopped.age[0] >= start.age[0]):
            work.seen(stopped)
            if stopped.status == "success":
                return _gone(place, f"Semaphore's task {stopped.id} stopped it")
            if not stopped.is_over:
                return _running(place, ending=True)
        return None

    async def _by_address(self, place: Place, unless: str = "") -> Observed:
        """Whether it answers. unless: why nobody but the address could be asked."""
        if place.endpoint is None:
            return Observed(handle=place.handle(), presence=Presence.UNKNOWN, key=place.key, reason=unless)
        presence, why = await knock(place.endpoint)
        if presence is Presence.RUNNING:
            return _running(place)
        if presence is Presence.GONE and not unless:
            return _gone(place, why)
        return Observed(handle=place.handle(), presence=Presence.UNKNOWN, key=place.key, reason=unless or why)

    async def discover(self, owner: GatewayId) -> Discovered:
        """What newest tasks say that bear our id, never complete. Raises EngineUnavailable, EngineRefused."""
        return await find_all(self._servers, owner, self._seen)

    async def watch(self) -> AsyncIterator[Observed]:
        """Say nothing until `aclose`: Semaphore knows tasks, not services; the sweep looks at those."""
        await self._closed.wait()
        for observed in _NO_CHANGES:
            yield observed

    async def logs(self, handle: Handle, *, follow: bool) -> AsyncIterator[bytes]:
        """Output of its tasks, the last 2000 lines, then with `follow` what comes until it is stopped.

        Raises HandleUnknown, EngineUnavailable.
        """
        place = Place.read(handle)
        if place is None:
            raise HandleUnknown("this is not a handle of the engine 'semaphore'")
        output = self._output(place.key)
        await self._refresh(place, output)
        if not follow:
            if text := output.kept():
                yield text
            return
        async for piece in output.follow():
            if self._closed.is_set():
                return
            yield piece

    async def _refresh(self, place: Place, output: Output) -> None:
        """Take in what the server has and nobody told: of before a restart, or the last lines of a task."""
        try:
            async with asyncio.timeout(_REFRESH):
                work, _ = self._work_of(place)
                if place.task:
                    output.merge(place.task, await work.tasks.output(place.task), _nothing)
                stopped = await work.newest(place.stop, STOP)
                if stopped is not None:
                    output.merge(stopped.id, await work.tasks.output(stopped.id), _nothing)
                    if stopped.status == "success":
                        output.end()
        except (TimeoutError, EngineError):
            if not output.kept():
                raise

    def automation(self, service: ServiceId, instance: InstanceId) -> Automation:
        """What was last seen of the tasks of an instance."""
        return self._seen.of(service, instance)

    async def aclose(self) -> None:
        """End watching and following, close connections. Instances and tasks stay."""
        self._closed.set()
        for output in self._outputs.values():
            output.end()
        await self._servers.aclose()

    # -- pieces ------------------------------------------------------------------------------------

    def _work_of(self, place: Place) -> tuple[Work, SemaphoreOptions]:
        connection, options = self._servers.of_place(place)
        return self._work(place.key, connection, place.project, options), options

    def _work(
        self, key: InstanceKey, connection: Connection, project: int, options: SemaphoreOptions
    ) -> Work:
        def seen(task: Task) -> None:
            self._seen.note(key.service, key.instance, task)

        return Work(
            key=key,
            connection=connection,
            project=project,
            tasks=Tasks(connection, project),
            output=self._output(key),
            limits=Limits(
                waiting=options.waiting_limit, running=options.task_timeout, poll=options.poll_interval
            ),
            settle=self._settle,
            seen=seen,
        )

    def _output(self, key: InstanceKey) -> Output:
        found = self._outputs.pop(key, None) or Output()
        self._outputs[key] = found  # the newest last
        while len(self._outputs) > _OUTPUTS_KEPT:
            self._outputs.pop(next(iter(self._outputs))).end()
        return found

    def _lock(self, key: InstanceKey, action: str) -> asyncio.Lock:
        return self._locks.setdefault((key, action), asyncio.Lock())


def _running(place: Place, *, pending: bool = False, ending: bool = False) -> Observed:
    return Observed(
        handle=place.handle(),
        presence=Presence.RUNNING,
        key=place.key,
        endpoint=place.endpoint,
        health_url=place.health_url,
        pending=pending,
        ending=ending,
    )


def _gone(place: Place, reason: str) -> Observed:
    return Observed(handle=place.handle(), presence=Presence.GONE, key=place.key, reason=reason)


def _nothing(text: str) -> None:
    """Nobody is told of lines that came long ago."""
