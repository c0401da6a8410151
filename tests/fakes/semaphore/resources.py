"""The family of keys, repositories, inventories and variable groups: four kinds, the same five calls each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from starlette.responses import Response

from .projects import MISMATCH
from .records import Document, Project
from .versions import Version
from .web import Call, Fields, Refused, Route, done, told
from .world import RESOURCES

KEY_TYPES: Final = ("none", "ssh", "login_password", "string")
INVENTORY_TYPES: Final = ("static", "static-yaml", "file", "terraform-workspace")
SECRETS: Final = {"ssh": ("private_key", "private key"), "login_password": ("password", "password")}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of resource. users: where its ids are used, as (kind, field).

    check: refuses what the server refuses. show: the document that answers carry; `single` tells a GET of
    one from a list.
    """

    path: str
    title: str
    fields: Fields
    users: tuple[tuple[str, str], ...]
    check: Callable[[Call, Document], None]
    show: Callable[[Version, Document, bool], Document]


def _check_key(call: Call, asked: Document) -> None:
    if not asked.get("name"):
        raise Refused(400, {"error": "name can not be empty"})
    if asked.get("type") not in KEY_TYPES:
        raise Refused(400)
    secret, words = SECRETS.get(asked["type"], ("", ""))
    if secret and not asked.get(asked["type"], {}).get(secret):
        raise Refused(400, {"error": f"{words} can not be empty"})


def _show_key(version: Version, thing: Document, single: bool) -> Document:
    shown: Document = {
        "id": thing["id"],
        "name": thing["name"],
        "type": thing["type"],
        "project_id": thing["project_id"],
        "string": "",
        "login_password": {"login": "", "password": ""},
        "ssh": {"login": "", "passphrase": "", "private_key": ""},
    }
    if not version.modern:
        return shown | {"override_secret": False}
    return shown | {"empty": True} if thing["type"] == "none" and not single else shown


def _check_repository(call: Call, asked: Document) -> None:
    if asked.get("ssh_key_id") not in call.project.of("keys"):
        raise Refused(404)
    for name, words in (("name", "name"), ("git_url", "url")):
        if not asked.get(name):
            raise Refused(400, {"error": f"repository {words} can't be empty"})
    if not asked.get("git_branch") and not asked.get("git_url", "").startswith("/"):
        raise Refused(400, {"error": "repository branch can't be empty"})


def _show_repository(version: Version, thing: Document, single: bool) -> Document:
    blank = {"git_url": "", "git_branch": "", "ssh_key_id": 0}
    return {"id": thing["id"], "name": thing["name"], "project_id": thing["project_id"]} | {
        name: thing.get(name, value) for name, value in blank.items()
    }


def _check_inventory(call: Call, asked: Document) -> None:
    if asked.get("type") not in INVENTORY_TYPES:
        changed = call.connection.scope["method"] == "PUT"
        text = f"unknown inventory type: {asked.get('type')}" if changed else "Not supported inventory type"
        raise Refused(400, {"error": text})


def _show_inventory(version: Version, thing: Document, single: bool) -> Document:
    names = ["id", "name", "project_id", "inventory", "ssh_key_id", "become_key_id", "type"]
    names += ["template_id" if version.modern else "holder_id", "repository_id"]
    return {name: thing.get(name) for name in names}


def _check_environment(call: Call, asked: Document) -> None:
    if not asked.get("name"):
        raise Refused(400, {"error": "Environment name can not be empty"})
    if "json" not in asked and call.version.modern:
        return
    try:
        json.loads(asked.get("json", ""))
    except ValueError:
        raise Refused(400, {"error": "Extra variables must be valid JSON"}) from None


def _show_environment(version: Version, thing: Document, single: bool) -> Document:
    shown: Document = {
        "id": thing["id"],
        "name": thing["name"],
        "project_id": thing["project_id"],
        "password": thing.get("password"),
        "json": thing.get("json", ""),
        "env": thing.get("env"),
    }
    blank = [
        {"id": one["id"], "type": one["type"], "name": one["name"], "secret": "", "operation": ""}
        for one in thing.get("secrets", [])
    ]
    if version.modern:
        blank.sort(key=lambda one: str(one["name"]))
    else:
        return shown | {"secrets": (blank if single else None) or None}
    return shown | {"secrets": blank} if blank and single else shown


_COMMON: Final[Fields] = {"id": int, "name": str, "project_id": int}

