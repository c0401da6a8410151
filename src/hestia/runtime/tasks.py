"""The owner of every task: named, seen to the end, and nobody's failure cancels a sibling."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Tasks:
    """A set of named tasks. A task that raises is logged with its name; jobs that must answer somebody
    turn their exceptions into events before they get here."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, job: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a job under this owner. Raises RuntimeError after `aclose`."""
        if self._closed:
            job.close()
            raise RuntimeError(f"no task may start any more: {name}")
        task = asyncio.get_running_loop().create_task(job, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "A task ended with an unexpected error",
                exc_info=error,
                extra={"event_type": "task_failed", "task": task.get_name()},
            )

    @property
    def names(self) -> list[str]:
        """Names of the tasks that run, sorted."""
        return sorted(task.get_name() for task in self._tasks)

    async def aclose(self) -> None:
        """Cancel what still runs and wait for its end. Safe to call twice."""
        self._closed = True
        while self._tasks:
            running = list(self._tasks)
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=10.0)
            if all(task in self._tasks for task in running):
                log.error(
                    "Tasks did not end when cancelled",
                    extra={"event_type": "task_stuck", "tasks": self.names},
                )
                return

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<Tasks running={self.names}>"


async def first_of(wait: Awaitable[object], event: asyncio.Event) -> None:
    """Wait for something, which is given up when the event is set."""
    waits = {asyncio.ensure_future(wait), asyncio.ensure_future(event.wait())}  # noqa: TID251 - both end here
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
