"""What a play is told: the merge of a task's variables with its variable group, by version of the server."""

from __future__ import annotations

import json

from .records import Document, Project, Task
from .world import World


def group(project: Project, template: Document) -> Document:
    """The variable group of a template; an empty one where it has none."""
    return project.of("environment").get(template["environment_id"], {"json": "{}"})


def extra_variables(world: World, project: Project, template: Document, task: Task) -> Document:
    """The one object of extra variables that a play gets. Up to 2.15 the group wins over the task."""
    asked = _object(task.asked.get("environment"))
    kept = _object(group(project, template).get("json"))
    merged = {**asked, **kept} if world.version.group_wins else {**kept, **asked}
    details: Document = {"id": task.id, "username": world.users[task.user_id].username, "url": None}
    if task.asked.get("message"):
        details["message"] = task.asked["message"]
    return {**merged, **_object(task.asked.get("secret")), "semaphore_vars": {"task_details": details}}


def secrets(project: Project, template: Document, kind: str) -> dict[str, str]:
    """The group's secrets of one kind: `var` (an extra variable) or `env` (process environment)."""
    found = group(project, template).get("secrets") or []
    return {one["name"]: one["secret"] for one in found if one["type"] == kind}


def process_environment(project: Project, template: Document) -> dict[str, str]:
    """What the group puts into the environment of the process."""
    return {**_object(group(project, template).get("env")), **secrets(project, template, "env")}


def _object(text: str | None) -> Document:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}
