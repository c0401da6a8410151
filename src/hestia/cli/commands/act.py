"""`hestia start`, `stop`, `restart`: ask the gateway, then follow to the end (CL-06)."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

import click

from hestia.cli import follow, view
from hestia.cli.client import Client
from hestia.cli.command import command
from hestia.cli.exits import CliError, Document, ExitCode
from hestia.cli.parameters import DURATION, SERVICE
from hestia.cli.session import PROGRESS_OPTION, Example, Session, client_options, current
from hestia.cli.text import ago, clock, duration, instant, plain

_no_wait = click.option("--no-wait", is_flag=True, help="Return at once; do not follow.")
_timeout = click.option(
    "--timeout", type=DURATION, metavar="DURATION", help="Follow at most this long (2m); then exit code 6."
)
_force = click.option("--force", is_flag=True, help="Cut open requests off instead of letting them end.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@command(
    "start",
    examples=(
        Example("hestia start ollama", "start it and follow until it is hot"),
        Example("hestia start ollama --timeout 2m", "give up following after 2 minutes"),
        Example("hestia start ollama --no-wait", "only ask for it"),
    ),
)
@click.argument("service", type=SERVICE)
@_no_wait
@_timeout
@PROGRESS_OPTION
@client_options
def start(service: str, no_wait: bool, timeout: float | None) -> None:
    """Start a service. A service that is hot already stays as it is."""
    session = current()
    client = session.client()
    began = time.monotonic()
    code, body = client.act(service, "start")
    status: Document = json.loads(body)
    if view.phase_of(status) in ("hot", "suspect"):
        _end(session, body, f"{service} is already hot{_since(status)}")
        return
    if no_wait:
        _end(session, body, f"{service} is starting" if code == 409 else f"start of {service} begun")
        return
    _hot_at_end(session, client, service, follow.hot(), timeout, began, verb="start")


@command(
    "stop",
    examples=(
        Example("hestia stop ollama", "let open requests end, then stop it"),
        Example("hestia stop ollama --force", "stop it now; asks when requests are open"),
    ),
)
@click.argument("service", type=SERVICE)
@_force
@_yes
@_no_wait
@_timeout
@PROGRESS_OPTION
@client_options
def stop(service: str, force: bool, yes: bool, no_wait: bool, timeout: float | None) -> None:
    """Stop a service. It starts again on the next request."""
    session = current()
    client = session.client()
    before: Document = json.loads(client.status(service))
    if view.phase_of(before) == "cold" and not before.get("queuePending"):
        _end(session, client.status(service), f"{service} is already cold")
        return
    if force:
        _confirm(before, "stopped", yes=yes)
    _, body = client.act(service, "stop", force=force)
    if no_wait:
        _end(session, body, f"stop of {service} begun")
        return
    began = time.monotonic()
    follow.follow(session, client, service, follow.cold, limit=timeout, verb="stop")
    body = client.status(service)
    after: Document = json.loads(body)
    if follow.stuck(after):
        raise follow.failure(after)
    if view.external(before):
        _end(session, body, f"{service} was started by somebody else: Hestia let go of it, it may still run")
    elif view.phase_of(before) == "failed":
        _end(session, body, f"{service} is {view.phase_of(after)}; its failures are forgotten")
    else:
        spent = duration(time.monotonic() - began)
        _end(session, body, f"{service} is {view.phase_of(after)}, stopped in {spent}")


@command(
    "restart",
    examples=(
        Example("hestia restart ollama", "let open requests end, stop it, start it again"),
        Example("hestia restart ollama --force", "do not wait for open requests; asks first"),
    ),
)
@click.argument("service", type=SERVICE)
@_force
@_yes
@_no_wait
@_timeout
@PROGRESS_OPTION
@client_options
def restart(service: str, force: bool, yes: bool, no_wait: bool, timeout: float | None) -> None:
    """Stop a service and start it again. Requests that come meanwhile wait for the new start."""
    session = current()
    client = session.client()
    before: Document = json.loads(client.status(service))
    if force:
        _confirm(before, "restarted", yes=yes)
    began = time.monotonic()
    _, body = client.act(service, "restart", force=force)
    if no_wait:
        _end(session, body, f"restart of {service} begun")
        return
    _hot_at_end(session, client, service, follow.hot(before), timeout, began, verb="restart")


def _hot_at_end(
    session: Session,
    client: Client,
    service: str,
    over: follow.Verdict,
    timeout: float | None,
    began: float,
    *,
    verb: str,
) -> None:
    follow.follow(session, client, service, over, limit=timeout, verb=verb)
    spent = duration(time.monotonic() - began)
    _end(session, client.status(service), f"{service} is hot after {spent}")
    session.hint(f"Use it: {client.target.url}/services/{service}/")


def _end(session: Session, body: bytes, words: str) -> None:
    """The result: the API's body with --json, else a sentence."""
    if session.json:
        session.body(body)
    else:
        session.result(plain(words))


def _since(status: Document) -> str:
    then = instant(status.get("startedAt")) or instant(status.get("since"))
    now = datetime.now(UTC)
    return f" since {clock(then, now)} ({ago(then, now)})" if then else ""


def _confirm(status: Document, done: str, *, yes: bool) -> None:
    """CL-10: ask where something open is lost; without a terminal that is an error, never a hang."""
    count = int(status.get("inFlight", 0))
    if not count or yes:
        return
    name = plain(str(status.get("serviceId", "")))
    lost = f"{count} open {'request' if count == 1 else 'requests'} of {name}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CliError(
            f"{lost} would be cut off, and there is no terminal to ask at.",
            exit_code=ExitCode.USAGE,
            code="confirmation_needed",
            remedy=("Add --yes, or leave --force out: then they may end first.",),
        )
    if not click.confirm(f"{lost} will be cut off if it is {done} now. Go on?", default=False, err=True):
        raise CliError("Nothing was changed.", code="declined")
