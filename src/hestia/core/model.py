"""Values of the domain: identifiers, endpoints, settings. Frozen and slotted; no behaviour to speak of.

Settings are what the configuration became (`hestia.config` builds them); records that change live in
`core.world`. Durations are float seconds (`math.inf` is "never"), instants are loop-clock seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NewType

from hestia.core.calendar import Window
from hestia.core.rules import Cors, Headers, NoWake, Rules, Underscores

if TYPE_CHECKING:
    from hestia.core.strategy import Strategies, StrategySettings

ServiceId = NewType("ServiceId", str)
InstanceId = NewType("InstanceId", str)
MachineId = NewType("MachineId", str)
GatewayId = NewType("GatewayId", str)

LOCAL = MachineId("local")
START_OVERRUN: Final = 5.0  # seconds from the end of start_timeout until its waiters have the reason
NEVER = math.inf


@dataclass(frozen=True, slots=True)
class InstanceKey:
    """Names one generation of one instance of one gateway; stamped on what an engine starts."""

    gateway: GatewayId
    service: ServiceId
    instance: InstanceId
    generation: int

    def __str__(self) -> str:
        return f"hestia:{self.gateway}/{self.service}/{self.instance}/{self.generation}"

    @classmethod
    def parse(cls, text: str) -> InstanceKey:
        """Read the text form back. Raises ValueError when it is not one of ours."""
        if not text.startswith("hestia:"):
            raise ValueError(f"not an instance key: {text!r}")
        gateway, service, instance, generation = text[7:].split("/")
        return cls(GatewayId(gateway), ServiceId(service), InstanceId(instance), int(generation))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an instance answers: host and port, or a unix socket. `base_path` has no final slash.

    scheme: "http" or "https". port: 1…65535, 0 with `unix_path`. tls_name: SNI, "" for host.
    """

    scheme: str
    host: str
    port: int
    unix_path: str = ""
    tls_name: str = ""
    base_path: str = ""

    @property
    def authority(self) -> str:
        """What a client of this endpoint would send as Host."""
        if self.unix_path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix:{self.unix_path}{self.base_path}"
        return f"{self.scheme}://{self.authority}{self.base_path}"


class HostHeader(StrEnum):
    """What the upstream sees as Host (HO-08). `auto`: preserve on host routes, upstream on prefix routes."""

    AUTO = "auto"
    UPSTREAM = "upstream"
    PRESERVE = "preserve"


class PathPolicy(StrEnum):
    STRICT = "strict"
    VERBATIM = "verbatim"


class OnCold(StrEnum):
    """How a request for a cold service waits (SPEC 2.3)."""

    AUTO = "auto"
    HOLD = "hold"
    PAGE = "page"
    REJECT = "reject"


class IdleWebSocket(StrEnum):
    FRAMES = "frames"
    OPEN = "open"
    NEVER = "never"


class OnExit(StrEnum):
    """What becomes of a running instance when the gateway ends in order (ID-17)."""

    KEEP = "keep"
    STOP = "stop"


