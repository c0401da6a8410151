"""Templates of a project: by id, or by name. Source: semaphore-api.md 4.3, 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hestia.engines.semaphore.connection import Connection
from hestia.engines.semaphore.projects import choice_error


@dataclass(frozen=True, slots=True)
class Template:
    """takes_variables: it has a variable group; without one a task that brings variables cannot start."""

    id: int
    name: str
    app: str
    takes_variables: bool


class Templates:
    """The templates of one project."""

    def __init__(self, connection: Connection, project: int) -> None:
        self._connection = connection
        self._path = f"/project/{project}/templates"

    async def list(self) -> dict[int, str]:
        """Id → name."""
        answer = await self._connection.call("GET", self._path)
        return {int(row["id"]): str(row.get("name", "")) for row in answer.rows() if "id" in row}

    async def resolve(self, wanted: int | str, key: str) -> Template:
        """The template. key: of the configuration, for the error. Raises EngineRefused."""
        if isinstance(wanted, int) and (found := await self._get(wanted)) is not None:
            return found
        known = await self.list()
        matches = [number for number, name in known.items() if name == wanted]
        if len(matches) == 1 and (found := await self._get(matches[0])) is not None:
            return found
        raise choice_error("template", wanted, known, len(matches), key, self._connection.base)

    async def _get(self, number: int) -> Template | None:
        answer = await self._connection.call("GET", f"{self._path}/{number}")
        if answer.status != 200 or not isinstance(answer.body, dict):
            return None
        row: dict[str, Any] = answer.body  # Any: the server's own form
        return Template(
            number, str(row.get("name", "")), str(row.get("app", "")), row.get("environment_id") is not None
        )
