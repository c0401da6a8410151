"""One gateway for one test: the real composition root on a free port, with services made by the test.

Readiness is asked of a separate small server (`Gateway.probe`), so that an upstream under test records
only what clients caused, and so that a test can say "not ready yet".
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hestia.core.errors import ConfigError
from hestia.core.model import (
    GatewaySettings,
    InstanceId,
    InstanceSettings,
    ServiceId,
    ServiceSettings,
    Settings,
)
from hestia.core.ports import StartSpec
from hestia.core.urls import parse_base_url
from hestia.engines.none import NoneEngine
from hestia.engines.process import ProcessEngine
from hestia.runtime.status import ServiceStatus
from tests.fakes.engines import FakeEngine, FakeInstance
from tests.fakes.facts import PATIENCE, eventually
from tests.fakes.upstream import Connection, RawUpstream
from tests.fakes.wire import answer

if TYPE_CHECKING:
    from hestia.api.control import Reload
    from hestia.app import Hestia

DRAIN = 2.0
# Gauges that say what is under way; connections to services may stay, idle.
TRAFFIC = frozenset(
    (
        "hestia_requests_in_flight",
        "hestia_websockets_open",
        "hestia_queue_waiters",
        "hestia_queue_oldest_waiter_seconds",
        "hestia_body_buffer_bytes",
        "hestia_upstream_connections",
    )
)


class Probe(RawUpstream):
    """Answers readiness probes: 200 while `ready`, 503 otherwise. asked: how often."""

    def __init__(self, *, ready: bool = True) -> None:
        super().__init__([self._serve], keep=False)
        self.ready = ready
        self.asked = 0

    async def _serve(self, connection: Connection) -> None:
        while (request := await connection.next_or_end()) is not None:
            if not await connection.whole(request):
                break
            self.asked += 1
            status = "200 OK" if self.ready else "503 Loading"
            await connection.send(answer(b"", status=status))
        connection.close()


def service(
    name: str,
    base_url: str,
    *,
    health_url: str = "",
    engine: str = "none",
    options: object = None,
    warmup: float = 0.0,
    **settings: Any,
) -> ServiceSettings:
    """A service of one instance. settings: fields of ServiceSettings (any of them, hence Any)."""
    instance = InstanceSettings(
        id=InstanceId(name),
        base_url=base_url,
        health_url=health_url,
        warmup=warmup,
        engine=engine,
        options=options,
        options_hash=repr(options) if options is not None else "",
    )
    return ServiceSettings(id=ServiceId(name), instances=(instance,), **settings)


class WireEngine(FakeEngine):
    """A FakeEngine whose instances are scripted upstreams: by service, or by service/instance, the same for
    every generation."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self.probe = probe
        self.upstreams: dict[str, RawUpstream] = {}

    async def _open(self, one: FakeInstance, spec: StartSpec) -> None:
        upstream = self.upstreams.get(f"{one.key.service}/{one.key.instance}")
        one.endpoint = parse_base_url((upstream or self.upstreams[one.key.service]).url)
        one.health_url = f"{self.probe.url}/"


def cold(name: str, **settings: Any) -> ServiceSettings:
    """A service that a WireEngine starts on demand. settings: as in `service`."""
    return service(name, "http://127.0.0.1:{port}", engine="fake", **settings)


