"""The family of projects and their members. Routes and nothing else."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from .web import Call, Need, Refused, Route, done, told
from .world import MEMBERS, PROJECT, ROLES

FIELDS: Final = {
    "id": int,
    "name": str,
    "created": str,
    "alert": bool,
    "alert_chat": str,
    "max_parallel_tasks": int,
    "type": str,
}
MISMATCH: Final = {"error": "Project ID in body and URL must be the same"}


def projects(call: Call) -> Response:
    """Those of the user who asks; all of them for an admin."""
    every = call.world.projects.values()
    mine = [one for one in every if call.world.permissions(call.user, one) is not None]
    return told([one.document(call.version) for one in mine])


def make(call: Call) -> Response:
    """A new project, by an admin (anyone else: 401). Not even a name is demanded."""
    if not call.user.admin:
        raise Refused(401)
    asked = call.decode(FIELDS)
    project = call.world.add_project(asked.get("name", ""), call.user, asked)
    return told(project.document(call.version), 201)


def show(call: Call) -> Response:
    """One project."""
    return told(call.project.document(call.version))


def change(call: Call) -> Response:
    """Replace it: what is left out is reset."""
    asked = call.decode(FIELDS)
    if asked.get("id") != call.project.id:
        raise Refused(400, MISMATCH)
    project = call.project
    project.name = asked.get("name", "")
    project.alert = asked.get("alert", False)
    project.alert_chat = asked.get("alert_chat")
    project.max_parallel_tasks = asked.get("max_parallel_tasks", 0)
    return done()


def drop(call: Call) -> Response:
    """Delete it with all that is in it."""
    for task in call.world.history(call.project.id):
        del call.world.tasks[task.id]
    del call.world.projects[call.project.id]
    return done()


def role(call: Call) -> Response:
    """What the user who asks may do here."""
    name = call.project.members.get(call.user.id, "owner" if call.user.admin else "")
    return told({"role": name, "permissions": ROLES[name]})


def members(call: Call) -> Response:
    """Who belongs to the project."""
    users = call.world.users
    return told(
        [
            {"id": one, "username": users[one].username, "name": users[one].name, "role": role}
            for one, role in call.project.members.items()
        ]
    )


def add_member(call: Call) -> Response:
    """Let a user in. Somebody who is in already: 409 with SQL, silence with BoltDB."""
    asked = call.decode({"user_id": int, "role": str})
    if asked.get("role") not in ROLES or asked.get("user_id") not in call.world.users:
        raise Refused(400)
    if asked["user_id"] in call.project.members and call.version.modern:
        raise Refused(409)
    call.project.members[asked["user_id"]] = asked["role"]
    return done()


def change_member(call: Call) -> Response:
    """Another role for a member."""
    asked = call.decode({"role": str})
    if asked.get("role") not in ROLES or call.ids["user_id"] not in call.project.members:
        raise Refused(400)
    call.project.members[call.ids["user_id"]] = asked["role"]
    return done()


ROUTES: Final = [
    Route("GET", "/projects", projects, Need.USER),
    Route("POST", "/projects", make, Need.USER),
    Route("GET", "/project/{project_id}", show),
    Route("PUT", "/project/{project_id}", change, may=PROJECT),
    Route("DELETE", "/project/{project_id}", drop, may=PROJECT),
    Route("GET", "/project/{project_id}/role", role),
    Route("GET", "/project/{project_id}/users", members),
    Route("POST", "/project/{project_id}/users", add_member, may=MEMBERS),
    Route("PUT", "/project/{project_id}/users/{user_id}", change_member, may=MEMBERS),
]
