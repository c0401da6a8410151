"""The listener: sockets, connections, the sweep, draining. What a request means is the handler's business."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from hestia.core.errors import AdmissionError, ConfigError, HestiaError
from hestia.edge.certificate import Certificate
from hestia.edge.connection import ClientConnection, Handler
from hestia.edge.given import Given, Heard
from hestia.edge.limits import Room, open_files_limit
from hestia.edge.listener import BACKLOG, Opened, Spawn, TlsListener, bind
from hestia.edge.pending import Exchange

log = logging.getLogger(__name__)

SWEEP_INTERVAL: Final = 1.0  # seconds (TO-18)
SETTLE_LOOK: Final = 0.01  # seconds between looks whether who came has asked
CUT_LIMIT: Final = 1.0  # seconds the loop gets to report connections that were cut

Refuse = Callable[[HestiaError, ClientConnection], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One place to listen: on TCP, or on a unix socket when `unix_path` is given. handler: of its requests.

    service: whose door it is, "" for the gateway's own; for whoever has to say that it cannot be opened.
    refuse: as the server's, where this door has one of its own.
    """

    handler: Handler
    host: str = ""
    port: int = 0
    unix_path: str = ""
    service: str = ""
    refuse: Refuse | None = None


@contextlib.contextmanager
def door_errors(service: str, host: str, port: int) -> Iterator[None]:
    """A service's door that cannot be opened is a ConfigError; for the gateway's own, OSError stays."""
    try:
        yield
    except OSError as exc:
        if not service:
            raise
        raise ConfigError(
            f"services.{service}.port: cannot listen on {host}:{port}: {exc.strerror or exc}",
            remedy="give the service another port, or end the program that has it",
        ) from exc