class Configuration:
    """What a gateway would read now. problem: why it cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.problem: ConfigError | None = None

    def load(self) -> Settings:
        if self.problem is not None:
            raise self.problem
        return self.settings


class Gateway:
    """A running Hestia. log: the access log so far. probe: who answers readiness. engine: of `cold` ones."""

    def __init__(
        self, hestia: Hestia, engine: WireEngine, log: io.BytesIO, configuration: Configuration
    ) -> None:
        self.hestia = hestia
        self.configuration = configuration
        self.engine = engine
        self.probe = engine.probe
        self._log = log
        self.closed = False

    @property
    def address(self) -> tuple[str, int]:
        return self.hestia.address

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def log(self) -> bytes:
        return self._log.getvalue()

    async def status(self, name: str = "a", *, probe: bool = False) -> ServiceStatus:
        """Snapshot of one service."""
        return await self.hestia.gateway.status(ServiceId(name), probe=probe)

    async def until(self, fact: Callable[[ServiceStatus], bool], what: str, name: str = "a") -> ServiceStatus:
        """Wait until a service's snapshot says so, and return it."""
        seen = await self.status(name)
        try:
            async with asyncio.timeout(PATIENCE):
                while not fact(seen):
                    await asyncio.sleep(0.003)
                    seen = await self.status(name)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {name}: {what}; it is {seen}") from None
        return seen

    async def until_phase(self, phase: str, name: str = "a") -> ServiceStatus:
        return await self.until(lambda seen: seen.phase == phase, f"phase {phase}", name)

    async def until_waiting(self, count: int, name: str = "a") -> ServiceStatus:
        return await self.until(lambda seen: seen.queue == count, f"{count} waiters", name)

    async def until_in_flight(self, count: int, name: str = "a") -> ServiceStatus:
        return await self.until(lambda seen: seen.in_flight == count, f"{count} in flight", name)

    async def at_rest(self) -> None:
        """Wait until no request is in flight and none waits; no body is held then (OB-03, INV-10)."""
        for one in self.hestia.gateway.services():
            await self.until_waiting(0, one)
            await self.until_in_flight(0, one)
        # A request that pauses between two attempts is neither; it may hold a body.
        await eventually(lambda: self.busy() == {}, lambda: f"gauges to be zero: {self.busy()}")

    def busy(self) -> dict[str, float]:
        """Gauges of traffic that are not zero: none while nothing is under way (OB-03)."""
        found = {}
        for family, points in self.hestia.metrics.families():
            for labels, value in points:
                if family.name in TRAFFIC and labels != ("idle",) and value:
                    assert isinstance(value, float)
                    found[f"{family.name}{labels}"] = value
        return found

    async def reload(self, *services: ServiceSettings, **gateway: Any) -> Reload:
        """A new configuration: these services and no others. gateway: keys that are new (any of them)."""
        before = self.configuration.settings
        self.configuration.settings = replace(
            before,
            gateway=replace(before.gateway, **gateway),
            services={one.id: _probed(one, self.probe.url) for one in services},
        )
        return await self.hestia.reloads.reload("test")

    async def aclose(self, *, drain: float = DRAIN) -> None:
        """Close the gateway; safe to call twice."""
        if not self.closed:
            self.closed = True
            await self.hestia.aclose(drain=drain, everything=True)
            assert self.hestia.gateway.progress.released == 0, "the watchdog had to answer somebody (OB-11)"


class MakeGateway(Protocol):
    """What the `gateway` fixture gives.

    services: settings; those of engine `none` without health_url are probed at `Gateway.probe`.
    upstreams: services of engine `none` by name. hot: wait until each of engine `none` serves.
    wakes: what the instances of `cold` services are.
    """

    async def __call__(
        self,
        *services: ServiceSettings,
        ready: bool = True,
        hot: bool = True,
        settings: GatewaySettings | None = None,
        wakes: Mapping[str, RawUpstream] | None = None,
        **upstreams: RawUpstream,
    ) -> Gateway: ...


@contextlib.asynccontextmanager
async def gateways(state_dir: Path) -> AsyncIterator[MakeGateway]:
    """Makes gateways; afterwards all are at rest and closed."""
    made: list[Gateway] = []

    async def make(
        *services: ServiceSettings,
        ready: bool = True,
        hot: bool = True,
        settings: GatewaySettings | None = None,
        wakes: Mapping[str, RawUpstream] | None = None,
        **upstreams: RawUpstream,
    ) -> Gateway:
        from hestia.app import Hestia

        probe = Probe(ready=ready)
        await probe.start()
        named = [service(name, upstream.url) for name, upstream in upstreams.items()]
        configured = {one.id: _probed(one, probe.url) for one in [*named, *services]}
        base = settings or GatewaySettings()
        base = replace(base, host="127.0.0.1", port=0, state_dir=str(state_dir / str(len(made))))
        log = io.BytesIO()
        engine = WireEngine(probe)
        engine.upstreams.update(wakes or {})
        configuration = Configuration(Settings(gateway=base, services=configured))
        hestia = Hestia(
            configuration.settings,
            access_log=log,
            plugins={"fake": lambda _: engine, "none": NoneEngine, "process": ProcessEngine},  # type: ignore[dict-item]
            reload_from=configuration.load,
        )
        running = Gateway(hestia, engine, log, configuration)
        made.append(running)
        await hestia.start()
        if hot and ready:
            for one in configured.values():
                if all(instance.engine == "none" for instance in one.instances):
                    await running.status(one.id, probe=True)
                    await running.until_phase("hot", one.id)
        return running

    try:
        yield make
        for running in made:
            if not running.closed:
                await running.at_rest()
    finally:
        for running in made:
            await running.aclose()
            await running.engine.machine.aclose()
            await running.probe.aclose()


def _probed(settings: ServiceSettings, url: str) -> ServiceSettings:
    instances = tuple(
        replace(one, health_url=f"{url}/") if one.engine == "none" and not one.health_url else one
        for one in settings.instances
    )
    return replace(settings, instances=instances)
