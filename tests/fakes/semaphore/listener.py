"""The socket of the stand-in: opens, is cut, opens again at the same port. uvicorn serves it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class _Server(uvicorn.Server):
    """uvicorn that tells when it accepts and waits to be told to end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepts = asyncio.Event()
        self.ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers alone."""
        yield

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self.accepts.set()
        await self.ending.wait()


class Listener:
    """One application at one port. port: 0 for a free one, which then stays the same."""

    def __init__(self, app: ASGIApp, host: str, port: int, *, spawn: Spawn) -> None:
        self.host = host
        self._app = app
        self._spawn = spawn
        self._socket = self._bind(port)
        self.port: int = self._socket.getsockname()[1]
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def _bind(self, port: int) -> socket.socket:
        """A socket that holds the port and does not listen: whoever connects is refused."""
        holder = socket.socket(proto=socket.IPPROTO_TCP)  # or asyncio leaves out TCP_NODELAY: 40 ms a call
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            holder.setsockopt(socket.SOL_SOCKET, option, 1)
        holder.bind((self.host, port))
        return holder

    @property
    def is_open(self) -> bool:
        """Whether it accepts connections."""
        return self._server is not None

    async def open(self) -> None:
        """Accept connections."""
        if self._server is None:
            self._server = _Server(_config(self._app))
            self._task = self._spawn(self._server.serve(sockets=[self._socket]), "semaphore-listener")
            await self._server.accepts.wait()

    async def shut(self) -> None:
        """Refuse connections and cut those that are open. The port stays ours."""
        if self._server is None or self._task is None:
            return
        server, self._server = self._server, None
        listening = self._socket
        self._socket = self._bind(self.port)  # before the old one closes: nobody gets the port in between
        # asyncio of Python 3.11 loses what it is about to accept when the listening socket closes
        asyncio.get_running_loop().remove_reader(listening)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        server.ending.set()
        while not self._task.done():  # uvicorn waits for all, and does not end what is accepted meanwhile
            _abort(server)
            await asyncio.wait([self._task], timeout=0.02)
        await self._task

    async def close(self) -> None:
        """Give the port back."""
        await self.shut()
        self._socket.close()

    def cut(self, client: tuple[str, int]) -> None:
        """Cut the connection of one client."""
        for connection in list(self._server.server_state.connections) if self._server else []:
            transport = connection.transport
            if transport.get_extra_info("peername") == client:
                transport.abort()


def _abort(server: _Server) -> None:
    for connection in list(server.server_state.connections):
        connection.transport.abort()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="websockets-sansio",
        ws_ping_interval=54,
        ws_ping_timeout=60,
        lifespan="off",
        loop="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
    )
