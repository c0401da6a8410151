"""Plays the Autobahn WebSocket cases with kosoku, through a gateway and without one, and compares.

Hestia only splices bytes, so what it does to a case is nothing; which cases the echoing side fails is its
own affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.e2e.served import serving

PLAYER = Path(__file__).parent / "programs" / "websocket_cases.py"
AT_ONCE = 8
TRIES = 3  # a case that depends on who closes first may end in two ways on a busy machine

Verdicts = dict[str, list[object]]  # by case: exchange, close, code sent by kosoku, code it got


class Player:
    """One kosoku process. Its last line is what became of each case."""

    def __init__(self, python: str, *arguments: str) -> None:
        self._command = [python, str(PLAYER), *arguments]
        self.process: asyncio.subprocess.Process

    async def __aenter__(self) -> Player:
        self.process = await asyncio.create_subprocess_exec(
            *self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, limit=1 << 20
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def line(self) -> str:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode().strip()
        assert line, f"{self._command} ended with {await self.process.wait()}"
        return line

    async def verdicts(self) -> Verdicts:
        found: Verdicts = json.loads(await self.line())
        return found


async def echo(socket: ServerConnection | ClientConnection) -> None:
    """Send every message back until the other side has had enough, however it says so."""
    with contextlib.suppress(ConnectionClosed):
        async for message in socket:
            await socket.send(message)


@contextlib.asynccontextmanager
async def gateway(folder: Path, port: int) -> AsyncIterator[str]:
    """A gateway in front of the server at a port; where to find that server through it."""
    service = {"base_url": f"http://127.0.0.1:{port}", "warmup": "0s"}
    async with serving(folder, {"services": {"cases": service}}) as served:
        yield f"ws://127.0.0.1:{served.port}/services/cases"


async def as_client(python: str, url: str, cases: Sequence[str]) -> Verdicts:
    """Let kosoku play cases against the echo server at a URL."""
    async with Player(python, "client", url, *cases) as player:
        return await player.verdicts()


async def as_server(python: str, folder: Path | None, cases: Sequence[str]) -> Verdicts:
    """Let kosoku play cases against an echo client; through a gateway of that folder if there is one."""
    async with Player(python, "server", *cases) as player, contextlib.AsyncExitStack() as stack:
        port = int(await player.line())
        url = f"ws://127.0.0.1:{port}"
        if folder is not None:
            url = await stack.enter_async_context(gateway(folder, port))
        async with connect(f"{url}/getCaseCount", proxy=None) as socket:
            count = int(await socket.recv())
        some = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as playing:
            for number in range(1, count + 1):
                playing.create_task(play(f"{url}/runCase?case={number}&agent=echo", some))
        await play(f"{url}/updateReports?agent=echo", some)
        return await player.verdicts()


async def play(url: str, turn: asyncio.Semaphore) -> None:
    """Echo on one socket when it is this one's turn."""
    async with turn, connect(url, proxy=None, max_size=None, ping_interval=None) as socket:
        await echo(socket)


def differing(direct: Verdicts, through: Verdicts) -> list[str]:
    """Cases whose results differ, or that were not played both times."""
    return sorted(case for case in direct.keys() | through.keys() if direct.get(case) != through.get(case))


async def clients_cases(python: str, folder: Path, cases: Sequence[str]) -> str:
    """Play cases against an echo server; a line for each that ends otherwise through a gateway."""
    async with serve(echo, "127.0.0.1", 0, max_size=None, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with gateway(folder, port) as url:
            left = list(cases)
            for _ in range(TRIES):
                direct = await as_client(python, f"ws://127.0.0.1:{port}", left)
                through = await as_client(python, url, left)
                left = differing(direct, through)
                if not left:
                    break
    return told(direct, through, left)


async def servers_cases(python: str, folder: Path, cases: Sequence[str]) -> str:
    """Play cases against an echo client; a line for each that ends otherwise through a gateway."""
    left = list(cases)
    for number in range(TRIES):
        direct = await as_server(python, None, left)
        through = await as_server(python, folder / f"gateway-{number}", left)
        left = differing(direct, through)
        if not left:
            break
    return told(direct, through, left)


def told(direct: Verdicts, through: Verdicts, cases: Sequence[str]) -> str:
    return "\n".join(f"{case}: {direct.get(case)}, not {through.get(case)}" for case in cases)
