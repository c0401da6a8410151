"""Servers to which recordings are played: the stand-in, and a real one where there is one."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx

from tests.contract.semaphore_replay import FINAL, client, new_token
from tests.fakes.facts import PATIENCE
from tests.fakes.semaphore import Held, Semaphore, Status, Version, asks, in_turn, succeeds

INVENTORY: Final = "[all]\nlocalhost ansible_connection=local ansible_python_interpreter=/usr/bin/python3\n"

# What the recorded server had, in the order of its ids: name, app, playbook, whether with a variable group.
TEMPLATES: Final = (
    ("start service", "ansible", "start.yml", True),
    ("stop service", "ansible", "stop.yml", True),
    ("fail", "ansible", "fail.yml", True),
    ("slow", "ansible", "slow.yml", True),
    ("nohost", "ansible", "nohost.yml", True),
    ("show", "ansible", "show.yml", True),
    ("bash args", "bash", "args.sh", True),
    ("bash slow", "bash", "slow.sh", True),
    ("bash fail", "bash", "fail.sh", True),
    ("no environment", "ansible", "show.yml", False),
    ("missing playbook", "ansible", "nosuch.yml", True),
    ("slow 2", "ansible", "slow.yml", True),
    ("slow 3", "ansible", "slow.yml", True),
    ("survey", "ansible", "show.yml", True),
)


class Furnished:
    """What both targets are: a server with the recorded project, made through its own API."""

    def __init__(self, url: str, playbooks: str) -> None:
        self.url = url
        self.token = ""
        self.ids: dict[str, dict[int, int]] = {"user": {1: 1}}
        self.words = {"<playbooks>": playbooks, "<run>": "/nonexistent"}
        self._playbooks = playbooks

    async def log_in(self, login: str, password: str) -> None:
        """Get the token and the cookie that recordings begin with."""
        self.token = self.words["<token>"] = await new_token(self.url, login, password)
        async with client(self.url) as http:
            answer = await http.post("/api/auth/login", json={"auth": login, "password": password})
            self.words["<session-cookie>"] = answer.cookies["semaphore"]

    async def furnish(self) -> None:
        """Make the project, its resources and its fourteen templates."""
        async with client(self.url, self.token) as http:
            await self._project(http)
            for number, (name, app, playbook, grouped) in enumerate(TEMPLATES, 1):
                asked = {
                    "project_id": self.ids["project"][1],
                    "name": name,
                    "app": app,
                    "playbook": playbook,
                    "repository_id": self.ids["repository"][1],
                    "inventory_id": self.ids["inventory"][1],
                    "environment_id": self.ids["environment"][2] if grouped else None,
                    "allow_override_args_in_task": name == "show",
                }
                await self._make(http, "templates", "template", number, asked)

    async def have_history(self) -> None:
        """A finished task of one template and three of another that were stopped, as lists show them."""
        address = f"/api/project/{self.ids['project'][1]}/tasks"
        async with client(self.url, self.token) as http:
            for template in (1, 7, 7, 7):
                asked = {"template_id": self.ids["template"][template], "environment": "{}"}
                task = (await http.post(address, json=asked)).json()
                await self.reach(task["id"], Status.SUCCESS, ended=True)
                if template == 7:
                    await http.post(f"{address}/{task['id']}/stop", json={})

    async def reach(self, task_id: int, status: str | None, *, ended: bool) -> None:
        """As `Target` says it."""
        raise NotImplementedError

    async def _project(self, http: httpx.AsyncClient) -> None:
        made = (await http.post("/api/projects", json={"name": "hestia", "alert": True})).json()
        project = made["id"]
        self.ids["project"] = {1: project}
        root = f"/api/project/{project}"
        key = (await http.get(f"{root}/keys")).json()[0]["id"]
        group = (await http.get(f"{root}/environment")).json()[0]["id"]
        self.ids |= {
            "key": {1: key},
            "environment": {1: group},
            "repository": {},
            "inventory": {},
            "template": {},
        }
        common: dict[str, Any] = {"project_id": project}
        login = {"name": "login", "type": "login_password", "login_password": {"login": "u", "password": "p"}}
        repository = {"name": "playbooks", "git_url": self._playbooks, "git_branch": "", "ssh_key_id": key}
        inventory = {"name": "local", "type": "static", "inventory": INVENTORY, "ssh_key_id": key}
        await self._make(http, "keys", "key", 2, common | login)
        await self._make(http, "repositories", "repository", 1, common | repository)
        await self._make(http, "inventory", "inventory", 1, common | inventory)
        variables = {"name": "services", "json": '{"run_dir": "/nonexistent"}'}
        await self._make(http, "environment", "environment", 2, common | variables)

    async def _make(
        self, http: httpx.AsyncClient, path: str, kind: str, recorded: int, asked: dict[str, Any]
    ) -> None:
        """POST one and learn its id: from the list, as an answer without a body makes necessary."""
        where = f"/api/project/{asked['project_id']}/{path}"
        answer = await http.post(where, json=asked)
        assert answer.status_code in (201, 204), answer.text
        listed = (await http.get(where)).json()
        self.ids[kind][recorded] = next(one["id"] for one in listed if one["name"] == asked["name"])


class StandIn(Furnished):
    """The stand-in with a queue that ticks and plays that end when the recording says so."""

    def __init__(self, server: Semaphore) -> None:
        super().__init__(server.url, "/playbooks")
        self._server = server
        self._held = server.play = Held()
        server.plays["tf"] = in_turn(asks(), succeeds())

    @staticmethod
    def server(version: Version) -> Semaphore:
        """One whose queue moves only when it is told."""
        return Semaphore(version, tick=None)

    async def happens(self, note: str) -> None:
        """A server that ended and came back, a session that expired."""
        if note.startswith("server process ended"):
            await self._server.go_down()
            self._server.queue.forget()
        elif note.startswith("server started again"):
            await self._server.come_up()
        elif note.startswith("last use 7 days"):
            self._server.expire_sessions()
        elif note == "no body":  # recorded seconds after the last start
            for _ in list(self._server.queue.waiting):
                self._server.queue.tick()

    async def reach(self, task_id: int, status: str | None, *, ended: bool) -> None:
        """Move the queue and end plays until the task is where the recording has it."""
        task = self._server.world.tasks[task_id]
        async with asyncio.timeout(PATIENCE):
            while status not in (None, task.status) or (ended and task.end is None):
                if status == Status.STOPPING and task.status in FINAL:
                    return
                self._step(task_id, status or Status.SUCCESS)
                await asyncio.sleep(0)

    def _step(self, task_id: int, status: str) -> None:
        queue, runs = self._server.queue, {run.task.id: run for run in self._held.runs}
        waiting = [task.id for task in queue.waiting]
        if task_id in waiting:
            before = list(waiting)
            queue.tick()
            moved = [task.id for task in queue.waiting]
            blockers = [one for one in runs if len(moved) == len(before)]
            if blockers and moved[-1:] == [task_id]:
                self._held.finish(task_id=blockers[0])
        elif task_id in runs and status in FINAL:
            self._held.finish(2 if status == Status.ERROR else 0, task_id=task_id)


class RealServer(Furnished):
    """A server that moves by itself: what was recorded is waited for."""

    async def happens(self, note: str) -> None:
        """Nothing that can be done from outside."""

    async def reach(self, task_id: int, status: str | None, *, ended: bool) -> None:
        """Look ten times a second until the task is there; one that has gone past it never will be."""
        address = f"/api/project/{self.ids['project'][1]}/tasks/{task_id}"
        async with client(self.url, self.token) as http, asyncio.timeout(90):
            while True:
                task = (await http.get(address)).json()
                over = task["status"] in FINAL and task.get("end") is not None
                if status in (None, task["status"]) and (over or not ended):
                    return
                if over and status not in FINAL:
                    return  # gone past it
                assert not over, f"task {task_id} ended in {task['status']}, not in {status}"
                await asyncio.sleep(0.1)
