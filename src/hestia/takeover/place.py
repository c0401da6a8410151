"""The place of a gateway: what another one may take, and in which order it is given up."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Final

from hestia.api.server import ControlServer
from hestia.core.ports import Engine, Store
from hestia.edge.given import Heard
from hestia.edge.server import EdgeServer
from hestia.runtime import life
from hestia.runtime.gateway import Gateway
from hestia.runtime.held import InUse
from hestia.runtime.tasks import Tasks
from hestia.store.folder import StateFolder
from hestia.takeover.quiet import SETTLE, ask_to_leave, leave

__all__ = ["SETTLE", "Place"]

LIMIT: Final = 30.0  # seconds for those who wait for a start


class Place:
    """See the module docstring. jobs: tasks of the life of services; those of the data path go on.

    engines: a view; what a reload adds is in it.
    """

    def __init__(
        self,
        edge: EdgeServer,
        gateway: Gateway,
        engines: Mapping[str, Engine],
        store: Store,
        state: StateFolder,
        control: ControlServer,
        jobs: Tasks,
    ) -> None:
        self._edge = edge
        self._gateway = gateway
        self._engines = engines
        self._store = store
        self._state = state
        self._control = control
        self._jobs = jobs
        self.is_given_up = False

    def sockets(self) -> list[Heard]:
        """Duplicates of the listening sockets."""
        return self._edge.sockets()

    async def farewell(self) -> None:
        """Let clients go, serving them all; may be cancelled, and then it goes on as before."""
        await ask_to_leave(self._edge, self._gateway, LIMIT)

    async def hand_over(self) -> list[InUse]:
        """Leave services, store and state folder to another gateway; what is open goes on until the end.

        Returns what is in use here.
        """
        used = await leave(self._edge, self._gateway, LIMIT)
        self.is_given_up = True
        life.handed_over(self._store, self._gateway.note)
        self._control.leave_file()
        await self._jobs.aclose()
        for engine in self._engines.values():
            await engine.aclose()
        await self._store.aclose()
        self._state.close()
        return used

    def hold(self, used: Iterable[InUse], until: Awaitable[object]) -> None:
        """What the gateway before still relays counts as use until that is over."""
        self._jobs.spawn(self._gateway.hold(used, until), "hold for the gateway before")
