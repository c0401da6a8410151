"""A project as it is set up for a gateway: repository, inventory, templates, a user and a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .records import Document, Project
from .templates import blank
from .world import World

# The interpreter is Ansible's own: which others a machine has, and whether they run, is not our business.
LOCAL: Final = (
    "[all]\nlocalhost ansible_connection=local ansible_python_interpreter='{{ ansible_playbook_python }}'\n"
)


@dataclass(frozen=True, slots=True)
class Scene:
    """token: of a user who may only run tasks; admin_token: the admin's. templates: id by name."""

    project: Project
    templates: dict[str, int]
    token: str
    admin_token: str


def furnish(
    world: World,
    *templates: str,
    playbooks: str = "/playbooks",
    inventory: str = LOCAL,
    name: str = "hestia",
    group: bool = True,
) -> Scene:
    """One project with a template for each name, `start` and `stop` by default, that runs `NAME.yml`.

    group: whether the templates have a variable group; without one they take no variables.
    """
    admin = world.users[1]
    project = world.add_project(name, admin)
    key = next(iter(project.of("keys")))
    repository = {"name": "playbooks", "git_url": playbooks, "git_branch": "", "ssh_key_id": key}
    found = {
        "repository_id": world.add_thing(project, "repositories", repository)["id"],
        "inventory_id": world.add_thing(
            project,
            "inventory",
            {"name": "machines", "type": "static", "inventory": inventory, "ssh_key_id": key},
        )["id"],
        "environment_id": next(iter(project.of("environment"))) if group else None,
    }
    runner = world.add_user("gateway", "Gateway", "gateway@localhost", "gateway")
    project.members[runner.id] = "task_runner"
    made: dict[str, int] = {}
    for one in templates or ("start", "stop"):
        made[one] = add_template(world, project, one, **found)["id"]
    return Scene(project, made, world.make_token(runner).text, world.make_token(admin).text)


def add_template(world: World, project: Project, name: str, **fields: object) -> Document:
    """A further template, of Ansible and with the playbook `NAME.yml` unless the fields say otherwise."""
    asked = {"name": name, "app": "ansible", "playbook": f"{name}.yml", **fields}
    return world.add_thing(project, "templates", blank() | asked)
