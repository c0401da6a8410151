"""One start: find or begin the task that bears the key, follow it, and say what came of it.

Success of a task is not readiness (EN-60): that is for the probe. Source: lifecycle.md EN-60…66.
"""

from __future__ import annotations

import asyncio

from hestia.core.errors import EngineRefused, EngineUnavailable, StartFailed
from hestia.core.ports import Presence, Report, Started, StartSpec
from hestia.core.urls import parse_base_url
from hestia.engines.knock import knock
from hestia.engines.semaphore.handle import START, Mark, Place, told_at, told_by, variables_of
from hestia.engines.semaphore.options import SemaphoreOptions
from hestia.engines.semaphore.tasks import Task
from hestia.engines.semaphore.templates import Template
from hestia.engines.semaphore.work import Work

NO_GROUP = (
    "its template has no variable group, so Semaphore takes no variables for it and the playbook is not told "
    "which machine and service are meant; give the template a variable group, an empty one will do"
)


class SemaphoreStart:
    """See the module docstring. `run` once."""

    def __init__(self, work: Work, spec: StartSpec, options: SemaphoreOptions, report: Report) -> None:
        self._work = work
        self._spec = spec
        self._options = options
        self._report = report
        self._variables = variables_of(spec, options, work.key)
        self._stop = 0

    async def run(self) -> Started:
        """Raises EngineRefused, EngineUnavailable, StartFailed. Cancelled: a handle was reported."""
        work, options = self._work, self._options
        template = await work.templates.resolve(options.start_template, "semaphore_start_template_id")
        stop = await work.templates.resolve(options.stop_template, "semaphore_stop_template_id")
        if stop.id == template.id:
            raise EngineRefused(
                f"Template {template.id} ({template.name}) is to start and to stop the service.",
                permanent=True,
                remedy="make two templates, since one runs one task at a time; set "
                "semaphore_stop_template_id",
            )
        self._stop = stop.id
        task = await work.standing(template.id, stop.id)
        if task is None:
            task = await self._begin(template)
        self._report.made(self._place(template.id, task).handle())
        if not template.takes_variables:
            self._report.line(f"hestia: {NO_GROUP}")
        task = await work.follow(task, stage=self._stage, line=self._report.line)
        work.seen(task)
        if task.status != "success":
            raise await self._failed(task)
        place = self._place(template.id, task)
        endpoint = place.endpoint or parse_base_url(self._spec.base_url)
        return Started(place.handle(), endpoint, place.health_url or self._spec.health_url)

    async def _begin(self, template: Template) -> Task:
        """A new task. Where the answer is lost for good, once more, if nobody is at the address (EN-61)."""
        work = self._work
        mark = Mark(key=work.key, action=START, options_hash=self._spec.options_hash, stop=self._stop)
        told = told_at(START, self._variables)
        before = await work.newest(template.id, START)
        for is_last in (False, True):
            try:
                return await work.begin(template, mark, told, after=before)
            except asyncio.CancelledError:
                self._may_exist(template)
                raise
            except EngineUnavailable as lost:
                if not lost.sent:
                    raise
                if is_last or not await self._nobody_is_there():
                    self._may_exist(template)
                    raise
                self._stage("semaphore: no answer and no task to be seen; asking again")
        raise AssertionError("the second turn returns or raises")

    def _may_exist(self, template: Template) -> None:
        """Nobody knows whether a task was made: whoever stops this generation has to look for it."""
        self._report.made(self._place(template.id, None).handle())

    async def _nobody_is_there(self) -> bool:
        presence, _ = await knock(parse_base_url(self._spec.base_url))
        return presence is not Presence.RUNNING

    def _place(self, template: int, task: Task | None) -> Place:
        """As its task tells it, so that whoever finds the task says the same."""
        told = told_by(task) if task is not None else {}
        mark = Mark.of(task) if task is not None else None
        return Place(
            key=self._work.key,
            server=self._work.connection.base,
            project=self._work.project,
            start=template,
            stop=mark.stop if mark is not None and mark.stop else self._stop,
            task=task.id if task is not None else 0,
            variables=told or self._variables,
        )

    def _stage(self, text: str) -> None:
        self._report.stage("engine", text)

    async def _failed(self, task: Task) -> Exception:
        tail = self._work.output.last(task.id, 20)
        if task.never_ran and task.status == "error":
            return EngineRefused(
                f"Semaphore could not begin task {task.id} of template {self._options.start_template!r}.",
                permanent=True,
                remedy="Semaphore's own log has the reason: its repository, inventory, key or variable group",
                tail=tail,
            )
        if task.status == "error":
            text, cause = f"Semaphore's task {task.id} failed: its playbook ended with an error.", "exited"
        else:
            text, cause = f"Semaphore's task {task.id} was stopped by somebody.", "stopped"
        return StartFailed(
            text,
            cause=cause,
            stage="engine",
            remedy=f"hestia logs {self._work.key.service}",
            tail=tail,
        )
