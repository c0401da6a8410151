"""`hestia db`: check, vacuum, backup. They work on the file of the database, with or without a gateway."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hestia.cli.command import HestiaCommand, Lazy, LazyGroup, command
from hestia.cli.exits import CliError, ExitCode, Quiet
from hestia.cli.session import Example, current, output_options
from hestia.cli.text import counted, plain

if TYPE_CHECKING:
    from hestia.core.errors import ConfigError
    from hestia.store.upkeep import Condition

_HERE = "hestia.cli.commands.db"
_path = click.option("--config", "config", metavar="PATH", help="The file. Also: HESTIA_CONFIG_PATH.")

EXAMPLES = (
    Example("hestia db check", "whether the database is sound, and what is in it"),
    Example("hestia db backup hestia-today.db", "a copy, also while the gateway runs"),
    Example("hestia db vacuum", "make the file small; the gateway must not run"),
)


@click.group(
    "db",
    cls=LazyGroup,
    invoke_without_command=True,
    examples=EXAMPLES,
    lazy={
        "check": Lazy(f"{_HERE}:check", "whether it is sound, and what is in it"),
        "vacuum": Lazy(f"{_HERE}:vacuum", "make the file small"),
        "backup": Lazy(f"{_HERE}:backup", "copy it, also while the gateway runs"),
    },
)
@output_options
@click.pass_context
def db(context: click.Context) -> None:
    """The database of events, requests and what runs: look at it, copy it. See docs/store.md."""
    if context.invoked_subcommand is None:
        current().result(context.get_help())


@command("check", examples=(EXAMPLES[0],))
@_path
@output_options
def check(config: str | None) -> None:
    """Look at the whole file; exit code 1 when something in it is wrong."""
    from hestia.core.errors import ConfigError
    from hestia.store import upkeep

    session = current()
    path = _database(config)
    try:
        found = upkeep.check(path)
    except ConfigError as exc:
        raise _refusal(exc) from exc
    if session.json:
        session.result(json.dumps({"ok": not found.faults, **asdict(found)}, ensure_ascii=False))
    else:
        for line in _told(found):
            session.result(plain(line))
    if found.faults:
        raise Quiet(ExitCode.FAILED)


def _told(found: Condition) -> list[str]:
    user = f"; the gateway with pid {found.holder} uses it" if found.holder else ""
    if found.faults:
        lines = [f"{found.path} is damaged{user}:", *(f"  {fault}" for fault in found.faults)]
        return [*lines, "Do: restart the gateway, which moves it aside and begins a new one"]
    since = ""
    if found.oldest is not None:
        since = f" since {datetime.fromtimestamp(found.oldest, UTC):%Y-%m-%d %H:%M} UTC"
    return [
        f"{found.path} is sound{user}",
        f"  version {found.version}, {_size(found.size)}, of which {_size(found.size - found.used)} free",
        f"  {counted(found.events, 'event')}{since}, {counted(found.requests, 'request')}, "
        f"{counted(found.generations, 'instance')} that may run",
    ]


@command("vacuum", examples=(EXAMPLES[2],))
@_path
@output_options
def vacuum(config: str | None) -> None:
    """Write the file anew without the free room in it. A running gateway does that by itself, bit by bit."""
    from hestia.core.errors import ConfigError
    from hestia.store import upkeep

    session = current()
    path = _database(config)
    try:
        before, after = upkeep.vacuum(path)
    except ConfigError as exc:
        raise _refusal(exc) from exc
    if session.json:
        session.result(json.dumps({"path": str(path), "before": before, "after": after}))
    else:
        session.result(plain(f"{path}: {_size(before)} before, {_size(after)} now"))


@command("backup", examples=(EXAMPLES[1],))
@click.argument("file")
@_path
@output_options
def backup(file: str, config: str | None) -> None:
    """Copy the database to FILE as it is at this moment. To go back: stop the gateway, put the copy there."""
    from hestia.core.errors import ConfigError
    from hestia.store import upkeep

    session = current()
    path = _database(config)
    try:
        size = upkeep.backup(path, Path(file))
    except ConfigError as exc:
        raise _refusal(exc) from exc
    if session.json:
        session.result(json.dumps({"path": str(path), "file": file, "size": size}, ensure_ascii=False))
    else:
        session.result(plain(f"{file}: {_size(size)}, a copy of {path}"))


def _database(config: str | None) -> Path:
    """The file that the configuration means."""
    from hestia.cli.configuration import load_settings, refusal
    from hestia.config import ConfigProblems
    from hestia.store.choose import database_path

    try:
        settings = load_settings(config)
    except ConfigProblems as exc:
        raise refusal(exc, config, done="nothing was done") from exc
    path = database_path(settings.gateway)
    if path is None:
        raise CliError(
            "Nothing is kept: database_url is memory.",
            code="no_database",
            remedy=("Do: set database_url to sqlite:/// and the path of a file",),
        )
    return path


def _refusal(error: ConfigError) -> CliError:
    remedy = (f"Do: {error.remedy}",) if error.remedy else ()
    return CliError(error.detail, code="database_error", remedy=remedy)


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


COMMANDS: tuple[HestiaCommand, ...] = (check, vacuum, backup)
