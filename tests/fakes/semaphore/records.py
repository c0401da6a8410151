"""The rows a Semaphore server keeps, and how each version of it writes a task.

Keys, repositories, inventories, variable groups and templates are kept as the API's own documents: what
they mean is a matter of their family. Users, projects and tasks have rules of their own, so they are
classes here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .versions import Status, Version

Document = dict[str, Any]  # JSON as the API takes and sends it

NEVER = "0001-01-01T00:00:00Z"


def now() -> str:
    """This instant as the server writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(slots=True)
class User:
    """Who may log in. password: in clear, this is a stand-in."""

    id: int
    username: str
    name: str
    email: str
    password: str
    admin: bool = False
    created: str = field(default_factory=now)

    def document(self) -> Document:
        """As lists and answers to POST show it."""
        return {
            "id": self.id,
            "created": self.created,
            "username": self.username,
            "name": self.name,
            "email": self.email,
            "admin": self.admin,
            "external": False,
            "alert": False,
        }


@dataclass(slots=True)
class Token:
    """An API token acts as its user."""

    text: str
    user_id: int
    created: str
    expired: bool = False


@dataclass(slots=True)
class Project:
    """members: user id to role. things: the documents of each kind of resource, by id."""

    id: int
    name: str
    alert: bool = False
    alert_chat: str | None = None
    max_parallel_tasks: int = 0
    type: str = ""
    created: str = field(default_factory=now)
    members: dict[int, str] = field(default_factory=dict)
    things: dict[str, dict[int, Document]] = field(default_factory=dict)

    def of(self, kind: str) -> dict[int, Document]:
        """Every resource of one kind: `keys`, `repositories`, `inventory`, `environment`, `templates`."""
        return self.things.setdefault(kind, {})

    def document(self, version: Version) -> Document:
        """As every answer shows it."""
        whole = {
            "id": self.id,
            "name": self.name,
            "created": self.created,
            "alert": self.alert,
            "alert_chat": self.alert_chat,
            "max_parallel_tasks": self.max_parallel_tasks,
            "type": self.type,
        }
        if version.modern and self.alert_chat is None:
            del whole["alert_chat"]
        return whole


@dataclass(slots=True)
class Task:
    """One run of a template, waiting, under way or long gone. asked: what the POST said.

    told: ids of the users whose event streams hear of it, fixed when it is made. output: time and line.
    """

    id: int
    project_id: int
    template_id: int
    user_id: int
    asked: Document
    status: Status = Status.WAITING
    created: str = field(default_factory=now)
    start: str | None = None
    end: str | None = None
    told: frozenset[int] = frozenset()
    output: list[tuple[str, str]] = field(default_factory=list)

    def document(self, version: Version, *, created: bool = False) -> Document:
        """As a single GET shows it, or the answer to the POST that made it (`created`)."""
        return self._modern(created=created) if version.modern else self._classic(created=created)

    def _classic(self, *, created: bool) -> Document:
        asked = self.asked
        return {
            "id": self.id,
            "template_id": self.template_id,
            "project_id": self.project_id,
            "status": str(self.status),
            "debug": asked.get("debug", False),
            "dry_run": asked.get("dry_run", False),
            "diff": asked.get("diff", False),
            "playbook": asked.get("playbook", ""),
            "environment": asked.get("environment", ""),
            "limit": asked.get("limit", ""),
            "secret": "{}" if created else "",
            "arguments": asked.get("arguments"),
            "git_branch": asked.get("git_branch"),
            "user_id": self.user_id,
            "integration_id": None,
            "schedule_id": None,
            "created": self.created,
            "start": self.start,
            "end": self.end,
            "message": asked.get("message", ""),
            "commit_hash": None,
            "commit_message": "",
            "build_task_id": asked.get("build_task_id"),
            "version": None,
            "inventory_id": asked.get("inventory_id"),
        }

    def _modern(self, *, created: bool) -> Document:
        """Empty fields are left out; `limit` has moved to `params` and is only echoed."""
        asked = self.asked
        shown = {
            "id": self.id,
            "template_id": self.template_id,
            "project_id": self.project_id,
            "status": str(self.status),
            "playbook": asked.get("playbook", ""),
        }
        optional = {
            "environment": asked.get("environment"),
            "secret": "{}" if created else "",
            "arguments": asked.get("arguments"),
            "git_branch": asked.get("git_branch"),
            "user_id": self.user_id,
            "created": self.created,
            "start": self.start,
            "end": self.end,
            "message": asked.get("message"),
            "build_task_id": asked.get("build_task_id"),
            "inventory_id": asked.get("inventory_id"),
            "params": asked.get("params"),
        }
        shown.update({name: value for name, value in optional.items() if value})
        shown["limit"] = asked.get("limit", "") if created else ""
        return shown

    def listed(self, version: Version, template: Document, user_name: str | None) -> Document:
        """As a list shows it: with the names of its template and its user."""
        shown = self.document(version) | {
            "tpl_playbook": template["playbook"],
            "tpl_alias": template["name"],
            "tpl_type": template["type"],
            "tpl_app": template["app"],
            "user_name": user_name,
            "build_task": None,
        }
        if version.modern:
            for name in ("tpl_type", "user_name", "build_task"):
                if not shown[name]:
                    del shown[name]
        return shown