class External(StrEnum):
    """What becomes of an instance that answers though nobody here started it (ID-09, RD-03).

    adopt: it is served. ignore: it is none of ours, and in the way of a start. stop: it is ended, which takes
    an engine that can end what it did not start.
    """

    ADOPT = "adopt"
    IGNORE = "ignore"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class BusyProbe:
    """How a service is asked whether it works for nobody's request (ID-07): a URL or a command, as written.

    Either may hold `{port}`. A command of one text goes to the shell.
    """

    url: str = ""
    command: str | tuple[str, ...] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Restart back-off (FB-03), breaker (FB-05) and budget of the service (FB-04). Durations in seconds."""

    base: float = 1.0
    factor: float = 2.0
    cap: float = 60.0
    intensity: int = 3
    period: float = 600.0
    cool_down: float = 30.0
    per_hour: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A host where instances run, and what fits there. Without limits everything does.

    resources: name → amount; bytes for those in `sizes`, whole pieces for the rest. max_instances: None is
    without limit. declared: the configuration describes it; otherwise a service only names it.
    """

    id: MachineId
    address: str = ""
    role: str = ""
    tags: tuple[str, ...] = ()
    resources: Mapping[str, int] = field(default_factory=dict)
    sizes: frozenset[str] = frozenset()
    max_instances: int | None = None
    declared: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSettings:
    """One startable copy of a service, as configured.

    base_url: may hold `{port}`; the engine fills it in per generation.
    options: the engine's own typed model; opaque to everybody but the engine.
    options_hash: changes when a running instance no longer matches its configuration.
    weight, region, models: for strategies. is_last: the `base_url` beside `instances`.
    takes_turns: its machine was named only to whatever starts it there, so that instances there take turns
    unless the machine is declared.
    """

    id: InstanceId
    base_url: str
    health_url: str = ""
    warmup: float = 0.0
    machine: MachineId = LOCAL
    takes_turns: bool = False
    engine: str = "none"
    options: object = None
    options_hash: str = ""
    weight: float = 1.0
    region: str = ""
    models: tuple[str, ...] = ()
    is_last: bool = False

    @property
    def managed(self) -> bool:
        """Whether Hestia starts it; engine `none` leaves that to somebody else."""
        return self.engine != "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """One service, as configured. Instances are tried in this order unless a strategy ranks them.

    rules: what it says about single requests, compiled; None when it says nothing.
    """

    id: ServiceId
    instances: tuple[InstanceSettings, ...]
    hosts: tuple[str, ...] = ()
    idle_timeout: float = NEVER
    idle_websocket: IdleWebSocket = IdleWebSocket.FRAMES
    busy_probe: BusyProbe | None = None
    busy_probe_max: float = 86400.0
    depends_on: tuple[ServiceId, ...] = ()
    external: External = External.ADOPT
    dependency_wait: float = 0.0  # seconds that the starts of what it needs may take
    needs: Mapping[str, int] = field(default_factory=dict)  # room it takes: resource → amount
    pin: bool = False  # never stopped to make room
    exclusive: bool = False  # never a second copy while the first may run
    priority: int = 0
    max_room_wait: float = 60.0
    min_hot: float | None = None  # None: 30 s, or as long as the last start took
    room_wait: float = 0.0  # seconds that those who hold the room may take to go
    keep_warm: bool | tuple[Window, ...] = False
    queue_size: int = 1000
    request_timeout: float | None = None  # None: as long as the start may take
    start_timeout: float = 300.0
    stop_grace: float = 10.0
    health_interval: float = 15.0
    drain_timeout: float = 300.0
    appear_timeout: float = 10.0
    stable_after: float = 30.0
    max_in_flight: int | None = None
    warm_concurrency: int = 1
    connect_timeout: float = 5.0
    response_timeout: float = 600.0
    retry_count: int = 1
    retry_delay: float = 0.0
    retry_on_status: tuple[int, ...] = ()
    retry_on_timeout: bool = False
    retry_on_warmup: bool = False
    retry_idempotency_key: bool = False
    fallback_url: str = ""
    on_cold: OnCold = OnCold.AUTO
    no_wake: tuple[NoWake, ...] = ()
    headers: Headers | None = None
    cors: Cors | None = None
    max_body: int | None = None  # bytes; None is without limit
    underscore_headers: Underscores = Underscores.KEEP
    host_header: str = HostHeader.AUTO  # a HostHeader word or a literal host
    path_policy: PathPolicy = PathPolicy.STRICT
    port: int | None = None  # a listener of its own on the gateway's host
    tls_verify: bool = True
    restart_backoff: Backoff = field(default_factory=Backoff)
    on_exit: OnExit = OnExit.KEEP
    strategy: StrategySettings | None = None
    rules: Rules | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", Rules.of(self))

    @property
    def tries(self) -> int:
        """Further attempts that a request may make: `retry_count`, and one on each other instance."""
        return self.retry_count + max(0, len(self.instances) - 1)

    @property
    def wait_limit(self) -> float:
        """Seconds a request may wait for a lease (CK-05).

        By default longer than a start that a stop precedes: the request learns what became of the start,
        not that it ran out of patience in the same moment.
        """
        if self.request_timeout is not None:
            return self.request_timeout
        starts = self.start_timeout + self.stop_grace + START_OVERRUN + self.dependency_wait
        return starts + self.room_wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS at the front door. certificate, key: paths of PEM files. min_version: "1.2" or "1.3"."""

    certificate: str
    key: str
    key_password: str = field(default="", repr=False)
    min_version: str = "1.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long events and requests are kept: for so many days, and not more than `size` bytes of them."""

    days: int = 30
    size: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Where traces go. otlp_endpoint, service_name: "" is what the environment says. sample: 0 to 1."""

    otlp_endpoint: str = ""
    service_name: str = ""
    sample: float = 1.0
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Settings of the gateway itself. `port` 0 picks a free one."""

    host: str = "127.0.0.1"
    port: int = 8080
    tls: Tls | None = None
    log_level: str = "INFO"
    log_format: str = "auto"
    access_log: bool = True
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    identity_headers: tuple[str, ...] = ()
    state_dir: str = ""
    database_url: str = ""  # "" is `hestia.db` in the state folder
    strategies: str = "strategies"  # folder of the user's own
    waiting_page: str = ""  # path of a template; "" is the built-in page
    retention: Retention = field(default_factory=Retention)
    telemetry: Telemetry | None = None
    start_without_store: bool = False
    on_exit: OnExit = OnExit.KEEP  # of services that say nothing about it
    orphan_policy: OnExit = OnExit.STOP  # of what this gateway started and no setting names any more
    semaphore_base_url: str = "http://localhost:3000"
    semaphore_api_key: str = field(default="", repr=False)
    semaphore_username: str = ""
    semaphore_password: str = field(default="", repr=False)
    semaphore_project: int | str = 1
    semaphore_timeout: float = 30.0
    machines: Mapping[MachineId, Machine] = field(default_factory=dict)  # those that are declared


