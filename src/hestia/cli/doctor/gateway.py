"""Checks of the running gateway: its health, its version, what it runs with, which services have failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from hestia import __version__
from hestia.cli.configuration import FINDER, engine_options
from hestia.cli.doctor.finding import Finding, fail, ok, skip, warn
from hestia.cli.doctor.running import Running, environment_of, process_of
from hestia.cli.doctor.world import World
from hestia.cli.exits import CliError, Document
from hestia.cli.text import plain
from hestia.config import ConfigProblems, effective, load
from hestia.core.model import Settings

_TO_DO: Final = " To do: "  # how the store's words about its trouble end
NAMED: Final = 5  # settings that are named when they differ

_GIVEN_BY_HAND: Final = "command line"


def gateway(world: World) -> Iterator[Finding]:
    """What answers at the gateway's address."""
    found = world.asked()
    if isinstance(found, CliError):
        yield absent(found, named=world.named, pid=process_of(world.gateway.state_dir), url=world.target.url)
        return
    yield health(found)
    yield from version(found)
    if world.settings is not None:
        yield from same_configuration(found, as_the_gateway_reads(world, world.settings))
    elif found.config is not None:
        yield warn(
            "gateway",
            f"keeps the configuration it was started with ({_file(found.config)}); it could not start again "
            "with the present one",
            found.url,
            "correct the configuration before a restart: hestia config check",
        )
    for service in found.services:
        if service.get("phase") == "failed":
            yield failed_service(service)


def absent(error: CliError, *, named: bool, pid: int, url: str) -> Finding:
    """No gateway answers. named: somebody said that one is there. pid: of one that has our state folder."""
    first, *more = error.detail.splitlines()
    text = plain(" ".join([first, *more]))
    if named or error.exit_code == 4:
        return fail("gateway", text, url, *error.remedy)
    if pid:
        return warn(
            "gateway",
            f"a gateway (pid {pid}) has the state folder of this configuration, but not at {url}",
            url,
            "name its address: hestia doctor --url URL",
        )
    return skip("gateway", text, url, *error.remedy)


def health(running: Running) -> Finding:
    """Whether it takes requests and everything in it moves."""
    head = f"version {plain(running.version)} answers at {running.url}"
    if running.problems or running.status not in ("ok", "draining"):
        told = [plain(one).partition(_TO_DO) for one in running.problems]
        stuck = " ".join(text.strip() for text, _, _ in told) or plain(running.status)
        remedies = [remedy.strip().removesuffix(".") for _, _, remedy in told if remedy]
        if len(remedies) < max(len(told), 1):  # something does not move, and nobody can say why
            remedies.append("keep its log for a report, then restart it: hestia doctor --report")
        return fail("gateway", f"{head}, but is not healthy: {stuck}", running.url, *remedies)
    if running.status == "draining" or not running.ready:
        return warn("gateway", f"{head} and is about to end", running.url, "wait, then: hestia serve")
    if running.withheld:
        return warn(
            "gateway",
            f"{head}, but does not show everything: {plain(running.withheld)}",
            running.url,
            "give a key: HESTIA_API_KEY, or --key-file PATH",
        )
    return ok("gateway", f"{head} and takes requests", running.url)


def version(running: Running) -> Iterator[Finding]:
    """Whether it and this command are of one version."""
    if running.version != __version__:
        yield warn(
            "gateway",
            f"is version {plain(running.version)}, this command is {__version__}",
            running.url,
            "restart the gateway to bring them together",
        )


def as_the_gateway_reads(world: World, settings: Settings) -> Settings:
    """The present configuration with the variables of the running gateway, where those can be seen."""
    pid = process_of(world.gateway.state_dir)
    variables = environment_of(pid) if pid else None
    if variables is None:
        return settings
    try:
        return load(
            path=settings.config_path or None,
            environ=variables,
            cwd=str(world.folder),
            engines=engine_options(),
            strategies=FINDER,
        )
    except ConfigProblems:
        return settings


def same_configuration(running: Running, settings: Settings) -> Iterator[Finding]:
    """Whether it runs with what is configured here now."""
    if running.config is None:
        return
    path = str(running.config.get("path", ""))
    if path != settings.config_path:
        yield warn(
            "gateway",
            f"runs with {_file(running.config)}, and here is {_path(settings.config_path)}",
            running.url,
            f"look at its own: hestia doctor --config {path}" if path else "start it here: hestia serve",
        )
        return
    if names := differences(running.config, settings):
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield warn(
            "gateway",
            f"runs with other values than are configured now: {', '.join(names[:NAMED])}{more}",
            running.url,
            "restart it to take them up; if nothing was changed, it was started with other variables",
        )


def differences(config: Document, settings: Settings) -> list[str]:
    """Keys whose values differ. What was given to the gateway on its command line is meant to."""
    theirs = _rows(config)
    ours = {row.key: json.loads(json.dumps(row.value, default=str)) for row in effective(settings)}
    by_hand = {key for key, (_, source) in theirs.items() if source.startswith(_GIVEN_BY_HAND)}
    found = [key for key, (value, _) in theirs.items() if key not in by_hand and ours.get(key) != value]
    return [plain(key) for key in [*found, *(key for key in ours if key not in theirs)]]


def _rows(config: Document) -> Mapping[str, tuple[object, str]]:
    rows = config.get("settings")
    if not isinstance(rows, list):
        return {}
    return {
        str(row.get("key")): (row.get("value"), str(row.get("source")))
        for row in rows
        if isinstance(row, dict)
    }


def failed_service(service: Document) -> Finding:
    """A service that the gateway could not start, with its own reason and remedy."""
    name = plain(str(service.get("serviceId")))
    error = service.get("lastError")
    said = error if isinstance(error, dict) else {}
    detail = plain(str(said.get("detail") or "no reason is known").splitlines()[0]).removeprefix(f"{name}: ")
    remedy = plain(str(said.get("remedy") or "")) or f"hestia start {name}"
    return fail(
        "gateway", f"{name} has failed: {detail}", f"services.{name}", remedy, f"hestia status {name}"
    )


def _file(config: Document) -> str:
    return _path(str(config.get("path", "")))


def _path(path: str) -> str:
    return plain(path) if path else "no file"
