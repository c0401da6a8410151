"""One task, followed to its end: by the server's events, and by looking where they cannot be had.

Owns the two limits of a task, the wait in Semaphore's queue and the run (EN-62, EN-63), and what is to be
done with a task that reaches one of them. What its end means is for `start` and `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from hestia.core.errors import EngineError, EngineRefused, EngineUnavailable, HestiaError, StartFailed
from hestia.engines.semaphore.connection import Connection
from hestia.engines.semaphore.events import listen
from hestia.engines.semaphore.output import Output
from hestia.engines.semaphore.tasks import WAITING, Task, Tasks

SAFETY: Final = 10.0  # seconds between two looks while events come: one of them may have been lost
RECONNECT: Final = (0.5, 15.0)  # seconds until events are asked for again: the first pause, the longest
LATE: Final = 1.0  # seconds within which the last lines of output are stored
STOPPED_IN: Final = 20.0  # seconds that a soft stop may take
LINES_SHOWN: Final = 20  # of the output, in an error
LOOK_AGAIN: Final = 0.2  # seconds between two looks at a task that was told to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds: in the queue, of the run, between two looks."""

    waiting: float
    running: float
    poll: float


class Follow:
    """Follows one task. stage: told what it does. line: told each line of its output, once.

    seen: told every state of it.
    """

    def __init__(
        self,
        connection: Connection,
        tasks: Tasks,
        output: Output,
        limits: Limits,
        *,
        stage: Callable[[str], None],
        line: Callable[[str], None],
        seen: Callable[[Task], None],
    ) -> None:
        self._connection = connection
        self._tasks = tasks
        self._output = output
        self._limits = limits
        self._stage = stage
        self._line = line
        self._seen = seen
        self._nudge = asyncio.Event()
        self._hears = False  # whether events come
        self._unread = ""  # why the output could not be read, once it has been told
        self._behind = False  # they just began to come: nobody told what was before

    async def to_its_end(self, task: Task) -> Task:
        """The task when it is over, its output taken in.

        Raises EngineUnavailable(sent=True): lost, deleted. StartFailed: it ran too long, it waits for a
        person; it has been told to stop then. EngineRefused: our user may not look.
        """
        if not task.is_over:
            task = await self._to_its_end(task)
        self._say(task)
        await self._take_output(task, patient=task.status != "success")
        return task

    async def _to_its_end(self, task: Task) -> Task:
        outcome: Task | HestiaError | None = None
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(self._hear(task.id), name=f"semaphore events of task {task.id}")
            try:
                outcome = await self._until_over(task)
            except HestiaError as error:  # raised below: a group would wrap it
                outcome = error
            finally:
                hearing.cancel()
        if isinstance(outcome, HestiaError):
            raise outcome
        assert outcome is not None, "it is a task or an error"
        return outcome

    async def _hear(self, number: int) -> None:
        """Take events until cancelled; where they cannot be had, that is what looking is for."""
        pause, longest = RECONNECT
        while True:
            try:
                async with aclosing(listen(self._connection)) as events:
                    async for told in events:
                        self._behind = self._behind or not self._hears
                        self._hears = True
                        pause = RECONNECT[0]
                        if told.task == number and told.line is not None:
                            self._output.add(number, told.line)
                            self._line(told.line)
                        elif told.task in (number, 0):
                            self._nudge.set()
            except EngineError:
                pass
            self._hears = False
            self._nudge.set()
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)

    async def _until_over(self, task: Task) -> Task:
        clock = asyncio.get_running_loop().time
        began, ran_since = clock(), None
        while not task.is_over:
            self._say(task)
            if task.status == "waiting_confirmation":
                with contextlib.suppress(EngineUnavailable):  # it waits on; what is said of it is the same
                    await end_task(self._tasks, task, force=True)
                raise self._wants_a_person(task)
            is_waiting = task.status in WAITING
            if not is_waiting and ran_since is None:
                ran_since = clock()
            due = (
                began + self._limits.waiting
                if is_waiting or ran_since is None
                else ran_since + self._limits.running
            )
            if clock() >= due:
                raise await self._too_long(task, is_waiting=is_waiting)
            task = await self._look(task, due - clock())
        return task

    async def _look(self, task: Task, left: float) -> Task:
        """The task after a change, or after a while. left: seconds until its limit."""
        wait = max(self._limits.poll, SAFETY) if self._hears else self._limits.poll
        try:
            async with asyncio.timeout(max(0.0, min(wait, left))):
                await self._nudge.wait()
        except TimeoutError:
            pass
        self._nudge.clear()
        try:
            now = await self._tasks.get(task.id)
            if now is not None and (self._behind or not self._hears):
                self._behind = False
                await self._read_output(task)
        except EngineUnavailable as trouble:
            self._stage(
                f"semaphore: task {task.id} {task.status}, and the server does not answer: {trouble.detail}"
            )
            self._hears = False
            return task
        if now is None:
            raise EngineUnavailable(
                f"Semaphore does not know task {task.id} any more: it was deleted, or its history cut short.",
                sent=True,
                remedy="leave max_tasks_per_template of Semaphore at 0",
            )
        return now

    def _say(self, task: Task) -> None:
        words = {"waiting": "waiting in Semaphore's queue", "starting": "starting"}
        self._stage(f"semaphore: task {task.id} {words.get(task.status, task.status)}")
        self._seen(task)

    # -- ends that are none ------------------------------------------------------------------------

    async def _too_long(self, task: Task, *, is_waiting: bool) -> HestiaError:
        """Tell it to stop and say why. What ran nowhere any more is lost: its server forgot it (EN-63)."""
        try:
            ended = await end_task(self._tasks, task)
        except EngineUnavailable as trouble:
            return EngineUnavailable(
                f"Semaphore's task {task.id} is {task.status} for longer than semaphore_task_timeout allows, "
                f"and cannot be ended: {trouble.detail}",
                sent=True,
                remedy=trouble.remedy,
                cause="timeout",
            )
        if is_waiting:
            return EngineUnavailable(
                f"Semaphore's task {task.id} has been {task.status} for {self._limits.waiting:g} s "
                "(semaphore_task_timeout): its server is busy, or was restarted and forgot it.",
                sent=True,
                remedy="look at Semaphore's tasks; raise semaphore_task_timeout if they have to queue",
                cause="timeout",
            )
        if ended.status == "stopped" and ended.end is None:
            return EngineUnavailable(
                f"Semaphore's task {task.id} was {task.status} and nothing ran it: its server was restarted.",
                sent=True,
                cause="timeout",
            )
        await self._take_output(task, patient=True)
        return StartFailed(
            f"Semaphore's task {task.id} did not end within {self._limits.running:g} s "
            "(semaphore_task_timeout) and was stopped.",
            cause="timeout",
            stage="engine",
            remedy="raise semaphore_task_timeout, or see in its last lines what it waits for",
            tail=self.tail(task),
        )

    def _wants_a_person(self, task: Task) -> HestiaError:
        return EngineRefused(
            f"Semaphore's task {task.id} waits for somebody to confirm it, and was stopped.",
            permanent=True,
            remedy="let the template approve by itself (auto approve), or use a playbook",
            tail=self.tail(task),
        )

    # -- output ------------------------------------------------------------------------------------

    async def _take_output(self, task: Task, *, patient: bool) -> None:
        """All its lines. patient: the last ones are worth waiting for, being the reason of a failure."""
        try:
            await self._read_output(task)
            if patient:
                await asyncio.sleep(LATE)
                await self._read_output(task)
        except EngineUnavailable:
            return  # what events brought is there

    async def _read_output(self, task: Task) -> None:
        """Take in what the server has. One that is not shown, or too long, is told and costs nothing else.

        Raises EngineUnavailable.
        """
        try:
            self._output.merge(task.id, await self._tasks.output(task.id), self._line)
        except EngineRefused as refused:
            if refused.detail != self._unread:
                self._unread = refused.detail
                self._line(f"hestia: {refused.detail}")

    def tail(self, task: Task) -> tuple[str, ...]:
        """The last lines of its output, for an error."""
        return self._output.last(task.id, LINES_SHOWN)


async def end_task(tasks: Tasks, task: Task, *, force: bool = False) -> Task:
    """Tell a task to stop and wait until it is over, or until it is sure never to run.

    A waiting task is never forced, since it would run all the same, and a finished one never stopped, since
    that would change its result (EN-64).

    Raises EngineUnavailable: the server does not answer, or does not end it.
    """
    clock = asyncio.get_running_loop().time
    now = await tasks.get(task.id)
    if now is None:  # only what is over can be deleted
        return replace(task, status="stopped", start=task.start or task.created)
    if now.is_over:
        return now
    await tasks.stop(now.id, force=force and now.status not in WAITING)
    until, forced = clock() + STOPPED_IN, force
    while True:
        now = await tasks.get(task.id) or now
        if now.is_over or now.never_ran:
            return now
        if clock() >= until:
            if forced or now.status in WAITING:
                break
            await tasks.stop(now.id, force=True)  # it ran, and does not die of a soft one
            until, forced = clock() + STOPPED_IN, True
        await asyncio.sleep(LOOK_AGAIN)
    raise EngineUnavailable(
        f"Semaphore does not end task {now.id}: it is {now.status} still.",
        sent=True,
        remedy="look at it in Semaphore, and at its server",
    )