KINDS: Final = (
    Kind(
        "keys",
        "Access Key",
        {**_COMMON, "type": str, "ssh": dict, "login_password": dict, "string": str, "override_secret": bool},
        (("repositories", "ssh_key_id"), ("inventory", "ssh_key_id"), ("inventory", "become_key_id")),
        _check_key,
        _show_key,
    ),
    Kind(
        "repositories",
        "Repository",
        {**_COMMON, "git_url": str, "git_branch": str, "ssh_key_id": int},
        (("templates", "repository_id"),),
        _check_repository,
        _show_repository,
    ),
    Kind(
        "inventory",
        "Inventory",
        {
            **_COMMON,
            "type": str,
            "inventory": str,
            "ssh_key_id": int,
            "become_key_id": int,
            "repository_id": int,
        },
        (("templates", "inventory_id"),),
        _check_inventory,
        _show_inventory,
    ),
    Kind(
        "environment",
        "Environment",
        {**_COMMON, "json": str, "env": str, "password": str, "secrets": list},
        (("templates", "environment_id"),),
        _check_environment,
        _show_environment,
    ),
)


def in_order(call: Call, things: list[Document]) -> list[Document]:
    """As `sort` and `order` ask; SQL stores sort by name anyway, BoltDB by nothing but a name asked for."""
    query = call.connection.query_params
    if call.version.modern or query.get("sort") == "name":
        things = sorted(things, key=lambda thing: str(thing["name"]))
    return things[::-1] if query.get("order") == "desc" and query.get("sort") else things


def _list(kind: Kind, call: Call) -> Response:
    things = in_order(call, list(call.project.of(kind.path).values()))
    return told([kind.show(call.version, thing, False) for thing in things])


def _make(kind: Kind, call: Call) -> Response:
    asked = call.decode(kind.fields)
    if asked.get("project_id") != call.project.id:
        raise Refused(400, MISMATCH)
    kind.check(call, asked)
    for secret in asked.get("secrets", []):
        secret["id"] = call.world.new_id(
            "keys", call.project
        )  # secrets of a variable group are keys, there and here
    thing = call.world.add_thing(call.project, kind.path, {"name": "", **asked})
    if kind.path == "inventory" or call.version.modern:
        return told(kind.show(call.version, thing, False), 201)
    return done()


def _show(kind: Kind, call: Call) -> Response:
    return told(kind.show(call.version, call.thing(kind.path, "thing_id"), True))


def _change(kind: Kind, call: Call) -> Response:
    thing = call.thing(kind.path, "thing_id")
    asked = call.decode(kind.fields)
    if asked.get("project_id") != call.project.id:
        raise Refused(404) if kind.path == "keys" else Refused(400, MISMATCH)
    if asked.get("id") != thing["id"]:
        text = f"{kind.title} ID in body and URL must be the same"
        raise Refused(404) if kind.path == "keys" else Refused(400, {"error": text})
    if kind.path == "keys" and not asked.pop("override_secret", False):
        asked |= {name: thing[name] for name in ("type", "ssh", "login_password", "string") if name in thing}
    kind.check(call, asked)
    call.project.of(kind.path)[thing["id"]] = {"name": "", **asked}
    return done()


def _users(project: Project, kind: Kind, thing: Document) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {"templates": [], "inventories": [], "repositories": []}
    titles = {"inventory": "inventories"}
    for where, name in kind.users:
        for user in project.of(where).values():
            if user.get(name) == thing["id"]:
                found[titles.get(where, where)].append({"id": user["id"], "name": user["name"]})
    return found


def _refs(kind: Kind, call: Call) -> Response:
    return told(_users(call.project, kind, call.thing(kind.path, "thing_id")))


def _drop(kind: Kind, call: Call) -> Response:
    thing = call.thing(kind.path, "thing_id")
    if any(_users(call.project, kind, thing).values()):
        raise Refused(400, {"error": f"{kind.title} is in use by one or more templates", "inUse": True})
    del call.project.of(kind.path)[thing["id"]]
    return done()


def _routes(kind: Kind) -> list[Route]:
    every = f"/project/{{project_id}}/{kind.path}"
    one = f"{every}/{{thing_id}}"
    return [
        Route("GET", every, partial(_list, kind)),
        Route("POST", every, partial(_make, kind), may=RESOURCES),
        Route("GET", one, partial(_show, kind)),
        Route("PUT", one, partial(_change, kind), may=RESOURCES),
        Route("DELETE", one, partial(_drop, kind), may=RESOURCES),
        Route("GET", f"{one}/refs", partial(_refs, kind)),
    ]


ROUTES: Final = [route for kind in KINDS for route in _routes(kind)]
