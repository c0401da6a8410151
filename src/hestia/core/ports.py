"""What the outside implements for the core and the runtime: engines, store, recorder.

The engine port is the one of the contract; nothing else defines it. An engine keeps no life-cycle
state. `Report` calls are plain and never wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from hestia.core.model import Endpoint, GatewayId, InstanceId, InstanceKey, ServiceId

Handle = Mapping[str, Any]  # the engine's own JSON object (≤ 4 KiB); opaque to everybody else, hence Any


class Presence(StrEnum):
    """The three answers about a handle. Unknown is neither of the others: unreachable is not gone."""

    RUNNING = "running"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSpec:
    """What to start. `options` is the engine's own typed model; `base_url` may hold `{port}`."""

    options: object
    options_hash: str
    base_url: str
    health_url: str = ""
    address: str = ""  # of the machine; "" is this one


@dataclass(frozen=True, slots=True)
class Started:
    """What runs now, perhaps not ready. `health_url` has its `{port}` filled in."""

    handle: Handle
    endpoint: Endpoint
    health_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at one handle. Exit fields are set only when gone and known. health_url: as in `Started`.

    pending: what makes it is still under way, and `start` with its key follows that. ending: what ends it is
    under way, so that its stop was decided, whether anybody wrote that down or not.
    """

    handle: Handle
    presence: Presence
    key: InstanceKey | None = None
    endpoint: Endpoint | None = None
    health_url: str = ""
    exit_status: int | None = None
    signal: int | None = None
    reason: str = ""
    pending: bool = False
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    key: InstanceKey
    handle: Handle
    options_hash: str
    observed: Observed


@dataclass(frozen=True, slots=True)
class Discovered:
    """Everything that bears a gateway's id. Absence proves something only when `complete`."""

    found: tuple[Found, ...] = ()
    complete: bool = True


