"""Idle upstream connections by generation, and dialling. It never queues and has no cap (CP-07).

A connection is handed out most recently used first, checked for a hang-up the loop has not delivered, and
not given to a request that must not be repeated when it has been idle long. Dialling is the one thing on
the way of a request that needs a task. Source: proxy-semantics CP-01…13.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import aiohappyeyeballs

from hestia.core.errors import TLS_REMEDY, ConnectFailed, ConnectTimeout, UpstreamError, UpstreamTlsFailed
from hestia.core.model import Endpoint, InstanceKey
from hestia.http1.heads import Response
from hestia.http1.upstream import (
    IDLE_TIMEOUT,
    MAX_AGE,
    MAX_USES,
    UpstreamConnection,
)

NONIDEMPOTENT_IDLE: Final = 1.0  # seconds (CP-06)
LOOK_AFTER: Final = 0.05  # seconds idle before a look at the descriptor (CP-04)
STAGGER: Final = 0.25  # seconds between addresses (CP-10)

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
Outcome = UpstreamConnection | UpstreamError
Key = InstanceKey | None


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Connections by what they do."""

    idle: int
    in_use: int
    connecting: int


class Dial:
    """One attempt to connect. `wanted` is None once nobody waits for it any more."""

    __slots__ = ("task", "wanted")

    def __init__(self, wanted: Callable[[Outcome], None]) -> None:
        self.wanted: Callable[[Outcome], None] | None = wanted
        self.task: asyncio.Task[None] | None = None


class Shelf:
    """Idle connections of one generation, the freshest last. closed: the generation has ended."""

    __slots__ = ("closed", "idle")

    def __init__(self) -> None:
        self.idle: list[UpstreamConnection] = []
        self.closed = False