class EdgeServer:
    """Listens at each of the doors.

    refuse: the answer to bytes that did not become a request. swept: called at each sweep too, with its time.
    room: counts clients. certificate: with it, TCP doors speak TLS. spawn: owns the tasks of handshakes.
    given: sockets that listen already.
    """

    def __init__(
        self,
        doors: Sequence[Door],
        *,
        refuse: Refuse,
        clock: Callable[[], float],
        spawn: Spawn,
        swept: Sequence[Callable[[float], None]] = (),
        room: Room | None = None,
        certificate: Certificate | None = None,
        given: Given | None = None,
    ) -> None:
        self._given = given or Given()
        self._socks: dict[
            Door, list[Heard]
        ] = {}  # duplicates share the file: what is accepted from them is ours
        self._retiring = False
        self._doors = doors
        self._refuse = refuse
        self._clock = clock
        self._spawn = spawn
        self._swept = [*swept, certificate.look] if certificate is not None else [*swept]
        self._room = room or Room(open_files_limit())
        self._certificate = certificate
        self._servers: list[asyncio.Server] = []
        self._tls: list[TlsListener] = []
        self._addresses: dict[Door, list[tuple[str, int]]] = {}
        self._listening: dict[Door, list[asyncio.Server | TlsListener]] = {}
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._connections: set[ClientConnection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be used, ConfigError when a service's cannot.

        `aclose` undoes what was opened.
        """
        for door in self._doors:
            await self.open_door(door)
        self._given.close()
        self._sweep_timer = asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self._sweep)

    async def open_door(self, door: Door) -> None:
        """Listen at one more place. Raises OSError, and ConfigError where it is a service's."""
        with door_errors(door.service, door.host, door.port):
            try:
                await self._listen(door)
            except OSError:
                self.close_door(door)
                raise

    def close_door(self, door: Door) -> None:
        """Listen there no more; connections go on."""
        self._addresses.pop(door, None)
        for listening in self._listening.pop(door, []):
            listening.close()
        self._forget(door)

    def _forget(self, door: Door) -> None:
        for one in self._socks.pop(door, []):
            one.sock.close()

    async def _listen(self, door: Door) -> None:
        loop = asyncio.get_running_loop()
        make = partial(self._make, door)
        if door.unix_path:
            self._servers.append(await loop.create_unix_server(make, door.unix_path, backlog=BACKLOG))
            return
        for sock in await bind(door.host, door.port, service=door.service, given=self._given):
            self._socks.setdefault(door, []).append(Heard(door.service, sock.dup()))
            self._addresses.setdefault(door, []).append(sock.getsockname()[:2])
            listening = self._listening.setdefault(door, [])
            if self._certificate is None:
                server = await loop.create_server(make, sock=sock, backlog=BACKLOG)
                self._servers.append(server)
                listening.append(server)
                continue
            listener = TlsListener(
                sock,
                self._certificate,
                self._room,
                spawn=self._spawn,
                make=partial(self._make, door),
                admit=self._admit,
            )
            listener.start()
            self._tls.append(listener)
            listening.append(listener)

    def trust(self, proxies: Iterable[str]) -> None:
        """Whose connections are not counted by address, from now on."""
        self._room.trust(proxies)

    def addresses(self, door: Door | None = None) -> list[tuple[str, int]]:
        """(host, port) of every TCP socket of a door, the first one unless it is said."""
        return self._addresses.get(door or self._doors[0], [])

    def sockets(self) -> list[Heard]:
        """The listening TCP sockets, as duplicates that stay open when the doors are closed."""
        return [Heard(one.service, one.sock.dup()) for socks in self._socks.values() for one in socks]

    @property
    def open(self) -> int:
        return len(self._connections)

    def exchanges(self) -> Iterator[Exchange]:
        """Those that are under way, of all connections."""
        return (one.exchange for one in self._connections if one.exchange is not None)

    def _make(self, door: Door | None = None, opened: Opened | None = None) -> ClientConnection:
        door = door or self._doors[0]
        return ClientConnection(
            door.handler,
            door.refuse or self._refuse,
            clock=self._clock,
            opened=opened or self._opened,
            closed=self._closed,
        )

    def _opened(self, connection: ClientConnection) -> bool:
        if self._room.is_crowded(connection.peer):
            return False
        full = self._room.enter(connection.peer)
        self._admit(connection, AdmissionError(full, retry_after=1.0) if full else None)
        return True

    def _admit(self, connection: ClientConnection, error: HestiaError | None) -> None:
        """Take over a connection that `_room` has counted. error: why it gets an answer at once."""
        self._connections.add(connection)
        self._empty.clear()
        connection.draining = self._retiring
        if error is not None:
            connection.turn_away(error)

    def _closed(self, connection: ClientConnection) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._room.leave(connection.peer)
        if not self._connections:
            self._empty.set()

    def _sweep(self) -> None:
        # The next one is sure before anything is looked at: every deadline of the edge hangs on it.
        self._sweep_timer = asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self._sweep)
        now = self._clock()
        for look in [*(connection.sweep for connection in self._connections), *self._swept]:
            try:
                look(now)
            except Exception:  # the others have their look all the same
                log.exception("A look of the sweep broke", extra={"event_type": "sweep_broke"})

    def retire(self, *, on: bool = True) -> None:
        """Serve as ever, and let each connection end with its next answer, which says so."""
        self._retiring = on
        for connection in self._connections:
            connection.draining = on

    async def settle(self, timeout: float) -> None:
        """Accept no more, and let who came ask, each for the last time; at most `timeout` seconds.

        Nothing tells that a request has begun: that would be work for each request, for the sake of this.
        """
        self.retire()
        for server in self._servers:
            server.close()
        for listener in self._tls:
            listener.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._has_silent():  # noqa: ASYNC110 - see above
                    await asyncio.sleep(SETTLE_LOOK)

    def _has_silent(self) -> bool:
        """Whether somebody came and has not asked."""
        return any(one.handshakes for one in self._tls) or any(
            connection.exchange is None for connection in self._connections
        )

    def stop_accepting(self) -> None:
        """Close the listening sockets and what idles; running exchanges go on and close behind (DR-01)."""
        for server in self._servers:
            server.close()
        for listener in self._tls:
            listener.close()
        for door in list(self._socks):
            self._forget(door)
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
        for listener in self._tls:
            await listener.wait_closed()
        for server in self._servers:
            await server.wait_closed()
        self._tls, self._servers = [], []
