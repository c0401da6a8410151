"""The ASGI application: starts a gateway behind a private unix socket and bridges everything to it.

Everything, the control API too, is answered by that gateway's edge; the bridge decides nothing and hands
nothing back, so a request cannot run in a circle between the two. Owns the socket's folder, the pool of
connections to it and the life of the gateway; what one exchange looks like is in `relay` and `socket`.
Source: SPEC 3, proxy-semantics 0.4 point 6 and the bridge rows of section 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from starlette.types import Receive, Scope, Send

from hestia.bridge.heads import asgi_fields, hides_body, is_chunked, request_head, request_id
from hestia.bridge.relay import answer_problem, download, upload
from hestia.bridge.socket import Socket, refuse, relay_refusal
from hestia.config import ConfigProblems
from hestia.core.errors import BadFraming, ClientGone, GatewayDraining, HestiaError
from hestia.core.model import Endpoint
from hestia.http1.pool import Pool
from hestia.inward.call import Call
from hestia.runtime.tasks import Tasks

SWEEP_INTERVAL: Final = 1.0  # seconds
FLAGS: Final = "--no-proxy-headers --no-server-header --no-date-header"
SHORTCOMINGS: Final = (
    "Running under another server: slower than `hestia serve`, and the server in front lacks the edge's "
    "limits on heads, time and connections and its framing checks. Use `hestia serve` where strangers can "
    f"connect. With uvicorn, give {FLAGS}"
)

log = logging.getLogger(__name__)


class Running(Protocol):
    """A gateway that runs."""

    async def aclose(self) -> object: ...


StartGateway = Callable[[str], Awaitable[Running]]


class _Link:
    """What one life of the application needs: the way to the edge and the tasks of its exchanges."""

    def __init__(self, path: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.tasks = Tasks()
        self.pool = Pool(spawn=self.tasks.spawn, clock=self._loop.time)
        self.edge = Endpoint("http", "", 0, unix_path=path)
        self._timer = self._loop.call_later(SWEEP_INTERVAL, self._sweep)

    def _sweep(self) -> None:
        self.pool.sweep(self._loop.time())
        self._timer = self._loop.call_later(SWEEP_INTERVAL, self._sweep)

    async def aclose(self) -> None:
        self._timer.cancel()
        self.pool.close()
        await self.tasks.aclose()


class Bridge:
    """See the module docstring.

    start: starts a gateway that listens on the unix socket of this path. Raises what keeps it from that.
    """

    def __init__(self, start: StartGateway) -> None:
        self._start = start
        self._link: _Link | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry point."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)

    # -- life ----------------------------------------------------------------------------------

    async def _live(self, receive: Receive, send: Send) -> None:
        """One life, from startup to shutdown; also when the server is cut short and says nothing more."""
        await receive()
        async with contextlib.AsyncExitStack() as cleanup:
            try:
                await self._open(cleanup)
            except Exception as exc:  # uvicorn takes an exception here for "no lifespan" and serves on
                await cleanup.aclose()
                await send({"type": "lifespan.startup.failed", "message": _explain(exc)})
                return
            log.warning(SHORTCOMINGS, extra={"event_type": "bridge_mode"})
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self, cleanup: contextlib.AsyncExitStack) -> None:
        folder = tempfile.mkdtemp(prefix="hestia-bridge-")  # mkdtemp closes it to other users
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        path = os.path.join(folder, "edge")
        gateway = await self._start(path)
        cleanup.push_async_callback(gateway.aclose)
        link = self._link = _Link(path)
        cleanup.push_async_callback(link.aclose)
        cleanup.callback(self._unlink)

    def _unlink(self) -> None:
        self._link = None

    # -- exchanges -----------------------------------------------------------------------------

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        identifier, link = request_id(scope), self._link
        if link is None:
            await answer_problem(send, _not_started(), identifier, close=True)
            return
        if hides_body(scope):
            await answer_problem(send, _hidden_body(), identifier, close=True)
            return
        call = Call()
        task: asyncio.Task[None] | None = None
        try:
            await call.open(
                link.pool, link.edge, request_head(scope, identifier), is_head=scope["method"] == "HEAD"
            )
            task = link.tasks.spawn(upload(call, receive, chunked=is_chunked(scope)), "bridge upload")
            head = await call.head()
            await download(call, send, head, asgi_fields(head, identifier), identifier)
        except ClientGone:
            return
        except HestiaError as error:
            await answer_problem(send, error, identifier)
        finally:
            if task is not None:
                task.cancel()
            call.abort()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        identifier, link = request_id(scope), self._link
        await receive()  # websocket.connect
        if link is None:
            await refuse(scope, send, _not_started(), identifier)
            return
        call = Call()
        socket = Socket(call, receive, send)
        task: asyncio.Task[None] | None = None
        try:
            await call.open(link.pool, link.edge, request_head(scope, identifier))
            call.end_body()
            task = link.tasks.spawn(socket.up(), "bridge socket")
            head = await call.head()
            if head.status == 101:
                await socket.down(head, asgi_fields(head, identifier, framed=False))
            else:
                await relay_refusal(call, scope, send, head, identifier)
        except (ClientGone, OSError):  # OSError: the server in front knows already
            return
        except HestiaError as error:
            if not socket.accepted:
                await refuse(scope, send, error, identifier)
        finally:
            if task is not None:
                task.cancel()
            call.abort()


def _not_started() -> HestiaError:
    return GatewayDraining(
        "The gateway does not run: the server in front did not start the application (ASGI lifespan).",
        remedy="run uvicorn without `--lifespan off`, or use `hestia serve`",
    )


def _hidden_body() -> HestiaError:
    return BadFraming(
        "A body behind an Upgrade offer is lost by the server in front.",
        remedy="leave Upgrade out, or run the gateway with `hestia serve`",
    )


def _explain(exc: Exception) -> str:
    """Why there is no gateway, for the server's log: all faults of a configuration, else the remedy too."""
    if isinstance(exc, ConfigProblems):
        return f"Hestia was not started:\n{exc.render()}\nLook again without starting: hestia config check"
    if isinstance(exc, HestiaError):
        return f"Hestia was not started: {exc.detail}" + (f"\nDo: {exc.remedy}" if exc.remedy else "")
    if isinstance(exc, OSError):
        return f"Hestia was not started: {exc}"
    return "Hestia was not started.\n" + "".join(traceback.format_exception(exc))