class Report(Protocol):
    """Progress of one start, for the timeline."""

    def stage(self, name: str, text: str) -> None: ...
    def line(self, text: str) -> None: ...
    def made(self, handle: Handle) -> None: ...


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What an engine is built with. `state_dir` is a private folder that survives restarts.

    open_files: the soft limit that programs are to have, where the gateway has another; None: as it has.
    configured: the options of everything that this engine is configured to run now, and what the top of the
    file says about it; for `discover`, which has no handle that says where to look.
    """

    gateway: GatewayId
    state_dir: str
    open_files: int | None = None
    configured: Callable[[], Sequence[object]] = tuple


class Engine(Protocol):
    """Starts, stops and observes instances.

    start: idempotent by key: a live key is followed, never doubled. Returns when it runs, perhaps not
        ready. Cancelled: removes what it made, or has reported its handle. Raises EngineRefused,
        EngineUnavailable, StartFailed.
    stop: returns when gone; gone already or never started is success; still there after KILL raises
        EngineRefused.
    inspect: answers within its own deadline or `unknown`; does not raise for an unreachable machine.
    discover: everything that bears this gateway's id, or raises EngineUnavailable.
    watch: changes, each a hint to inspect; reconnects by itself for ever.
    logs: the last lines (bounded), then with `follow` what comes; ends at once where there are none.
        Raises HandleUnknown.
    aclose: closes own connections and streams; instances stay.
    """

    name: ClassVar[str]
    settle_time: ClassVar[float]

    async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started: ...
    async def stop(self, handle: Handle, *, grace: float) -> None: ...
    async def inspect(self, handle: Handle) -> Observed: ...
    async def discover(self, owner: GatewayId) -> Discovered: ...
    def watch(self) -> AsyncIterator[Observed]: ...
    def logs(self, handle: Handle, *, follow: bool) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomationTask:
    """One task of an automation system, as it was last seen. duration: seconds, when it is over."""

    task_id: str
    status: str
    template_id: str
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Automation:
    """What an automation system does for one instance: the task under way, and the last that ended."""

    provider: str
    current_task: AutomationTask | None = None
    last_task: AutomationTask | None = None


@runtime_checkable
class Automates(Protocol):
    """An engine that works through an automation system may have this as well. Plain, asks nobody."""

    def automation(self, service: ServiceId, instance: InstanceId) -> Automation | None: ...


class EnginePlugin(Protocol):
    """What the entry-point group `hestia.engines` names: a class with its typed options.

    `Options` is a pydantic model with `extra="forbid"`; a field of the engine's own configuration is a
    field of it. `stops` says whether the engine can stop what it did not start.
    """

    name: ClassVar[str]
    settle_time: ClassVar[float]
    Options: ClassVar[type[Any]]  # pydantic model class; core does not know pydantic, hence Any

    def __call__(self, context: EngineContext) -> Engine: ...


_OF_ENGINES: Final = (
    *("start", "stop", "inspect", "discover", "watch", "logs", "aclose"),
    *("name", "Options", "settle_time"),
)


def lacking_of_engine(plugin: object) -> list[str]:
    """What a class lacks to be an `EnginePlugin`."""
    return [part for part in _OF_ENGINES if not hasattr(plugin, part)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Written and committed before an engine is called (INV-6). `at` is wall-clock seconds, UTC."""

    key: InstanceKey
    engine: str
    options_hash: str
    episode: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One life-cycle event for the timeline (INV-9): who moved what, from where to where, and why.

    at: wall-clock seconds, UTC. lasted: seconds in the old state. data: further plain fields.
    """

    at: float
    service: str
    instance: str
    generation: int
    event: str
    before: str
    after: str
    cause: str
    actor: str
    episode: str = ""
    lasted: float = 0.0
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A generation that was not confirmed gone when the gateway last ended.

    state: the last known one of its instance; `failed` is one that could not be stopped. handle: None when
    the end came between the intent and the engine's answer. endpoint, health_url: as text, "" where not
    known. last_used: wall-clock seconds, UTC; at most 15 s old, None when it never was (AD-12).
    """

    intent: Intent
    state: str
    handle: Handle | None = None
    endpoint: str = ""
    health_url: str = ""
    last_used: float | None = None
    external: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a store knows when it is opened, of one gateway.

    generations: the highest number ever used, which is never used again. facts: (kind, name) → a small
    JSON object: back-off, history of starts, budgets.
    """

    kept: tuple[Kept, ...] = ()
    generations: Mapping[tuple[ServiceId, InstanceId], int] = field(default_factory=dict)
    facts: Mapping[tuple[str, str], Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredRow:
    """An event with its number. Numbers grow; a page ends where the next begins with `before`."""

    id: int
    row: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEntry:
    """What is known of one request that waited or failed. document: JSON, its form is its writer's.

    at: wall-clock seconds, UTC, when it came. id: given by the store; 0 before.
    """

    request_id: str
    at: float
    service: str
    document: Mapping[str, object]
    id: int = 0


class StoreReader(Protocol):
    """What the store tells, newest first, with what was handed over last. limit: entries at most.

    before: only entries with a lower number. since, until: wall-clock seconds, the former included.
    Raises StoreUnavailable where it cannot be read; never for lack of anything found.
    """

    async def events(
        self,
        *,
        service: str = "",
        instance: str = "",
        event: str = "",
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[StoredRow]: ...
    async def episode(self, episode: str) -> list[StoredRow]:
        """All events of one episode, in the order in which they happened (others: newest first)."""
        ...

    async def request(self, request_id: str) -> RequestEntry | None:
        """The newest of that id: an id may come from a client, and come twice."""
        ...

    async def requests(
        self,
        *,
        service: str = "",
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[RequestEntry]: ...


class Store(StoreReader, Protocol):
    """Durable rows of one gateway.

    open: once, before anything else. Raises ConfigError: in use by another gateway, or not ours to write
        (of a newer version, of another program). A disk that cannot be used is `trouble`, not an error.
    intend: committed when it returns; then the engine may be called (INV-6). Raises StoreUnavailable: the
        intent is as if it had never been. The same when it is cancelled. Who calls it sees that `closed`
        is called in the end, also where no engine made anything.
    handle_made, noted, closed, fact, append, record: taken at once and written soon (50 ms), in order of
        their dependence; never raise, never wait. Of a key without an intent the first three change nothing.
    noted: what is None stays as it was.
    append, record: what is handed over is not to be changed any more. append: returns the event's number,
        0 where it is not taken; another file that takes the place of a damaged one may give it another.
    closed: the generation is confirmed gone; its number stays used.
    fact: None forgets it.
    trouble: what is the matter, in a sentence with its remedy; "" when all is well. Rows are kept meanwhile,
        the newest few thousand of them, and written when it is over.
    aclose: writes everything that was handed over; then `intend` is refused and the rest does nothing.
    """

    @property
    def trouble(self) -> str: ...
    async def open(self, owner: GatewayId) -> Memory: ...
    async def intend(self, intent: Intent) -> None: ...
    def handle_made(self, key: InstanceKey, handle: Handle) -> None: ...
    def noted(
        self,
        key: InstanceKey,
        *,
        state: str | None = None,
        endpoint: str | None = None,
        health_url: str | None = None,
        last_used: float | None = None,
        external: bool | None = None,
    ) -> None: ...
    def closed(self, key: InstanceKey, reason: str) -> None: ...
    def fact(self, kind: str, name: str, value: Mapping[str, object] | None) -> None: ...
    def append(self, row: Row) -> int: ...
    def record(self, entry: RequestEntry) -> None: ...
    async def aclose(self) -> None: ...


class Recorder(Protocol):
    """Where transitions and other facts are told to. Calls are plain, cheap and never raise."""

    def transition(self, row: Row) -> None: ...
    def stage(self, service: str, instance: str, name: str, text: str, episode: str) -> None: ...


class NullRecorder:
    """A recorder that keeps nothing."""

    def transition(self, row: Row) -> None:
        """Forget it."""

    def stage(self, service: str, instance: str, name: str, text: str, episode: str) -> None:
        """Forget it."""
