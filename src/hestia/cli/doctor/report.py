"""`doctor --report`: one text for an issue, with everything the doctor knows and no secret in it.

Secrets go twice: settings are taken from `config show`, which hides them; then every line is searched for
the secrets that are known here and for what looks like one (ET-07).
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from hestia.cli.doctor.addresses import CONTAINER_MARKS
from hestia.cli.doctor.asked_about import request_lines
from hestia.cli.doctor.finding import Finding
from hestia.cli.doctor.running import Running
from hestia.cli.doctor.show import lines, summary
from hestia.cli.doctor.world import World
from hestia.cli.entry import version_line
from hestia.cli.screen import Screen
from hestia.cli.text import plain
from hestia.config import effective
from hestia.config.errors import blot, is_secret_name
from hestia.config.show import HIDDEN
from hestia.core.model import Settings
from hestia.engines.process_options import ProcessOptions

SHORTEST: Final = 4  # characters of a secret; shorter ones would cut holes into ordinary words
_PAPER: Final = Screen(terminal=False, colour=False, redraw=False, drawn_marks=False, width=None)
_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)


def report(world: World, findings: Sequence[Finding], *, about: str = "") -> list[str]:
    """The lines of the report. about: id of a request that is told in it, "" for none."""
    body = [
        *_head(),
        *_section("Findings", [*lines(findings, _PAPER), summary(findings)]),
        *_section("Settings that are not the default", _settings(world.settings)),
        *_section("Gateway", _gateway(world.asked.running())),
    ]
    if about:
        body += _section(f"Request {plain(about)}", request_lines(world, about))
    return list(cleaned(body, secrets(world), home=world.environment.get("HOME", "")))


def _head() -> Iterator[str]:
    yield "Hestia report of " + time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    yield "Read it before you publish it: secrets are left out; names, addresses and paths are not."
    yield ""
    yield version_line()
    yield f"{platform.platform()}, {_system()}, {os.cpu_count()} processors"
    inside = any(os.path.exists(mark) for mark in CONTAINER_MARKS)
    yield ("in a container, " if inside else "") + ("as root" if os.geteuid() == 0 else "as an ordinary user")


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "an unknown distribution"


def _section(title: str, body: Iterable[str]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield "```"
    yield from body
    yield "```"


def _settings(settings: Settings | None) -> Iterator[str]:
    if settings is None:
        yield "the configuration cannot be used, see the findings"
        return
    for row in effective(settings):
        if row.changed:
            value = row.value if isinstance(row.value, str) else json.dumps(row.value, default=str)
            yield plain(f"{row.key} = {value}   ({row.source})")


def _gateway(running: Running | None) -> Iterator[str]:
    if running is None:
        yield "none answers"
        return
    yield plain(f"version {running.version}, {running.status}, since {running.started_at}")
    for service in running.services:
        error = service.get("lastError")
        words = [f"{service.get('serviceId')}: {service.get('phase')}, engine {service.get('engine')}"]
        words.append(f"queue {service.get('queuePending')}, in use {service.get('inFlight')}")
        if isinstance(error, dict):
            words.append(f"last error {error.get('code')} at {error.get('at')}: {error.get('detail')}")
        yield plain(", ".join(words))
        if isinstance(error, dict):
            yield from (plain(f"    {line}") for line in error.get("tail") or ())


# -- secrets -----------------------------------------------------------------------------------


def secrets(world: World) -> tuple[str, ...]:
    """Every secret that is known here, the longest first: of the environment, the settings, the programs."""
    found = set(_of_variables(world.environment))
    if world.settings is not None:
        tls = world.settings.gateway.tls
        found.add(tls.key_password if tls is not None else "")
        for service in world.services:
            for options in (instance.options for instance in service.instances):
                if isinstance(options, ProcessOptions):
                    found.update(_of_variables(options.env))
    return tuple(sorted((one for one in found if len(one) >= SHORTEST), key=len, reverse=True))


def _of_variables(variables: Mapping[str, str]) -> Iterator[str]:
    return (value for name, value in variables.items() if _NAME.search(name) or is_secret_name(name))


def cleaned(body: Iterable[str], known: Sequence[str], *, home: str) -> Iterator[str]:
    """The lines with stars in place of secrets and `~` in place of the home folder."""
    for line in body:
        for secret in known:
            line = line.replace(secret, HIDDEN)
        if home not in ("", "/"):
            line = re.sub(rf"{re.escape(str(Path(home)))}(?=/|\W|$)", "~", line)
        yield blot(line)
