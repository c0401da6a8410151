"""`hestia logs`: what a service wrote, escaped for terminals, followed across a gateway's restart."""

from __future__ import annotations

import json
import time

import click

from hestia.cli.client import Client
from hestia.cli.command import command
from hestia.cli.exits import CliError, ExitCode, Interrupted
from hestia.cli.parameters import SERVICE
from hestia.cli.session import Example, Session, client_options, current
from hestia.cli.text import duration, plain

RECONNECT_EVERY = 1.0


@command(
    "logs",
    examples=(
        Example("hestia logs ollama", "the output that is kept"),
        Example("hestia logs -f ollama", "and what comes; Ctrl-C ends"),
        Example("hestia logs -n 20 ollama", "the last 20 lines"),
    ),
)
@click.argument("service", type=SERVICE)
@click.option("-f", "--follow", is_flag=True, help="Stay and show what comes.")
@click.option("-n", "--tail", type=click.IntRange(0, 100_000), metavar="LINES", help="Only the last lines.")
@click.option("--instance", default="", metavar="ID", help="Only this instance of the service.")
@client_options
def logs(service: str, follow: bool, tail: int | None, instance: str) -> None:
    """Show the output of a service."""
    session = current()
    client = session.client()
    lines = 0
    try:
        while True:
            try:
                for line in client.log_lines(service, follow=follow, tail=tail, instance=instance):
                    _print(session, service, line)
                    lines += 1
                break
            except BrokenPipeError:  # a ConnectionError too, but of whoever reads our output
                raise
            except ConnectionError:
                if not follow:
                    raise client.stranger("the log broke off in the middle of a line") from None
            _wait_for_gateway(session, client, service)
            tail = 0  # what is kept was shown already
    except KeyboardInterrupt:
        raise Interrupted("") from None
    if not lines and not session.json:
        session.hint(f"Nothing is kept for {service}: it was not started yet, or its engine keeps no output.")


def _print(session: Session, service: str, line: bytes) -> None:
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    if session.json:
        session.result(json.dumps({"serviceId": service, "line": text}, ensure_ascii=False))
    else:  # in a pipe too: what reads it may well print it on a terminal (CL-26)
        session.result(plain(text))


def _wait_for_gateway(session: Session, client: Client, service: str) -> None:
    """Return when the gateway answers again; anything but being unreachable ends the command."""
    lost = time.monotonic()
    if not session.quiet:
        session.note("The gateway went away; trying again every second. Ctrl-C ends.")
    while True:
        time.sleep(RECONNECT_EVERY)
        try:
            client.status(service)
        except CliError as exc:
            if exc.exit_code is not ExitCode.UNREACHABLE:
                raise
            continue
        if not session.quiet:
            session.note(
                f"Reconnected after {duration(time.monotonic() - lost)}; "
                f"what was written meanwhile: hestia logs {service}"
            )
        return
