"""Projects: by id, or by name as people write it. Source: semaphore-api.md 4.1, 6."""

from __future__ import annotations

from hestia.core.errors import EngineRefused
from hestia.engines.semaphore.connection import Connection

_SHOWN = 8  # names in an error


class Projects:
    """The projects that our user sees."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self) -> dict[int, str]:
        """Id → name; on SQL stores at most 200."""
        answer = await self._connection.call("GET", "/projects")
        return {int(row["id"]): str(row.get("name", "")) for row in answer.rows() if "id" in row}

    async def resolve(self, wanted: int | str) -> int:
        """The id. Raises EngineRefused: there is none, or several of that name."""
        if isinstance(wanted, int):
            answer = await self._connection.call("GET", f"/project/{wanted}")
            if answer.status == 200 and isinstance(answer.body, dict):
                return wanted
        known = await self.list()
        found = [number for number, name in known.items() if name == wanted]
        if len(found) == 1:
            return found[0]
        raise choice_error("project", wanted, known, len(found), "semaphore_project", self._connection.base)


def choice_error(
    kind: str, wanted: int | str, known: dict[int, str], count: int, key: str, where: str
) -> EngineRefused:
    """There is no such project or template, or several: says which there are."""
    there = ", ".join(f"{number} ({name})" for number, name in list(known.items())[:_SHOWN])
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    what = f"{count} {kind}s named" if count else f"no {kind}"
    return EngineRefused(
        f"Semaphore at {where} has {what} {wanted!r} ({key}). "
        f"{'There are: ' + there + more if known else 'Our user sees none'}.",
        permanent=True,
        cause="not_found",
        remedy=f"set {key} to one of these {'ids' if count else 'ids or names'}"
        if known
        else f"make the {kind} in Semaphore, and give our user the role task_runner in its project",
    )
