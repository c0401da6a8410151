"""The keys of the configuration file: one frozen pydantic model per mapping.

This is the table that everything else reads: the loader, the JSON Schema, the reference page, `config show`;
those at the top of the file are in `gateway`.
A field says its kind (`values`), its default, what it does and since when. A field whose kind is a duration
may also be written `<name>_ms` and `<name>_seconds` (SPEC 1). Keys that are known but not built yet stand in
`later`. Defaults are those of `core.model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from hestia.config.busy import AddressOrCommand
from hestia.config.gateway import GatewayKeys
from hestia.config.instances import EXAMPLE
from hestia.config.keys import EngineKeys, Keys, key, kind_of, spellings
from hestia.config.machines import MachineName, Resources
from hestia.config.rules import CorsKeys, HeadersKeys, Nested, NoWakeKeys
from hestia.config.sizes import Size
from hestia.config.targets import NumberOrName, Seconds
from hestia.config.values import (
    Address,
    AnyMapping,
    Duration,
    Flag,
    HostHeaderText,
    HostName,
    Many,
    Mappings,
    Real,
    Text,
    Whole,
    Word,
)
from hestia.config.warm import KeepWarmKeys
from hestia.core.calendar import Window
from hestia.core.model import (
    LOCAL,
    Backoff,
    BusyProbe,
    External,
    HostHeader,
    IdleWebSocket,
    OnCold,
    OnExit,
    PathPolicy,
    ServiceSettings,
)
from hestia.core.rules import Cors, Headers, NoWake, Underscores

__all__ = ["BackoffKeys", "EngineKeys", "GatewayKeys", "ServiceKeys", "key", "kind_of", "spellings"]

_SERVICE: Final = ServiceSettings(id=None, instances=())  # type: ignore[arg-type]  # only its defaults are read
_BACKOFF: Final = Backoff()


class BackoffKeys(Keys):
    """`restart_backoff` of a service: pauses between failed starts, and when to stop trying."""

    base: Annotated[float, Duration()] = key(_BACKOFF.base, "Longest pause after the first failed start.")
    factor: Annotated[float, Real(1.0, 100.0)] = key(
        _BACKOFF.factor, "By how much the pause grows each time."
    )
    cap: Annotated[float, Duration()] = key(_BACKOFF.cap, "The pause never grows beyond this.")
    intensity: Annotated[int, Whole(1, 1000)] = key(
        _BACKOFF.intensity,
        "Failed starts within `period` after which requests are answered at once with the reason.",
    )
    period: Annotated[float, Duration()] = key(
        _BACKOFF.period, "Time within which failed starts are counted."
    )
    cool_down: Annotated[float, Duration()] = key(
        _BACKOFF.cool_down, "Time without trying after that; doubles up to 10m while trials fail."
    )
    per_hour: Annotated[int, Whole(1, 1_000_000)] = key(
        _BACKOFF.per_hour,
        "Failed starts and crashes of the service within an hour after which requests are answered at once, "
        "until the first of them is an hour ago.",
    )


class RoutingKeys(Keys):
    """`routing` of a service: the strategy's own keys."""


