"""A gateway behind the bridge for one test: real uvicorn on a free port, in this process and on this loop."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import uvicorn

from hestia.app import Hestia
from hestia.bridge import Bridge
from hestia.core.model import GatewaySettings, ServiceSettings, Settings
from hestia.engines.none import NoneEngine
from tests.fakes.facts import eventually
from tests.fakes.upstream import RawUpstream

from .harness import Gateway, Probe, WireEngine, service


class Server(uvicorn.Server):
    """uvicorn as the bridge's operator runs it, without its signal handlers."""

    def __init__(self, app: Bridge) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def begin(self) -> None:
        """Return when it accepts."""
        self._task = asyncio.get_running_loop().create_task(self.serve(sockets=[self._listener]))
        await eventually(lambda: self.started, "uvicorn to listen")

    async def end(self) -> None:
        """End as after a signal. Safe to call twice."""
        if self._task is not None:
            self.should_exit = True
            await self._task
            self._task = None


class Front(Gateway):
    """A gateway whose clients come through the bridge."""

    hestia: Hestia  # there once the server has started

    def __init__(self, engine: WireEngine, log: io.BytesIO, server: Server) -> None:
        self.engine = engine
        self.probe = engine.probe
        self.server = server
        self._log = log
        self.closed = False

    @property
    def address(self) -> tuple[str, int]:
        return self.server.address


class MakeFront(Protocol):
    """What `fronts` gives; as `harness.MakeGateway`, for services of the engines `fake` and `none`."""

    async def __call__(
        self,
        *services: ServiceSettings,
        ready: bool = True,
        wakes: Mapping[str, RawUpstream] | None = None,
        **upstreams: RawUpstream | str,
    ) -> Front: ...


@contextlib.asynccontextmanager
async def fronts(state_dir: Path) -> AsyncIterator[MakeFront]:
    """Makes gateways behind the bridge; afterwards all are at rest and closed, through uvicorn's end."""
    made: list[Front] = []

    async def make(
        *services: ServiceSettings,
        ready: bool = True,
        wakes: Mapping[str, RawUpstream] | None = None,
        **upstreams: RawUpstream | str,
    ) -> Front:
        probe = await Probe(ready=ready).start()
        engine = WireEngine(probe)
        engine.upstreams.update(wakes or {})
        log = io.BytesIO()
        folder = str(state_dir / f"front-{len(made)}")

        async def start(unix_path: str) -> Hestia:
            hestia = Hestia(
                Settings(gateway=GatewaySettings(state_dir=folder), services=configured),
                access_log=log,
                plugins={"fake": lambda _: engine, "none": NoneEngine},  # type: ignore[dict-item]
                unix_path=unix_path,
            )
            await hestia.start()
            running.hestia = hestia
            return hestia

        server = Server(Bridge(start))
        named = [
            service(name, _url(one, server), health_url=f"{probe.url}/") for name, one in upstreams.items()
        ]
        configured = {one.id: one for one in [*named, *services]}
        running = Front(engine, log, server)
        made.append(running)
        await server.begin()
        for one in named:
            await running.status(one.id, probe=True)
            await running.until_phase("hot", one.id)
        return running

    try:
        yield make
        for running in made:
            await running.at_rest()
    finally:
        for running in made:
            await running.server.end()
            await running.engine.machine.aclose()
            await running.probe.aclose()


def _url(upstream: RawUpstream | str, server: Server) -> str:
    """Where a service is. A text may name the front itself as `{front}`."""
    if isinstance(upstream, str):
        return upstream.format(front=f"127.0.0.1:{server.address[1]}")
    return upstream.url
