"""The keys of the configuration file: one frozen pydantic model per mapping.

This is the table that everything else reads: the loader, the JSON Schema, the reference page, `config show`.
A field says its kind (`values`), its default, what it does and since when. A field whose kind is a duration
may also be written `<name>_ms` and `<name>_seconds` (SPEC 1). Keys that are known but not built yet stand in
`later`. Defaults are those of `core.model`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from hestia.config.database import DatabaseUrl
from hestia.config.rules import CorsKeys, HeadersKeys, Nested, NoWakeKeys, RetentionKeys, TlsKeys
from hestia.config.sizes import Size
from hestia.config.values import (
    Address,
    Duration,
    FieldName,
    Flag,
    HostHeaderText,
    HostName,
    Kind,
    ListenHost,
    Many,
    Network,
    Real,
    Text,
    Whole,
    Word,
)
from hestia.core.model import (
    LOCAL,
    Backoff,
    GatewaySettings,
    HostHeader,
    IdleWebSocket,
    OnCold,
    OnExit,
    PathPolicy,
    Retention,
    ServiceSettings,
    Tls,
)
from hestia.core.rules import Cors, Headers, NoWake, Underscores

_GATEWAY: Final = GatewaySettings()
_SERVICE: Final = ServiceSettings(id=None, instances=())  # type: ignore[arg-type]  # only its defaults are read
_BACKOFF: Final = Backoff()


def _key(
    default: object,
    description: str,
    *,
    since: str = "0.1",
    example: object = None,
    shown: str = "",
) -> Any:  # Any: like pydantic.Field, the default of a field of whatever type
    """A field. shown: words for the default where the value alone does not say it."""
    extra: JsonDict = {"since": since, **({"shown": shown} if shown else {})}
    examples = None if example is None else [example]
    return Field(default=default, description=description, examples=examples, json_schema_extra=extra)


class Keys(BaseModel):
    """Base of the mappings of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewayKeys(Keys):
    """Keys at the top of the file: the gateway itself."""

    host: Annotated[str, ListenHost()] = _key(
        _GATEWAY.host,
        "Where the gateway listens; 0.0.0.0 is every network of this machine.",
        example="0.0.0.0",
    )
    port: Annotated[int, Whole(0, 65535)] = _key(
        _GATEWAY.port, "Port of the gateway; 0 picks a free one and prints it."
    )
    tls: Annotated[Tls | None, Nested(TlsKeys, '{"certificate": "cert.pem", "key": "key.pem"}')] = _key(
        _GATEWAY.tls,
        "HTTPS instead of HTTP: paths of PEM files, `certificate` with its chain and `key`; a relative path "
        "counts from the file. Also `key_password`, for a locked key, and `min_version` (`1.2` or `1.3`). "
        "Files that change are read again.",
        example={
            "certificate": "/etc/letsencrypt/live/home.example/fullchain.pem",
            "key": "/etc/letsencrypt/live/home.example/privkey.pem",
        },
        shown="none (HTTP)",
    )
    log_level: Annotated[str, Word(("DEBUG", "INFO", "WARNING", "ERROR"), upper=True)] = _key(
        _GATEWAY.log_level, "From which level on the log is written."
    )
    log_format: Annotated[str, Word(("auto", "json", "console"))] = _key(
        _GATEWAY.log_format, "Form of the log; auto is console on a terminal and JSON elsewhere."
    )
    access_log: Annotated[bool, Flag()] = _key(_GATEWAY.access_log, "One line per request.")
    allowed_hosts: Annotated[tuple[str, ...], Many(HostName(), "[hestia.lan]")] = _key(
        _GATEWAY.allowed_hosts,
        "Further host names under which browsers may reach the gateway (defence against DNS rebinding).",
        example=["hestia.lan"],
    )
    trusted_proxies: Annotated[tuple[str, ...], Many(Network(), "[10.0.0.0/8]")] = _key(
        _GATEWAY.trusted_proxies,
        "Addresses of proxies in front of the gateway whose forwarded fields are believed.",
        example=["10.0.0.0/8"],
    )
    identity_headers: Annotated[tuple[str, ...], Many(FieldName(), "[Remote-User]")] = _key(
        _GATEWAY.identity_headers,
        "Headers by which a trusted proxy names the user; taken off everybody else's requests.",
        example=["Remote-User"],
    )
    on_exit: Annotated[str, Word(tuple(OnExit))] = _key(
        str(_GATEWAY.on_exit),
        "What becomes of running services when the gateway ends: keep leaves them to the next one, stop ends "
        "them. A service may say otherwise.",
    )
    orphan_policy: Annotated[str, Word(tuple(OnExit))] = _key(
        str(_GATEWAY.orphan_policy),
        "What becomes of programs that this gateway started for a service that is not configured any more.",
    )
    state_dir: Annotated[str, Text("the path of a folder")] = _key(
        "",
        "Folder for what survives a restart; a relative path counts from the file.",
        example="/var/lib/hestia",
        shown="$STATE_DIRECTORY, else $XDG_STATE_HOME/hestia, else ~/.local/state/hestia",
    )

    database_url: Annotated[str, DatabaseUrl()] = _key(
        "",
        "Where events, requests and what runs are kept: `sqlite:///` and the path of a database file, or "
        "`memory:` for nowhere. A relative path counts from the configuration file.",
        example="sqlite:////var/lib/hestia/hestia.db",
        shown="`hestia.db` in `state_dir`",
    )
    retention: Annotated[Retention, Nested(RetentionKeys, '{"days": 30, "size": "256MiB"}')] = _key(
        _GATEWAY.retention,
        "How long events and requests are kept: `days`, and `size` of the database at most. What runs is "
        "never forgotten.",
        example={"days": 7, "size": "64MiB"},
        shown="{days: 30, size: 256MiB}",
    )
    start_without_store: Annotated[bool, Flag()] = _key(
        _GATEWAY.start_without_store,
        "Start services although the database cannot be written, because its disk is full for instance. What "
        "is started then may be started twice, should the gateway be killed before it can be written.",
    )


