"""Where requests come in, and the data path behind each place: the main door, a private one, own ports.

Owns what belongs together there when the configuration changes: which doors are opened and closed, and that
every data path takes the new settings in the same step. `app` builds the parts.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

from hestia.core.model import ServiceId, ServiceSettings, Settings
from hestia.core.requests import RequestRecord
from hestia.edge.server import Door, EdgeServer
from hestia.proxy.exchange import Exchange
from hestia.proxy.service import DataPath


@dataclass(slots=True)
class _Own:
    """A service's own port. service: whose it is now; `door` names the one that it was opened for."""

    service: ServiceId
    path: DataPath
    door: Door


class Doors:
    """make: builds a data path from settings and further keywords. unix_path: of the main door, or ""."""

    def __init__(self, settings: Settings, make: Callable[..., DataPath], *, unix_path: str) -> None:
        self._settings = settings
        self._make = make
        self._unix_path = unix_path
        self.main = make(settings)
        self._private: list[DataPath] = []
        self._own: dict[int, _Own] = {}  # by port

    def all(self) -> list[Door]:
        """The gateway's own, then those of services that have a port."""
        gateway = self._settings.gateway
        doors = [
            Door(handler=self.main.handler, host=gateway.host, port=gateway.port, unix_path=self._unix_path)
        ]
        return doors + [self._door(self._settings, one) for one in own_ports(self._settings).values()]

    def private(self, unix_path: str, seal: Callable[[bytes], bytes]) -> Door:
        """A door in a folder closed to others; who speaks there may name the client."""
        path = self._make(self._settings, budgets=self.main.budgets, trust_unix=True, seal=seal, pages=None)
        self._private.append(path)
        return Door(handler=path.handler, unix_path=unix_path, refuse=path.refusal)

    def of(self, service: str) -> Door:
        """The door of a service that has a port of its own."""
        return next(own.door for own in self._own.values() if own.service == service)

    def _door(self, settings: Settings, service: ServiceSettings) -> Door:
        assert service.port is not None
        path = self._make(_only(settings, service), own_port=True, budgets=self.main.budgets)
        door = Door(handler=path.handler, host=settings.gateway.host, port=service.port, service=service.id)
        self._own[service.port] = _Own(service.id, path, door)
        return door

    def under_way(self, edge: EdgeServer | None, request_id: bytes) -> RequestRecord | None:
        """What is known so far of a request to a service that has not ended. A look at all that are open."""
        for one in edge.exchanges() if edge is not None else ():
            if isinstance(one, Exchange) and one.id == request_id:
                record = one.so_far(time.time(), self.main.clock())
                if record.service:
                    return record
        return None

    async def open(self, edge: EdgeServer, new: Settings) -> list[int]:
        """Open the doors that new settings ask for; their ports. Raises ConfigError and has opened none."""
        opened: list[int] = []
        try:
            for port, service in own_ports(new).items():
                if port not in self._own:
                    opened.append(port)
                    await edge.open_door(self._door(new, service))
        except BaseException:
            self.give_up(edge, opened)
            raise
        return opened

    def give_up(self, edge: EdgeServer, opened: list[int]) -> None:
        """Close what `open` opened."""
        for port in opened:
            edge.close_door(self._own.pop(port).door)

    def take(self, edge: EdgeServer, new: Settings) -> None:
        """Every data path takes new settings, whose doors are open; those that nobody wants are closed."""
        self._settings = new
        for path in (self.main, *self._private):
            path.update(new)
        wanted = own_ports(new)
        for port, own in list(self._own.items()):
            to = wanted.get(port)
            if to is None:
                edge.close_door(own.door)
                own.path.update(dataclasses.replace(new, services={}))  # for connections that are still open
                del self._own[port]
            else:
                own.service = to.id
                own.path.update(_only(new, to))
        edge.trust(new.gateway.trusted_proxies)


def own_ports(settings: Settings) -> dict[int, ServiceSettings]:
    """Services by the port of their own that they have."""
    return {one.port: one for one in settings.services.values() if one.port is not None}


def _only(settings: Settings, service: ServiceSettings) -> Settings:
    """What a service's own port knows."""
    return dataclasses.replace(settings, services={service.id: service})
