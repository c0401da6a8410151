"""Listening sockets: binding them, and the one that speaks TLS.

A plain socket is accepted from by the loop itself. Behind `tls` each connection is looked at first: what
begins a handshake gets the certificate of that moment, plain HTTP gets an answer that says so, and nobody may
keep a handshake waiting. Owns no connection once its handshake is done.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final

from hestia.core.errors import AdmissionError, BadRequest, HestiaError
from hestia.edge.certificate import Certificate
from hestia.edge.connection import ClientConnection, plain_address
from hestia.edge.given import Given
from hestia.edge.limits import Room

log = logging.getLogger(__name__)

BACKLOG: Final = 2048
ACCEPTED_AT_ONCE: Final = 64  # connections, until the loop looks at the others again
HANDSHAKE_TIMEOUT: Final = 10.0  # seconds for the first byte and again for the handshake (TO-01)
GOODBYE_TIMEOUT: Final = 2.0  # seconds for the client's part of the TLS end (CA-08)
PAUSE: Final = 1.0  # seconds without accepting when there is no open file left (LI-14)
_HANDSHAKE: Final = b"\x16"  # the first byte of a TLS handshake record (RFC 8446 §5.1)
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_SUCH: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
Opened = Callable[[ClientConnection], bool]


async def bind(host: str, port: int, *, service: str = "", given: Given | None = None) -> list[socket.socket]:
    """Sockets that listen on each address of `host`, all on one port; `::` is IPv4 too.

    service: whose door it is. given: sockets that listen already; those of this door are taken.
    Raises OSError, ConfigError.
    """
    given = given or Given()
    if decided := given.take_port(service, port):
        return decided
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            where = str(address[0])
            try:
                made.append(given.take(service, where, port, family) or _listening(family, where, port))
            except OSError as exc:
                if exc.errno not in _NO_SUCH:
                    raise
                missing = exc  # localhost names ::1, which a container may not have
                continue
            port = port or int(made[0].getsockname()[1])
    except BaseException:
        for one in made:
            one.close()
        raise
    if not made:
        raise missing or OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    return made


def _listening(family: int, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class TlsListener:
    """Accepts from one socket and begins TLS.

    make: a connection, with what it calls once it stands. admit: takes it over, told why it cannot be served.
    """

    def __init__(
        self,
        sock: socket.socket,
        certificate: Certificate,
        room: Room,
        *,
        spawn: Spawn,
        make: Callable[[Opened], ClientConnection],
        admit: Callable[[ClientConnection, HestiaError | None], None],
    ) -> None:
        self._sock = sock
        self._certificate = certificate
        self._room = room
        self._spawn = spawn
        self._make = make
        self._admit = admit
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._open = True

    def start(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self._sock, self._accept)

    def stop(self) -> None:
        """Accept no more; handshakes go on. Safe to call twice."""
        if not self._open:
            return
        self._open = False
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def close(self) -> None:
        """Accept no more and give handshakes up. Safe to call twice."""
        self.stop()
        for task in list(self._tasks):
            task.cancel()

    @property
    def handshakes(self) -> int:
        """How many are under way."""
        return len(self._tasks)

    async def wait_closed(self) -> None:
        """Wait until the last handshake has ended."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = self._sock.accept()
            except OSError as exc:
                if exc.errno in _NO_ROOM:
                    self._wait_for_room(exc)
                elif exc.errno == errno.ECONNABORTED:
                    continue
                return
            peer = plain_address(str(address[0]))
            if self._room.is_crowded(peer):
                sock.close()
                continue
            full = self._room.enter(peer)
            task = self._spawn(self._begin(sock, peer, full), "tls handshake")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _wait_for_room(self, exc: OSError) -> None:
        """The socket stays readable: without a pause the loop would do nothing but try."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock)
        self._pause = loop.call_later(PAUSE, self.start)
        log.warning("No connection can be accepted: %s", exc.strerror, extra={"event_type": "accept_failed"})

    async def _begin(self, sock: socket.socket, peer: str, full: str) -> None:
        admitted = False
        error: HestiaError | None = AdmissionError(full, retry_after=1.0) if full else None

        def opened(connection: ClientConnection) -> bool:
            nonlocal admitted
            admitted = True
            self._admit(connection, error)
            return True

        loop = asyncio.get_running_loop()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                first = await _first_byte(sock)
            if first == _HANDSHAKE:
                await loop.connect_accepted_socket(
                    lambda: self._make(opened),
                    sock,
                    ssl=self._certificate.context,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                    ssl_shutdown_timeout=GOODBYE_TIMEOUT,
                )
            elif first.isalpha():
                error = BadRequest(
                    "This port speaks HTTPS, and the request came as plain HTTP.",
                    remedy="use an address that begins with https://",
                )
                await loop.connect_accepted_socket(lambda: self._make(opened), sock)
        except (OSError, TimeoutError) as exc:  # a scanner, or a client that does not trust the certificate
            log.debug("No TLS with %s: %s", peer, exc)
        finally:
            if not admitted:
                self._room.leave(peer)
                sock.close()


async def _first_byte(sock: socket.socket) -> bytes:
    """The byte that the peer sends first, left unread; b"" when it says nothing."""
    loop = asyncio.get_running_loop()
    try:
        return sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        pass
    came = asyncio.Event()
    loop.add_reader(sock, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)
