"""Serves the control API on a private unix socket, in this process and on this loop.

Owns the socket's file, its folder's mode and uvicorn's life; who may speak to it is a matter of the
folder (0700), what is asked is checked by the edge in front.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from hestia.core.errors import ConfigError

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]

PATH_LIMIT = 107  # bytes of sun_path without its final zero, unix(7)
START_TIMEOUT = 10.0
KEEP_ALIVE = 3600  # the edge pools its connections and is the only client; it closes them, not we


def socket_path(state_dir: str, cleanup: contextlib.AsyncExitStack, *, writable: bool = True) -> str:
    """Where the control API listens: in the state folder, so that a gateway that was killed leaves nothing
    behind that the next one does not take over; in a folder of its own where that path would be too long, or
    nothing can be made."""
    path = os.path.join(os.path.abspath(state_dir), "control", "socket")
    if writable and len(os.fsencode(path)) <= PATH_LIMIT:
        return path
    folder = tempfile.mkdtemp(prefix="hestia-")
    cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    return os.path.join(folder, "control")


class _Server(uvicorn.Server):
    """uvicorn that tells when it accepts and waits to be told to end. Signals belong to `app`."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepts: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers alone."""
        yield

    async def main_loop(self) -> None:
        """Sleep until told. uvicorn's own looks ten times a second, for limits and a Date we do not use."""
        await self.on_tick(0)
        self.accepts.set_result(None)
        await self.ending.wait()


class ControlServer:
    """One ASGI application behind one unix socket.

    spawn: starts a named task that somebody owns; uvicorn's main loop is the only one.
    socket_path: at most 107 bytes; its folder is made, closed to others, when it is missing.
    """

    def __init__(self, app: ASGIApp, socket_path: str, *, spawn: Spawn) -> None:
        self._path = socket_path
        self._spawn = spawn
        self._app = app
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._leave_file = False

    @property
    def path(self) -> str:
        """Path of the socket."""
        return self._path

    async def start(self) -> None:
        """Listen; return when a connection would be accepted. Raises ConfigError when that cannot be."""
        _check(self._path)
        self._server = server = _Server(_uvicorn_config(self._app, self._path))
        self._task = self._spawn(self._serve(server), "control-server")
        async with asyncio.timeout(START_TIMEOUT):
            await server.accepts
        os.chmod(self._path, 0o600)

    async def _serve(self, server: _Server) -> None:
        try:
            await server.serve()
        except OSError as exc:  # only the bind raises; later ones belong to a connection
            error = ConfigError(
                f'The private socket "{self._path}" cannot be made: {exc.strerror or exc}.',
                remedy="Check the folder and its permissions.",
            )
            error.__cause__ = exc
            server.accepts.set_exception(error)

    def leave_file(self) -> None:
        """Another gateway listens at the path from now on: its file is not ours to remove."""
        self._leave_file = True

    async def aclose(self, *, grace: float = 1.0) -> None:
        """Stop accepting, give open calls `grace` seconds, cut off the rest (a followed log)."""
        server, self._server = self._server, None
        if server is None or self._task is None:
            return
        server.ending.set()
        await asyncio.wait([self._task], timeout=grace)
        for connection in list(server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        await asyncio.wait([self._task], timeout=START_TIMEOUT)
        if not self._leave_file:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)


def _uvicorn_config(app: ASGIApp, path: str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        uds=path,
        http="httptools",
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
    )


def _check(path: str) -> None:
    """Refuse a path that is too long; make its folder when there is none."""
    if len(os.fsencode(path)) > PATH_LIMIT:
        raise ConfigError(
            f'The path of the private socket, "{path}", is longer than {PATH_LIMIT} bytes.',
            remedy="Use a shorter state folder (XDG_STATE_HOME or TMPDIR).",
        )
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    except OSError as exc:
        raise ConfigError(
            f'The folder of the private socket "{path}" cannot be made: {exc.strerror or exc}.',
            remedy="Check the folder and its permissions.",
        ) from exc
