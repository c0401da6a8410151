"""What a configuration wants of Semaphore: which server, as whom, which project and templates, for whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hestia.core.model import Settings
from hestia.engines.semaphore.connection import Server
from hestia.engines.semaphore.options import SemaphoreOptions

ENGINE = "semaphore"
_TIMEOUT = 30.0  # as the engine's, where nobody says otherwise


@dataclass(frozen=True, slots=True)
class Use:
    """One service that is started through Semaphore. address: of its machine, or ""."""

    service: str
    options: SemaphoreOptions
    address: str


@dataclass(slots=True)
class Wish:
    """One project of one server, and what is done there."""

    server: Server
    project: int | str
    uses: list[Use] = field(default_factory=list)


def wishes(settings: Settings) -> list[Wish]:
    """One for each project of each server; that of the top of the file also when no service uses it."""
    found: dict[tuple[Server, int | str], Wish] = {}
    for use in _uses(settings):
        server, project = server_of(use.options), 1 if use.options.project is None else use.options.project
        found.setdefault((server, project), Wish(server, project)).uses.append(use)
    if not found:
        gateway = settings.gateway
        found[_gateway_server(settings), gateway.semaphore_project] = Wish(
            _gateway_server(settings), gateway.semaphore_project
        )
    return list(found.values())


def server_of(options: SemaphoreOptions) -> Server:
    """The server as the engine asks it."""
    return Server(
        options.base_url.rstrip("/"),
        _TIMEOUT if options.timeout is None else options.timeout,
        api_key=options.api_key,
        username=options.username,
        password=options.password,
    )


def _gateway_server(settings: Settings) -> Server:
    gateway = settings.gateway
    return Server(
        gateway.semaphore_base_url.rstrip("/"),
        gateway.semaphore_timeout,
        api_key=gateway.semaphore_api_key,
        username=gateway.semaphore_username,
        password=gateway.semaphore_password,
    )


def _uses(settings: Settings) -> Iterator[Use]:
    for service_id, service in settings.services.items():
        for instance in service.instances:
            if instance.engine == ENGINE and isinstance(instance.options, SemaphoreOptions):
                machine = settings.machines.get(instance.machine)
                yield Use(str(service_id), instance.options, machine.address if machine else "")
