"""`hestia status`: all services in a table, one service in full, or a yes or no for scripts."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from hestia.cli import view
from hestia.cli.client import Client
from hestia.cli.command import command
from hestia.cli.exits import CliError, Document, ExitCode, Quiet
from hestia.cli.parameters import SERVICE, is_status
from hestia.cli.session import Example, client_options, current
from hestia.cli.text import plain

PHASES = ("cold", "starting", "hot", "draining", "stopping", "failed")


@command(
    "status",
    examples=(
        Example("hestia status", "all services"),
        Example("hestia status ollama", "one service: why it is so, what happens next"),
        Example("hestia status ollama --is hot", "says nothing; exit code 0 or 1"),
    ),
)
@click.argument("service", required=False, type=SERVICE)
@click.option("--is", "wanted", type=click.Choice(PHASES), help="Only answer by exit code: 0 yes, 1 no.")
@click.option("--no-header", is_flag=True, help="Leave the table's header out.")
@client_options
def status(service: str | None, wanted: str | None, no_header: bool) -> None:
    """Show what the services do now."""
    session = current()
    client = session.client()
    if service is None:
        if wanted is not None:
            raise click.UsageError("--is needs a service: hestia status SERVICE --is hot")
        try:
            body = client.services()
        except CliError as exc:
            _tell_stored(exc)
            raise Quiet(ExitCode.UNREACHABLE) from exc
        services = is_status(client, body, list)
        if session.json:
            session.body(body)
            return
        _show_all(services, header=not no_header)
        _tell_refused(client)
        if not session.quiet:
            for line in view.warned(client.warnings(), session.err):
                session.note(line)
        return
    try:
        body = client.status(service)
    except CliError as exc:
        if wanted is None:
            _tell_stored(exc, service)
            raise Quiet(exc.exit_code) from exc
        raise
    one = is_status(client, body, dict)
    if wanted is not None:
        raise Quiet(ExitCode.DONE if is_in(one, wanted) else ExitCode.FAILED)
    if session.json:
        session.body(body)
        return
    for line in view.details(one, session.out, datetime.now(UTC), url=client.target.url):
        session.result(line)


def is_in(service: Document, wanted: str) -> bool:
    """Whether the service is in this state; one that is hot but does not answer right now is hot."""
    phase = view.phase_of(service)
    return phase == wanted or (wanted == "hot" and phase == "suspect")


def _show_all(services: list[Document], *, header: bool) -> None:
    session = current()
    if not services and session.out.terminal:
        session.result("No service is configured.")
        session.hint("Write one: hestia config example > hestia_config.yml")
        return
    for line in view.table(services, session.out, datetime.now(UTC), header=header):
        session.result(line)
    failed = [str(one.get("serviceId")) for one in services if view.phase_of(one) == "failed"]
    if failed:
        session.hint(f"{len(failed)} failed: hestia status {failed[0]}")


def _tell_stored(error: CliError, service: str = "") -> None:
    """What the store says of the services where no gateway answers: no status, and the exit code says so."""
    session = current()
    if session.json or not session.is_away(error):
        raise error
    from hestia.cli.stored import Stored, status_lines

    stored = Stored(error)
    left = [one for one in stored.left() if service in ("", one.service)]
    if service and not left and service not in stored.services:
        raise error
    session.note(stored.note)
    for line in stored.remedy:
        session.note(line)
    for line in status_lines([service] if service else stored.services, left):
        session.result(line)


def _tell_refused(client: Client) -> None:
    """An edit that was refused, and what waits for a restart: neither is in force."""
    session = current()
    last: Document | None = json.loads(client.last_reload())
    if session.quiet or last is None:
        return
    if not last["ok"]:
        session.note("warning: the last edit of the configuration was refused, the old one is in force:")
        for line in view.problems(last):
            session.note(line)
    if last["needsRestart"]:
        session.note(
            f"warning: waits for a restart of the gateway: {', '.join(map(plain, last['needsRestart']))}"
        )
