"""Random events over real gateways and real services, from a seed: requests, kills, full disks, thieves.

The oracle: every client gets an outcome within its limit, no service ever has two copies, and in the end
nothing runs and no row is open. The seed chooses the events; the machine's timing is its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import yaml

from tests.e2e.lives import Lives
from tests.fakes.client import Client
from tests.fakes.disk import SmallDisk
from tests.fakes.facts import PATIENCE, eventually
from tests.fakes.programs import PROGRAM
from tests.fakes.wire import request

LIMIT = 90.0  # seconds until a client without an outcome is a failure; services' own limits are far below
AT_ONCE = 24  # clients

WEIGHTS = {
    "get": 30,
    "stream": 12,
    "upload": 10,
    "socket": 8,
    "abort": 10,
    "boom": 3,
    "service killed": 8,
    "service frozen": 4,
    "person": 8,
    "gateway killed": 3,
    "gateway ended": 2,
    "disk full": 2,
    "thief": 2,
    "reloaded": 3,
    "rest": 6,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Chaos:
    """One run. events, outcomes: what was done, and what clients got. two: keys that ran together."""

    def __init__(self, lives: Lives, seed: int, disk: SmallDisk | None) -> None:
        self.lives = lives
        self.seed = seed
        self.dice = random.Random(seed)  # for what follows from an event; clients draw from it when they can
        self.disk = disk
        self.events: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self.http = httpx.AsyncClient(
            timeout=LIMIT, trust_env=False, limits=httpx.Limits(max_connections=None, keepalive_expiry=1)
        )
        self._clients: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(AT_ONCE)
        self.fixed_port = free_port()
        self._away: dict[str, Any] = {}  # the service that is not in the file just now
        self._configure()

    def _configure(self) -> None:
        """Eight services, each with its own way to fail."""
        quick = {"restart_backoff": {"base": "50ms", "cap": "200ms", "cool_down": "500ms", "per_hour": 10000}}
        common: dict[str, Any] = {**quick, "stop_grace": "300ms", "start_timeout": "3s", "idle_timeout": "2s"}
        service = self.lives.service
        slow = service(**common)
        plain = slow["engine"]["command"]
        slow["engine"] = {"type": "process", "command": ["sh", "-c", 'sleep 0.5; exec "$0" "$@"', *plain]}
        thief = service(**common)
        port = str(self.fixed_port)
        thief["engine"] = {"type": "process", "command": [sys.executable, "-I", "-S", str(PROGRAM), port]}
        thief["base_url"] = f"http://127.0.0.1:{port}"
        thief["health_url"] = f"http://127.0.0.1:{port}/health"
        self.lives.set(
            fast=service(**common),
            busy=service(**{**common, "idle_timeout": "300ms"}),
            slow=slow,
            boom=service(**common),
            failing=service("--fail", "3", **common),
            stubborn=service("--linger", "600", **common),
            hanging=service(gated=True, **common),
            fixed=thief,
        )
        self.names = list(self.lives.configuration["services"])
        if self.disk is not None:
            self.lives.configuration["database_url"] = f"sqlite:///{self.disk.path / 'hestia.db'}"

    async def run(self, events: int) -> None:
        """Do so many events, then end everything."""
        await self.lives.boot()
        order, names = random.Random(self.seed), list(WEIGHTS)
        kinds = names + order.choices(names, list(WEIGHTS.values()), k=events - len(names))
        order.shuffle(kinds)  # each kind once at least
        try:
            for number, kind in enumerate(kinds):
                self.events[kind] += 1
                await self._do(kind)
                if number % 10 == 0:
                    await self._one_copy_each()
            await asyncio.gather(*self._clients)
            await self._end()
        finally:
            for client in self._clients:
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)
            await self.http.aclose()

    async def _do(self, kind: str) -> None:
        name = self.dice.choice(self.names)
        match kind:
            case "get" | "stream" | "upload" | "socket" | "abort" | "boom":
                await self._client(kind, "boom" if kind == "boom" else name)
            case "service killed":
                self._signal_service(signal.SIGKILL)
            case "service frozen":
                if (pid := self._signal_service(signal.SIGSTOP)) is not None:
                    await asyncio.sleep(self.dice.uniform(0.05, 0.5))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            case "person":
                what = self.dice.choice(["start", "stop", "stop?force=true", "restart"])
                await self._ask(f"/v1/services/{name}/{what}", self.http.post)
            case "gateway killed":
                self.lives.kill()
                await self._boot()
            case "gateway ended":
                for _ in range(self.dice.choice([1, 2])):
                    self.lives.now.process.send_signal(signal.SIGTERM)
                assert await self.lives.now.ended() in (0, 1), self.lives.now.said[-2000:]
                await self._boot()
            case "disk full" if self.disk is not None:
                self.disk.fill()
                await asyncio.sleep(self.dice.uniform(0.1, 0.5))
                self.disk.free()
            case "thief":
                await self._steal()
            case "reloaded":
                self._reload()
            case _:
                await asyncio.sleep(self.dice.uniform(0.05, 0.3))
        await asyncio.sleep(self.dice.uniform(0.0, 0.03))

    async def _boot(self) -> None:
        """The next life; now and then with a disk on which a commit takes long."""
        await self.lives.boot(at=self.dice.choice(["", "", "slow"]))

    def _signal_service(self, number: signal.Signals) -> int | None:
        programs = sorted(self.lives.programs())
        if not programs:
            return None
        pid = self.dice.choice(programs)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    def _reload(self) -> None:
        """The file says something else: a service comes or goes, or idles longer; at times it is broken."""
        services = self.lives.configuration["services"]
        if self.dice.random() < 0.5:
            services["fast"]["idle_timeout"] = self.dice.choice(["1s", "2s", "3s"])
        elif "slow" in services:
            self._away = services.pop("slow")
        else:
            services["slow"] = self._away
        text = yaml.safe_dump(self.lives.configuration, sort_keys=False)
        path = self.lives.folder / "hestia_config.yml"
        if self.dice.random() < 0.2:
            path.write_text("services: [broken")
            self.lives.now.process.send_signal(signal.SIGHUP)
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").replace(path)
        self.lives.now.process.send_signal(signal.SIGHUP)

    async def _until_reloaded(self) -> None:
        """Wait until the gateway knows the services of the file."""
        wanted, until = set(self.lives.configuration["services"]), time.monotonic() + PATIENCE
        while (found := await self._services()) != wanted:
            assert time.monotonic() < until, f"{found} instead of {wanted}"
            await asyncio.sleep(0.05)

    async def _services(self) -> set[str]:
        answer = await self.http.get(f"{self.lives.now.url}/v1/services")
        return {one["serviceId"] for one in answer.json()}

    async def _steal(self) -> None:
        """Somebody else has the port of the service with a fixed one, for a while."""
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                thief.bind(("127.0.0.1", self.fixed_port))
            except OSError:
                return  # the service has it
            thief.listen()
            await self._client("get", "fixed")
            await asyncio.sleep(self.dice.uniform(0.1, 0.5))

    # -- clients -------------------------------------------------------------------------------

    async def _client(self, kind: str, name: str) -> None:
        await self._room.acquire()
        task = asyncio.get_running_loop().create_task(self._one(kind, f"/services/{name}"))
        self._clients.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._room.release()
        if not task.cancelled() and task.exception() is None:
            self._clients.discard(task)

    async def _one(self, kind: str, path: str) -> None:
        match kind:
            case "stream":
                await self._ask(f"{path}/stream?40", self.http.get)
            case "upload":
                body = b"x" * self.dice.choice([10, 300_000])
                await self._ask(f"{path}/upload", lambda url: self.http.post(url, content=body))
            case "boom":
                await self._ask(f"{path}/crash", self.http.get)
            case "socket" | "abort":
                await self._raw(kind, path)
            case _:
                target = self.dice.choice(["/x", f"/slow?{self.dice.uniform(0.0, 0.3):.2f}"])
                await self._ask(path + target, self.http.get)

    async def _ask(self, path: str, call: Callable[[str], Awaitable[httpx.Response]]) -> None:
        """One request to its outcome: an answer, or a connection that ends."""
        began = time.monotonic()
        try:
            answer = await call(self.lives.now.url + path)
            outcome = str(answer.status_code)
            if answer.status_code >= 500:
                outcome += f" {answer.json()['code']}"
        except httpx.TimeoutException as exc:
            raise AssertionError(f"{path}: no outcome within {LIMIT:g} s") from exc
        except httpx.TransportError as exc:
            outcome = type(exc).__name__  # the gateway is away, or the answer had begun
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.outcomes[outcome] += 1

    async def _raw(self, kind: str, path: str) -> None:
        """A WebSocket that says something, or a client that leaves in the middle."""
        try:
            client = await Client.connect(("127.0.0.1", self.lives.now.port))
        except OSError:
            self.outcomes["ConnectError"] += 1
            return
        try:
            if kind == "abort":
                await client.send(request("GET", f"{path}/stream?1000"))
                await asyncio.sleep(self.dice.uniform(0.0, 0.3))
                client.reset()
                self.outcomes["left"] += 1
                return
            fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            head = f"GET {path}/ws HTTP/1.1\r\nHost: localhost\r\n".encode()
            await client.send(head + fields + key + b"\r\n")
            await eventually(
                lambda: b"\r\n\r\n" in client.received or client.ended != "", path, timeout=LIMIT
            )
            self.outcomes[f"socket {client.received[9:12].decode() or 'cut'}"] += 1
            await client.send(b"\x81\x82\0\0\0\0hi")
            await asyncio.sleep(self.dice.uniform(0.0, 0.5))
        finally:
            await client.close()

    # -- what always holds -----------------------------------------------------------------------

    async def _one_copy_each(self) -> None:
        """INV-1 from outside: no service has programs of two generations. One look alone takes a while."""
        together = self._together()
        if together:
            together &= self._together()
        assert not together, f"two at once: {together}"

    def _together(self) -> set[tuple[str, ...]]:
        found: dict[str, set[str]] = {}
        for key in self.lives.programs().values():
            found.setdefault(key.rpartition("/")[0], set()).add(key)
        return {tuple(sorted(keys)) for keys in found.values() if len(keys) > 1}

    async def _end(self) -> None:
        """Everything is stopped by the API: nothing runs, waits or is in flight, and the rows are closed."""
        await self._until_reloaded()
        for name in self.lives.configuration["services"]:
            await self._ask(f"/v1/services/{name}/stop?force=true", self.http.post)
        await eventually(lambda: not self.lives.programs(), lambda: f"no program: {self.lives.programs()}")
        for name in self.lives.configuration["services"]:
            until = time.monotonic() + PATIENCE
            while (status := await self.lives.now.status(name))["phase"] not in ("cold", "failed"):
                assert time.monotonic() < until, status
                await asyncio.sleep(0.05)
            assert (status["queuePending"], status["inFlight"]) == (0, 0), status
        broken = [line for line in self.lives.now.lines() if "Traceback" in str(line)]
        assert not broken, broken
        assert await self.lives.now.stop() == 0, self.lives.now.said[-2000:]
        assert not self.lives.programs()
