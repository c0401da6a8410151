"""Which instance serves: what a strategy is, what it is shown, and what it may answer (SPEC 6).

A strategy ranks; it reserves nothing. The gateway asks it and takes a lease in the same synchronous call, so
what it was shown is still true when it is acted on. It owns neither leases nor deadlines nor retries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

from hestia.core.errors import HestiaError
from hestia.core.lifecycle import State
from hestia.core.model import InstanceId, InstanceSettings
from hestia.core.ports import EnginePlugin
from hestia.core.records import Slot

PEEK_MAX = 256 * 1024  # bytes of a body that are read ahead at most (SB-07)


class Candidate:
    """One instance as a strategy sees it: it may look, and changes nothing by looking.

    id: as configured. url: as written, with `{port}` where the engine fills it in. is_last: the `base_url`
    beside `instances`, for what nothing else is fit for. ejected: it failed too often lately; it is used only
    when no other can serve. room: whether one more request may be sent to it now.
    """

    __slots__ = ("_slot", "ejected", "id", "is_last", "models", "region", "url", "weight")

    def __init__(self, slot: Slot, settings: InstanceSettings) -> None:
        self._slot = slot
        self.id = settings.id
        self.url = settings.base_url
        self.weight = settings.weight
        self.region = settings.region
        self.models = settings.models
        self.is_last = settings.is_last
        self.ejected = False

    @property
    def state(self) -> State:
        return self._slot.record.state

    @property
    def is_hot(self) -> bool:
        """Whether it takes requests; a full one is hot as well."""
        use = self._slot.use
        return use is not None and use.admitting

    @property
    def room(self) -> bool:
        use = self._slot.use
        return use is not None and use.room

    @property
    def in_flight(self) -> int:
        """Requests that it serves now."""
        use = self._slot.use
        return len(use.leases) if use is not None else 0

    @property
    def limit(self) -> float:
        """Requests at once (`max_in_flight`); infinite without limit."""
        most = self._slot.service.settings.max_in_flight
        return math.inf if most is None else most

    @property
    def suspect(self) -> bool:
        """Whether it is hot, but its probes fail."""
        use = self._slot.use
        return use is not None and use.suspect

    @property
    def doubtful(self) -> bool:
        """Whether it is ejected or a suspect: every strategy of ours takes the others first."""
        use = self._slot.use
        return self.ejected or (use is not None and use.suspect)

    @property
    def last_error(self) -> HestiaError | None:
        return self._slot.record.error

    def __repr__(self) -> str:
        return f"<Candidate {self.id} {self.state} in_flight={self.in_flight}>"


class Asked(Protocol):
    """The request as a strategy sees it. Texts are latin-1; names of headers in any case.

    target: as the service gets it, with its query. client: address, "" where it is not known. at: wall-clock
    seconds. key: what `reads` asked for, None where the request does not say it.
    """

    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def client(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def key(self) -> str | None: ...
    def header(self, name: str) -> str | None: ...
    def cookie(self, name: str) -> str | None: ...
    def query(self, name: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Reads:
    """A value of the request that a strategy wants to know: from the query, or from the body.

    peek_max: bytes of the body that are read ahead for it, at most `PEEK_MAX`.
    """

    name: str
    peek_max: int = PEEK_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Ejection:
    """When an instance that keeps failing is left out: after so many failures in a row, for `cool_down`
    seconds; then a probe must succeed. statuses: answers that are failures, besides failed connects."""

    after: int = 5
    statuses: frozenset[int] = frozenset({502, 503, 504})
    cool_down: float = 30.0


class Ranking(NamedTuple):
    """What a strategy answers: ids of instances.

    order: those that may serve, best first: the first hot one with room does; where none is hot the first
    that can be is started. then: to be used only when all of `order` failed. why: for `explain`, in few
    words. wake: one to be started although others are hot. sticky: how the client comes back.
    """

    order: tuple[InstanceId, ...]
    then: tuple[InstanceId, ...] = ()
    why: str = ""
    wake: InstanceId | None = None
    sticky: Sticky | None = None


@dataclass(frozen=True, slots=True)
class Sticky:
    """A cookie by which a client comes back to its instance. came: what it sent. max_age: seconds, 0 ends
    with the browser."""

    cookie: str
    values: Mapping[InstanceId, str]
    came: str | None = None
    max_age: int = 0


class Strategy(Protocol):
    """Ranks the instances of one service. Made anew when its options change.

    reads: what it wants to know of the body; None where it does not look there. ejection: None leaves
    instances that fail in.
    """

    @property
    def reads(self) -> Reads | None: ...
    @property
    def ejection(self) -> Ejection | None: ...
    def rank(
        self, asked: Asked, candidates: Sequence[Candidate]
    ) -> Ranking | Iterable[Candidate] | Iterable[str]:
        """Decide for one request, at once: never wait. Must not change what it is given."""
        ...


class StrategyPlugin(Protocol):
    """What the entry-point group `hestia.strategies` names, and what `register_strategy` registers.

    `Options` is a pydantic model with `extra="forbid"` and defaults: the keys under `routing:`. features: for
    people, in `/v1/strategies`. Called with its options and the instances of the service, it makes a
    Strategy; it raises `Unfit` for options that do not fit these instances.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    features: ClassVar[tuple[str, ...]]
    Options: ClassVar[type[Any]]  # pydantic model class; core does not know pydantic, hence Any

    def __call__(self, options: Any, instances: Sequence[InstanceSettings]) -> Strategy: ...


class Unfit(ValueError):
    """Options that do not fit the instances. way: keys from `routing:` to the value. near: what was meant."""

    def __init__(self, text: str, *, way: Sequence[str | int] = (), near: str = "", remedy: str = "") -> None:
        super().__init__(text)
        self.way = tuple(way)
        self.near = near
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class StrategySettings:
    """`strategy` and `routing` of a service, checked. plugin: what makes it. options: of the plug-in's own
    model. written: `routing:` as it was written, for `/v1/strategies`."""

    name: str
    plugin: StrategyPlugin
    options: object = None
    written: Mapping[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One strategy that can be used. origin: the package or the file it is from."""

    plugin: StrategyPlugin
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A file that could not be loaded. detail: one sentence. trace: where it broke, for its author."""

    file: str
    detail: str
    trace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEngine:
    """An engine that a file registered. origin: the file."""

    plugin: EnginePlugin
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategies:
    """All that this gateway has. engines: of files only; packages bring theirs themselves."""

    loaded: Mapping[str, Loaded] = field(default_factory=dict)
    engines: Mapping[str, OwnEngine] = field(default_factory=dict)
    failed: tuple[Failed, ...] = ()
    folder: str = ""
