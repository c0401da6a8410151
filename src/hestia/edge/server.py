"""The listener: sockets, connections, the sweep, draining. What a request means is the handler's business."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

from hestia.core.errors import HestiaError
from hestia.edge.connection import ClientConnection, Handler

SWEEP_INTERVAL: Final = 1.0  # seconds (TO-18)
CONNECTIONS: Final = 4096  # at once (LI-08)
PER_PEER: Final = 512  # at once from one address that is not loopback
BACKLOG: Final = 2048
CUT_LIMIT: Final = 1.0  # seconds the loop gets to report connections that were cut


class EdgeServer:
    """Listens on TCP, or on a unix socket when `unix_path` is given.

    refuse: the answer to bytes that did not become a request. swept: called at each sweep too.
    """

    def __init__(
        self,
        host: str,
        port: int,
        handler: Handler,
        *,
        refuse: Callable[[HestiaError, ClientConnection], bytes],
        clock: Callable[[], float],
        swept: Callable[[float], None] = lambda _now: None,
        unix_path: str = "",
    ) -> None:
        self._host = host
        self._port = port
        self._handler = handler
        self._refuse = refuse
        self._clock = clock
        self._swept = swept
        self._unix_path = unix_path
        self._server: asyncio.Server | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._connections: set[ClientConnection] = set()
        self._peers: dict[str, int] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be used."""
        loop = asyncio.get_running_loop()
        if self._unix_path:
            self._server = await loop.create_unix_server(self._make, self._unix_path, backlog=BACKLOG)
        else:
            self._server = await loop.create_server(
                self._make, self._host, self._port, backlog=BACKLOG, reuse_address=True
            )
        self._sweep_timer = loop.call_later(SWEEP_INTERVAL, self._sweep)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """(host, port) of every TCP socket that listens."""
        sockets = self._server.sockets if self._server is not None else ()
        return [sock.getsockname()[:2] for sock in sockets if sock.family != socket.AF_UNIX]

    @property
    def open(self) -> int:
        return len(self._connections)

    def _make(self) -> ClientConnection:
        return ClientConnection(
            self._handler, self._refuse, clock=self._clock, opened=self._opened, closed=self._closed
        )

    def _opened(self, connection: ClientConnection) -> bool:
        peers = self._peers.get(connection.peer, 0) + 1
        local = connection.peer.startswith("127.") or connection.peer in ("", "::1")
        if len(self._connections) >= CONNECTIONS or (peers > PER_PEER and not local):
            return False
        self._peers[connection.peer] = peers
        self._connections.add(connection)
        self._empty.clear()
        return True

    def _closed(self, connection: ClientConnection) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        left = self._peers[connection.peer] - 1
        if left:
            self._peers[connection.peer] = left
        else:
            del self._peers[connection.peer]
        if not self._connections:
            self._empty.set()

    def _sweep(self) -> None:
        now = self._clock()
        for connection in list(self._connections):
            connection.sweep(now)
        self._swept(now)
        self._sweep_timer = asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self._sweep)

    def stop_accepting(self) -> None:
        """Close the listening sockets and what idles; running exchanges go on and close behind (DR-01)."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drain()

    async def drain(self, timeout: float) -> None:
        """Wait until every connection is closed, at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._empty.wait()

    def cut(self) -> None:
        """End what is still open, whatever runs."""
        for connection in list(self._connections):
            connection.cut()

    async def aclose(self) -> None:
        """Close everything at once."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        self.stop_accepting()
        self.cut()
        await self.drain(CUT_LIMIT)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None