class ServiceKeys(Keys):
    """Keys under `services.<id>`."""

    base_url: Annotated[str, Address()] = key(
        "",
        "Where the service answers. `{port}` is a free port, a new one for each start.",
        example="http://localhost:8000",
        shown="`ollama`: http://localhost:11434; engine process with `{port}` in its command: http://127.0.0.1:{port}",
    )
    health_url: Annotated[str, Address(query=True)] = key(
        "",
        "Asked with GET while the service starts; it is ready when this answers 2xx. Better than `warmup`.",
        example="http://localhost:8000/health",
        shown="none (`ollama`: its /api/tags)",
    )
    warmup: Annotated[float, Duration(least=0.0)] = key(
        0.0, "Without `health_url`: wait this long after the start, then a TCP connect must succeed."
    )
    engine: EngineKeys | None = key(
        None,
        "Who starts and stops the service: a mapping with `type` and that engine's options.",
        example={"type": "process", "command": ["my-server", "--port", "{port}"]},
        shown="{type: none} (`ollama`: process, if the program is on the PATH)",
    )
    instances: Annotated[tuple[object, ...], Mappings(AnyMapping(), EXAMPLE)] = key(
        (),
        "Several copies of the service, see [below](#several-instances). `base_url` beside them is one more, "
        "used when nothing else fits.",
        example=[{"url": "http://llm-a:8000", "weight": 2}, {"url": "http://llm-b:8000"}],
    )
    strategy: Annotated[str, Text("the name of a strategy, such as load_balancer")] = key(
        "",
        "Which instance serves a request: `load_balancer`, `model_router`, `custom_routing`, or one of your "
        "own; see [strategies](strategies.md).",
        example="load_balancer",
        shown="none: the first that is hot, in their order",
    )
    routing: RoutingKeys | None = key(
        None,
        "Options of the strategy, see [strategies](strategies.md).",
        example={"method": "least_in_flight"},
        shown="the defaults of the strategy",
    )
    machine: Annotated[str, MachineName()] = key(
        str(LOCAL),
        "Where the service runs. What it may share there is said in `machines`; a machine that is not "
        "described there has no limits.",
    )
    needs: Annotated[Mapping[str, int], Resources("{vram: 14GiB}")] = key(
        {},
        "What the service takes of its machine while it runs: amounts of its `resources`.",
        example={"vram": "14GiB"},
        shown="nothing",
    )
    pin: Annotated[bool, Flag()] = key(
        _SERVICE.pin, "Never stopped to make room for another service on its machine."
    )
    exclusive: Annotated[bool, Flag()] = key(
        _SERVICE.exclusive,
        "Never a second instance while nobody knows whether the first still runs: for what writes data.",
    )
    priority: Annotated[int, Whole(-1000, 1000)] = key(
        _SERVICE.priority,
        "Who gets room first: the higher number. Waiting raises it, up to the highest after `max_room_wait`.",
    )
    max_room_wait: Annotated[float, Duration(least=0.0)] = key(
        _SERVICE.max_room_wait,
        "How long services that are in use may keep this one waiting for room; then one of them drains.",
    )
    min_hot: Annotated[float, Duration(least=0.0)] = key(
        _SERVICE.min_hot,
        "How long it stays at least once it is hot, while nobody has waited `max_room_wait` for its room.",
        example="1m",
        shown="30s, or as long as its last start took",
    )
    hosts: Annotated[tuple[str, ...], Many(HostName(), "[chat.lan]")] = key(
        _SERVICE.hosts,
        "Host names that lead to the service, beside `<id>.localhost`: for web apps that assume `/`.",
        example=["chat.lan"],
    )
    idle_timeout: Annotated[float, Duration(endless=True)] = key(
        _SERVICE.idle_timeout, "Stop after this long without use; 0 is never.", example="30m"
    )
    idle_websocket: Annotated[str, Word(tuple(IdleWebSocket))] = key(
        str(_SERVICE.idle_websocket),
        "What counts as use of an open WebSocket: frames with data, being open, or nothing.",
    )
    busy_probe: Annotated[BusyProbe | None, AddressOrCommand()] = key(
        _SERVICE.busy_probe,
        "Asked before an idle stop whether the service works on something that makes no traffic: an address "
        "or a command, see [below](#asking-whether-it-is-busy).",
        example="http://localhost:8000/busy",
        shown="none",
    )
    busy_probe_max: Annotated[float, Duration()] = key(
        _SERVICE.busy_probe_max,
        "How long a `busy_probe` that fails counts as busy; then the service is stopped with a warning.",
    )
    depends_on: Annotated[tuple[str, ...], Many(Text("the id of a service"), "[database]")] = key(
        _SERVICE.depends_on,
        "Services that must be hot before this one is started, and that stay while it runs.",
        example=["database"],
    )
    external: Annotated[str, Word(tuple(External))] = key(
        str(_SERVICE.external),
        "What becomes of a program that answers at the address though the gateway did not start it. adopt: "
        "requests go to it; engine process cannot stop it. ignore: it is not used, and a start says that the "
        "address is taken. stop needs an engine that can end what it did not start: not process, not none.",
    )
    keep_warm: Annotated[
        bool | tuple[Window, ...],
        Nested(KeepWarmKeys, '[{"from": "08:00", "to": "18:00"}]', many=True, flag=True),
    ] = key(
        _SERVICE.keep_warm,
        "Started without being asked, and not stopped for being idle: always (true), or in windows of "
        "`days`, `from`, `to` and `timezone`, see [below](#keeping-a-service-warm).",
        example=[
            {
                "days": ["mon", "tue", "wed", "thu", "fri"],
                "from": "08:00",
                "to": "18:00",
                "timezone": "Europe/Berlin",
            }
        ],
    )
    on_cold: Annotated[str, Word(tuple(OnCold))] = key(
        str(_SERVICE.on_cold),
        "What a request to a cold service gets. auto: it waits, and a browser that opens an address gets a "
        "page that waits. page: the same, also for browsers that say little of themselves. hold: it waits, "
        "whoever asks. reject: 503 with an estimate while the start goes on.",
    )
    queue_size: Annotated[int, Whole(1, 1_000_000)] = key(
        _SERVICE.queue_size, "Requests that may wait; the next one is refused with 503 `queue_full`."
    )
    request_timeout: Annotated[float, Duration(hint="; `on_cold: reject` answers at once")] = key(
        None,
        "How long a request may wait until it is served; then 503 `queue_timeout`, and the start goes on.",
        example="2m",
        shown="as long as a start may take: `start_timeout`, `stop_grace` and 5s",
    )
    start_timeout: Annotated[float, Duration()] = key(
        _SERVICE.start_timeout, "How long a start may take until the service is ready."
    )
    stop_grace: Annotated[float, Duration(least=0.0)] = key(
        _SERVICE.stop_grace, "Time between asking the program to end and ending it by force."
    )
    health_interval: Annotated[float, Duration(least=1.0)] = key(
        _SERVICE.health_interval,
        "How often a hot service is asked whether it still lives: its `health_url`, or whether it takes a "
        "connection where Hestia did not start it. Rarer while nobody uses it; `never` asks only after a "
        "request got no answer.",
    )
    drain_timeout: Annotated[float, Duration(least=0.0)] = key(
        _SERVICE.drain_timeout, "How long a stop waits for requests that are still open."
    )
    appear_timeout: Annotated[float, Duration(least=0.0)] = key(
        _SERVICE.appear_timeout,
        "Engine none: how long a request waits for somebody else to start the service.",
        shown="10s; with several instances 1s, for each that is asked",
    )
    stable_after: Annotated[float, Duration(least=0.0)] = key(
        _SERVICE.stable_after,
        "A start counts as a success after this long; before it an end is a failed start.",
    )
    on_exit: Annotated[str, Word(tuple(OnExit))] = key(
        "",
        "What becomes of it when the gateway ends: keep leaves it to the next gateway, stop ends it.",
        example="stop",
        shown="as `on_exit` at the top of the file",
    )
    restart_backoff: BackoffKeys = key(BackoffKeys(), "Pauses between failed starts.", example={"cap": "2m"})
    max_in_flight: Annotated[int, Whole(1, 1_000_000)] = key(
        _SERVICE.max_in_flight,
        "Requests at the same time; more wait in the queue.",
        example=4,
        shown="unlimited",
    )
    warm_concurrency: Annotated[int, Whole(1, 1_000_000)] = key(
        _SERVICE.warm_concurrency,
        "Requests at the same time until a fresh start gave its first answer (at most 2s).",
    )
    connect_timeout: Annotated[float, Duration()] = key(
        _SERVICE.connect_timeout, "How long a connection to the service may take."
    )
    response_timeout: Annotated[float, Duration(endless=True)] = key(
        _SERVICE.response_timeout, "How long the head of an answer may take; 0 is without limit."
    )
    retry_count: Annotated[int, Whole(0, 100)] = key(
        _SERVICE.retry_count, "Further attempts of a request on the same instance, where repeating is safe."
    )
    retry_delay: Annotated[float, Duration(least=0.0)] = key(
        _SERVICE.retry_delay, "Pause between these attempts, a quarter shorter or longer by chance."
    )
    retry_on_status: Annotated[tuple[int, ...], Many(Whole(400, 599), "[502, 503, 504]")] = key(
        _SERVICE.retry_on_status,
        "Answers that GET, HEAD, OPTIONS, PUT and DELETE are sent again for; the last one is passed on.",
        example=[502, 503, 504],
    )
    retry_on_timeout: Annotated[bool, Flag()] = key(
        _SERVICE.retry_on_timeout,
        "Send GET, HEAD, OPTIONS, PUT and DELETE again when `response_timeout` is over.",
    )
    retry_on_warmup: Annotated[bool, Flag()] = key(
        _SERVICE.retry_on_warmup,
        "Send GET, HEAD, OPTIONS, PUT and DELETE again when the first answer since a start is 503 (for 2s at "
        "most).",
    )
    retry_idempotency_key: Annotated[bool, Flag()] = key(
        _SERVICE.retry_idempotency_key,
        "Treat a request with an `Idempotency-Key` like a PUT when its connection breaks: the service must "
        "recognise it.",
    )
    fallback_url: Annotated[str, Address()] = key(
        _SERVICE.fallback_url,
        "Where a request goes when the service cannot be reached or started. Never started, asked once.",
        example="http://backup.lan:8000",
        shown="none",
    )
    no_wake: Annotated[tuple[NoWake, ...], Nested(NoWakeKeys, '[{"path": "/metrics"}]', many=True)] = key(
        _SERVICE.no_wake,
        "Requests that neither start the service nor keep it up: 503 `dormant` while it is cold. Members: "
        "`path`, `method`, `user_agent`, each a glob; all given ones must match.",
        example=[{"path": "/favicon.ico"}, {"path": "/metrics", "user_agent": "Prometheus/*"}],
    )
    headers: Annotated[Headers | None, Nested(HeadersKeys, '{"response": {"remove": ["Server"]}}')] = key(
        _SERVICE.headers,
        "Headers to set and to remove: `request` and `response`, each with `set` (name: value) and `remove` "
        "(names).",
        example={"request": {"set": {"X-Team": "home"}}, "response": {"remove": ["Server"]}},
        shown="none",
    )
    cors: Annotated[Cors | None, Nested(CorsKeys, '{"origins": ["https://app.lan"]}')] = key(
        _SERVICE.cors,
        "`origins` of other sites whose pages may start the service and open WebSockets to it; `*` is any.",
        example={"origins": ["https://app.lan:3000"]},
        shown="none",
    )
    max_body: Annotated[int | None, Size()] = key(
        _SERVICE.max_body,
        "Largest request body; more gets 413 `body_too_large`.",
        example="100MiB",
        shown="unlimited",
    )
    underscore_headers: Annotated[str, Word(tuple(Underscores))] = key(
        str(_SERVICE.underscore_headers),
        "What becomes of request headers with `_` in their name, which servers may read as `-`: keep, drop "
        "them, or refuse the request.",
    )
    host_header: Annotated[str, Word(tuple(HostHeader), plus=HostHeaderText())] = key(
        str(_SERVICE.host_header),
        "What the service sees as Host: its own (upstream), the client's (preserve), or this text; auto "
        "preserves it when the client came by host name.",
    )
    path_policy: Annotated[str, Word(tuple(PathPolicy))] = key(
        str(_SERVICE.path_policy), "strict refuses paths that climb (`..`); verbatim passes every path on."
    )
    port: Annotated[int | None, Whole(1, 65535)] = key(
        _SERVICE.port,
        "A port of its own on the gateway's `host`, where every request is for this service: for clients "
        "that can take neither a prefix nor a host name. Not set by `<SERVICE>_PORT`.",
        example=8081,
        shown="none",
    )
    tls_verify: Annotated[bool, Flag()] = key(
        _SERVICE.tls_verify, "With an https `base_url`: check the certificate of the service."
    )
    semaphore_enabled: Annotated[bool, Flag()] = key(
        False,
        "Start and stop the service through Semaphore: [how](semaphore-integration.md).",
    )
    semaphore_machine_id: Annotated[str, Text("the name of a machine")] = key(
        "",
        "Name of the machine, which the playbook is told. Needed with `semaphore_enabled`.",
        example="gpu-server-01",
        shown="none",
    )
    semaphore_start_template_id: Annotated[int | str, NumberOrName("a template")] = key(
        1, "Template in Semaphore that starts the service: its id or its name.", example="start app"
    )
    semaphore_stop_template_id: Annotated[int | str, NumberOrName("a template")] = key(
        2, "Template in Semaphore that stops it: another one.", example="stop app"
    )
    semaphore_task_timeout: Annotated[float, Seconds()] = key(
        300.0, "How long a task may run, and how long it may wait in Semaphore's queue.", example=600
    )
    semaphore_poll_interval: Annotated[float, Seconds(least=0.05)] = key(
        2.0, "Pause between two looks at a task while Semaphore's events cannot be had."
    )
