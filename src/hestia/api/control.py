"""What the control API needs from the rest of the gateway, as protocols and plain values.

Owns no behaviour. `runtime.gateway.Gateway` fits `Control`, `inward.dispatch.DispatchCall` its namesake here;
`app.py` hands both in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from hestia.config import Problem
from hestia.core.difference import Difference
from hestia.core.model import ServiceId, ServiceSettings
from hestia.core.strategy import Strategies
from hestia.runtime.machines import MachineStatus
from hestia.runtime.status import Health, ServiceStatus


class Control(Protocol):
    """The control side of the gateway.

    status: raises ServiceNotFound; `probe` looks for an instance that somebody else started.
    start: raises AlreadyRunning when the service is starting or hot.
    wait_hot: raises StartError, or QueueTimeout after `timeout` seconds.
    logs: raw output, oldest first; ends by itself unless `follow`.
    """

    def services(self) -> Sequence[ServiceId]: ...
    async def status(self, service: ServiceId, *, probe: bool = True) -> ServiceStatus: ...
    async def statuses(self) -> Sequence[ServiceStatus]: ...
    def machines(self) -> Sequence[MachineStatus]: ...
    def start(self, service: ServiceId, *, actor: str) -> None: ...
    async def wait_hot(self, service: ServiceId, *, timeout: float) -> None: ...
    def stop(self, service: ServiceId, *, force: bool, actor: str) -> None: ...
    def restart(self, service: ServiceId, *, force: bool, actor: str) -> None: ...
    def logs(
        self, service: ServiceId, *, instance: str = "", follow: bool = False
    ) -> AsyncIterator[bytes]: ...
    def health(self) -> Health: ...


class DispatchAnswer(Protocol):
    """What a dispatched request came back with.

    fields: lower-case names, in order. own: the gateway's answer, not the service's.
    """

    @property
    def status(self) -> int: ...
    @property
    def fields(self) -> Sequence[tuple[bytes, bytes]]: ...
    @property
    def body(self) -> bytes: ...
    @property
    def own(self) -> bool: ...


class DispatchCall(Protocol):
    """One call of the dispatcher; used in a `with`, which gives back what it counts.

    take: counts `size` bytes of the call in; raises BodyTooLarge, GatewayOverloaded.
    send: asks the service; kind: content type of `body` unless `fields` names one; caller: fields of the call
    itself. Raises ClientError, AdmissionError, UpstreamError. Cancelled, it aborts the request.
    """

    def take(self, size: int) -> None: ...
    async def send(
        self,
        service: str,
        method: str,
        path: str,
        fields: Sequence[tuple[str, str]],
        body: bytes | None,
        *,
        kind: str,
        caller: Sequence[tuple[bytes, bytes]],
    ) -> DispatchAnswer: ...


Dispatch = Callable[[], AbstractContextManager[DispatchCall]]


@dataclass(frozen=True, slots=True)
class RoutingView:
    """Strategies and the services that have one, or several instances. By service: errors, why one could not
    be made; failures, how often it failed at a request since."""

    strategies: Strategies = field(default_factory=Strategies)
    services: Sequence[ServiceSettings] = ()
    errors: Mapping[ServiceId, str] = field(default_factory=dict)
    failures: Mapping[ServiceId, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """One effective setting. key: dotted. value: JSON-able, `***` for a secret. source: in words."""

    key: str
    value: object
    source: str


@dataclass(frozen=True, slots=True)
class ConfigView:
    """The effective configuration. path: "" when there is no file."""

    path: str = ""
    rows: tuple[ConfigRow, ...] = ()
    warnings: tuple[str, ...] = ()
    reload: Reload | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """One attempt to take a new configuration. at: wall-clock seconds. actor: who asked.

    problems: why it was refused; none is success. found: what was applied, and what waits for a restart.
    """

    at: float
    actor: str
    problems: tuple[Problem, ...] = ()
    found: Difference = field(default_factory=Difference)

    @property
    def ok(self) -> bool:
        return not self.problems


class Reloads(Protocol):
    """Who takes a new configuration. last_reload: what came of the last attempt.

    reload: one attempt; what is wrong with it is in the result. actor: who asks.
    """

    @property
    def last_reload(self) -> Reload | None: ...
    async def reload(self, actor: str) -> Reload: ...
