"""`hestia semaphore bootstrap`: its options, who the admin is, and what is told of it."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from pydantic import ValidationError

from hestia.cli.command import command
from hestia.cli.commands.semaphore import settings_of
from hestia.cli.exits import CliError, ExitCode
from hestia.cli.parameters import DURATION
from hestia.cli.semaphore import env_file
from hestia.cli.session import Example, Session, current, output_options
from hestia.cli.text import plain
from hestia.core.errors import EngineError, EngineRefused, EngineUnavailable
from hestia.engines.semaphore.bootstrap import (
    INVENTORY,
    PLAYBOOKS,
    THIS_MACHINE,
    Bootstrap,
    Done,
    Outcome,
    Step,
    Wanted,
    wait_for_server,
)
from hestia.engines.semaphore.connection import Connection, Server
from hestia.engines.semaphore.options import SemaphoreOptions
from hestia.engines.semaphore.people import People

if TYPE_CHECKING:
    from hestia.core.model import Settings

_NEW: Final = ("repository", Done.MADE)
_TOKEN: Final = "SEMAPHORE_API_KEY"
_MACHINE: Final = re.compile(r"([A-Za-z0-9][\w.-]*)(?:=([\w.:-]+))?")
_LOGIN: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options as they were given; see their help."""

    config: str | None
    server: str | None
    admin: str
    admin_password_file: Path | None
    admin_token_file: Path | None
    project: str | None
    user: str
    start_template: str
    stop_template: str
    playbooks: str | None
    branch: str
    inventory: Path | None
    machines: tuple[str, ...]
    ssh_user: str
    ssh_key: Path | None
    wait: float
    write_env: Path | None
    env_url: str | None


@command(
    "bootstrap",
    examples=(
        Example("hestia semaphore bootstrap --write-env .env", "asks for the admin's password"),
        Example("hestia semaphore bootstrap --machine gpu-1=10.0.0.7 --ssh-key id", "with a machine by SSH"),
    ),
)
@click.option("--config", metavar="PATH", help="The file. Also: HESTIA_CONFIG_PATH.")
@click.option("--server", metavar="URL", help="Where Semaphore is. Default: semaphore_base_url.")
@click.option(
    "--admin",
    default="admin",
    envvar="SEMAPHORE_ADMIN",
    metavar="LOGIN",
    show_default=True,
    help="Its admin. Also: SEMAPHORE_ADMIN. Password: SEMAPHORE_ADMIN_PASSWORD, else asked for.",
)
@click.option(
    "--admin-password-file",
    type=_FILE,
    envvar="SEMAPHORE_ADMIN_PASSWORD_FILE",
    metavar="FILE",
    help="File with the admin's password. Also: SEMAPHORE_ADMIN_PASSWORD_FILE.",
)
@click.option(
    "--admin-token-file",
    type=_FILE,
    metavar="FILE",
    help="File with an API token of the admin, instead of a password. Also: SEMAPHORE_ADMIN_TOKEN.",
)
@click.option("--project", metavar="NAME", help="Default: semaphore_project if it is set, else hestia.")
@click.option("--user", default="hestia", metavar="LOGIN", show_default=True, help="The gateway's user.")
@click.option("--start-template", default="start", metavar="NAME", show_default=True, help="Its name.")
@click.option("--stop-template", default="stop", metavar="NAME", show_default=True, help="Its name.")
@click.option(
    "--playbooks",
    metavar="PLACE",
    help="Folder on Semaphore's machine, or address for git. Default: those that come with Hestia.",
)
@click.option("--branch", default="main", metavar="NAME", show_default=True, help="Of a git repository.")
@click.option("--inventory", type=_FILE, metavar="FILE", help="The machines, as Ansible writes them.")
@click.option(
    "--machine",
    "machines",
    multiple=True,
    metavar="NAME[=HOST]",
    help="A machine of the inventory; without HOST Semaphore's own. May be repeated.",
)
@click.option("--ssh-user", default="root", metavar="LOGIN", show_default=True, help="On the machines.")
@click.option("--ssh-key", type=_FILE, metavar="FILE", help="Private key for the machines.")
@click.option("--wait", type=DURATION, default=60.0, metavar="TIME", help="For Semaphore to answer (60s).")
@click.option("--write-env", type=_FILE, metavar="FILE", help="Keep the settings there, and print no token.")
@click.option("--env-url", metavar="URL", help="Semaphore's address for the gateway, where it is another.")
@output_options
def bootstrap(**options: Any) -> None:  # Any: click's own; `Asked` types them
    """Make all that the gateway needs in Semaphore: project, key, repository, inventory, variable group,
    templates, a user with the role task_runner and its token. What is there is kept, what is missing is made:
    a second run changes nothing.

    Prints the settings for the gateway; what was done goes to stderr.
    """
    asked, session = Asked(**options), current()
    settings = settings_of(asked.config)
    server = _server(asked, settings)
    before = _read_env(asked.write_env)
    wanted = _wanted(asked, settings, before)
    admin = _admin(asked, session, server, settings.gateway.semaphore_timeout)
    outcome = asyncio.run(_run(admin, wanted, asked.wait, session))
    values = {
        "SEMAPHORE_BASE_URL": (asked.env_url or server).rstrip("/"),
        _TOKEN: outcome.token,
        "SEMAPHORE_PROJECT": outcome.project_name,
    }
    if outcome.project_name.isdigit():  # a name of digits would be read as an id
        values["SEMAPHORE_PROJECT"] = str(outcome.project)
    _tell(session, asked, outcome, values, before)


