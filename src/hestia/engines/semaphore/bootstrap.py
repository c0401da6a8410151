"""Sets a server up for a gateway: a project with all that its templates need, a user and its token.

Everything is found by its name and made only where it is missing, so that a second run changes nothing and a
run that broke off is completed by the next. What is there is left as it is, except where it could not work (a
template without its variable group) or where the caller says otherwise. Source: semaphore-api.md 9.4.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.resources import files
from typing import Final

from hestia.core.errors import EngineRefused, EngineUnavailable
from hestia.engines.semaphore.connection import Connection
from hestia.engines.semaphore.people import People, User
from hestia.engines.semaphore.projects import Projects, choice_error
from hestia.engines.semaphore.resources import Resources, Row, expected

PLAYBOOKS: Final = str(files("hestia.engines.semaphore") / "playbooks")
"""The folder of the playbooks that come with Hestia."""
THIS_MACHINE: Final = "ansible_connection=local ansible_python_interpreter='{{ ansible_playbook_python }}'"
INVENTORY: Final = f"[all]\nlocalhost {THIS_MACHINE}\n"
ROLE: Final = "task_runner"
_RUNNERS: Final = frozenset({"owner", "manager", ROLE})
_USER_NAME: Final = "Hestia, by hestia semaphore bootstrap"
_KEY: Final = "machines"
_GROUP: Final = "hestia"
_OURS: Final = "/hestia/engines/semaphore/playbooks"  # how the folder of any installed Hestia ends
_USERINFO: Final = re.compile(r"://[^/]*@")  # of an address: what stands there may be a token
_PING_PAUSE: Final = 0.5  # seconds between two looks at a server that is not there yet


class Done(StrEnum):
    """What was done about one thing."""

    MADE = "made"
    CHANGED = "changed"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing: its kind, its name, its id where it has one, what was done, why it was changed."""

    what: str
    name: str
    id: int | None
    done: Done
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What there is to be.

    playbooks: None leaves a repository as it is, or makes one of `PLAYBOOKS`; a path on the server, or an
    address for git with `branch`. inventory: its text; None leaves it, or makes `INVENTORY`. ssh_key: the
    private key with which `ssh_user` reaches the machines, "" for none. token: the one known so far, or "".
    """

    project: int | str = "hestia"
    user: str = "hestia"
    start: str = "start"
    stop: str = "stop"
    playbooks: str | None = None
    branch: str = ""
    inventory: str | None = None
    ssh_user: str = ""
    ssh_key: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """templates: name → id. token: of a user who may run them."""

    project: int
    project_name: str
    templates: dict[str, int]
    token: str
    steps: tuple[Step, ...]

    @property
    def changed(self) -> bool:
        return any(step.done is not Done.KEPT for step in self.steps)


class Bootstrap:
    """One run, by an admin. tell: hears of each step when it is done."""

    def __init__(self, admin: Connection, wanted: Wanted, tell: Callable[[Step], None]) -> None:
        self._admin = admin
        self._wanted = wanted
        self._tell = tell
        self._steps: list[Step] = []

    async def run(self) -> Outcome:
        """Raises EngineRefused, EngineUnavailable; what was made by then is found by the next run."""
        me = await People(self._admin).me()
        if not me.admin:
            raise EngineRefused(
                f"{me.username!r} is no admin of Semaphore at {self._admin.base}, and only an admin can make "
                "projects and users.",
                permanent=True,
                cause="refused",
                remedy="name an admin",
            )
        number, name = await self._project()
        templates = await self._templates(number)
        token = await self._token(number)
        return Outcome(number, name, templates, token, tuple(self._steps))

    def _note(self, what: str, name: str, number: int | None, done: Done, why: str = "") -> None:
        step = Step(what, name, number, done, why)
        self._steps.append(step)
        self._tell(step)

    # -- the project and what is in it -----------------------------------------------------------

    async def _project(self) -> tuple[int, str]:
        wanted, projects = self._wanted.project, Projects(self._admin)
        known = await projects.list()
        found = [number for number, name in known.items() if wanted in (number, name)]
        if isinstance(wanted, int) and wanted in found:
            found = [wanted]
        if len(found) == 1:
            self._note("project", known[found[0]], found[0], Done.KEPT)
            return found[0], known[found[0]]
        if found or isinstance(wanted, int):
            raise choice_error("project", wanted, known, len(found), "--project", self._admin.base)
        answer = await self._admin.call("POST", "/projects", {"name": wanted})
        number = int(expected(answer, f"make the project {wanted!r}", 201).body["id"])
        self._note("project", wanted, number, Done.MADE)
        return number, wanted

    def _of(self, project: int, path: str, title: str) -> Resources:
        return Resources(self._admin, project, path, title)

    async def _templates(self, project: int) -> dict[str, int]:
        wanted = self._wanted
        no_key = await self._no_key(project)
        key = await self._ssh_key(project) if wanted.ssh_key else no_key
        by_ssh = (wanted.playbooks or "").startswith(("ssh://", "git@"))
        needs = {
            "repository_id": await self._repository(project, key if by_ssh else no_key),
            "inventory_id": await self._inventory(project, key),
            "environment_id": await self._group(project),
        }
        valid = {
            "repository_id": await _ids(self._of(project, "repositories", "repository")),
            "inventory_id": await _ids(self._of(project, "inventory", "inventory")),
            "environment_id": await _ids(self._of(project, "environment", "variable group")),
        }
        pairs = ((wanted.start, "start.yml"), (wanted.stop, "stop.yml"))
        return {name: await self._template(project, name, playbook, needs, valid) for name, playbook in pairs}

    async def _template(
        self, project: int, name: str, playbook: str, needs: dict[str, int], valid: dict[str, set[int]]
    ) -> int:
        """The template; one that lacks something it cannot run without, or has it no more, gets it."""
        templates = self._of(project, "templates", "template")
        found = await templates.named(name)
        if found is None:
            shared = (self._wanted.playbooks or PLAYBOOKS).startswith("/")  # a clone bears one task at a time
            fields = {"app": "ansible", "playbook": playbook, "allow_parallel_tasks": shared, **needs}
            made = await templates.make(name, fields)
            self._note("template", name, int(made["id"]), Done.MADE)
            return int(made["id"])
        number = int(found["id"])
        whole = {key: value for key, value in (await templates.get(number)).items() if key != "last_task"}
        lacks = {key: one for key, one in needs.items() if whole.get(key) not in valid[key]}
        if lacks:
            await templates.change(whole, lacks)
            words = {"repository_id": "repository", "inventory_id": "inventory"}
            why = "it had no " + ", no ".join(words.get(key, "variable group") for key in lacks)
            self._note("template", name, number, Done.CHANGED, why)
        else:
            self._note("template", name, number, Done.KEPT)
        return number

    async def _no_key(self, project: int) -> int:
        """The key that stands for none, which every new project has."""
        keys = self._of(project, "keys", "key")
        free = next((row for row in await keys.list() if row.get("type") == "none"), None)
        row = free or await keys.make("None", {"type": "none"})
        self._note("key", str(row["name"]), int(row["id"]), Done.KEPT if free else Done.MADE)
        return int(row["id"])

    async def _ssh_key(self, project: int) -> int:
        """The key of the machines. What it holds cannot be read, so one that is there is left as it is."""
        keys, wanted = self._of(project, "keys", "key"), self._wanted
        ssh = {"login": wanted.ssh_user, "passphrase": "", "private_key": wanted.ssh_key}
        found = await keys.named(_KEY)
        row = found or await keys.make(_KEY, {"type": "ssh", "ssh": ssh})
        self._note("key", _KEY, int(row["id"]), Done.KEPT if found else Done.MADE)
        return int(row["id"])

    async def _repository(self, project: int, key: int) -> int:
        wanted, name = self._wanted, "playbooks"
        repositories = self._of(project, "repositories", "repository")
        found = await repositories.named(name)
        if found is None:
            url = wanted.playbooks or PLAYBOOKS
            fields = {"git_url": url, "git_branch": wanted.branch, "ssh_key_id": key}
            found = await repositories.make(name, fields)
            self._note("repository", name, int(found["id"]), Done.MADE)
        else:
            told = {"git_url": wanted.playbooks, "git_branch": wanted.branch} if wanted.playbooks else {}
            if not told and str(found.get("git_url", "")).endswith(_OURS):
                told = {"git_url": PLAYBOOKS}  # Hestia has another place by now
            was = _USERINFO.sub("://***@", str(found.get("git_url", "")))
            await self._bring(repositories, found, told, f"it was at {was}")
        return int(found["id"])

    async def _inventory(self, project: int, key: int) -> int:
        name, inventories = "machines", self._of(project, "inventory", "inventory")
        found = await inventories.named(name)
        if found is None:
            text = INVENTORY if self._wanted.inventory is None else self._wanted.inventory
            fields = {"type": "static", "inventory": text, "ssh_key_id": key}
            found = await inventories.make(name, fields)
            self._note("inventory", name, int(found["id"]), Done.MADE)
        else:
            told: dict[str, object] = {"ssh_key_id": key} if self._wanted.ssh_key else {}
            if self._wanted.inventory is not None:
                told |= {"type": "static", "inventory": self._wanted.inventory}
            await self._bring(inventories, found, told, "it said something else")
        return int(found["id"])

    async def _bring(self, kind: Resources, row: Row, told: Row, why: str) -> None:
        """Change what the caller says otherwise."""
        other = {key: value for key, value in told.items() if row.get(key) != value}
        if other:
            await kind.change(row, other)
        done = Done.CHANGED if other else Done.KEPT
        self._note(kind.title, str(row["name"]), int(row["id"]), done, why if other else "")

    async def _group(self, project: int) -> int:
        groups = self._of(project, "environment", "variable group")
        found = await groups.named(_GROUP)
        row = found or await groups.make(_GROUP, {"json": "{}", "env": "{}"})
        self._note("variable group", _GROUP, int(row["id"]), Done.KEPT if found else Done.MADE)
        return int(row["id"])

    # -- the user and its token ------------------------------------------------------------------

    async def _token(self, project: int) -> str:
        """A token that works: the one known so far, or a new one of our user."""
        people, wanted = People(self._admin), self._wanted
        owner = await self._owner(wanted.token)
        if owner is not None and owner.username != wanted.user:
            known = self._as(api_key=wanted.token)
            try:
                if await People(known).may_run(project):
                    self._note("token", f"of {owner.username}", None, Done.KEPT)
                    return wanted.token
            finally:
                await known.aclose()
        password = secrets.token_urlsafe(24)
        works = owner is not None and owner.username == wanted.user
        user = await people.named(wanted.user)
        is_new = user is None
        if user is None:
            user = await people.make(wanted.user, _USER_NAME, password)
        elif not works:
            _see_that_it_is_ours(user)
        self._note("user", user.username, user.id, Done.MADE if is_new else Done.KEPT)
        await self._let_in(people, user, project)
        if works:
            self._note("token", f"of {user.username}", None, Done.KEPT)
            return wanted.token
        if not is_new:  # nobody knows its password, and a token needs one
            await people.set_password(user, password)
        login = self._as(username=user.username, password=password)
        try:
            token = await People(login).new_token()
        finally:
            await login.aclose()
        why = "the one that was known does not work" if wanted.token else ""
        self._note("token", f"of {user.username}", None, Done.MADE, why)
        return token

    async def _let_in(self, people: People, user: User, project: int) -> None:
        role = await people.role_of(user, project)
        if role not in _RUNNERS:
            await people.set_role(user, project, ROLE, member=bool(role))
        done = Done.KEPT if role in _RUNNERS else Done.CHANGED if role else Done.MADE
        self._note("role", f"{role if role in _RUNNERS else ROLE} for {user.username}", None, done)

    async def _owner(self, token: str) -> User | None:
        """Whose token it is; None for one that does not work."""
        if not token:
            return None
        known = self._as(api_key=token)
        try:
            return await People(known).me()
        except EngineRefused:
            return None
        finally:
            await known.aclose()

    def _as(self, *, api_key: str = "", username: str = "", password: str = "") -> Connection:
        server = self._admin.server
        return Connection(replace(server, api_key=api_key, username=username, password=password))


async def _ids(kind: Resources) -> set[int]:
    return {int(row["id"]) for row in await kind.list()}


async def wait_for_server(connection: Connection, limit: float) -> None:
    """Return as soon as Semaphore answers. limit: seconds; 0 asks once, for as long as one call may take.
    Raises EngineRefused: something else answers; EngineUnavailable: nobody does within the limit."""
    clock = asyncio.get_running_loop().time
    until = clock() + limit
    while True:
        try:
            async with asyncio.timeout_at(until if limit else None):
                return await connection.ping()
        except TimeoutError:
            raise connection.silent(limit) from None
        except EngineUnavailable:
            if clock() + _PING_PAUSE > until:
                raise
        await asyncio.sleep(_PING_PAUSE)


def _see_that_it_is_ours(user: User) -> None:
    """Raises EngineRefused: the user was made by somebody else, whose password is not to be changed."""
    if user.name == _USER_NAME and not user.admin:
        return
    raise EngineRefused(
        f"The user {user.username!r} of Semaphore is there already and was not made by this command, so its "
        "password is not touched and no token can be made for it.",
        permanent=True,
        remedy=f"name another user (--user {user.username}-gateway), or make a token as {user.username} "
        "and set SEMAPHORE_API_KEY",
    )
