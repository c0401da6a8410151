"""The gateway that is asked for its place: answers on the private socket, one successor at a time.

Owns that socket and the conversation. Nothing is given up before the new gateway has said that it is ready;
what happens when it goes away afterwards, `hestia.running` decides: it is told by `outcome`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Final, Protocol

from hestia.edge.given import Heard
from hestia.runtime.held import InUse
from hestia.takeover import wire

log = logging.getLogger(__name__)

HELLO_LIMIT: Final = 5.0  # seconds for the first line
TAKE_LIMIT: Final = 60.0  # seconds for reading its configuration; one that hangs shuts nobody else out
SERVE_LIMIT: Final = 60.0  # seconds from having everything until it serves
ACCEPT_PAUSE: Final = 1.0  # seconds after which it is tried again, where no descriptor was free
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred


class Outcome(Enum):
    """How a takeover went on. FAILED: the new gateway is gone, and this one had given its place up."""

    DONE = auto()
    FAILED = auto()


class Place(Protocol):
    """What is given up; `hestia.takeover.place` has it."""

    def sockets(self) -> list[Heard]: ...
    async def farewell(self) -> None: ...
    async def hand_over(self) -> list[InUse]: ...


class Offer:
    """See the module docstring.

    place: of the gateway that serves now. refuse: why no takeover is possible now, "" when it is.
    serve_limit: seconds a new gateway that was given everything may take until it serves.
    """

    def __init__(
        self,
        state_dir: str,
        *,
        version: str,
        place: Callable[[], Place | None],
        refuse: Callable[[], str],
        serve_limit: float = SERVE_LIMIT,
    ) -> None:
        self._path = wire.place(state_dir)
        self._version = version
        self._place = place
        self._refuse = refuse
        self._serve_limit = serve_limit
        self._listener: socket.socket | None = None
        self._mine = (0, 0)
        self.kept: list[Heard] = []  # for the case that the new gateway does not make it
        self.successor: socket.socket | None = None  # closed when this gateway has ended

    def open(self) -> None:
        """Listen, where that can be: without a folder to write in, nobody can take over."""
        try:
            self._listen()
        except OSError as exc:
            log.warning(
                "No other gateway can take over from this one: %s cannot be made (%s)",
                self._path,
                exc.strerror or exc,
                extra={"event_type": "takeover_impossible"},
            )

    def _listen(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            with wire.short_path(self._path) as short:
                listener.bind(short)
            os.chmod(self._path, 0o600)
            listener.listen(8)
        except BaseException:
            listener.close()
            raise
        self._mine = _identity(self._path)
        self._listener = listener

    def close(self) -> None:
        """Answer nobody any more. Twice is fine."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        if _identity(self._path) == self._mine:  # else the next gateway listens there already
            self._path.unlink(missing_ok=True)

    async def outcome(self) -> Outcome:
        """Answer whoever asks, until one has taken the place, or has begun to and went away."""
        loop = asyncio.get_running_loop()
        if self._listener is None:
            await loop.create_future()  # nobody can ask
        while True:
            sock = await self._asked()
            others = loop.create_task(self._refuse_others())
            try:
                if (found := await self._talk(sock)) is not None:
                    return found
            except (wire.Closed, OSError, TimeoutError) as exc:
                log.debug("A takeover was not asked for: %r", exc)
            finally:
                if self.successor is not sock:
                    sock.close()
                others.cancel()
                await asyncio.gather(others, return_exceptions=True)

    async def _asked(self) -> socket.socket:
        """The next who asks. That no descriptor is free is no reason to end, nor to turn in circles."""
        while True:
            assert self._listener is not None
            await _readable(self._listener)
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                continue
            except OSError as exc:
                log.warning(
                    "Who asks for the place of this gateway cannot be heard: %s",
                    exc.strerror or exc,
                    extra={"event_type": "takeover_unheard"},
                )
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            sock.setblocking(False)
            return sock

    async def _refuse_others(self) -> None:
        """Tell whoever asks during a takeover that there is one."""
        loop = asyncio.get_running_loop()
        while True:
            with await self._asked() as sock, contextlib.suppress(wire.Closed, OSError, TimeoutError):
                async with asyncio.timeout(HELLO_LIMIT):
                    await wire.receive(sock, loop.sock_recv)  # an end with something unread is a reset
                    await loop.sock_sendall(sock, wire.line(refused=wire.UNDER_WAY))

    async def _talk(self, sock: socket.socket) -> Outcome | None:
        """One conversation. None: nothing was given up, and this gateway goes on."""
        loop = asyncio.get_running_loop()
        pid, uid, _ = _CREDENTIALS.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        async with asyncio.timeout(HELLO_LIMIT):
            hello = await wire.receive(sock, loop.sock_recv)
        if reason := self._reason(hello, uid):
            await loop.sock_sendall(sock, wire.line(refused=reason))
            return None
        place = self._place()
        assert place is not None  # it is not ending: `refuse` was asked
        heard = place.sockets()
        taken = False
        try:
            self._give(sock, heard)
            async with asyncio.timeout(TAKE_LIMIT):
                taken = bool((await wire.receive(sock, loop.sock_recv)).get("take"))
        except (wire.Closed, OSError, TimeoutError) as exc:
            log.debug("It did not take the place: %r", exc)
        finally:
            if not taken:
                for one in heard:
                    one.sock.close()
        if not taken:
            log.warning(
                "The gateway that was to take over (pid %d) left, or hung, before it began; this one goes on",
                pid,
                extra={"event_type": "takeover_given_up"},
            )
            return None
        self.kept = list(heard)
        log.info(
            "A new gateway (pid %d, version %s) takes over: serving those who came, then giving it the place",
            pid,
            hello.get("version"),
            extra={"event_type": "takeover_begun"},
        )
        return await self._pass_on(sock, place, pid)

    async def _pass_on(self, sock: socket.socket, place: Place, pid: int) -> Outcome | None:
        """Give the place up, unless the new gateway goes away before that, and wait until it serves."""
        loop = asyncio.get_running_loop()
        gone = loop.create_task(wire.receive(sock, loop.sock_recv))
        leaving = loop.create_task(place.farewell())
        try:
            await asyncio.wait({gone, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not leaving.done():
                log.warning(
                    "The gateway that was to take over went away; this one goes on",
                    extra={"event_type": "takeover_given_up"},
                )
                self.forget()
                return None
            leaving.result()
            used = await place.hand_over()
            try:
                async with asyncio.timeout(self._serve_limit):
                    await loop.sock_sendall(sock, wire.line(yours=[list(one) for one in used]))
                    await gone
            except TimeoutError:
                self._end_the_new_one(pid)
                return Outcome.FAILED
            except (wire.Closed, OSError):
                return Outcome.FAILED
        finally:
            for task in (gone, leaving):
                task.cancel()
            await asyncio.gather(gone, leaving, return_exceptions=True)
        self.successor = sock
        self.forget()
        return Outcome.DONE

    def _end_the_new_one(self, pid: int) -> None:
        """It has what belongs to one gateway at a time: it must not come to life beside this one. What it had
        begun is adopted."""
        log.error(
            "The gateway that took over (pid %d) does not serve after %g s: it is ended, this one goes on",
            pid,
            self._serve_limit,
            extra={"event_type": "takeover_hangs"},
        )
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)

    def forget(self) -> None:
        """Close what was kept for the case that the new gateway does not make it."""
        for one in self.kept:
            one.sock.close()
        self.kept = []

    def _reason(self, hello: wire.Message, uid: int) -> str:
        if uid != os.geteuid():  # root neither: what it starts would be root's
            return f"the gateway belongs to the user with the number {os.geteuid()}"
        if hello.get("protocol") != wire.PROTOCOL:
            return f"it speaks another version of the takeover ({self._version})"
        return self._refuse()

    def _give(self, sock: socket.socket, heard: Sequence[Heard]) -> None:
        told = wire.line(
            protocol=wire.PROTOCOL,
            version=self._version,
            pid=os.getpid(),
            services=[one.service for one in heard],
        )
        socket.send_fds(sock, [told], [one.sock.fileno() for one in heard])


async def _readable(sock: socket.socket) -> None:
    """Wait for somebody at a listening socket. loop.sock_accept loses whoever it has when it is cancelled."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino
