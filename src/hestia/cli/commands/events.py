"""`hestia events`: what happened and why, oldest first; followed across a restart of the gateway (CL-17)."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import click

from hestia.cli.client import Client
from hestia.cli.command import command
from hestia.cli.exits import CliError, Document, ExitCode, Interrupted
from hestia.cli.parameters import DURATION, SERVICE, is_status
from hestia.cli.session import Example, Session, client_options, current
from hestia.cli.story import event_line
from hestia.cli.text import duration

AGAIN_EVERY = 1.0  # seconds between attempts to reach the gateway


@command(
    "events",
    examples=(
        Example("hestia events", "the last things that happened"),
        Example("hestia events -f ollama", "of one service, and what comes; Ctrl-C ends"),
        Example("hestia events --since 1h", "of the last hour"),
    ),
)
@click.argument("service", required=False, type=SERVICE)
@click.option("-f", "--follow", is_flag=True, help="Stay and show what comes.")
@click.option("--since", type=DURATION, help="Only what is not older than this: 30m, 2h, 1d.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), help="Events at most (50; with -f 20).")
@client_options
def events(service: str | None, follow: bool, since: float | None, limit: int | None) -> None:
    """Show what happened, and why."""
    session = current()
    client = session.client()
    asked: dict[str, str | int] = {"limit": limit or (20 if follow else 50)}
    if since is not None:
        asked["since"] = (datetime.now(UTC) - timedelta(seconds=since)).isoformat()
    where = f"/v1/services/{quote(service, safe='')}/events" if service else "/v1/events"
    try:
        _, body = client.call("GET", f"{where}?{urlencode(asked)}")
    except CliError as exc:
        if follow or not session.is_away(exc):
            raise
        body = _stored(session, exc, service, since, limit or 50)
    found = list(reversed(is_status(client, body, dict).get("events") or []))
    if session.json and not follow:
        session.body(body)
        return
    for one in found:
        _print(session, one)
    if follow:
        try:
            _follow(session, client, service, max((one["id"] for one in found), default=0))
        except KeyboardInterrupt:
            raise Interrupted("") from None
    elif not found:
        session.hint("Nothing is kept that fits; hestia events -f shows what comes.")


def _stored(session: Session, error: CliError, service: str | None, since: float | None, limit: int) -> bytes:
    """The same page from the store, where no gateway answers."""
    from hestia.cli.stored import Stored

    stored = Stored(error)
    page = stored.events(service or "", since=None if since is None else time.time() - since, limit=limit)
    session.note(stored.note)
    return page.model_dump_json(by_alias=True).encode()


def _print(session: Session, one: Document) -> None:
    if session.json:
        session.result(json.dumps(one, ensure_ascii=False))
    else:
        session.result(event_line(one, session.out, datetime.now(UTC)))


def _follow(session: Session, client: Client, service: str | None, last: int) -> None:
    """Show what comes for ever; what was missed while the gateway was away is asked for."""
    path = "/v1/events/stream" + (f"?{urlencode({'service': service})}" if service else "")
    lost: float | None = None
    while True:
        try:
            for kind, data in client.events(path, after=last):
                if lost is not None:
                    _back(session, lost)
                    lost = None
                if kind == "change":
                    one = json.loads(data)
                    last = int(one["id"])
                    _print(session, one)
                elif kind == "missed":
                    session.note(str(json.loads(data).get("text", "")))
        except BrokenPipeError:  # a ConnectionError too, but of whoever reads our output
            raise
        except ConnectionError:
            pass
        except CliError as exc:
            if lost is None or exc.exit_code is not ExitCode.UNREACHABLE:
                raise
        if lost is None:
            lost = time.monotonic()
            if not session.quiet:
                session.note("The gateway went away; trying again every second. Ctrl-C ends.")
        time.sleep(AGAIN_EVERY)


def _back(session: Session, lost: float) -> None:
    if not session.quiet:
        session.note(f"Reconnected after {duration(time.monotonic() - lost)}; what was missed comes now.")
