"""One stop: take the start back if it is still under way, then let the stop template end what it made.

Nothing is gone before its stop task has succeeded and the address is silent; what cannot be stopped is stuck,
and keeps its room (EN-65).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from hestia.core.errors import EngineError, EngineRefused, HestiaError, StartFailed
from hestia.core.ports import Presence
from hestia.engines.semaphore.follow import LINES_SHOWN, end_task
from hestia.engines.semaphore.handle import START, STOP, Mark, Place, told_at
from hestia.engines.semaphore.tasks import Task
from hestia.engines.semaphore.templates import Template
from hestia.engines.semaphore.work import Work

_KNOCK_AGAIN: Final = 0.2  # seconds between two looks at an address that is to fall silent
_SILENT_AT_LEAST: Final = 1.0  # seconds it gets for that, whatever the grace

Look = Callable[[Place], Awaitable[tuple[Presence, str]]]


class SemaphoreStop:
    """See the module docstring. look: whether anything answers at the address. `run` once.

    configured: the stop template as it is configured now, for when that of the start is not there any more.
    """

    def __init__(self, work: Work, place: Place, look: Look, configured: int | str) -> None:
        self._work = work
        self._configured = configured
        self._place = place
        self._look = look

    async def run(self, grace: float) -> None:
        """Returns when it is gone. grace: seconds that the address may answer after the playbook's end.

        Raises EngineRefused(cause="stuck"), EngineUnavailable.
        """
        try:
            template = await self._template()
            start = await self._end_start()
            if start is not None and start.never_ran:
                return
            if start is None and await self._is_silent():
                return
            task = await self._work.newest(template.id, STOP)
            if task is None or not self._counts(task, start):
                task = await self._begin(template, task)
            task = await self._work.follow(task, stage=_nothing, line=_nothing)
            self._work.seen(task)
            if task.status != "success":
                raise self._failed(task)
        except StartFailed as exc:
            raise _stuck(exc) from exc
        except EngineRefused as exc:
            raise exc if exc.cause == "stuck" else _stuck(exc) from exc
        await self._until_silent(grace, task)

    async def _template(self) -> Template:
        key = "semaphore_stop_template_id"
        try:
            return await self._work.templates.resolve(self._place.stop, key)
        except EngineRefused:
            return await self._work.templates.resolve(self._configured, key)

    async def _end_start(self) -> Task | None:
        """The task of the start, over by now; None when there is none to be seen."""
        work, place = self._work, self._place
        if place.task:
            task = await work.tasks.get(place.task)
            if task is None:  # its record is gone, so it is over; what it made may run
                return Task(id=place.task, template=place.start, status="success")
        else:
            task = await work.wait_for(place.start, START)
        if task is None or task.is_over:
            return task
        ended = await end_task(work.tasks, task)
        work.seen(ended)
        return ended

    @staticmethod
    def _counts(task: Task, start: Task | None) -> bool:
        """Whether an earlier stop task is what is wanted: under way, or a success since the start."""
        since = start is None or start.created is None or task.age[0] >= start.age[0]
        return since and (not task.is_over or task.status == "success")

    async def _is_silent(self) -> bool:
        """Nothing of it can be seen: neither a task nor an answer."""
        presence, _ = await self._look(self._place)
        return presence is not Presence.RUNNING

    async def _begin(self, template: Template, before: Task | None) -> Task:
        mark = Mark(key=self._work.key, action=STOP)
        told = told_at(STOP, self._place.variables)
        return await self._work.begin(template, mark, told, after=before)

    def _failed(self, task: Task) -> EngineRefused:
        how = "failed" if task.status == "error" else f"ended as {task.status}"
        return EngineRefused(
            f"Semaphore's stop task {task.id} {how}, so what it was to stop may still run.",
            permanent=False,
            cause="stuck",
            remedy=f"mend the stop playbook, then: hestia stop {self._work.key.service}",
            tail=self._work.output.last(task.id, LINES_SHOWN),
        )

    async def _until_silent(self, grace: float, task: Task) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + max(grace, _SILENT_AT_LEAST)
        while True:
            presence, _ = await self._look(self._place)
            if presence is not Presence.RUNNING:
                return
            if clock() >= until:
                raise EngineRefused(
                    f"Semaphore's stop task {task.id} succeeded, but {self._place.endpoint} still answers.",
                    permanent=False,
                    cause="stuck",
                    remedy="see that the stop playbook stops it and waits for its end; where something in "
                    "front of it answers, give the service a health_url",
                )
            await asyncio.sleep(_KNOCK_AGAIN)


def _stuck(error: HestiaError) -> EngineError:
    return EngineRefused(
        f"It could not be stopped: {error.detail}",
        permanent=False,
        cause="stuck",
        remedy=error.remedy,
        tail=error.tail,
    )


def _nothing(text: str) -> None:
    """Nobody shows the stages of a stop; its output is in `logs`."""
