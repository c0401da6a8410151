"""`hestia serve`: load the configuration, take the address, run the gateway in the foreground.

Owns what is said before and after; `hestia.running` owns the running, signals included.
"""

from __future__ import annotations

import gc
import logging
import os
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from hestia.cli import address, banner
from hestia.cli.command import command
from hestia.cli.exits import CliError
from hestia.cli.session import Example, Session, current, output_options

if TYPE_CHECKING:
    from hestia.app import Hestia
    from hestia.core.errors import ConfigError
    from hestia.core.model import Settings

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

log = logging.getLogger(__name__)


@command(
    "serve",
    examples=(
        Example("hestia serve", "on http://localhost:8080, with hestia_config.yml if there is one"),
        Example("hestia serve --port 0", "on a free port, which is printed"),
        Example("hestia serve --takeover", "in the place of the one that runs, refusing nobody"),
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
@click.option("--takeover", is_flag=True, help="Take the place of the gateway that runs; none is fine.")
@output_options
def serve(
    path: str | None,
    host: str | None,
    port: int | None,
    log_level: str | None,
    log_format: str | None,
    takeover: bool,
) -> int:
    """Run the gateway until Ctrl-C. The first signal lets open requests end, the second ends at once."""
    gc.disable()  # nothing of what is imported is garbage; `hestia.running` turns it on when it listens
    from hestia.cli.configuration import load_settings, refusal
    from hestia.config import ConfigProblems

    given = {"host": host, "port": port, "log_level": log_level, "log_format": log_format}
    overrides = {name: value for name, value in given.items() if value is not None}

    def read() -> Settings:
        return load_settings(path, overrides)

    try:
        settings = read()
    except ConfigProblems as exc:
        raise refusal(exc) from exc
    return _run(current(), settings, _called(path, host), read, takeover=takeover)


def _called(path: str | None, host: str | None) -> str:
    """How this command was called, without the port: the beginning of the command that would work."""
    words = ["hestia", "serve"]
    if path:
        words += ["--config", path]
    if host:
        words += ["--host", host]
    return shlex.join(words)


def _run(
    session: Session, settings: Settings, called: str, read: Callable[[], Settings], *, takeover: bool
) -> int:
    from hestia import __version__
    from hestia.app import serve as run_gateway  # the composition root: cli is the one layer above it
    from hestia.core.errors import ConfigError
    from hestia.systemd import is_activated
    from hestia.takeover.new import find

    gateway = settings.gateway
    try:
        before = find(gateway.state_dir, version=__version__) if takeover else None
    except ConfigError as exc:
        raise _refusal(exc) from exc
    if before is None and not is_activated(os.environ):
        _check_addresses(settings, called)

    def on_started(started: Hestia, phases: Mapping[str, str]) -> None:
        _announce(session, settings, started.address[1], phases)
        if takeover and before is None:
            log.info("No gateway ran whose place could be taken: this is a plain start")

    try:
        return run_gateway(settings, on_started=on_started, reload_from=read, before=before)
    except OSError as exc:  # taken between the look and the listening
        raise address.explain(exc, gateway.host, gateway.port, command=called) from exc
    except ConfigError as exc:
        raise _refusal(exc) from exc


def _refusal(exc: ConfigError) -> CliError:
    return CliError(exc.detail, code=exc.code, remedy=(exc.remedy,) if exc.remedy else ())


def _check_addresses(settings: Settings, called: str) -> None:
    gateway = settings.gateway
    address.check(gateway.host, gateway.port, command=called)
    for service in settings.services.values():
        if service.port is not None:
            address.check_service(service.id, gateway.host, service.port)


def _announce(session: Session, settings: Settings, port: int, phases: Mapping[str, str]) -> None:
    host = settings.gateway.host
    if session.err.terminal and not session.json:
        for line in banner.lines(settings, host, port, phases, session.err):
            session.note(line)
        return
    fields = banner.event(settings, host, port, phases)
    log.info("Hestia %s listens on %s", fields["version"], fields["address"], extra=fields)
