"""The engine of what somebody else starts: it makes nothing and touches nothing.

Owns one question, "does anybody accept at the address?". Whether it can serve is for the readiness probe,
how long to wait for it for the runtime. Source: engines.md C12, lifecycle.md RD-17.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict

from hestia.core.errors import EngineRefused
from hestia.core.model import Endpoint, GatewayId, InstanceKey
from hestia.core.ports import (
    Discovered,
    EngineContext,
    Handle,
    Observed,
    Presence,
    Report,
    Started,
    StartSpec,
)
from hestia.core.urls import parse_base_url
from hestia.engines.knock import knock

_NO_CHANGES: Final[tuple[Observed, ...]] = ()  # looped over, so that what never yields is a generator
_NO_LINES: Final[tuple[bytes, ...]] = ()


class NoneOptions(BaseModel):
    """The engine `none` has no options: it starts and stops nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoneEngine:
    """Somebody else starts and stops the instance; a connection tells whether it is there."""

    name: ClassVar[str] = "none"
    settle_time: ClassVar[float] = 0.0
    Options: ClassVar[type[NoneOptions]] = NoneOptions

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._closed = asyncio.Event()

    async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
        """Return the configured endpoint. Raises EngineRefused when the address cannot be used."""
        endpoint = _endpoint(spec.base_url)
        handle: Handle = {"key": str(key), "base_url": spec.base_url}
        report.made(handle)
        report.stage("engine", f"waits for what somebody else starts at {endpoint}")
        return Started(handle, endpoint, spec.health_url)

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """Touch nothing."""

    async def inspect(self, handle: Handle) -> Observed:
        """Connect: accepted is running, refused is gone, anything else within 0.5 s is unknown."""
        endpoint = _endpoint(str(handle.get("base_url", "")))
        presence, reason = await knock(endpoint)
        running = presence is Presence.RUNNING
        return Observed(
            handle=handle,
            presence=presence,
            key=_key(handle),
            endpoint=endpoint if running else None,
            reason=reason,
        )

    async def discover(self, owner: GatewayId) -> Discovered:
        """Find nothing: nothing bears our key."""
        return Discovered()

    async def watch(self) -> AsyncIterator[Observed]:
        """Say nothing until `aclose`."""
        await self._closed.wait()
        for observed in _NO_CHANGES:
            yield observed

    async def logs(self, handle: Handle, *, follow: bool) -> AsyncIterator[bytes]:
        """End at once: the output is somebody else's."""
        for line in _NO_LINES:
            yield line

    async def aclose(self) -> None:
        """End `watch`."""
        self._closed.set()


def _endpoint(base_url: str) -> Endpoint:
    try:
        return parse_base_url(base_url)
    except ValueError as exc:
        raise EngineRefused(
            f"the address cannot be used: {exc}",
            permanent=True,
            cause="not_found",
            remedy="correct `base_url`",
        ) from exc


def _key(handle: Handle) -> InstanceKey | None:
    try:
        return InstanceKey.parse(str(handle.get("key", "")))
    except ValueError:
        return None
