"""What a project has: keys, repositories, inventories, variable groups and templates, found by name and made.

Owns what differs between versions in that: older servers say nothing about what they made, so it is looked up
afterwards. Source: semaphore-api.md 4.2, 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hestia.core.errors import EngineRefused
from hestia.engines.semaphore.connection import Answer, Connection
from hestia.engines.semaphore.projects import choice_error

Row = Mapping[str, Any]  # one object of the server, in its own form


class Resources:
    """One kind of thing in one project. path: its place in the interface. title: what people call it."""

    def __init__(self, connection: Connection, project: int, path: str, title: str) -> None:
        self._connection = connection
        self._project = project
        self._path = f"/project/{project}/{path}"
        self.title = title

    async def list(self) -> list[Row]:
        """All of them. Raises EngineRefused, EngineUnavailable."""
        answer = await self._connection.call("GET", self._path)
        return list(expected(answer, f"show the project's {self.title}s", 200).rows())

    async def get(self, number: int) -> Row:
        """One of them in full. Raises as `list`."""
        answer = await self._connection.call("GET", f"{self._path}/{number}")
        row: Row = expected(answer, f"show {self.title} {number}", 200).body
        return row

    async def named(self, name: str) -> Row | None:
        """The one of that name; None when there is none. Raises EngineRefused: there are several."""
        rows = await self.list()
        found = [row for row in rows if row.get("name") == name]
        if len(found) > 1:
            known = {int(row["id"]): str(row.get("name", "")) for row in rows}
            raise choice_error(self.title, name, known, len(found), "its name", self._connection.base)
        return found[0] if found else None

    async def make(self, name: str, fields: Row) -> Row:
        """A new one. Raises EngineRefused, EngineUnavailable."""
        body = {"name": name, "project_id": self._project, **fields}
        answer = await self._connection.call("POST", self._path, body)
        expected(answer, f"make the {self.title} {name!r}", 201, 204)
        if isinstance(answer.body, dict) and "id" in answer.body:
            made: Row = answer.body
            return made
        found = await self.named(name)
        if found is None:
            raise EngineRefused(
                f"Semaphore took the {self.title} {name!r}, and it is not there.",
                permanent=False,
                remedy="try again; see Semaphore's own log",
            )
        return found

    async def change(self, row: Row, fields: Row) -> Row:
        """The row with these fields, the others as they are. Raises EngineRefused, EngineUnavailable."""
        whole = {**row, **fields, "project_id": self._project}
        answer = await self._connection.call("PUT", f"{self._path}/{row['id']}", whole)
        expected(answer, f"change the {self.title} {row.get('name')!r}", 200, 204)
        return whole


def expected(answer: Answer, what: str, *statuses: int) -> Answer:
    """The answer, if it is one of these. Raises EngineRefused: the server would not do it."""
    if answer.status in statuses:
        return answer
    said = f": {answer.error}" if answer.error else ""
    raise EngineRefused(
        f"Semaphore does not {what} (HTTP {answer.status}{said}).",
        permanent=answer.status < 500,
        remedy="see Semaphore's own log"
        if answer.status >= 500
        else "see that the user may do this: an admin, or the owner of the project",
    )
