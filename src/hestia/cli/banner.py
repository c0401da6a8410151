"""What `serve` says when it listens (FM-02): at most 12 lines for people, or one event for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hestia import __version__
from hestia.cli import address
from hestia.cli.screen import Screen
from hestia.cli.text import cut_end, plain

if TYPE_CHECKING:
    from hestia.core.model import ServiceSettings, Settings

LINES: Final = 12
ACCESS_OFF: Final = "off: whoever reaches this address may use every service"


def lines(settings: Settings, host: str, port: int, phases: Mapping[str, str], screen: Screen) -> list[str]:
    """The banner. phases: state of each service by its id."""
    tls = settings.gateway.tls is not None
    url = address.browsable(host, port, tls=tls)
    outside = address.from_outside(host, port, tls=tls)
    from_environment = environment_services(settings)
    rows = [
        ("config", _source(settings)),
        *([("from env", ", ".join(f"{name} ({source})" for name, source in from_environment.items()))]
          if from_environment else []),
        ("access", ACCESS_OFF),
        ("try", f"curl {'-k ' if tls else ''}{url}/v1/services" + _first(settings)),
        ("stop", _ending(settings)),
    ]  # fmt: skip
    head = f"Hestia {__version__} listens on {url}" + (f" and {outside}" if outside else "")
    room = LINES - 1 - len(rows)
    services = _services(settings, phases, screen, room)
    shown = [f"  {title:<9} {text}" for title, text in [rows[0], *services, *rows[1:]]]
    width = screen.width or 10_000
    return [screen.painted(head, "1"), *(cut_end(line, width, ellipsis=screen.ellipsis) for line in shown)]


def _ending(settings: Settings) -> str:
    """What Ctrl-C does to the services that this gateway starts."""
    managed = [one for one in settings.services.values() if one.instances[0].managed]
    staying = [one for one in managed if one.on_exit == "keep"]
    if staying and len(staying) == len(managed):
        return "Ctrl-C: open requests may end; running services stay up for the next gateway"
    if staying:
        return f"Ctrl-C: open requests may end, then services are stopped, but for {len(staying)} that stay"
    return "Ctrl-C: open requests may end, then the running services are stopped too"


def _source(settings: Settings) -> str:
    return plain(settings.config_path) if settings.config_path else "none, defaults"


def _first(settings: Settings) -> str:
    first = next(iter(settings.services), None)
    return f"/{first}/status" if first is not None else ""


def _services(
    settings: Settings, phases: Mapping[str, str], screen: Screen, room: int
) -> list[tuple[str, str]]:
    known = list(settings.services.values())
    if not known:
        return [("services", "none; write some: hestia config example > hestia_config.yml")]
    count = len(known) if len(known) <= room else room - 1
    wide = max(len(str(one.id)) for one in known[:count]) if count else 0
    rows = [_service(one, phases.get(str(one.id), ""), screen, wide, settings) for one in known[:count]]
    if count < len(known):
        rows.append(f"and {len(known) - count} more: hestia status")
    return [("services" if number == 0 else "", row) for number, row in enumerate(rows)]


def _service(service: ServiceSettings, phase: str, screen: Screen, wide: int, settings: Settings) -> str:
    instance = service.instances[0]
    state = f"{screen.mark(phase)} {phase}" if phase else ""
    where = plain(instance.base_url)
    own = own_address(settings, service)
    return f"{service.id!s:<{wide}}  {state:<10} {who_starts(service)}  {where}" + (
        f"  also {own}" if own else ""
    )


def own_address(settings: Settings, service: ServiceSettings) -> str:
    """Where a service with a port of its own answers, "" for the others."""
    gateway = settings.gateway
    if service.port is None:
        return ""
    return address.browsable(gateway.host, service.port, tls=gateway.tls is not None)


def who_starts(service: ServiceSettings) -> str:
    """Who brings the service up, in a few words."""
    engine = service.instances[0].engine
    return "started elsewhere" if engine == "none" else f"started by {engine}"


def environment_services(settings: Settings) -> dict[str, str]:
    """Services whose base URL came from the environment, with what `sources` says about it."""
    found = {}
    for service in settings.services:
        source = settings.sources.get(f"services.{service}.base_url", "")
        if source.startswith(("environment", ".env")):
            found[str(service)] = source.partition(": ")[2] or source
    return found


def event(settings: Settings, host: str, port: int, phases: Mapping[str, str]) -> dict[str, Any]:
    """The same as fields of one log line. Any: a JSON document."""
    return {
        "event_type": "gateway_started",
        "version": __version__,
        "address": address.browsable(host, port, tls=settings.gateway.tls is not None),
        "listening": f"{host}:{port}",
        "config": settings.config_path or None,
        "services": [
            {
                "service_id": str(one.id),
                "state": phases.get(str(one.id)),
                "engine": one.instances[0].engine,
                "base_url": one.instances[0].base_url,
                "own_address": own_address(settings, one) or None,
            }
            for one in settings.services.values()
        ],
        "environment_services": environment_services(settings),
        "access": "off",
        "on_exit": str(settings.gateway.on_exit),
    }
