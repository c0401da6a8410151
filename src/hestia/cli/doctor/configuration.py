"""Checks of what is configured: the file and its faults, variables, who may come in, the certificate."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

from hestia.cli.address import from_outside
from hestia.cli.doctor.finding import Finding, Level, fail, ok, skip, warn
from hestia.cli.doctor.world import World
from hestia.cli.text import countdown, plain
from hestia.config.errors import Problem
from hestia.core.model import GatewaySettings, Settings, Tls
from hestia.edge.certificate import Loaded, TlsUnusable, load

NAMED: Final = 5  # variables that are named
_OF_TLS: Final = "tls: "  # how the loader's warnings about the certificate begin; `certificate` says more


def configuration(world: World) -> Iterator[Finding]:
    """Every fault of every source, or what was read; then what is odd and yet works."""
    yield from (fault(problem) for problem in world.problems)
    if world.settings is None:
        yield skip("config", "services, access and certificate are looked at once it can be used")
        return
    settings = world.settings
    count = len(settings.services)
    source = plain(settings.config_path) if settings.config_path else "no file, defaults"
    yield ok("config", f"{source}: {count} {'service' if count == 1 else 'services'}")
    for warning in settings.warnings:
        if not warning.startswith(_OF_TLS):
            yield warn("config", plain(warning), "")
    yield variables(settings)


def fault(problem: Problem) -> Finding:
    """A fault as `config check` shows it."""
    head, *lines = problem.render().splitlines()
    remedy = (problem.remedy,) if problem.remedy else ()
    detail = tuple(line for line in lines if not line.lstrip().startswith("do: "))
    place = ":".join(str(part) for part in (problem.source, problem.line, problem.column) if part)
    return Finding(Level.FAIL, "config", head, place, remedy, detail)


def _variable(key: str, source: str) -> str:
    """`HESTIA_PORT` for `environment HESTIA_PORT`, `port in line 3` for `.env:3`."""
    place = source.partition(" (")[0]
    _, found, line = place.rpartition(":")
    return f"{key} in line {line}" if found else place.split()[-1]


def _names(found: Sequence[str]) -> str:
    """The variables, so many of them that they are still read."""
    names = sorted(set(found))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return plain(", ".join(names[:NAMED]) + more)


def variables(settings: Settings) -> Finding:
    """How many settings the environment and `.env` give."""
    said = []
    for begin, name in (("environment", "the environment"), (".env", ".env")):
        found = [
            _variable(key, source) for key, source in settings.sources.items() if source.startswith(begin)
        ]
        if found:
            count = f"{len(found)} {'setting comes' if len(found) == 1 else 'settings come'}"
            said.append(f"{count} from {name}: {_names(found)}")
    if not said:
        return ok("env", "no setting comes from a variable")
    return ok("env", "; ".join(said))


def access(gateway: GatewaySettings) -> Finding:
    """Who can reach the gateway: there is no access control yet, so the address decides alone."""
    place = f"{gateway.host or '*'}:{gateway.port}"
    if is_only_here(gateway.host):
        return ok("access", f"off, and only programs of this machine reach {place}")
    outside = from_outside(gateway.host, gateway.port, tls=gateway.tls is not None)
    text = f"off, and {place} is reachable from other machines" + (f" at {outside}" if outside else "")
    return warn(
        "access",
        text,
        "host",
        "listen on this machine only (host: 127.0.0.1), or have a firewall or a proxy with a log-in in front",
    )


def is_only_here(host: str) -> bool:
    """Whether who listens there is reached from this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def certificate(tls: Tls | None) -> Iterator[Finding]:
    """The certificate of the front door: whether it can be used, how long, and who may read its key."""
    if tls is None:
        yield skip("tls", "not set: the gateway speaks plain HTTP")
        return
    try:
        yield validity(load(tls), tls.certificate, time.time())
    except TlsUnusable as exc:
        yield fail("tls", plain(exc.detail), tls.certificate, exc.remedy)
        return
    mode = os.stat(tls.key).st_mode
    if mode & stat.S_IROTH:
        yield warn(
            "tls", f"every user of this machine can read {plain(tls.key)}", tls.key, f"chmod o-r {tls.key}"
        )


def validity(loaded: Loaded, path: str, now: float) -> Finding:
    """What the dates of a certificate mean at this instant (seconds since 1970)."""
    said = loaded.warning(now)
    if not said:
        left = countdown(loaded.ends - now)
        until = datetime.fromtimestamp(loaded.ends, UTC).strftime("%Y-%m-%d")
        return ok("tls", f"{plain(path)} is valid until {until}, for {left}")
    broken = not loaded.begins <= now < loaded.ends
    do = "renew it; the gateway takes the new files up by itself"
    if now < loaded.begins:
        do = "set this machine's clock, or wait"
    return (fail if broken else warn)("tls", f"{plain(path)}: {said}", path, do)
