"""The family of tasks: start, look, read the output, stop, confirm, delete. Routes and nothing else."""

from __future__ import annotations

import json
import re
from typing import Final

from starlette.responses import Response

from .records import Document, Task
from .versions import Status
from .web import Call, Refused, Route, done, plain, told
from .world import RESOURCES, RUN

START: Final = {
    "template_id": int,
    "environment": str,
    "secret": str,
    "arguments": str,
    "limit": str,
    "playbook": str,
    "message": str,
    "inventory_id": int,
    "git_branch": str,
    "commit_hash": str,
    "build_task_id": int,
}
CLASSIC: Final = {"debug": bool, "dry_run": bool, "diff": bool}  # moved into `params` with 2.11
MODERN: Final = {"params": dict}
LIMIT: Final = 200
COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


def start(call: Call) -> Response:
    """Queue a run. What cannot be run is stored as a task in `error` all the same, and answered 500."""
    asked: Document = {"template_id": 0} | call.decode(START | (MODERN if call.version.modern else CLASSIC))
    template = call.project.of("templates").get(asked["template_id"])
    if template is None:
        raise Refused(call.version.unknown_template)
    if call.version.modern and asked.get("limit"):
        asked["params"] = {"limit": asked["limit"].split(","), **asked.get("params", {})}
    task = call.world.add_task(call.project, call.user, asked)
    if not _runnable(call, template, asked):
        task.status = Status.ERROR
        raise Refused(500)
    call.queue.add(task)
    return told(task.document(call.version, created=True), 201)


def _runnable(call: Call, template: Document, asked: Document) -> bool:
    """Whether the server gets as far as its queue."""
    if asked.get("environment"):
        try:
            variables = json.loads(asked["environment"])
        except ValueError:
            return False
        if not isinstance(variables, dict) or template["environment_id"] is None:
            return False
    inventory = asked.get("inventory_id")
    if inventory and inventory not in call.project.of("inventory") and call.version.modern:
        return False
    limits = asked.get("params", {}).get("limit", [])
    return template["repository_id"] in call.project.of("repositories") and isinstance(limits, list)


def one(call: Call) -> Task:
    """The task of the path. Raises Refused(400) for an unknown one: the server does not say 404."""
    task = call.world.tasks.get(call.ids["task_id"])
    if task is None or task.project_id != call.project.id:
        raise Refused(400)
    return task


def listed(call: Call, task: Task) -> Document:
    """One entry of a list."""
    template = call.world.template(task)
    user = call.world.users.get(task.user_id)
    gone = {"playbook": "", "name": "", "type": "", "app": ""}
    return task.listed(call.version, template or gone, user.name if user else None)


def bounded(call: Call, history: list[Task]) -> list[Task]:
    """As many of the newest as `limit` asks for, and never more than the server gives."""
    wanted = call.connection.query_params.get("limit", "")
    count = int(wanted) if wanted.isdecimal() else LIMIT
    return history[: min(count if 0 < count <= LIMIT else LIMIT, call.settings.last)]


def _show(call: Call) -> Response:
    return told(one(call).document(call.version))


def _every(call: Call) -> Response:
    history = call.world.history(call.project.id)
    return told([listed(call, task) for task in history[: call.settings.longest]])


def _last(call: Call) -> Response:
    return told([listed(call, task) for task in bounded(call, call.world.history(call.project.id))])


def stored_output(call: Call, task: Task) -> list[tuple[str, str]]:
    """What a reader finds: the last lines may never have been stored."""
    lost = call.settings.lost_lines if task.end is not None else 0
    return task.output[: len(task.output) - lost] if lost else task.output


def _output(call: Call) -> Response:
    task = one(call)
    shown = []
    for time, line in stored_output(call, task):
        entry: Document = (
            {"id": 0, "task_id": task.id} if call.version.modern else {"task_id": task.id, "task": ""}
        )
        shown.append(entry | {"time": time, "output": line})
    return told(shown)


def _raw_output(call: Call) -> Response:
    lines = [COLOURS.sub("", line) + "\n" for _, line in stored_output(call, one(call))]
    return plain("".join(lines))


def _stop(call: Call) -> Response:
    force = call.decode({"force": bool}).get("force", False)
    call.queue.stop(one(call), force=force)
    return done()


def _confirm(call: Call) -> Response:
    if not call.queue.answer(one(call), confirmed=True):
        raise Refused(400)
    return done()


def _reject(call: Call) -> Response:
    if not call.queue.answer(one(call), confirmed=False):
        raise Refused(400)
    return done()


def _drop(call: Call) -> Response:
    task = one(call)
    if call.queue.knows(task):
        raise Refused(400)
    if not call.user.admin:
        raise Refused(401)
    del call.world.tasks[task.id]
    return done()


_EVERY: Final = "/project/{project_id}/tasks"
_ONE: Final = f"{_EVERY}/{{task_id}}"

ROUTES: Final = [
    Route("POST", _EVERY, start, may=RUN),
    Route("GET", _EVERY, _every),
    Route("GET", f"{_EVERY}/last", _last),
    Route("GET", _ONE, _show),
    Route("GET", f"{_ONE}/output", _output),
    Route("GET", f"{_ONE}/raw_output", _raw_output, modern=True),
    Route("POST", f"{_ONE}/stop", _stop, may=RUN),
    Route("POST", f"{_ONE}/confirm", _confirm, may=RUN),
    Route("POST", f"{_ONE}/reject", _reject, may=RUN, modern=True),
    Route("DELETE", _ONE, _drop, may=RESOURCES),
]
