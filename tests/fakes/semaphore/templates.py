"""The family of templates. Routes, and what a template must have."""

from __future__ import annotations

import json
from typing import Final

from starlette.responses import Response

from .general import APPS
from .records import Document
from .resources import in_order
from .tasks import bounded, listed
from .versions import Version
from .web import Call, Refused, Route, done, told
from .world import RESOURCES, RUN

FIELDS: Final = {
    "id": int,
    "project_id": int,
    "name": str,
    "app": str,
    "playbook": str,
    "repository_id": int,
    "inventory_id": int,
    "environment_id": int,
    "arguments": str,
    "allow_override_args_in_task": bool,
    "allow_parallel_tasks": bool,
    "description": str,
    "survey_vars": list,
    "type": str,
    "git_branch": str,
    "task_params": dict,
    "suppress_success_alerts": bool,
}
MISMATCH: Final = {"error": "template id in URL and in body must be the same"}


def blank() -> Document:
    """A template with every field the classic server sends, unset."""
    return {
        "inventory_id": None,
        "repository_id": 0,
        "environment_id": None,
        "name": "",
        "playbook": "",
        "arguments": None,
        "allow_override_args_in_task": False,
        "description": None,
        "vaults": [],
        "type": "",
        "start_version": None,
        "build_template_id": None,
        "view_id": None,
        "last_task": None,
        "autorun": False,
        "git_branch": None,
        "survey_vars": None,
        "suppress_success_alerts": False,
        "app": "",
        "tasks": 0,
    }


def document(version: Version, template: Document) -> Document:
    """A template as a single GET shows it, without its newest task."""
    surveys = template.get("survey_vars")
    if surveys:
        surveys = [_survey(version, one) for one in surveys]
    if not version.modern:
        shown = {"id": template["id"], "project_id": template["project_id"]}
        return (
            shown
            | {name: template.get(name, value) for name, value in blank().items()}
            | {"survey_vars": surveys}
        )
    always = ("id", "project_id", "name", "playbook", "app", "tasks")
    whole = {**blank(), **template, "survey_vars": surveys}
    return {name: value for name, value in whole.items() if name in always or value}


def _survey(version: Version, asked: Document) -> Document:
    full = {
        "name": asked.get("name", ""),
        "title": asked.get("title", ""),
        "required": asked.get("required", False),
        "type": asked.get("type", ""),
        "description": asked.get("description", ""),
        "values": asked.get("values"),
    }
    if version.modern:
        return {key: value for key, value in full.items() if value or key in ("name", "title")}
    return full


def with_last_task(call: Call, template: Document, *, single: bool) -> Document:
    """What answers show: with the newest task. A classic list knows neither vaults nor its user."""
    shown = document(call.version, template)
    newest = call.world.history(call.project.id, template["id"])[:1]
    if newest:
        shown["last_task"] = listed(call, newest[0])
    if not call.version.modern and not single:
        shown["vaults"] = None
        if newest:
            shown["last_task"]["user_name"] = None
    return shown


def check(call: Call, asked: Document) -> None:
    """Raise Refused for what a template may not be. The app is looked at last, and elsewhere."""
    app = asked.get("app", "")
    if not asked.get("name"):
        raise Refused(400, {"error": "template name can not be empty"})
    if not asked.get("playbook") and app not in ("terraform", "tofu"):
        raise Refused(400, {"error": "template playbook can not be empty"})
    if not asked.get("inventory_id") and app == "ansible":
        raise Refused(400, {"error": "template inventory can not be empty"})
    try:
        json.loads(asked.get("arguments") or "[]")
    except ValueError:
        raise Refused(400, {"error": "template arguments must be valid JSON"}) from None
    if not asked.get("repository_id") and call.version.modern:
        raise Refused(400)


def _every(call: Call) -> Response:
    found = in_order(call, list(call.project.of("templates").values()))
    return told([with_last_task(call, template, single=False) for template in found])


def _make(call: Call) -> Response:
    asked = call.decode(FIELDS)
    check(call, asked)
    template = call.world.add_thing(call.project, "templates", blank() | asked)
    if template["app"] not in APPS:
        raise Refused(400, {"error": f"Invalid app id: {template['app']}"})  # the row stays, as it does there
    return told(document(call.version, template), 201)


def _show(call: Call) -> Response:
    return told(with_last_task(call, call.thing("templates", "template_id"), single=True))


def _change(call: Call) -> Response:
    template = call.thing("templates", "template_id")
    asked = call.decode(FIELDS)
    if asked.get("id") != template["id"]:
        raise Refused(400, MISMATCH)
    if asked.get("project_id") != call.project.id:
        raise Refused(400, {"error": "You can not move template to other project"})
    check(call, asked)
    call.project.of("templates")[template["id"]] = blank() | asked
    return done()


def _drop(call: Call) -> Response:
    call.world.drop_template(call.project, call.thing("templates", "template_id")["id"])
    return done()


def _tasks(call: Call) -> Response:
    template = call.thing("templates", "template_id")
    history = call.world.history(call.project.id, template["id"])
    return told([listed(call, task) for task in history[: call.settings.longest]])


def _last(call: Call) -> Response:
    template = call.thing("templates", "template_id")
    return told(
        [listed(call, task) for task in bounded(call, call.world.history(call.project.id, template["id"]))]
    )


def _refs(call: Call) -> Response:
    call.thing("templates", "template_id")
    return told({"templates": [], "inventories": [], "repositories": []})


def _stop_all(call: Call) -> Response:
    """Stop what waits: tasks under way were seen to go on (2.16)."""
    template = call.thing("templates", "template_id")
    force = bool(call.body) and call.decode({"force": bool}).get("force", False)
    for task in list(call.queue.waiting):
        if task.template_id == template["id"]:
            call.queue.stop(task, force=force)
    return done()


_EVERY: Final = "/project/{project_id}/templates"
_ONE: Final = f"{_EVERY}/{{template_id}}"

ROUTES: Final = [
    Route("GET", _EVERY, _every),
    Route("POST", _EVERY, _make, may=RESOURCES),
    Route("GET", _ONE, _show),
    Route("PUT", _ONE, _change, may=RESOURCES),
    Route("DELETE", _ONE, _drop, may=RESOURCES),
    Route("GET", f"{_ONE}/refs", _refs),
    Route("GET", f"{_ONE}/tasks", _tasks),
    Route("GET", f"{_ONE}/tasks/last", _last),
    Route("POST", f"{_ONE}/stop_all_tasks", _stop_all, may=RUN, modern=True),
]
