"""What a run does: scripted plays for tests, fast and to the letter. A real one is in `ansible.py`.

A play is a coroutine function from a run to an exit code. Being killed is being cancelled.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .records import Document, Project, Task


@dataclass(slots=True)
class Run:
    """One task under way, as its play sees it. variables: what Ansible would get as extra variables.

    deaf: a kill does not reach it, as while a repository is cloned (2.10).
    """

    task: Task
    template: Document
    project: Project
    variables: Document
    say: Callable[[str], None]
    ask: Callable[[Run], Awaitable[bool]]
    deaf: bool = False
    killed: bool = False
    reply: asyncio.Future[bool] | None = field(default=None, repr=False)

    async def confirmation(self) -> bool:
        """Wait in `waiting_confirmation` until somebody confirms (True) or rejects."""
        return await self.ask(self)


Play = Callable[[Run], Awaitable[int]]


def _tell(run: Run, lines: tuple[str, ...]) -> None:
    for line in lines:
        run.say(line)


def succeeds(*lines: str) -> Play:
    """Print, then end well."""

    async def play(run: Run) -> int:
        _tell(run, lines)
        return 0

    return play


def fails(*lines: str, code: int = 2) -> Play:
    """Print, then end with another exit code."""

    async def play(run: Run) -> int:
        _tell(run, lines)
        return code

    return play


def hangs(*lines: str) -> Play:
    """Print, then never end until killed."""

    async def play(run: Run) -> int:
        _tell(run, lines)
        await asyncio.get_running_loop().create_future()
        return 0

    return play


def asks(*lines: str) -> Play:
    """Print, wait for confirmation, end well; a rejection is exit code 1."""

    async def play(run: Run) -> int:
        _tell(run, lines)
        return 0 if await run.confirmation() else 1

    return play


def acts(action: Callable[[Document], Awaitable[None] | None], *lines: str) -> Play:
    """Do something with the variables (start the service, say), print, then end well."""

    async def play(run: Run) -> int:
        doing = action(run.variables)
        if inspect.isawaitable(doing):
            await doing
        _tell(run, lines)
        return 0

    return play


def in_turn(*plays: Play) -> Play:
    """The first run gets the first play, and so on; the last one stays."""
    left = list(plays)

    async def play(run: Run) -> int:
        chosen = left.pop(0) if len(left) > 1 else left[0]
        return await chosen(run)

    return play


class Held:
    """A play that the test ends. runs: those under way, oldest first."""

    def __init__(self, *lines: str, deaf: bool = False) -> None:
        self.runs: list[Run] = []
        self._lines = lines
        self._deaf = deaf
        self._ends: dict[int, asyncio.Future[int]] = {}

    async def __call__(self, run: Run) -> int:
        run.deaf = self._deaf
        self.runs.append(run)
        end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ends[run.task.id] = end
        try:
            _tell(run, self._lines)
            return await end
        finally:
            self.runs.remove(run)
            del self._ends[run.task.id]

    def finish(self, code: int = 0, *, task_id: int | None = None) -> None:
        """End one run, by default the oldest."""
        chosen = self.runs[0].task.id if task_id is None else task_id
        self._ends[chosen].set_result(code)
