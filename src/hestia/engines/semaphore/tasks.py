"""Tasks: begin, look, stop, output. Source: semaphore-api.md 4.4–4.6, 5."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from hestia.core.errors import EngineRefused, EngineUnavailable
from hestia.engines.semaphore.connection import Answer, Connection

FINAL: Final = frozenset({"success", "error", "stopped"})
WAITING: Final = frozenset({"waiting", "starting"})
LAST: Final = 200  # tasks that a list has at most
_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_UNSET_YEAR: Final = 1  # 0001-01-01 is "not set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task as it was seen. variables: what it was started with, where it shows them."""

    id: int
    template: int
    status: str
    message: str = ""
    created: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """A final status, or an end: a soft stop may leave `stopping` with its end."""
        return self.status in FINAL or self.end is not None

    @property
    def never_ran(self) -> bool:
        """It was over, or told to stop, before anything was run."""
        return self.start is None and (self.is_over or self.status == "stopping") and self.status != "success"

    @property
    def is_taken_back(self) -> bool:
        """It was stopped before it ran, which leaves nothing behind."""
        return self.never_ran and self.status != "error"

    @property
    def age(self) -> tuple[float, int]:
        """Sorts by when it was made; ids say nothing (they count down on BoltDB)."""
        return (self.created.timestamp() if self.created else 0.0, self.id)


class Tasks:
    """The tasks of one project."""

    def __init__(self, connection: Connection, project: int) -> None:
        self._connection = connection
        self._path = f"/project/{project}"

    async def begin(self, template: int, *, message: str, variables: Mapping[str, str] | None) -> Task:
        """Put a task into the queue. variables: None where the template takes none.

        Raises EngineRefused, EngineUnavailable (`sent`: it may have been made).
        """
        body: dict[str, object] = {"template_id": template, "message": message}
        if variables is not None:
            body["environment"] = json.dumps(dict(variables), separators=(",", ":"))
        answer = await self._connection.call("POST", f"{self._path}/tasks", body)
        if answer.status == 201:
            return self._task(answer)
        words = f": {answer.error}" if answer.error else ""
        if answer.status >= 500:
            raise EngineUnavailable(
                f"Semaphore could not start template {template} (HTTP {answer.status}{words}).",
                sent=True,
                remedy="Semaphore's own log has the reason: its repository, inventory, key or variable group",
            )
        remedy = {
            403: "give our user the role task_runner in the project",
            404: "correct the template's id, or give our user the role task_runner in the project",
        }.get(answer.status, "start the template by hand in Semaphore to see what it lacks")
        raise EngineRefused(
            f"Semaphore refuses to run template {template} (HTTP {answer.status}{words}).",
            permanent=True,
            remedy=remedy,
        )

    async def get(self, number: int) -> Task | None:
        """The task as it is now; None when the server does not know it (it says 400, or 404)."""
        answer = await self._connection.call("GET", f"{self._path}/tasks/{number}")
        if answer.status in (400, 404):
            return None
        return self._task(self._read(answer, f"task {number}"))

    async def last(self, template: int) -> list[Task]:
        """The template's last tasks, newest first, at most `LAST`: what is not there may be all the same."""
        answer = await self._connection.call(
            "GET", f"{self._path}/templates/{template}/tasks/last?limit={LAST}"
        )
        if answer.status in (400, 404):
            return []
        rows = self._read(answer, f"tasks of template {template}").rows()
        return [task for task in map(task_of, rows) if task is not None]

    async def output(self, number: int) -> list[str]:
        """The lines so far, plain; right after the end the last ones may still be missing."""
        answer = await self._connection.call("GET", f"{self._path}/tasks/{number}/output")
        if answer.status in (400, 404):
            return []
        rows = self._read(answer, f"output of task {number}").rows()
        return [plain_line(str(row.get("output", ""))) for row in rows]

    async def stop(self, number: int, *, force: bool = False) -> None:
        """Ask for its end, which comes later. Never of a finished one; force never of a waiting one."""
        answer = await self._connection.call("POST", f"{self._path}/tasks/{number}/stop", {"force": force})
        if answer.status == 403:
            raise EngineRefused(
                f"Semaphore does not let our user stop task {number}.",
                permanent=True,
                remedy="give our user the role task_runner in the project",
            )

    def _read(self, answer: Answer, what: str) -> Answer:
        if answer.status == 403:
            raise EngineRefused(
                f"Semaphore does not show our user {what} (HTTP 403).",
                permanent=True,
                remedy="give our user the role task_runner in the project",
            )
        if answer.status != 200:
            raise EngineUnavailable(
                f"Semaphore cannot show {what} (HTTP {answer.status}).",
                sent=False,
                remedy="see Semaphore's own log",
            )
        return answer

    def _task(self, answer: Answer) -> Task:
        task = task_of(answer.body) if isinstance(answer.body, dict) else None
        if task is None:
            raise EngineUnavailable(
                f"Semaphore at {self._connection.base} describes a task in a way that is not understood.",
                sent=True,
                remedy="see that semaphore_base_url leads to Semaphore itself",
            )
        return task


def task_of(row: dict[str, Any]) -> Task | None:  # Any: the server's own form
    number, status = row.get("id"), row.get("status")
    if not isinstance(number, int) or not isinstance(status, str):
        return None
    return Task(
        id=number,
        template=int(row.get("template_id") or 0),
        status=status,
        message=str(row.get("message") or ""),
        created=_instant(row.get("created")),
        start=_instant(row.get("start")),
        end=_instant(row.get("end")),
        variables=_variables(row.get("environment")),
    )


def _variables(text: object) -> Mapping[str, str]:
    try:
        read = json.loads(str(text)) if text else {}
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in read.items()} if isinstance(read, dict) else {}


def _instant(text: object) -> datetime | None:
    if not isinstance(text, str) or not text:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    read = read if read.tzinfo is not None else read.replace(tzinfo=UTC)
    return None if read.year == _UNSET_YEAR else read


def plain_line(text: str) -> str:
    """A line without colours and control characters."""
    return _ANSI.sub("", text).rstrip()
