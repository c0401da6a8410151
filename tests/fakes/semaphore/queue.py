"""The running server: its queue, what runs, and every change of a task's state.

Lives in memory only. After a restart the records it left behind stay as they are for ever, and nothing here
knows them. Owns the plays under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from .events import Streams
from .plays import Play, Run, fails
from .records import Document, Task, now
from .variables import extra_variables
from .versions import Status
from .world import World

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class Queue:
    """choose: the play of a task. spawn: starts a task that somebody owns. changed: told of every change.

    interval: seconds between two looks, each of which starts one task of the whole server at most; 0 starts
    what can be started at once, None leaves the looks to `tick`. parallel: runs of the whole server at once.
    hold_ends: a finished task keeps `end` null until `write_ends`, as it does for a moment on a real server.
    """

    def __init__(
        self,
        world: World,
        streams: Streams,
        *,
        choose: Callable[[Document, Task], Play],
        spawn: Spawn,
        changed: Callable[[], None],
        interval: float | None,
        parallel: int = 10,
    ) -> None:
        self.waiting: list[Task] = []
        self.running: dict[int, Run] = {}
        self.hold_ends = False
        self.parallel = parallel
        self._world = world
        self._streams = streams
        self._choose = choose
        self._spawn = spawn
        self._changed = changed
        self._interval = interval
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._unended: list[Task] = []

    def knows(self, task: Task) -> bool:
        """Whether it waits or runs here."""
        return task in self.waiting or task.id in self.running

    def add(self, task: Task) -> None:
        """Take a new task in."""
        self.waiting.append(task)
        self._say(task, f"Task {task.id} added to queue")
        self._tell(task)
        self._pump()

    async def clock(self) -> None:
        """Look at the queue again and again, where an interval is set."""
        while self._interval:
            await asyncio.sleep(self._interval)
            self.tick()

    def tick(self) -> None:
        """One look: start the first task, or send it to the end when it is blocked. So there is no order."""
        if self.waiting:
            task = self.waiting.pop(0)
            if self._blocked(task):
                self.waiting.append(task)
            else:
                self._begin(task)

    def _pump(self) -> None:
        """Where the server reacts to events: start all that can be started, from the front."""
        if self._interval == 0:
            for task in list(self.waiting):
                if not self._blocked(task):
                    self.waiting.remove(task)
                    self._begin(task)

    def _blocked(self, task: Task) -> bool:
        running = [run.task for run in self.running.values()]
        template = self._world.template(task)
        alone = template is not None and not template.get("allow_parallel_tasks")
        if alone and any(other.template_id == task.template_id for other in running):
            return True
        project = self._world.projects.get(task.project_id)
        limit = 0 if project is None else project.max_parallel_tasks
        same = sum(other.project_id == task.project_id for other in running)
        return len(running) >= self.parallel or 0 < limit <= same

    def _begin(self, task: Task) -> None:
        if task.status is Status.STOPPING:  # stopped softly while it waited: this was its turn
            self._move(task, Status.STOPPED)
            self._end(task)
            self._pump()
            return
        project = self._world.projects.get(task.project_id)
        template = self._world.template(task)
        if project is None or template is None:
            return  # deleted while it waited
        variables: Document | None
        try:
            variables = extra_variables(self._world, project, template, task)
        except ValueError:  # a secret that is no JSON: newer servers go on with nothing
            variables = None if not self._world.version.modern else {}
        run = Run(
            task,
            template,
            project,
            variables or {},
            say=lambda line: self._say(task, line),
            ask=self._ask,
        )
        self.running[task.id] = run
        play = fails() if variables is None else self._choose(template, task)
        self._jobs[task.id] = self._spawn(self._execute(run, play), f"semaphore-task-{task.id}")

    async def _execute(self, run: Run, play: Play) -> None:
        """One run from `starting` to its end. Cancelled without being killed, it leaves its record behind."""
        task = run.task
        self._move(task, Status.STARTING)
        self._say(task, f"Started: {task.id}")
        self._say(task, f"Run TaskRunner with template: {run.template['name']}\n")
        self._run(task)
        self._say(task, f"Preparing: {task.id}")
        code: int | None = None
        try:
            code = await play(run)
        except asyncio.CancelledError:
            if not run.killed:
                raise
            if (current := asyncio.current_task()) is not None:
                current.uncancel()
        self._finish(run, code)

    def _finish(self, run: Run, code: int | None) -> None:
        """Write the final state. code: None when it was killed."""
        task = run.task
        if code is None:
            self._say(task, "Running app failed: signal: killed")
            self._move(task, self._world.version.killed)
        elif code:
            self._say(task, f"Running app failed: exit status {code}")
        if code is not None and task.status is not Status.STOPPING:  # a deaf run keeps that state for ever
            self._move(task, Status.ERROR if code else Status.SUCCESS)
        if self.hold_ends:
            self._unended.append(task)
        else:
            self._end(task)
        del self.running[task.id], self._jobs[task.id]
        self._pump()

    def write_ends(self) -> None:
        """Write the `end` of every task that was held back, and hold none back any more."""
        self.hold_ends = False
        ended, self._unended = self._unended, []
        for task in ended:
            self._end(task)

    async def _ask(self, run: Run) -> bool:
        self._move(run.task, Status.WAITING_CONFIRMATION)
        run.reply = asyncio.get_running_loop().create_future()
        if not await run.reply:
            self._move(run.task, Status.REJECTED)
            return False
        self._move(run.task, Status.CONFIRMED)
        self._run(run.task)
        return True

    def answer(self, task: Task, *, confirmed: bool) -> bool:
        """Confirm or reject. False for a task that is not active.

        One that nobody asked about takes the state all the same, even while it waits for its turn.
        """
        run = self.running.get(task.id)
        if run is not None and run.reply is not None and not run.reply.done():
            run.reply.set_result(confirmed)
        elif self.knows(task):
            self._move(task, Status.CONFIRMED if confirmed else Status.REJECTED)
        return self.knows(task)

    def stop(self, task: Task, *, force: bool) -> None:
        """Stop as the server does it.

        A waiting task that is forced is shown as `stopped` and runs all the same; a finished one gets
        `stopped` over its result.
        """
        run = self.running.get(task.id)
        if not self.knows(task):
            task.status = Status.STOPPED
            self._tell(task)
            return
        asking = task.status is Status.WAITING_CONFIRMATION
        self._move(task, Status.STOPPED if force else Status.STOPPING)
        modern = self._world.version.modern
        if run is None or (run.deaf and not modern) or (asking and not force and not modern):
            return
        run.killed = True
        self._jobs[task.id].cancel()

    def forget(self) -> list[asyncio.Task[None]]:
        """The server ends: plays break off, records stay. Returns what has to be waited for."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        self.waiting.clear()
        self.running.clear()
        self._jobs.clear()
        self._unended.clear()
        return jobs

    def _run(self, task: Task) -> None:
        """`running`, with its time: again after a confirmation, never for what was stopped before."""
        if task.status not in (Status.STOPPED, Status.STOPPING):
            task.start = now()
            self._move(task, Status.RUNNING)

    def _move(self, task: Task, status: Status) -> None:
        """Write a state and tell it. Nothing leaves `stopped`."""
        if task.status is not Status.STOPPED:
            task.status = status
            self._tell(task)

    def _end(self, task: Task) -> None:
        task.end = now()
        self._tell(task)

    def _tell(self, task: Task) -> None:
        self._streams.tell(
            task,
            {
                "type": "update",
                "task_id": task.id,
                "template_id": task.template_id,
                "project_id": task.project_id,
                "status": str(task.status),
                "start": task.start,
                "end": task.end,
                "version": None,
            },
        )
        self._changed()

    def _say(self, task: Task, line: str) -> None:
        time = now()
        task.output.append((time, line))
        message = {
            "type": "log",
            "task_id": task.id,
            "project_id": task.project_id,
            "time": time,
            "output": line,
        }
        self._streams.tell(task, message)
        self._changed()
