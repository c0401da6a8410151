"""`hestia serve`: load the configuration, take the address, run the gateway in the foreground.

Owns what is said before and after; `hestia.app.serve` owns the running, signals included.
"""

from __future__ import annotations

import gc
import json
import logging
import shlex
import threading
from typing import TYPE_CHECKING

import click

from hestia.cli import address, banner
from hestia.cli.client import Client
from hestia.cli.command import command
from hestia.cli.exits import CliError, Document
from hestia.cli.session import Example, Session, current, output_options
from hestia.cli.target import Target

if TYPE_CHECKING:
    from hestia.app import Hestia
    from hestia.core.model import Settings

STATES_TIMEOUT = 2.0  # a status probe takes at most 0.5 s
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

log = logging.getLogger(__name__)


@command(
    "serve",
    examples=(
        Example("hestia serve", "on http://localhost:8080, with hestia_config.yml if there is one"),
        Example("hestia serve --port 0", "on a free port, which is printed"),
        Example("hestia serve --config ~/hestia.yml", "with this file"),
    ),
)
@click.option("--config", "path", metavar="PATH", help="The configuration file. Also: HESTIA_CONFIG_PATH.")
@click.option("--host", help="Where to listen; 0.0.0.0 is every network of this machine. Default: 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 picks a free one. Default: 8080.")
@click.option(
    "--log-level", type=click.Choice(LEVELS, case_sensitive=False), help="From which level on to log."
)
@click.option("--log-format", type=click.Choice(("auto", "json", "console")), help="Form of the log.")
@output_options
def serve(
    path: str | None, host: str | None, port: int | None, log_level: str | None, log_format: str | None
) -> int:
    """Run the gateway until Ctrl-C. The first signal lets open requests end, the second ends at once."""
    gc.disable()  # nothing of what is imported is garbage; `hestia.app` turns it on when it listens
    from hestia.cli.configuration import load_settings, refusal
    from hestia.config import ConfigProblems

    given = {"host": host, "port": port, "log_level": log_level, "log_format": log_format}
    try:
        settings = load_settings(path, {name: value for name, value in given.items() if value is not None})
    except ConfigProblems as exc:
        raise refusal(exc) from exc
    return _run(current(), settings, _called(path, host))


def _called(path: str | None, host: str | None) -> str:
    """How this command was called, without the port: the beginning of the command that would work."""
    words = ["hestia", "serve"]
    if path:
        words += ["--config", path]
    if host:
        words += ["--host", host]
    return shlex.join(words)


def _run(session: Session, settings: Settings, called: str) -> int:
    from hestia.app import serve as run_gateway  # the composition root: cli is the one layer above it
    from hestia.core.errors import ConfigError

    gateway = settings.gateway
    address.check(gateway.host, gateway.port, command=called)

    def on_started(started: Hestia) -> None:
        # The states come through the gateway's own front door; it needs this thread to answer.
        threading.Thread(
            target=_announce, args=(session, settings, started.address), name="banner", daemon=True
        ).start()

    try:
        return run_gateway(settings, on_started=on_started)
    except OSError as exc:  # taken between the look and the listening
        raise address.explain(exc, gateway.host, gateway.port, command=called) from exc
    except ConfigError as exc:
        raise CliError(exc.detail, code=exc.code, remedy=(exc.remedy,) if exc.remedy else ()) from exc


def _announce(session: Session, settings: Settings, where: tuple[str, int]) -> None:
    host, port = settings.gateway.host, where[1]
    states = _states(where)
    if session.err.terminal and not session.json:
        for line in banner.lines(settings, host, port, states, session.err):
            session.note(line)
        return
    fields = banner.event(settings, host, port, states)
    log.info("Hestia %s listens on %s", fields["version"], fields["address"], extra=fields)


def _states(where: tuple[str, int]) -> list[Document]:
    """The services as the API shows them; empty when it does not answer in time."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where[0], where[0])
    client = Client(Target("http", host, where[1], "", ""), answer_timeout=STATES_TIMEOUT)
    try:
        found = json.loads(client.services())
    except (CliError, ValueError):
        return []
    return list(found) if isinstance(found, list) else []