def machines_of(
    declared: Mapping[MachineId, Machine], services: Iterable[ServiceSettings]
) -> dict[MachineId, Machine]:
    """Every machine: those that are declared, then those that services only name.

    One of whose room nothing is said, and which services name only for Semaphore, has room for one.
    """
    found = dict(declared)
    turns: dict[MachineId, bool] = {}
    for service in services:
        for one in service.instances:
            turns[one.machine] = turns.get(one.machine, True) and one.takes_turns
    for name, takes_turns in turns.items():
        known = found.get(name) or Machine(id=name, declared=False)
        says_nothing = not known.resources and known.max_instances is None
        found[name] = replace(known, max_instances=1) if takes_turns and says_nothing else known
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the configuration says, checked. `sources`: dotted key → where its value came from.

    shared: engine → options that the top of the file says for it, whether a service has that engine or not.
    """

    gateway: GatewaySettings
    services: Mapping[ServiceId, ServiceSettings]
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    config_path: str = ""  # "" when there is no file
    strategies: Strategies | None = None  # all that there are, used or not
    secret_files: tuple[str, ...] = ()  # those that `{file: …}` names
    secrets: frozenset[str] = field(default=frozenset(), repr=False)  # texts that nobody is to see
    shared: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def machines(self) -> dict[MachineId, Machine]:
        """Every machine, described or not."""
        return machines_of(self.gateway.machines, self.services.values())

    def engines(self) -> set[str]:
        """Names of the engines that services have."""
        return {one.engine for service in self.services.values() for one in service.instances}

    def options_for(self, engine: str) -> tuple[object, ...]:
        """The options of everything that has this engine, and those that the top of the file says for it."""
        own = [
            one.options
            for service in self.services.values()
            for one in service.instances
            if one.engine == engine
        ]
        return (*own, self.shared[engine]) if engine in self.shared else tuple(own)
