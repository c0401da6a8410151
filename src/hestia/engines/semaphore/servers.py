"""Which server a generation is on, and as whom it is asked: connections by server and credentials.

Handles bear no secrets, so credentials come from what is configured now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hestia.core.errors import EngineRefused, EngineUnavailable
from hestia.engines.semaphore.connection import Connection, Server
from hestia.engines.semaphore.handle import Place
from hestia.engines.semaphore.options import SemaphoreOptions

_PROJECT = 1
_TIMEOUT = 30.0


class Servers:
    """Connections, made when they are needed. configured: the options of all that this engine runs now."""

    def __init__(self, configured: Callable[[], Sequence[object]]) -> None:
        self._configured = configured
        self._met: dict[Server, SemaphoreOptions] = {}  # what starts brought, in case it is not configured
        self._connections: dict[Server, Connection] = {}

    def known(self) -> list[SemaphoreOptions]:
        """Everything that says where tasks of ours may be."""
        configured = [one for one in self._configured() if isinstance(one, SemaphoreOptions)]
        return [*configured, *(one for one in self._met.values() if one not in configured)]

    def of(self, options: SemaphoreOptions) -> Connection:
        """The connection of these options. Raises EngineRefused: they name no server."""
        if not options.base_url:
            raise EngineRefused(
                "Nobody said where Semaphore is: semaphore_base_url is not set.",
                permanent=True,
                remedy="set semaphore_base_url, or SEMAPHORE_BASE_URL, such as http://localhost:3000",
            )
        server = Server(
            base_url=options.base_url.rstrip("/"),
            timeout=_TIMEOUT if options.timeout is None else options.timeout,
            api_key=options.api_key,
            username=options.username,
            password=options.password,
        )
        self._met.setdefault(server, options)
        return self._connections.setdefault(server, Connection(server))

    def of_place(self, place: Place) -> tuple[Connection, SemaphoreOptions]:
        """The connection of a generation, and options that go with it. Raises EngineUnavailable."""
        machine = place.variables.get("hestia_machine", "")
        there = [one for one in self.known() if one.base_url.rstrip("/") == place.server]
        there.sort(key=lambda one: one.machine_id != machine)
        if not there:
            raise EngineUnavailable(
                f"{place.key} was started through Semaphore at {place.server}, and that is not "
                "configured any more.",
                sent=False,
                remedy="set semaphore_base_url and semaphore_api_key as they were, or stop it by hand in "
                "Semaphore",
            )
        return self.of(there[0]), there[0]

    async def aclose(self) -> None:
        for connection in self._connections.values():
            await connection.aclose()


def project_of(options: SemaphoreOptions) -> int | str:
    """The project as configured."""
    return _PROJECT if options.project is None else options.project
