"""What `hestia semaphore check` looks at, from the server inwards; each fault with what mends it.

Asks and changes nothing. What cannot be known before something else works is left out, so that the first
fault is the one to mend.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from hestia.cli.doctor.finding import Finding, fail, ok, skip, warn
from hestia.cli.semaphore.targets import Use, Wish
from hestia.core.errors import EngineError
from hestia.engines.semaphore.connection import Connection
from hestia.engines.semaphore.people import RUN, People
from hestia.engines.semaphore.projects import Projects
from hestia.engines.semaphore.resources import Resources, Row, expected
from hestia.engines.semaphore.templates import Template, Templates

BOOTSTRAP: Final = "hestia semaphore bootstrap"
OLDEST: Final = (2, 10)
NEWEST: Final = (2, 17)  # that was tried
_GROUP_WINS: Final = (2, 15)  # up to here a variable group beats what a task is told
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_TOLD: Final = "hestia_"


async def look(wish: Wish) -> AsyncIterator[Finding]:
    """All that is to be said about one project of one server."""
    connection = Connection(wish.server)
    try:
        async for finding in _Look(connection, wish).run():
            yield finding
    finally:
        await connection.aclose()


class _Look:
    """See `look`."""

    def __init__(self, connection: Connection, wish: Wish) -> None:
        self._connection = connection
        self._wish = wish
        self._where = connection.base
        self._version: tuple[int, ...] = ()
        self._seen: dict[str, Mapping[str, Any]] = {}  # Any: the server's own forms

    async def run(self) -> AsyncIterator[Finding]:
        """Stops at what the rest depends on."""
        check = "server"
        try:
            await self._connection.ping()
            yield ok("server", f"Semaphore answers at {self._where}", self._where)
            check = "login"
            yield await self._login()
            async for finding in self._server():
                yield finding
            check = "project"
            project = await Projects(self._connection).resolve(self._wish.project)
            yield ok("project", f"{self._wish.project} (id {project})", "semaphore_project")
            yield await self._role(project)
        except EngineError as error:
            yield _failed(check, error)
            return
        if not self._wish.uses:
            yield skip("template", "no service is started through Semaphore yet", "services")
        for use in self._wish.uses:
            async for finding in self._use(project, use):
                yield finding

    async def _login(self) -> Finding:
        me = await People(self._connection).me()
        if me.admin:
            return warn(
                "login",
                f"{me.username} is an admin of Semaphore, who may do more than run tasks",
                "semaphore_api_key",
                f"{BOOTSTRAP}, which makes a user with the role task_runner and its token",
            )
        return ok("login", f"as {me.username}", "semaphore_api_key")

    async def _server(self) -> AsyncIterator[Finding]:
        answer = expected(await self._connection.call("GET", "/info"), "say its version", 200)
        info = answer.body if isinstance(answer.body, dict) else {}
        text = str(info.get("version", ""))
        match = re.match(r"v?(\d+)\.(\d+)", text)
        self._version = (int(match[1]), int(match[2])) if match else ()
        yield _judge_version(text, self._version)
        if not info.get("ansible"):
            yield fail(
                "ansible",
                "Semaphore finds no Ansible on its machine",
                self._where,
                "install ansible-core there, where Semaphore's PATH leads",
            )

    async def _role(self, project: int) -> Finding:
        name, permissions = await People(self._connection).role(project)
        if permissions & RUN:
            return ok("role", f"{name or 'it'} may run tasks", "semaphore_project")
        return fail(
            "role",
            f"our user has the role {name or 'none'} in the project and may not run tasks",
            "semaphore_project",
            "give it the role task_runner (Semaphore: the project, Team)",
            BOOTSTRAP,
        )

    # -- one service -----------------------------------------------------------------------------

    async def _use(self, project: int, use: Use) -> AsyncIterator[Finding]:
        pairs = (
            ("start", use.options.start_template, "semaphore_start_template_id"),
            ("stop", use.options.stop_template, "semaphore_stop_template_id"),
        )
        found = {}
        for action, wanted, key in pairs:
            try:
                found[action] = await Templates(self._connection, project).resolve(wanted, key)
            except EngineError as error:
                yield fail("template", f"{use.service}: {error.detail}", key, error.remedy, BOOTSTRAP)
                continue
            async for finding in self._template(project, use, action, found[action], key):
                yield finding
        if len(found) == 2 and found["start"].id == found["stop"].id:
            yield fail(
                "template",
                f"{use.service}: {found['start'].name} is to start it and to stop it",
                "semaphore_stop_template_id",
                "name two templates: Semaphore runs one task of a template at a time",
            )
        elif "start" in found:
            yield await self._machine(project, use, found["start"])

    async def _template(
        self, project: int, use: Use, action: str, template: Template, key: str
    ) -> AsyncIterator[Finding]:
        says = f"{use.service}: {action} by {template.name} (id {template.id})"
        if not template.takes_variables:
            yield fail(
                "template",
                f"{says}, which has no variable group: it is not told which machine and service are meant",
                key,
                f"give the template {template.name} a variable group, an empty one will do",
                BOOTSTRAP,
            )
            return
        yield ok("template", says, key)
        try:
            row = await self._get(project, "templates", "template", template.id)
            async for finding in self._variables(project, use, template, row):
                yield finding
            read = await self._playbook(project, use, template, row)
            if read is not None:
                yield read
        except EngineError as error:
            yield _failed("template", error)

    async def _variables(
        self, project: int, use: Use, template: Template, row: Row
    ) -> AsyncIterator[Finding]:
        """Names in the variable group that would win over what the playbook is told."""
        group = await self._get(project, "environment", "variable group", int(row["environment_id"]))
        try:
            names = set(json.loads(group.get("json") or "{}"))
        except (ValueError, TypeError):
            names = set()
        taken = sorted(name for name in names if name.startswith(_TOLD) or name in use.options.variables)
        if taken and (not self._version or self._version <= _GROUP_WINS):
            yield warn(
                "template",
                f"{use.service}: the variable group {group.get('name')!r} of {template.name} says "
                f"{', '.join(taken)}, and on this server that counts and not what Hestia says",
                f"template {template.name}",
                "take these names out of the variable group",
            )

    async def _playbook(self, project: int, use: Use, template: Template, row: Row) -> Finding | None:
        """The playbook where it can be read: in a folder of this machine."""
        place = await self._get(project, "repositories", "repository", int(row["repository_id"]))
        folder = str(place.get("git_url", ""))
        here = urlsplit(self._where).hostname in _LOOPBACK and folder.startswith("/")
        if template.app != "ansible" or not here:
            return None
        return _judge_playbook(use, template, folder, str(row.get("playbook", "")))

    async def _machine(self, project: int, use: Use, template: Template) -> Finding:
        """Whether the inventory has the machine, where its text can be read."""
        machine, where = use.options.machine_id, "semaphore_machine_id"
        try:
            row = await self._get(project, "templates", "template", template.id)
            inventory = row.get("inventory_id")
            if not inventory:
                return skip("machine", f"{use.service}: {template.name} has no inventory", where)
            found = await self._get(project, "inventory", "inventory", int(inventory))
        except EngineError as error:
            return _failed("machine", error)
        name = str(found.get("name", ""))
        if not str(found.get("type", "")).startswith("static"):
            return skip(
                "machine", f"{use.service}: the inventory {name} is a file; {machine} is not looked up", where
            )
        if re.search(rf"(?<![\w.-]){re.escape(machine)}(?![\w.-])", str(found.get("inventory", ""))):
            return ok("machine", f"{use.service}: {machine} is in the inventory {name}", where)
        if use.address:
            return ok(
                "machine", f"{use.service}: {machine} is told as {use.address}", f"machines.{machine}.address"
            )
        return warn(
            "machine",
            f"{use.service}: the inventory {name} does not name {machine}",
            where,
            f"add {machine} to the inventory {name} in Semaphore",
            f"set machines.{machine}.address, which Hestia's own playbooks use",
        )

    async def _get(self, project: int, path: str, title: str, number: int) -> Row:
        key = f"{path}/{number}"
        if key not in self._seen:
            self._seen[key] = await Resources(self._connection, project, path, title).get(number)
        return self._seen[key]


def _judge_version(text: str, version: tuple[int, ...]) -> Finding:
    if not version:
        return warn("version", f"{text or 'no version'} is not understood", "", "nothing, if services start")
    if version < OLDEST:
        return fail("version", f"{text} is too old", "", "update Semaphore to 2.10 or newer")
    if version > NEWEST:
        return warn(
            "version", f"{text} is newer than what was tried (2.17)", "", "nothing, if services start"
        )
    return ok("version", text)


def _judge_playbook(use: Use, template: Template, folder: str, name: str) -> Finding | None:
    """None: the folder is not on this machine after all, as where Semaphore runs in a container."""
    where, path = f"template {template.name}", os.path.join(folder, name)
    if not os.path.isdir(folder):
        return None
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        return fail(
            "playbook",
            f"{use.service}: {template.name} plays {path}, which cannot be read ({exc.strerror})",
            where,
            "correct the playbook of the template, or the folder of its repository",
        )
    if _TOLD in text:
        return ok("playbook", f"{use.service}: {path}", where)
    return warn(
        "playbook",
        f"{use.service}: {path} uses nothing of what Hestia tells it (hestia_machine, hestia_port)",
        where,
        "use the variables of docs/semaphore-integration.md in it",
    )


def _failed(check: str, error: EngineError) -> Finding:
    remedies = [error.remedy] if error.remedy else []
    if check in ("login", "project"):
        remedies.append(BOOTSTRAP)
    return fail(check, error.detail, "", *remedies)