def _server(asked: Asked, settings: Settings) -> str:
    for option, url in (("--server", asked.server), ("--env-url", asked.env_url)):
        try:
            SemaphoreOptions(base_url=url or "")
        except ValidationError:
            raise click.BadParameter(
                f"{url!r} is no address of a server; write it as http://localhost:3000", param_hint=option
            ) from None
    return (asked.server or settings.gateway.semaphore_base_url).rstrip("/")


def _wanted(asked: Asked, settings: Settings, before: str) -> Wanted:
    if asked.start_template == asked.stop_template:
        raise click.BadParameter("is the start template as well; name two", param_hint="--stop-template")
    if not _LOGIN.fullmatch(asked.user):
        raise click.BadParameter(
            f"{asked.user!r} is no login: small letters, digits, '.', '_' and '-'", param_hint="--user"
        )
    place = asked.playbooks
    if place is not None and "://" not in place and not place.startswith("git@"):
        place = str(Path(place).absolute())
    project: int | str = "hestia"
    if asked.project is not None:
        project = int(asked.project) if asked.project.isascii() and asked.project.isdigit() else asked.project
    elif "semaphore_project" in settings.sources:
        project = settings.gateway.semaphore_project
    return Wanted(
        project=project,
        user=asked.user,
        start=asked.start_template,
        stop=asked.stop_template,
        playbooks=place,
        branch="" if place is None or place.startswith("/") else asked.branch,
        inventory=_inventory(asked),
        ssh_user=asked.ssh_user,
        ssh_key=_read(asked.ssh_key) if asked.ssh_key else "",
        token=env_file.values_of(before).get(_TOKEN) or settings.gateway.semaphore_api_key,
    )


def _inventory(asked: Asked) -> str | None:
    if asked.inventory is not None:
        if asked.machines:
            raise click.UsageError("--inventory and --machine say the same; give one of them.")
        return _read(asked.inventory)
    if not asked.machines:
        return None
    lines = []
    for text in asked.machines:
        match = _MACHINE.fullmatch(text)
        if match is None:
            raise click.BadParameter(
                f"{text!r} is no machine; write it as gpu-1 or gpu-1=10.0.0.7", param_hint="--machine"
            )
        lines.append(f"{match[1]} " + (f"ansible_host={match[2]}" if match[2] else THIS_MACHINE))
    return INVENTORY + "\n".join(lines) + "\n"


