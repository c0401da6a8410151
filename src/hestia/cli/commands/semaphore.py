"""`hestia semaphore`: set a Semaphore up for this gateway, and say what it lacks. Needs no gateway."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hestia.cli.command import HestiaCommand, Lazy, LazyGroup, command
from hestia.cli.exits import CliError, ExitCode, Quiet
from hestia.cli.session import Example, current, output_options
from hestia.cli.text import plain

if TYPE_CHECKING:
    from hestia.cli.doctor.finding import Finding
    from hestia.core.model import Settings

_HERE = "hestia.cli.commands.semaphore"
_path = click.option("--config", "config", metavar="PATH", help="The file. Also: HESTIA_CONFIG_PATH.")

EXAMPLES = (
    Example("hestia semaphore bootstrap --write-env .env", "make project, templates, user and token"),
    Example("hestia semaphore check", "what is missing, and what mends it"),
    Example("hestia semaphore playbooks playbooks", "a copy of the playbooks, to change them"),
)


@click.group(
    "semaphore",
    cls=LazyGroup,
    invoke_without_command=True,
    examples=EXAMPLES,
    lazy={
        "bootstrap": Lazy("hestia.cli.commands.semaphore_bootstrap:bootstrap", "make what the gateway needs"),
        "check": Lazy(f"{_HERE}:check", "what is missing, and what mends it"),
        "playbooks": Lazy(f"{_HERE}:playbooks", "copy the playbooks into a folder"),
    },
)
@output_options
@click.pass_context
def semaphore(context: click.Context) -> None:
    """Semaphore, which starts services by playbooks: set it up, look at it.

    See docs/semaphore-integration.md.
    """
    if context.invoked_subcommand is None:
        current().result(context.get_help())


@command("check", examples=(EXAMPLES[1], Example("hestia semaphore check -q", "only what is wrong")))
@_path
@output_options
def check(config: str | None) -> None:
    """Ask Semaphore for all that the services need: server, version, login, project, role, templates,
    variables, playbooks, machines. Changes nothing, starts nothing; exit code 1 when something has failed.
    """
    from hestia.cli.doctor.finding import Level
    from hestia.cli.doctor.show import lines, rows, summary

    session = current()
    findings = asyncio.run(_look(settings_of(config)))
    failed = any(finding.level is Level.FAIL for finding in findings)
    if session.json:
        session.result(json.dumps({"ok": not failed, "findings": rows(findings)}, ensure_ascii=False))
    else:
        for text in [*lines(findings, session.out, quiet=session.quiet), summary(findings)]:
            session.result(text)
    if failed:
        raise Quiet(ExitCode.FAILED)


async def _look(settings: Settings) -> list[Finding]:
    from hestia.cli.semaphore.checks import look
    from hestia.cli.semaphore.targets import wishes

    return [finding for wish in wishes(settings) async for finding in look(wish)]


@command("playbooks", examples=(EXAMPLES[2],))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Also write over files that were changed.")
@output_options
def playbooks(folder: Path, force: bool) -> None:
    """Copy the playbooks that come with Hestia into FOLDER: start.yml, stop.yml and what they use.

    Files that are there and differ are left as they are.
    """
    from hestia.cli.semaphore.playbooks import copy

    session = current()
    try:
        copied = copy(folder, over=force)
    except OSError as exc:
        raise CliError(
            f"{exc.filename or folder}: {exc.strerror}",
            code="cannot_write",
            remedy=("Do: name a folder that you may write to",),
        ) from exc
    if session.json:
        document = {"folder": str(folder.absolute()), "made": copied.made, "same": copied.same}
        session.result(json.dumps({**document, "kept": copied.other}, ensure_ascii=False))
        return
    session.result(
        plain(
            f"{folder}: {len(copied.made)} written, {len(copied.same)} were there, {len(copied.other)} kept"
        )
    )
    for name in copied.other:
        session.note(plain(f"{name} differs and was kept; --force writes over it"))


def settings_of(config: str | None) -> Settings:
    """The configuration. Raises CliError."""
    from hestia.cli.configuration import load_settings, refusal
    from hestia.config import ConfigProblems

    try:
        return load_settings(config)
    except ConfigProblems as exc:
        raise refusal(exc, config, done="nothing was done") from exc


COMMANDS: tuple[HestiaCommand, ...] = (check, playbooks)
