"""What is known before anything is looked at: the configuration or its faults, and the running gateway.

With a configuration that cannot be used, the few keys of the gateway that the machine's checks need are read
on their own, so that those checks are made all the same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hestia.cli.client import Client
from hestia.cli.configuration import FINDER, engine_options
from hestia.cli.doctor.running import Running, find_running
from hestia.cli.exits import CliError
from hestia.cli.target import DEFAULT_PORT, LISTENING, Target, config_file, find_target, scalar, scan_dotenv
from hestia.config import ConfigProblems, load
from hestia.config.errors import Problem
from hestia.core.model import GatewaySettings, ServiceSettings, Settings

ASK_TIMEOUT: Final = 1.5  # seconds for each call to the gateway
NOWHERE: Final = "/dev/null"  # a working directory in which no file of ours can be
# of the environment, where the file and the rest of it cannot be used
_SALVAGED: Final = ("host", "port", "state_dir", "database_url")
_FOLDERS: Final = ("HOME", "STATE_DIRECTORY", "XDG_STATE_HOME")


class Asked:
    """The running gateway, asked once by whichever check needs it first."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._lock = threading.Lock()
        self._found: Running | CliError | None = None

    def __call__(self) -> Running | CliError:
        """What runs, or why nothing can be said about it."""
        with self._lock:
            if self._found is None:
                self._found = find_running(self.client)
            return self._found

    def running(self) -> Running | None:
        """What runs; None when nothing answers."""
        found = self()
        return found if isinstance(found, Running) else None


@dataclass(frozen=True, slots=True)
class World:
    """settings: None when the configuration cannot be used; then `problems` says why, and `gateway` holds
    what could be read of it. named: the gateway's address was given by the user, not worked out."""

    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    settings: Settings | None
    problems: tuple[Problem, ...]
    gateway: GatewaySettings
    target: Target
    named: bool
    asked: Asked

    @property
    def services(self) -> tuple[ServiceSettings, ...]:
        """The services that are configured, as far as that is known."""
        return () if self.settings is None else tuple(self.settings.services.values())


def gather(
    environment: Mapping[str, str],
    folder: Path,
    *,
    path: str | None,
    url: str | None,
    key: str,
    trace: Callable[[str], None] | None = None,
    bodies: bool = False,
) -> World:
    """Read the configuration and find out where the gateway would be. Raises CliError for a bad address.

    path: of `--config`. url: of `--url`. trace: takes a line for each call, bodies: and for each answer.
    Asks nobody yet.
    """
    settings: Settings | None = None
    problems: tuple[Problem, ...] = ()
    try:
        settings = load(
            path=path, environ=environment, cwd=str(folder), engines=engine_options(), strategies=FINDER
        )
        gateway = settings.gateway
    except ConfigProblems as exc:
        problems = exc.problems
        gateway = salvage(environment, folder, path)
    named = bool(url or environment.get("HESTIA_URL"))
    target = find_target(url, environment, folder)
    if not named:
        source = target.source if settings is None else settings.sources.get("port", target.source)
        target = local_target(gateway, target, source)
    client = Client(
        target,
        key=key,
        trace=trace,
        bodies=bodies,
        connect_timeout=ASK_TIMEOUT,
        answer_timeout=ASK_TIMEOUT,
    )
    return World(environment, folder, settings, problems, gateway, target, named, Asked(client))


def local_target(gateway: GatewaySettings, found: Target, source: str) -> Target:
    """Where the gateway of this configuration answers on this machine. found: by the light scan."""
    host = "localhost" if gateway.host in LISTENING else gateway.host
    scheme = "https" if gateway.tls is not None else found.scheme
    return replace(found, scheme=scheme, host=host, port=gateway.port or DEFAULT_PORT, source=source)


def salvage(environment: Mapping[str, str], folder: Path, path: str | None) -> GatewaySettings:
    """Address and state folder of a configuration that cannot be used, as far as they are right."""
    named = {**environment, "HESTIA_CONFIG_PATH": path} if path else environment
    file = config_file(named, folder)
    variables = {**scan_dotenv((file.parent if file is not None else folder) / ".env"), **environment}
    written: dict[str, object] = {}
    for key in _SALVAGED:
        text = variables.get(f"HESTIA_{key.upper()}", "") or scalar(file, key)
        if key == "state_dir" and text:
            base = file.parent if file is not None else folder
            text = str(base / os.path.expanduser(text))
        if text and (_defaults(environment, {key: text}) is not None):
            written[key] = text
    found = _defaults(environment, written)
    assert found is not None, "defaults and keys that were tried one by one"
    return found


def _defaults(environment: Mapping[str, str], keys: Mapping[str, object]) -> GatewaySettings | None:
    known = {name: environment[name] for name in _FOLDERS if name in environment}
    typed = {name: _typed(value) for name, value in keys.items()}
    try:
        return load(path=None, environ=known, cwd=NOWHERE, overrides=typed, engines=engine_options()).gateway
    except ConfigProblems:
        return None


def _typed(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value