class BackoffKeys(Keys):
    """`restart_backoff` of a service: pauses between failed starts, and when to stop trying."""

    base: Annotated[float, Duration()] = _key(_BACKOFF.base, "Longest pause after the first failed start.")
    factor: Annotated[float, Real(1.0, 100.0)] = _key(
        _BACKOFF.factor, "By how much the pause grows each time."
    )
    cap: Annotated[float, Duration()] = _key(_BACKOFF.cap, "The pause never grows beyond this.")
    intensity: Annotated[int, Whole(1, 1000)] = _key(
        _BACKOFF.intensity,
        "Failed starts within `period` after which requests are answered at once with the reason.",
    )
    period: Annotated[float, Duration()] = _key(
        _BACKOFF.period, "Time within which failed starts are counted."
    )
    cool_down: Annotated[float, Duration()] = _key(
        _BACKOFF.cool_down, "Time without trying after that; doubles up to 10m while trials fail."
    )


class EngineKeys(Keys):
    """`engine` of a service: `type`, and beside it the options of that engine."""

    type: Annotated[str, Text("the name of an engine, such as process")] = _key(
        "none", "Who starts and stops the service. `none`: somebody else."
    )


class ServiceKeys(Keys):
    """Keys under `services.<id>`."""

    base_url: Annotated[str, Address()] = _key(
        "",
        "Where the service answers. `{port}` is a free port, a new one for each start.",
        example="http://localhost:8000",
        shown="`ollama`: http://localhost:11434; engine process with `{port}` in its command: http://127.0.0.1:{port}",
    )
    health_url: Annotated[str, Address(query=True)] = _key(
        "",
        "Asked with GET while the service starts; it is ready when this answers 2xx. Better than `warmup`.",
        example="http://localhost:8000/health",
        shown="none (`ollama`: its /api/tags)",
    )
    warmup: Annotated[float, Duration(least=0.0)] = _key(
        0.0, "Without `health_url`: wait this long after the start, then a TCP connect must succeed."
    )
    engine: EngineKeys | None = _key(
        None,
        "Who starts and stops the service: a mapping with `type` and that engine's options.",
        example={"type": "process", "command": ["my-server", "--port", "{port}"]},
        shown="{type: none} (`ollama`: process, if the program is on the PATH)",
    )
    machine: Annotated[str, Text("the name of a machine")] = _key(
        str(LOCAL), "Where the service runs; only `local` for now."
    )
    hosts: Annotated[tuple[str, ...], Many(HostName(), "[chat.lan]")] = _key(
        _SERVICE.hosts,
        "Host names that lead to the service, beside `<id>.localhost`: for web apps that assume `/`.",
        example=["chat.lan"],
    )
    idle_timeout: Annotated[float, Duration(endless=True)] = _key(
        _SERVICE.idle_timeout, "Stop after this long without use; 0 is never.", example="30m"
    )
    idle_websocket: Annotated[str, Word(tuple(IdleWebSocket))] = _key(
        str(_SERVICE.idle_websocket),
        "What counts as use of an open WebSocket: frames with data, being open, or nothing.",
    )
    on_cold: Annotated[str, Word(tuple(OnCold))] = _key(
        str(_SERVICE.on_cold),
        "What a request to a cold service gets: auto and hold wait, reject answers 503 with an estimate "
        "while the start goes on.",
    )
    queue_size: Annotated[int, Whole(1, 1_000_000)] = _key(
        _SERVICE.queue_size, "Requests that may wait; the next one is refused with 503 `queue_full`."
    )
    request_timeout: Annotated[float, Duration(hint="; `on_cold: reject` answers at once")] = _key(
        None,
        "How long a request may wait until it is served; then 503 `queue_timeout`, and the start goes on.",
        example="2m",
        shown="as long as a start may take: `start_timeout`, `stop_grace` and 5s",
    )
    start_timeout: Annotated[float, Duration()] = _key(
        _SERVICE.start_timeout, "How long a start may take until the service is ready."
    )
    stop_grace: Annotated[float, Duration(least=0.0)] = _key(
        _SERVICE.stop_grace, "Time between asking the program to end and ending it by force."
    )
    drain_timeout: Annotated[float, Duration(least=0.0)] = _key(
        _SERVICE.drain_timeout, "How long a stop waits for requests that are still open."
    )
    appear_timeout: Annotated[float, Duration(least=0.0)] = _key(
        _SERVICE.appear_timeout,
        "Engine none: how long a request waits for somebody else to start the service.",
    )
    stable_after: Annotated[float, Duration(least=0.0)] = _key(
        _SERVICE.stable_after,
        "A start counts as a success after this long; before it an end is a failed start.",
    )
    on_exit: Annotated[str, Word(tuple(OnExit))] = _key(
        "",
        "What becomes of it when the gateway ends: keep leaves it to the next gateway, stop ends it.",
        example="stop",
        shown="as `on_exit` at the top of the file",
    )
    restart_backoff: BackoffKeys = _key(BackoffKeys(), "Pauses between failed starts.", example={"cap": "2m"})
    max_in_flight: Annotated[int, Whole(1, 1_000_000)] = _key(
        _SERVICE.max_in_flight,
        "Requests at the same time; more wait in the queue.",
        example=4,
        shown="unlimited",
    )
    warm_concurrency: Annotated[int, Whole(1, 1_000_000)] = _key(
        _SERVICE.warm_concurrency,
        "Requests at the same time until a fresh start gave its first answer (at most 2s).",
    )
    connect_timeout: Annotated[float, Duration()] = _key(
        _SERVICE.connect_timeout, "How long a connection to the service may take."
    )
    response_timeout: Annotated[float, Duration(endless=True)] = _key(
        _SERVICE.response_timeout, "How long the head of an answer may take; 0 is without limit."
    )
    retry_count: Annotated[int, Whole(0, 100)] = _key(
        _SERVICE.retry_count, "Further attempts of a request on the same instance, where repeating is safe."
    )
    retry_delay: Annotated[float, Duration(least=0.0)] = _key(
        _SERVICE.retry_delay, "Pause between these attempts, a quarter shorter or longer by chance."
    )
    retry_on_status: Annotated[tuple[int, ...], Many(Whole(400, 599), "[502, 503, 504]")] = _key(
        _SERVICE.retry_on_status,
        "Answers that GET, HEAD, OPTIONS, PUT and DELETE are sent again for; the last one is passed on.",
        example=[502, 503, 504],
    )
    retry_on_timeout: Annotated[bool, Flag()] = _key(
        _SERVICE.retry_on_timeout,
        "Send GET, HEAD, OPTIONS, PUT and DELETE again when `response_timeout` is over.",
    )
    retry_on_warmup: Annotated[bool, Flag()] = _key(
        _SERVICE.retry_on_warmup,
        "Send GET, HEAD, OPTIONS, PUT and DELETE again when the first answer since a start is 503 (for 2s at "
        "most).",
    )
    retry_idempotency_key: Annotated[bool, Flag()] = _key(
        _SERVICE.retry_idempotency_key,
        "Treat a request with an `Idempotency-Key` like a PUT when its connection breaks: the service must "
        "recognise it.",
    )
    fallback_url: Annotated[str, Address()] = _key(
        _SERVICE.fallback_url,
        "Where a request goes when the service cannot be reached or started. Never started, asked once.",
        example="http://backup.lan:8000",
        shown="none",
    )
    no_wake: Annotated[tuple[NoWake, ...], Nested(NoWakeKeys, '[{"path": "/metrics"}]', many=True)] = _key(
        _SERVICE.no_wake,
        "Requests that neither start the service nor keep it up: 503 `dormant` while it is cold. Members: "
        "`path`, `method`, `user_agent`, each a glob; all given ones must match.",
        example=[{"path": "/favicon.ico"}, {"path": "/metrics", "user_agent": "Prometheus/*"}],
    )
    headers: Annotated[Headers | None, Nested(HeadersKeys, '{"response": {"remove": ["Server"]}}')] = _key(
        _SERVICE.headers,
        "Headers to set and to remove: `request` and `response`, each with `set` (name: value) and `remove` "
        "(names).",
        example={"request": {"set": {"X-Team": "home"}}, "response": {"remove": ["Server"]}},
        shown="none",
    )
    cors: Annotated[Cors | None, Nested(CorsKeys, '{"origins": ["https://app.lan"]}')] = _key(
        _SERVICE.cors,
        "`origins` of other sites whose pages may start the service and open WebSockets to it; `*` is any.",
        example={"origins": ["https://app.lan:3000"]},
        shown="none",
    )
    max_body: Annotated[int | None, Size()] = _key(
        _SERVICE.max_body,
        "Largest request body; more gets 413 `body_too_large`.",
        example="100MiB",
        shown="unlimited",
    )
    underscore_headers: Annotated[str, Word(tuple(Underscores))] = _key(
        str(_SERVICE.underscore_headers),
        "What becomes of request headers with `_` in their name, which servers may read as `-`: keep, drop "
        "them, or refuse the request.",
    )
    host_header: Annotated[str, Word(tuple(HostHeader), plus=HostHeaderText())] = _key(
        str(_SERVICE.host_header),
        "What the service sees as Host: its own (upstream), the client's (preserve), or this text; auto "
        "preserves it when the client came by host name.",
    )
    path_policy: Annotated[str, Word(tuple(PathPolicy))] = _key(
        str(_SERVICE.path_policy), "strict refuses paths that climb (`..`); verbatim passes every path on."
    )
    port: Annotated[int | None, Whole(1, 65535)] = _key(
        _SERVICE.port,
        "A port of its own on the gateway's `host`, where every request is for this service: for clients "
        "that can take neither a prefix nor a host name. Not set by `<SERVICE>_PORT`.",
        example=8081,
        shown="none",
    )
    tls_verify: Annotated[bool, Flag()] = _key(
        _SERVICE.tls_verify, "With an https `base_url`: check the certificate of the service."
    )


def kind_of(field: FieldInfo) -> Kind | None:
    """The kind of a field; None when it holds a mapping of its own."""
    return next((data for data in field.metadata if isinstance(data, Kind)), None)


def spellings(model: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """Every way to write a key of a model → (field, unit); the unit is "" where the value has its own."""
    known: dict[str, tuple[str, str]] = {}
    for name, field in model.model_fields.items():
        known[name] = (name, "")
        if isinstance(kind_of(field), Duration):
            known[f"{name}_ms"] = (name, "ms")
            known[f"{name}_seconds"] = (name, "s")
    return known
