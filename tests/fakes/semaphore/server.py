"""The stand-in for an Ansible Semaphore server: one object, over a real socket.

Takes each call through the faults, the routes and the log; may be cut off, restarted and brought back. What
the server keeps is `world`, what it is doing is `queue`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Self

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from tests.fakes.facts import Bell

from . import access, general, projects, resources, tasks, templates
from .events import Streams
from .faults import HTML, Fault, Faults, Kind
from .listener import Listener
from .plays import Play, succeeds
from .queue import Queue
from .records import Document, Task
from .versions import V2_10, Version
from .web import Call, Refused, Settings, admit, done, find, identify, plain, refusal
from .world import World

ROUTES: Final = [
    *access.ROUTES,
    *general.ROUTES,
    *projects.ROUTES,
    *resources.ROUTES,
    *templates.ROUTES,
    *tasks.ROUTES,
]


@dataclass(slots=True)
class Seen:
    """One call as it came. status: of the answer, None where there was none."""

    method: str
    path: str
    query: str
    body: str
    status: int | None = None


class Semaphore:
    """`async with Semaphore() as server:` listens on a free port of loopback until the block ends.

    tick: seconds between two looks at the queue (None: only `queue.tick()`), by default the version's own.
    web_root: path of the public address; the API is below it and everything else is the web page.
    plays: by name of a template; `play` is for all others. bell: rung at every call and every change.
    """

    def __init__(
        self,
        version: Version = V2_10,
        *,
        tick: float | None = -1,
        play: Play | None = None,
        web_root: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.version = version
        self.world = World(version)
        self.settings = Settings(web_root=web_root)
        self.faults = Faults()
        self.streams = Streams()
        self.bell = Bell()
        self.calls: list[Seen] = []
        self.play: Play = play or succeeds()
        self.plays: dict[str, Play] = {}
        self._group = asyncio.TaskGroup()
        self._clock: asyncio.Task[None] | None = None
        self.queue = Queue(
            self.world,
            self.streams,
            choose=self._choose,
            spawn=self._spawn,
            changed=self.bell.ring,
            interval=version.tick if tick == -1 else tick,
        )
        self._listener = Listener(self, host, port, spawn=self._spawn)

    def _spawn(self, coroutine: object, name: str) -> asyncio.Task[None]:
        return self._group.create_task(coroutine, name=name)  # type: ignore[arg-type]  # one coroutine of ours

    def _choose(self, template: Document, task: Task) -> Play:
        return self.plays.get(template["name"], self.play)

    @property
    def url(self) -> str:
        """The server's address, with the path of its public address."""
        return f"http://{self._listener.host}:{self._listener.port}{self.settings.web_root}"

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._clock = self._spawn(self.queue.clock(), "semaphore-clock")
        await self._listener.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.faults.lift()
        await self._listener.close()
        self.queue.forget()
        if self._clock is not None:
            self._clock.cancel()
        await self._group.__aexit__(None, None, None)

    # what happens to a server

    async def go_down(self) -> None:
        """Refuse every connection. Plays go on, as behind a broken network."""
        shutting = self._spawn(self._listener.shut(), "semaphore-shut")
        await asyncio.sleep(0)  # what is held is let go once the listener counts as shut: nothing is answered
        self.faults.let_go()
        await shutting

    async def come_up(self) -> None:
        """Listen again at the same port."""
        await self._listener.open()

    async def restart(self) -> None:
        """End and start the process: plays break off, records stay `waiting` or `running` for ever."""
        await self.go_down()
        self.queue.forget()
        await self.come_up()

    def expire_sessions(self) -> None:
        """Every session cookie is refused from now on."""
        self.world.sessions.clear()

    def revoke_tokens(self) -> None:
        """Every API token is refused from now on."""
        self.world.tokens.clear()

    def lose(self, task_id: int) -> None:
        """The record is gone; a play under way goes on."""
        del self.world.tasks[task_id]
        self.bell.ring()

    # what was called

    def called(self, method: str, path: str) -> list[Seen]:
        """The calls with this method whose path fits the regular expression, oldest first."""
        return [seen for seen in self.calls if seen.method == method and re.search(path, seen.path)]

    # answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._stream(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        seen = Seen(
            scope["method"], scope["path"], scope["query_string"].decode(), body.decode(errors="replace")
        )
        self.calls.append(seen)
        fault = self.faults.meet(seen.method, seen.path)
        answer = await self._answer(request, body, fault)
        if answer is None:
            await self._cut(scope, receive)
        else:
            seen.status = answer.status_code
            await answer(scope, receive, send)
        self.bell.ring()

    async def _answer(self, request: Request, body: bytes, fault: Fault | None) -> Response | None:
        """What to send, or None to cut the connection."""
        kind = fault.kind if fault is not None else None
        if fault is not None and kind is Kind.HOLD_CALL:
            self.bell.ring()
            await self.faults.hold(fault)
        if kind is Kind.DROP_CALL or not self._listener.is_open:
            return None
        if fault is not None and (refused := _faulty(fault)) is not None:
            return refused
        answer = self._handle(request, body)
        if fault is not None and kind is Kind.HOLD_REPLY:
            self.bell.ring()
            await self.faults.hold(fault)
        return None if kind is Kind.DROP_REPLY else answer

    def _handle(self, request: Request, body: bytes) -> Response | None:
        path = self._inside(request.url.path)
        if path is None:
            return plain("Not Found\n", 404) if "." in request.url.path else HTMLResponse(HTML)
        if path == "/ws":
            return self._no_upgrade(request)
        call = Call(self.world, self.queue, self.settings, request, body)
        try:
            route, pieces = find(ROUTES, request.method, path, self.version)
            admit(call, route, pieces)
            return route.handler(call)
        except Refused as refused:
            return refusal(refused)

    def _inside(self, path: str) -> str | None:
        """The part of the path below the API's root, without one trailing slash; None outside of it."""
        root = f"{self.settings.web_root}/api"
        if not path.startswith(root):
            return None
        return path[len(root) :].removesuffix("/")

    def _no_upgrade(self, request: Request) -> Response | None:
        """A stream asked for without an upgrade: 2.10 falls over it and drops the connection."""
        if identify(self.world, request) is None:
            return done(401)
        return plain("Bad Request\n", 400) if self.version.modern else None

    async def _cut(self, scope: Scope, receive: Receive) -> None:
        self._listener.cut(tuple(scope["client"]))
        message: Message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await receive()

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        path = scope["path"]
        self.calls.append(seen := Seen("GET", path, scope["query_string"].decode(), ""))
        fault = self.faults.meet("GET", path)
        user = identify(self.world, socket)
        refused = _faulty(fault) if fault is not None else None
        if refused is None and self._inside(path) != "/ws":
            refused = HTMLResponse(HTML) if self._inside(path) is None else plain("Not Found\n", 404)
        if refused is None and user is None:
            refused = done(401)
        seen.status = refused.status_code if refused is not None else 101
        if fault is not None and fault.kind is Kind.DROP_CALL:
            seen.status = None
            self._listener.cut(tuple(scope["client"]))
        elif refused is not None:
            await socket.send_denial_response(refused)
        elif user is not None:
            await self.streams.serve(socket, user)


async def _spaces() -> AsyncIterator[bytes]:
    """Until the client leaves."""
    while True:
        yield b" " * 2**16
        await asyncio.sleep(0)


def _faulty(fault: Fault) -> Response | None:
    """The answer of a fault that is nothing but an answer."""
    match fault.kind:
        case Kind.HTML:
            return HTMLResponse(HTML)
        case Kind.ENDLESS:
            return StreamingResponse(_spaces(), media_type="application/json")
        case Kind.UNAUTHORIZED:
            return done(401)
        case Kind.STATUS:
            return done(fault.status)
    return None
