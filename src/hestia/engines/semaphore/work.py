"""What starts and stops have in common: finding our tasks by their mark, and putting one into the queue.

Semaphore's POST is not idempotent and its lists are bounded, so the order is: look, post, look again. Of two
tasks with one mark the older counts, and the other is taken back before it runs (EN-61).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hestia.core.errors import EngineError, EngineRefused, EngineUnavailable
from hestia.core.model import InstanceKey
from hestia.engines.semaphore.connection import Connection
from hestia.engines.semaphore.follow import Follow, Limits, end_task
from hestia.engines.semaphore.handle import START, STOP, Mark
from hestia.engines.semaphore.output import Output
from hestia.engines.semaphore.tasks import Task, Tasks
from hestia.engines.semaphore.templates import Template, Templates

LOOK: Final = 0.25  # seconds between two looks for a task whose answer was lost


def standing(starts: Iterable[Task], stops: Iterable[Task]) -> Task | None:
    """Of the tasks of one key the start that counts: made since the last stop that succeeded, the oldest that
    did not fail, else the last one. What was taken back before it ran does not count."""
    since = max((task.age[0] for task in stops if task.status == "success"), default=0.0)
    found = sorted(
        (task for task in starts if task.age[0] > since and not task.is_taken_back), key=lambda task: task.age
    )
    return next((task for task in found if task.status != "error"), found[-1] if found else None)


@dataclass(slots=True)
class Work:
    """The tasks of one generation in one project. settle: seconds after which a lost task has appeared.

    seen: told every state of our tasks.
    """

    key: InstanceKey
    connection: Connection
    project: int
    tasks: Tasks
    output: Output
    limits: Limits
    settle: float
    seen: Callable[[Task], None]

    @property
    def templates(self) -> Templates:
        return Templates(self.connection, self.project)

    async def newest(self, template: int, action: str) -> Task | None:
        """The newest task that bears our key and is for that; None proves nothing."""
        return max(await self._marked(template, action), key=lambda task: task.age, default=None)

    async def standing(self, start: int, stop: int) -> Task | None:
        """The start of our key that counts now; None proves nothing."""
        return standing(await self._marked(start, START), await self._marked(stop, STOP))

    async def _marked(self, template: int, action: str) -> list[Task]:
        found = []
        for task in await self.tasks.last(template):
            mark = Mark.of(task)
            if mark is not None and mark.key == self.key and mark.action == action:
                found.append(task)
        return found

    async def wait_for(self, template: int, action: str, *, after: Task | None = None) -> Task | None:
        """The task whose answer was lost, as soon as it can be seen; None when `settle` is over.

        Raises EngineUnavailable: the server could not be asked until the end.
        """
        clock = asyncio.get_running_loop().time
        until, trouble = clock() + self.settle, None
        while True:
            try:
                found, trouble = await self.newest(template, action), None
                if found is not None and (after is None or found.age > after.age):
                    return found
            except EngineUnavailable as exc:
                trouble = exc
            if clock() >= until:
                break
            await asyncio.sleep(LOOK)
        if trouble is not None:
            raise EngineUnavailable(trouble.detail, sent=True, remedy=trouble.remedy, cause=trouble.cause)
        return None

    async def begin(
        self, template: Template, mark: Mark, variables: Mapping[str, str], *, after: Task | None = None
    ) -> Task:
        """Put a task into the queue. after: one with the same mark that does not count any more.

        Raises EngineRefused. EngineUnavailable: with `sent`, a task may run that cannot be seen yet.
        """
        told = variables if template.takes_variables else None
        try:
            task = await self.tasks.begin(template.id, message=str(mark), variables=told)
        except EngineUnavailable as lost:
            if not lost.sent:
                raise
            found = await self.wait_for(template.id, mark.action, after=after)
            if found is None:
                raise
            if found.never_ran and found.status == "error":  # its record is all that there is of it
                raise EngineRefused(
                    f"{lost.detail} Task {found.id} did not begin.",
                    permanent=True,
                    remedy=lost.remedy or "Semaphore's own log has the reason",
                ) from lost
            task = found
        return await self._only(template.id, mark.action, task, after)

    async def _only(self, template: int, action: str, ours: Task, after: Task | None) -> Task:
        """Ours, or the older one with the same mark that appeared meanwhile; ours is taken back then."""
        try:
            marked = await self._marked(template, action)
        except EngineError:
            return ours  # nobody else puts tasks there but a second gateway in the same moment
        twins = [task for task in marked if after is None or task.age > after.age]
        first = min([ours, *twins], key=lambda task: (task.age[0], -task.age[1]), default=ours)
        first = next((task for task in twins if task.id == first.id), first)
        if first.id != ours.id:
            await end_task(self.tasks, ours)
        return first

    async def follow(self, task: Task, *, stage: Callable[[str], None], line: Callable[[str], None]) -> Task:
        """See `Follow.to_its_end`."""
        return await self._follower(stage, line).to_its_end(task)

    def _follower(self, stage: Callable[[str], None], line: Callable[[str], None]) -> Follow:
        return Follow(
            self.connection, self.tasks, self.output, self.limits, stage=stage, line=line, seen=self.seen
        )
