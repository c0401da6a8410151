"""Setting a server up: everything once, nothing twice, what broke off is completed, what is foreign left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from hestia.core.errors import EngineError, EngineRefused, EngineUnavailable
from hestia.engines.semaphore.bootstrap import (
    PLAYBOOKS,
    Bootstrap,
    Done,
    Outcome,
    Wanted,
    wait_for_server,
)
from hestia.engines.semaphore.connection import Connection, Server
from hestia.engines.semaphore.people import People
from hestia.engines.semaphore.tasks import Tasks
from tests.contract.process_machine import free_port
from tests.fakes.facts import PATIENCE
from tests.fakes.semaphore import V2_10, V2_16, Fault, Kind, Semaphore

MADE_BY: Final = {
    "project": "/projects$",
    "repository": "/repositories$",
    "inventory": "/inventory$",
    "variable group": "/environment$",
    "template": "/templates$",
    "user": "/api/users$",
    "role": r"/project/\d+/users$",
    "token": "/user/tokens$",
}

WHOLE: Final = {
    "users": ["admin", "hestia"],
    "hestia/members": [("admin", "owner"), ("hestia", "task_runner")],
    "hestia/keys": ["None"],
    "hestia/repositories": ["playbooks"],
    "hestia/inventory": ["machines"],
    "hestia/environment": ["Empty", "hestia"],
    "hestia/templates": ["start", "stop"],
}


@pytest.fixture(params=[V2_10, V2_16], ids=lambda version: version.name)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Semaphore]:
    async with Semaphore(request.param, tick=0) as server:
        yield server


async def bootstrap(server: Semaphore, *, login: str = "admin", **wanted: Any) -> Outcome:
    """One run by an admin whose password is the name. wanted: fields of `Wanted`."""
    admin = Connection(Server(server.url, 10, username=login, password=login))
    try:
        return await Bootstrap(admin, Wanted(**wanted), lambda _: None).run()
    finally:
        await admin.aclose()


def done(outcome: Outcome) -> dict[str, Done]:
    """What was done about each thing, by its name where there are several of its kind."""
    return {f"{step.what} {step.name}": step.done for step in outcome.steps}


def world(server: Semaphore) -> dict[str, list[Any]]:
    """Everything there is that a second run could have made again."""
    found: dict[str, list[Any]] = {"users": sorted(user.username for user in server.world.users.values())}
    for project in server.world.projects.values():
        members = sorted((server.world.users[one].username, role) for one, role in project.members.items())
        found[f"{project.name}/members"] = members
        for kind in ("keys", "repositories", "inventory", "environment", "templates"):
            found[f"{project.name}/{kind}"] = sorted(thing["name"] for thing in project.of(kind).values())
    return found


def changing(server: Semaphore) -> list[str]:
    """The calls that change something; a login does not."""
    return [
        f"{seen.method} {seen.path}"
        for seen in server.calls
        if seen.method != "GET" and not seen.path.endswith("/auth/login")
    ]


async def test_everything_is_made_and_the_token_runs_the_templates(server: Semaphore) -> None:
    outcome = await bootstrap(server)
    assert set(done(outcome).values()) == {Done.MADE, Done.KEPT}
    assert {name for name, how in done(outcome).items() if how is Done.KEPT} == {"key None"}
    gateway = Connection(Server(server.url, 10, api_key=outcome.token))
    try:
        me = await People(gateway).me()
        assert (me.username, me.admin) == ("hestia", False)
        assert await People(gateway).role(outcome.project) == ("task_runner", 1)
        for template in outcome.templates.values():
            told = {"hestia_machine": "gpu-1"}
            await Tasks(gateway, outcome.project).begin(template, message="a", variables=told)
    finally:
        await gateway.aclose()
    (project,) = server.world.projects.values()
    (repository,) = project.of("repositories").values()
    assert repository["git_url"] == PLAYBOOKS
    assert [one["playbook"] for one in project.of("templates").values()] == ["start.yml", "stop.yml"]


async def test_on_a_new_server_the_ids_are_those_that_services_have_by_default(server: Semaphore) -> None:
    outcome = await bootstrap(server)
    assert (outcome.project, outcome.templates) == (1, {"start": 1, "stop": 2})


async def test_a_second_run_changes_nothing(server: Semaphore) -> None:
    first = await bootstrap(server)
    assert world(server) == WHOLE
    server.calls.clear()
    second = await bootstrap(server, token=first.token)
    assert not second.changed
    assert changing(server) == []
    assert (second.token, second.project, second.templates) == (first.token, first.project, first.templates)
    assert world(server) == WHOLE


@pytest.mark.parametrize("kind", [Kind.DROP_CALL, Kind.DROP_REPLY], ids=str)
@pytest.mark.parametrize("what", MADE_BY)
async def test_a_run_that_broke_off_is_completed(server: Semaphore, what: str, kind: Kind) -> None:
    """Cut before it is done, or after: the next run makes what is missing, and nothing twice."""
    server.faults.add(Fault(kind, "POST", MADE_BY[what]))
    with pytest.raises(EngineError):
        await bootstrap(server)
    outcome = await bootstrap(server)
    assert world(server) == WHOLE
    assert not (await bootstrap(server, token=outcome.token)).changed


async def test_templates_that_could_not_run_are_mended_and_the_rest_of_them_is_left(
    server: Semaphore,
) -> None:
    outcome = await bootstrap(server)
    (project,) = server.world.projects.values()
    start, stop = project.of("templates").values()
    start |= {"environment_id": None, "playbook": "mine.yml", "arguments": '["-v"]'}
    stop["inventory_id"] = 99
    again = await bootstrap(server, token=outcome.token)
    changed = {step.name: step.why for step in again.steps if step.done is not Done.KEPT}
    assert changed == {"start": "it had no variable group", "stop": "it had no inventory"}
    start, stop = project.of("templates").values()
    assert start["environment_id"] in project.of("environment")
    assert (start["playbook"], start["arguments"]) == ("mine.yml", '["-v"]')
    assert stop["inventory_id"] in project.of("inventory")


async def test_a_role_that_may_not_run_tasks_is_raised(server: Semaphore) -> None:
    outcome = await bootstrap(server)
    (project,) = server.world.projects.values()
    ours = next(user.id for user in server.world.users.values() if user.username == "hestia")
    project.members[ours] = "guest"
    again = await bootstrap(server, token=outcome.token)
    assert done(again)["role task_runner for hestia"] is Done.CHANGED
    assert project.members[ours] == "task_runner"
    assert again.token == outcome.token


async def test_a_token_that_does_not_work_is_replaced(server: Semaphore) -> None:
    outcome = await bootstrap(server)
    again = await bootstrap(server, token="stale")
    assert again.token not in ("stale", outcome.token)
    assert [step.what for step in again.steps if step.done is not Done.KEPT] == ["token"]
    known = Connection(Server(server.url, 10, api_key=again.token))
    assert await People(known).may_run(again.project)
    await known.aclose()


async def test_a_token_of_somebody_else_who_may_run_tasks_is_kept(server: Semaphore) -> None:
    outcome = await bootstrap(server, user="other")
    again = await bootstrap(server, token=outcome.token)
    assert again.token == outcome.token
    assert "hestia" not in {user.username for user in server.world.users.values()}


async def test_the_password_of_a_user_that_somebody_else_made_is_not_touched(server: Semaphore) -> None:
    user = server.world.add_user("hestia", "A person", "p@localhost", "secret")
    with pytest.raises(EngineRefused, match="was not made by this command"):
        await bootstrap(server)
    assert user.password == "secret"
    (project,) = server.world.projects.values()
    assert user.id not in project.members


async def test_only_an_admin_can(server: Semaphore) -> None:
    server.world.add_user("eve", "Eve", "eve@localhost", "eve")
    with pytest.raises(EngineRefused, match="'eve' is no admin"):
        await bootstrap(server, login="eve")
    assert changing(server) == []


async def test_two_projects_of_that_name_are_not_guessed_between(server: Semaphore) -> None:
    for _ in range(2):
        server.world.add_project("hestia", server.world.users[1])
    with pytest.raises(EngineRefused, match="2 projects named 'hestia'"):
        await bootstrap(server)


async def test_the_playbooks_of_a_hestia_that_was_moved_are_found_again(server: Semaphore) -> None:
    token = (await bootstrap(server)).token
    (project,) = server.world.projects.values()
    (repository,) = project.of("repositories").values()
    repository["git_url"] = "/old/hestia/engines/semaphore/playbooks"
    assert (await bootstrap(server, token=token)).changed
    (repository,) = project.of("repositories").values()
    assert repository["git_url"] == PLAYBOOKS
    repository["git_url"] = "/my/own"
    assert not (await bootstrap(server, token=token)).changed


async def test_what_the_caller_says_anew_is_changed(server: Semaphore) -> None:
    token = (await bootstrap(server)).token
    told = {
        "playbooks": "https://git.example/p.git",
        "branch": "main",
        "inventory": "[all]\ngpu-1 ansible_host=10.0.0.7\n",
        "ssh_key": "-----BEGIN",
        "ssh_user": "me",
    }
    again = await bootstrap(server, token=token, **told)
    changed = {step.what for step in again.steps if step.done is not Done.KEPT}
    assert changed == {"key", "repository", "inventory"}
    (project,) = server.world.projects.values()
    (repository,), (inventory,) = project.of("repositories").values(), project.of("inventory").values()
    assert (repository["git_url"], repository["git_branch"]) == (told["playbooks"], "main")
    key = project.of("keys")[inventory["ssh_key_id"]]
    assert (inventory["inventory"], key["ssh"]["login"]) == (told["inventory"], "me")
    assert not (await bootstrap(server, token=token, **told)).changed
    assert not (await bootstrap(server, token=token)).changed


async def test_a_server_that_comes_up_late_is_waited_for() -> None:
    async with Semaphore(tick=0) as server:
        await server.go_down()
        nobody = Connection(Server(server.url, 10))
        with pytest.raises(EngineUnavailable):
            await wait_for_server(nobody, 0)
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_server(nobody, 60))
            await asyncio.sleep(0)
            await server.come_up()
        await nobody.aclose()


@contextmanager
def hanging() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_server_that_hangs_is_waited_for_no_longer_than_was_said() -> None:
    """Not for one call more, which may take half a minute."""
    async with asyncio.timeout(PATIENCE):
        with hanging() as url:
            nobody = Connection(Server(url, 600, named="--server"))
            with pytest.raises(EngineUnavailable, match=r"\(--server\): no answer within 0\.1 s\.") as told:
                await wait_for_server(nobody, 0.1)
            await nobody.aclose()
    assert "correct --server" in told.value.remedy


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("127.0.0.1", "(--server): connection refused."),
        ("localhost", "(--server): connection refused."),
        ("nowhere.invalid", "(--server): its name is not known."),
    ],
)
async def test_why_a_server_cannot_be_reached_is_said_in_plain_words(host: str, says: str) -> None:
    nobody = Connection(Server(f"http://{host}:{free_port()}", 30, named="--server"))
    with pytest.raises(EngineUnavailable) as told:
        await nobody.ping()
    await nobody.aclose()
    assert told.value.detail.endswith(says)


async def test_se_a_token_in_the_address_of_a_repository_is_not_told(server: Semaphore) -> None:
    token = (
        await bootstrap(server, playbooks="https://me:canary@git.example.org/a.git", branch="main")
    ).token
    again = await bootstrap(server, token=token, playbooks="https://git.example.org/b.git", branch="main")
    told = [step.why for step in again.steps if step.what == "repository"]
    assert told == ["it was at https://***@git.example.org/a.git"]


async def test_a_web_page_is_not_waited_for() -> None:
    async with Semaphore(tick=0, web_root="/semaphore") as server:
        nobody = Connection(Server(server.url.removesuffix("/semaphore"), 10))
        with pytest.raises(EngineRefused, match="web page"):
            await wait_for_server(nobody, 60)
        await nobody.aclose()