def _read(path: Path) -> str:
    """The text of a file that was named. Raises CliError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(path, exc) from exc


def _read_env(path: Path | None) -> str:
    """What stands in the file of `--write-env` so far."""
    try:
        return (env_file.read(path) or "") if path is not None else ""
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path | None, exc: Exception) -> CliError:
    why = getattr(exc, "strerror", None) or "it is no text"
    return CliError(f"{path} cannot be read: {why}.", code="usage", exit_code=ExitCode.USAGE)


def _admin(asked: Asked, session: Session, server: str, timeout: float) -> Server:
    """The server as its admin asks it. Raises CliError: nobody said the password."""
    environment = session.environment
    token = environment.get("SEMAPHORE_ADMIN_TOKEN", "")
    if asked.admin_token_file is not None:
        token = _read(asked.admin_token_file).strip()
    named = "--server" if asked.server else "semaphore_base_url"
    if token:
        return Server(server, timeout, api_key=token, named=named)
    password = environment.get("SEMAPHORE_ADMIN_PASSWORD", "")
    if asked.admin_password_file is not None:
        password = _read(asked.admin_password_file).rstrip("\r\n")
    if not password and sys.stdin.isatty():
        password = click.prompt(f"Password of {plain(asked.admin)} in Semaphore", hide_input=True, err=True)
    if not password:
        raise CliError(
            f"The password of {asked.admin!r}, the admin of Semaphore, is not known.",
            exit_code=ExitCode.USAGE,
            code="usage",
            remedy=("Do: set SEMAPHORE_ADMIN_PASSWORD, or --admin-password-file, or --admin-token-file",),
        )
    return Server(server, timeout, username=asked.admin, password=password, named=named)


async def _run(server: Server, wanted: Wanted, wait: float, session: Session) -> Outcome:
    """Raises CliError."""
    connection = Connection(server)
    try:
        await wait_for_server(connection, wait)
        await _log_in(connection)
        return await Bootstrap(connection, wanted, lambda step: _note(session, step)).run()
    except EngineUnavailable as exc:
        raise _error(exc, ExitCode.UNREACHABLE, "semaphore_unreachable") from exc
    except EngineRefused as exc:
        not_allowed = exc.cause == "refused"
        code = ExitCode.REFUSED if not_allowed else ExitCode.FAILED
        raise _error(exc, code, "semaphore_refused") from exc
    finally:
        await connection.aclose()


async def _log_in(connection: Connection) -> None:
    """See that the admin is let in, and say it in the words of this command. Raises CliError."""
    try:
        await People(connection).me()
    except EngineRefused as exc:
        who = connection.server.username
        refused = f"the login of {who!r}" if who else "the token of the admin"
        raise CliError(
            f"Semaphore at {connection.base} refuses {refused}.",
            exit_code=ExitCode.REFUSED,
            code="semaphore_refused",
            remedy=(
                "Do: correct --admin and SEMAPHORE_ADMIN_PASSWORD"
                if who
                else "Do: correct SEMAPHORE_ADMIN_TOKEN, or --admin-token-file",
                "or: with a two-factor or LDAP login, make a token of the admin and use --admin-token-file",
            ),
        ) from exc


def _error(exc: EngineError, code: ExitCode, name: str) -> CliError:
    remedy = (f"Do: {exc.remedy}",) if exc.remedy else ()
    return CliError(exc.detail, exit_code=code, code=name, remedy=remedy)


def _note(session: Session, step: Step) -> None:
    if session.quiet or session.json:
        return
    number = f" ({step.id})" if step.id is not None else ""
    why = f": {step.why}" if step.why else ""
    session.note(plain(f"{step.done:<8}{step.what:<15}{step.name}{number}{why}"))


def _tell(session: Session, asked: Asked, outcome: Outcome, values: Mapping[str, str], before: str) -> None:
    """The settings: into the file that was named, or printed."""
    path, changed = asked.write_env, outcome.changed
    if path is not None:
        try:
            changed |= env_file.write(path, env_file.with_values(before, values))
        except OSError as exc:
            raise CliError(
                f"{path} cannot be written: {exc.strerror}. Everything in Semaphore is made.",
                code="cannot_write",
                remedy=("Do: name another file, and run this again: it makes a new token",),
            ) from exc
    if session.json:
        session.result(json.dumps(_document(outcome, values, path, changed=changed), ensure_ascii=False))
        return
    if path is None:
        for name, value in values.items():
            session.result(env_file.line(name, value))
    else:
        session.result(plain(f"{path} has the settings for the gateway: {', '.join(values)}"))
        if env_file.is_open(path):
            remedy = f"chmod 600 {shlex.quote(str(path))}"
            session.note(plain(f"warning: every user of this machine may read the token there: {remedy}"))
    if not session.quiet:
        start, stop = (f"{name} ({number})" for name, number in outcome.templates.items())
        session.note(plain(f"Services are started by the template {start} and stopped by {stop}."))
        if asked.playbooks is None and any((step.what, step.done) == _NEW for step in outcome.steps):
            session.note(
                plain(f"Semaphore reads the playbooks from {PLAYBOOKS} on its own machine; where it")
            )
            session.note("runs in a container or elsewhere: hestia semaphore playbooks, and --playbooks")
        session.note("Then: hestia semaphore check")


def _document(
    outcome: Outcome, values: Mapping[str, str], path: Path | None, *, changed: bool
) -> dict[str, object]:
    """For programs. The token stands in it only where no file took it."""
    told = {name: value for name, value in values.items() if path is None or name != _TOKEN}
    return {
        "changed": changed,
        "project": {"id": outcome.project, "name": outcome.project_name},
        "templates": outcome.templates,
        "steps": [
            {"what": step.what, "name": step.name, "id": step.id, "done": step.done, "why": step.why}
            for step in outcome.steps
        ],
        "environment": told,
        "file": str(path) if path is not None else None,
    }
