"""Calls to engines, measured: each engine is wrapped in one that counts and otherwise does the same."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import ClassVar

from hestia.core.errors import HestiaError, InternalError
from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId
from hestia.core.ports import (
    Automates,
    Automation,
    Discovered,
    Engine,
    Handle,
    Observed,
    Report,
    Started,
    StartSpec,
)
from hestia.telemetry.numbers import Counter, Histogram
from hestia.telemetry.traffic import of


class EngineCalls:
    """took: durations by engine and call, whatever the end. errors: by engine, call and error code."""

    def __init__(self) -> None:
        self.took: dict[tuple[str, str], Histogram] = {}
        self.errors: dict[tuple[str, str, str], Counter] = {}

    @contextmanager
    def measured(self, engine: str, call: str) -> Iterator[None]:
        """Around one call. A call that was cancelled is no error."""
        began = time.perf_counter()
        try:
            yield
        except Exception as error:
            code = error.code if isinstance(error, HestiaError) else InternalError.code
            of(self.errors, (engine, call, code), Counter).add(1, time.time())
            raise
        finally:
            of(self.took, (engine, call), Histogram).add((time.perf_counter() - began) * 1000)


def measured(engine: Engine, calls: EngineCalls) -> Engine:
    """The engine itself, with its calls counted."""
    facts = {"name": engine.name, "settle_time": engine.settle_time}
    kind: type[_Measured] = type(f"Measured{type(engine).__name__}", (_Measured,), facts)
    return kind(engine, calls)


class _Measured:
    """Fits `core.ports.Engine`; a class for each engine, since the port wants facts of the class."""

    name: ClassVar[str]
    settle_time: ClassVar[float]

    def __init__(self, engine: Engine, calls: EngineCalls) -> None:
        self._engine = engine
        self._calls = calls

    async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
        with self._calls.measured(self.name, "start"):
            return await self._engine.start(spec, key, report)

    async def stop(self, handle: Handle, *, grace: float) -> None:
        with self._calls.measured(self.name, "stop"):
            await self._engine.stop(handle, grace=grace)

    async def inspect(self, handle: Handle) -> Observed:
        with self._calls.measured(self.name, "inspect"):
            return await self._engine.inspect(handle)

    async def discover(self, owner: GatewayId) -> Discovered:
        with self._calls.measured(self.name, "discover"):
            return await self._engine.discover(owner)

    def watch(self) -> AsyncIterator[Observed]:
        return self._engine.watch()

    def logs(self, handle: Handle, *, follow: bool) -> AsyncIterator[bytes]:
        return self._engine.logs(handle, follow=follow)

    def automation(self, service: ServiceId, instance: InstanceId) -> Automation | None:
        engine = self._engine
        return engine.automation(service, instance) if isinstance(engine, Automates) else None

    async def aclose(self) -> None:
        await self._engine.aclose()
