"""Users of a server, their tokens and their roles in projects. Source: semaphore-api.md 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hestia.core.errors import EngineRefused
from hestia.engines.semaphore.connection import Connection
from hestia.engines.semaphore.resources import expected

RUN = 1  # the bit of a role's permissions that lets tasks be run


@dataclass(frozen=True, slots=True)
class User:
    """admin: only an admin and the user are told; False where it is not."""

    id: int
    username: str
    name: str
    admin: bool


class People:
    """Users, as the one who asks may see and change them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def me(self) -> User:
        """Who asks. Raises EngineRefused, EngineUnavailable."""
        answer = await self._connection.call("GET", "/user")
        body = expected(answer, "say who asks", 200).body
        if not isinstance(body, dict) or "id" not in body:
            raise EngineRefused(
                f"{self._connection.base} does not say who asks: it is no Semaphore.",
                permanent=True,
                remedy="correct semaphore_base_url",
            )
        return _user(body)

    async def named(self, username: str) -> User | None:
        """The user with that login."""
        answer = await self._connection.call("GET", "/users")
        rows = expected(answer, "show its users", 200).rows()
        return next((_user(row) for row in rows if row.get("username") == username), None)

    async def make(self, username: str, name: str, password: str) -> User:
        """A new user, no admin. By an admin."""
        body = {
            "username": username,
            "name": name,
            "email": f"{username}@localhost",
            "password": password,
            "admin": False,
            "alert": False,
        }
        answer = await self._connection.call("POST", "/users", body)
        return _user(expected(answer, f"make the user {username!r}", 201).body)

    async def set_password(self, user: User, password: str) -> None:
        """A new password for a user. By an admin."""
        answer = await self._connection.call("POST", f"/users/{user.id}/password", {"password": password})
        expected(answer, f"give {user.username!r} a new password", 200, 204)

    async def new_token(self) -> str:
        """A new token of who asks."""
        answer = await self._connection.call("POST", "/user/tokens", {})
        body = expected(answer, "make a token", 200, 201).body
        return str(body["id"])

    async def may_run(self, project: int) -> bool:
        """Whether who asks may run tasks in the project."""
        return bool((await self.role(project))[1] & RUN)

    async def role(self, project: int) -> tuple[str, int]:
        """The role of who asks in a project, and its permissions as bits; none: ("", 0)."""
        answer = await self._connection.call("GET", f"/project/{project}/role")
        if answer.status in (403, 404) or not isinstance(answer.body, dict):
            return "", 0
        return str(answer.body.get("role", "")), int(answer.body.get("permissions") or 0)

    async def role_of(self, user: User, project: int) -> str:
        """The role of a user in a project, "" for who is no member."""
        answer = await self._connection.call("GET", f"/project/{project}/users")
        rows = expected(answer, "show the members of the project", 200).rows()
        return next((str(row.get("role", "")) for row in rows if row.get("id") == user.id), "")

    async def set_role(self, user: User, project: int, role: str, *, member: bool) -> None:
        """Let a user in, or give a member another role. By the owner of the project, or an admin."""
        path = f"/project/{project}/users"
        if member:
            answer = await self._connection.call("PUT", f"{path}/{user.id}", {"role": role})
        else:
            answer = await self._connection.call("POST", path, {"user_id": user.id, "role": role})
        expected(answer, f"give {user.username!r} the role {role} in the project", 200, 204)


def _user(row: dict[str, Any]) -> User:  # Any: the server's own form
    return User(
        int(row["id"]), str(row.get("username", "")), str(row.get("name", "")), row.get("admin") is True
    )
