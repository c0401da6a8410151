"""Everything a Semaphore server stores: users, tokens, sessions, projects and their resources, tasks.

Plain and synchronous; it survives a restart of the server that shows it. What runs is `queue.py`'s.
"""

from __future__ import annotations

import base64
import itertools
import secrets
from collections import defaultdict
from collections.abc import Iterator

from .records import NEVER, Document, Project, Task, Token, User, now
from .versions import Status, Version

LAST_BOLT_ID = 2147483646

ROLES = {"owner": 15, "manager": 5, "task_runner": 1, "guest": 0}
RUN, PROJECT, RESOURCES, MEMBERS = 1, 2, 4, 8  # the bits of a role's permissions


class World:
    """The database. A new one knows one user: `admin`, password `admin`."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.users: dict[int, User] = {}
        self.tokens: dict[str, Token] = {}
        self.sessions: dict[str, int] = {}
        self.projects: dict[int, Project] = {}
        self.tasks: dict[int, Task] = {}  # oldest first
        self._counters: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self.add_user("admin", "Admin", "admin@localhost", "admin", admin=True)

    def new_id(self, kind: str, project: Project | None = None) -> int:
        """The next id of a kind. With BoltDB each project counts its own, and those of tasks count down."""
        own = f"/{project.id}" if project is not None and self.version.ids_count_down else ""
        number = next(self._counters[kind + own])
        if kind == "tasks" and self.version.ids_count_down:
            return LAST_BOLT_ID + 1 - number
        return number

    def add_user(self, username: str, name: str, email: str, password: str, *, admin: bool = False) -> User:
        """A new user; whether the name is free is the caller's question."""
        user = User(self.new_id("users"), username, name, email, password, admin)
        self.users[user.id] = user
        return user

    def login(self, auth: str, password: str) -> User | None:
        """Who logs in with this name or e-mail address: the name in lower case, as the server looks it up."""
        wanted = auth.lower()
        for user in self.users.values():
            if wanted in (user.username, user.email) and user.password == password:
                return user
        return None

    def open_session(self, user: User) -> str:
        """A new session cookie's value."""
        value = secrets.token_urlsafe(24)
        self.sessions[value] = user.id
        return value

    def make_token(self, user: User) -> Token:
        """A new API token: 44 lower-case characters."""
        text = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().lower()
        token = Token(text, user.id, now() if self.version.modern else NEVER)
        self.tokens[text] = token
        return token

    def bearer(self, header: str) -> User | None:
        """Whose token an Authorization header carries, whatever its case."""
        words = header.lower().split()
        token = self.tokens.get(words[1]) if len(words) == 2 and words[0] == "bearer" else None
        if token is None or (token.expired and self.version.modern):
            return None  # with BoltDB a deleted token goes on working
        return self.users.get(token.user_id)

    def add_project(self, name: str, owner: User, asked: Document | None = None) -> Project:
        """A new project with the key `None`, the variable group `Empty` and its maker as owner."""
        asked = asked or {}
        project = Project(
            self.new_id("projects"),
            name,
            alert=asked.get("alert", False),
            alert_chat=asked.get("alert_chat"),
            max_parallel_tasks=asked.get("max_parallel_tasks", 0),
            type=asked.get("type", ""),
        )
        project.members[owner.id] = "owner"
        self.projects[project.id] = project
        self.add_thing(project, "keys", {"name": "None", "type": "none"})
        self.add_thing(project, "environment", {"name": "Empty", "json": "{}"})
        return project

    def add_thing(self, project: Project, kind: str, fields: Document) -> Document:
        """A new resource of a project, with its id."""
        thing = {**fields, "id": self.new_id(kind, project), "project_id": project.id}
        project.of(kind)[thing["id"]] = thing
        return thing

    def permissions(self, user: User, project: Project) -> int | None:
        """What a user may do in a project, as bits; None for who is no member."""
        if user.admin:
            return ROLES["owner"]
        role = project.members.get(user.id)
        return None if role is None else ROLES[role]

    def add_task(self, project: Project, user: User, asked: Document) -> Task:
        """A new record in `waiting`. The event streams that hear of it are chosen now."""
        told = frozenset(project.members) | {one.id for one in self.users.values() if one.admin}
        task = Task(self.new_id("tasks"), project.id, asked["template_id"], user.id, asked, told=told)
        self.tasks[task.id] = task
        return task

    def history(self, project_id: int, template_id: int | None = None) -> list[Task]:
        """The tasks of a project, or of one of its templates, newest first."""
        return [
            task
            for task in reversed(self.tasks.values())
            if task.project_id == project_id and template_id in (None, task.template_id)
        ]

    def template(self, task: Task) -> Document | None:
        """The template of a task, unless it was deleted."""
        project = self.projects.get(task.project_id)
        return None if project is None else project.of("templates").get(task.template_id)

    def drop_template(self, project: Project, template_id: int) -> None:
        """Delete a template; its tasks go with it."""
        del project.of("templates")[template_id]
        for task in self.history(project.id, template_id):
            del self.tasks[task.id]

    def with_status(self, *wanted: Status) -> list[Task]:
        """The tasks in one of these states, oldest first."""
        return [task for task in self.tasks.values() if task.status in wanted]