class Pool:
    """See the module docstring. One shelf a generation; that of None is the control API's."""

    def __init__(self, *, spawn: Spawn, clock: Callable[[], float]) -> None:
        self._spawn = spawn
        self._clock = clock
        self._shelves: dict[Key, Shelf] = {}
        self._in_use: set[UpstreamConnection] = set()
        self._dials: set[Dial] = set()
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def shelf(self, key: Key) -> Shelf:
        """Where connections to this generation idle. Looked up once a generation, not once a request."""
        return self._shelves.setdefault(key, Shelf())

    @staticmethod
    def nowhere() -> Shelf:
        """A shelf on which nothing is kept: for who still has settings of before a reload."""
        shelf = Shelf()
        shelf.closed = True
        return shelf

    def checkout(self, shelf: Shelf, *, idempotent: bool) -> UpstreamConnection | None:
        """An idle connection that is fit for this request, or None."""
        idle = shelf.idle
        if not idle:
            return None
        now = self._clock()
        while idle:
            connection = idle[-1]
            rested = now - connection.idle_since
            if rested > NONIDEMPOTENT_IDLE and not idempotent:
                return None
            idle.pop()
            if now > connection.usable_until or (rested > LOOK_AFTER and _readable(connection.fd)):
                connection.abort()
                continue
            self._in_use.add(connection)
            return connection
        return None

    def dial(
        self,
        shelf: Shelf,
        endpoint: Endpoint,
        timeout: float,
        wanted: Callable[[Outcome], None],
        *,
        tls_verify: bool,
    ) -> Dial:
        """Connect; `wanted` gets the connection, or why there is none. timeout: seconds for all addresses."""
        dial = Dial(wanted)
        self._dials.add(dial)
        dial.task = self._spawn(self._dial(dial, shelf, endpoint, timeout, tls_verify), f"dial {endpoint}")
        return dial

    def give_up(self, dial: Dial) -> None:
        """Nobody waits for this dial any more."""
        dial.wanted = None
        self._dials.discard(dial)  # a task that is cancelled before its first turn does not do it
        if dial.task is not None:
            dial.task.cancel()

    async def _dial(
        self, dial: Dial, shelf: Shelf, endpoint: Endpoint, timeout: float, tls_verify: bool
    ) -> None:
        outcome: Outcome = ConnectFailed(f"Connecting to {endpoint} broke inside Hestia.")
        try:
            async with asyncio.timeout(timeout):
                outcome = await self._open(shelf, endpoint, tls_verify)
        except TimeoutError:
            outcome = ConnectTimeout(
                f"{endpoint} did not accept a connection within {timeout:g} s (connect_timeout).",
                cause="timeout",
            )
        except ssl.SSLError as exc:
            outcome = _tls_failed(endpoint, exc)
        except OSError as exc:
            outcome = _connect_failed(endpoint, exc)
        finally:  # whoever waits is told, also of a bug
            self._dials.discard(dial)
            if dial.wanted is not None:
                dial.wanted(outcome)
            elif isinstance(outcome, UpstreamConnection):
                outcome.abort()

    async def _open(self, shelf: Shelf, endpoint: Endpoint, tls_verify: bool) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        context = self._context(verify=tls_verify) if endpoint.scheme == "https" else None
        name = (endpoint.tls_name or endpoint.host) if context is not None else None
        connection = UpstreamConnection(self, str(endpoint))
        connection.shelf = shelf
        connection.made_at = self._clock()
        if endpoint.unix_path:
            await loop.create_unix_connection(
                lambda: connection, endpoint.unix_path, ssl=context, server_hostname=name
            )
        else:
            sock = await _connect(loop, endpoint.host, endpoint.port)
            try:
                await loop.create_connection(lambda: connection, sock=sock, ssl=context, server_hostname=name)
            except BaseException:
                sock.close()
                raise
        self._in_use.add(connection)
        return connection

    def _context(self, *, verify: bool) -> ssl.SSLContext:
        context = self._contexts.get(verify)
        if context is None:
            context = self._contexts[verify] = ssl.create_default_context()
            if not verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        return context

    # -- http1.upstream.Owner ------------------------------------------------------------------

    def done(self, connection: UpstreamConnection, head: Response, *, reusable: bool) -> None:
        """The response is complete: keep the connection or close it (CP-02)."""
        self._in_use.discard(connection)
        now, shelf, transport = self._clock(), connection.shelf, connection.transport
        fits = reusable and connection.uses < MAX_USES and now - connection.made_at < MAX_AGE
        if not fits or shelf is None or shelf.closed or transport is None or transport.is_closing():
            connection.abort()
            return
        connection.resume()
        connection.idle_since = now
        limit = head.idle_limit
        connection.usable_until = now + (IDLE_TIMEOUT if limit is None else min(IDLE_TIMEOUT, limit - 1.0))
        shelf.idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection is gone, or of no use any more."""
        self._in_use.discard(connection)
        if connection.shelf is not None and connection in connection.shelf.idle:
            connection.shelf.idle.remove(connection)

    # -- life ----------------------------------------------------------------------------------

    def forget(self, key: InstanceKey) -> None:
        """A generation ends: close what idles, and what is in use once it is done (CP-01)."""
        if (shelf := self._shelves.pop(key, None)) is not None:
            _clear(shelf)
            shelf.closed = True

    def sweep(self, now: float) -> None:
        """Close what was idle too long."""
        for shelf in self._shelves.values():
            late = [connection for connection in shelf.idle if now > connection.usable_until]
            for connection in late:
                shelf.idle.remove(connection)
                connection.abort()

    def close(self) -> None:
        """Close every connection."""
        for shelf in self._shelves.values():
            _clear(shelf)
            shelf.closed = True
        self._shelves.clear()
        for connection in list(self._in_use):
            connection.abort()

    def statistics(self) -> PoolStatistics:
        idle = sum(len(shelf.idle) for shelf in self._shelves.values())
        return PoolStatistics(idle=idle, in_use=len(self._in_use), connecting=len(self._dials))

    def to_services(self) -> PoolStatistics:
        """The same without connections to the control API, which is no service."""
        own = self.shelf(None)
        in_use = sum(connection.shelf is not own for connection in self._in_use)
        whole = self.statistics()
        return PoolStatistics(idle=whole.idle - len(own.idle), in_use=in_use, connecting=whole.connecting)


def _clear(shelf: Shelf) -> None:
    idle, shelf.idle[:] = list(shelf.idle), []
    for connection in idle:
        connection.abort()


async def _connect(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A connected socket: every address in the resolver's order, the next after a stagger (CP-10)."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    sock = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=STAGGER, loop=loop)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _readable(fd: int) -> bool:
    """Bytes or a hang-up on an idle connection: either way it is not fit for use (CP-03)."""
    if fd < 0:
        return False
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLRDHUP)
    return bool(poll.poll(0))


def _tls_failed(endpoint: Endpoint, exc: ssl.SSLError) -> UpstreamError:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return UpstreamTlsFailed(
            f"The certificate of {endpoint} is not accepted: {exc.verify_message.rstrip('.')}.",
            cause="denied",
            remedy=TLS_REMEDY,
        )
    reason = exc.reason or str(exc)
    if reason == "WRONG_VERSION_NUMBER":
        return UpstreamTlsFailed(
            f"{endpoint} does not speak TLS.", cause="denied", remedy="write http:// in base_url"
        )
    return UpstreamTlsFailed(f"TLS with {endpoint} failed: {reason}.", cause="denied")


def _connect_failed(endpoint: Endpoint, exc: OSError) -> UpstreamError:
    text = exc.strerror or str(exc)
    if isinstance(exc, socket.gaierror):
        return ConnectFailed(f'The name "{endpoint.host}" cannot be resolved: {text}.', cause="dns")
    if (
        isinstance(exc, ConnectionRefusedError)
        or "refused" in text.lower()
        or isinstance(exc, FileNotFoundError)
    ):
        return ConnectFailed(
            f"Nobody listens at {endpoint}.", cause="refused", remedy="start the service, or correct base_url"
        )
    return ConnectFailed(f"{endpoint} cannot be reached: {text}.", cause="unreachable")
