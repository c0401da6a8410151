"""The keys at the top of the configuration file. See `models`, which is the table of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from hestia.config.database import DatabaseUrl
from hestia.config.keys import Keys, key
from hestia.config.machines import MachineKeys
from hestia.config.rules import Nested, RetentionKeys, TlsKeys
from hestia.config.targets import NumberOrName, Seconds, ServerAddress
from hestia.config.telemetry import TelemetryKeys
from hestia.config.values import FieldName, Flag, HostName, ListenHost, Many, Network, Text, Whole, Word
from hestia.core.model import GatewaySettings, Machine, MachineId, OnExit, Retention, Telemetry, Tls

_GATEWAY: Final = GatewaySettings()


def variable_of(name: str) -> str:
    """The environment variable of a key, in whichever spelling."""
    return name.upper() if name.startswith("semaphore_") else f"HESTIA_{name.upper()}"


class GatewayKeys(Keys):
    """Keys at the top of the file: the gateway itself."""

    host: Annotated[str, ListenHost()] = key(
        _GATEWAY.host,
        "Where the gateway listens; 0.0.0.0 is every network of this machine.",
        example="0.0.0.0",
    )
    port: Annotated[int, Whole(0, 65535)] = key(
        _GATEWAY.port, "Port of the gateway; 0 picks a free one and prints it."
    )
    tls: Annotated[Tls | None, Nested(TlsKeys, '{"certificate": "cert.pem", "key": "key.pem"}')] = key(
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
    log_level: Annotated[str, Word(("DEBUG", "INFO", "WARNING", "ERROR"), upper=True)] = key(
        _GATEWAY.log_level, "From which level on the log is written."
    )
    log_format: Annotated[str, Word(("auto", "json", "console"))] = key(
        _GATEWAY.log_format, "Form of the log; auto is console on a terminal and JSON elsewhere."
    )
    access_log: Annotated[bool, Flag()] = key(_GATEWAY.access_log, "One line per request.")
    allowed_hosts: Annotated[tuple[str, ...], Many(HostName(), "[hestia.lan]")] = key(
        _GATEWAY.allowed_hosts,
        "Further host names under which browsers may reach the gateway (defence against DNS rebinding).",
        example=["hestia.lan"],
    )
    trusted_proxies: Annotated[tuple[str, ...], Many(Network(), "[10.0.0.0/8]")] = key(
        _GATEWAY.trusted_proxies,
        "Addresses of proxies in front of the gateway whose forwarded fields are believed.",
        example=["10.0.0.0/8"],
    )
    identity_headers: Annotated[tuple[str, ...], Many(FieldName(), "[Remote-User]")] = key(
        _GATEWAY.identity_headers,
        "Headers by which a trusted proxy names the user; taken off everybody else's requests.",
        example=["Remote-User"],
    )
    on_exit: Annotated[str, Word(tuple(OnExit))] = key(
        str(_GATEWAY.on_exit),
        "What becomes of running services when the gateway ends: keep leaves them to the next one, stop ends "
        "them. A service may say otherwise.",
    )
    orphan_policy: Annotated[str, Word(tuple(OnExit))] = key(
        str(_GATEWAY.orphan_policy),
        "What becomes of programs that this gateway started for a service that is not configured any more.",
    )
    machines: Annotated[
        Mapping[MachineId, Machine],
        Nested(MachineKeys, '{"gpu-1": {"resources": {"vram": "24GiB"}}}', named=True),
    ] = key(
        _GATEWAY.machines,
        "Machines that services share, by name: `address`, `role`, `tags`, `resources` of which services "
        "take their `needs`, and `max_instances` that may run there at once. See [machines](machines.md).",
        example={"gpu-server-01": {"address": "gpu.lan", "resources": {"vram": "24GiB"}, "max_instances": 2}},
        shown="none",
    )
    state_dir: Annotated[str, Text("the path of a folder")] = key(
        "",
        "Folder for what survives a restart; a relative path counts from the file.",
        example="/var/lib/hestia",
        shown="$STATE_DIRECTORY, else $XDG_STATE_HOME/hestia, else ~/.local/state/hestia",
    )

    database_url: Annotated[str, DatabaseUrl()] = key(
        "",
        "Where events, requests and what runs are kept: `sqlite:///` and the path of a database file, or "
        "`memory:` for nowhere. A relative path counts from the configuration file.",
        example="sqlite:////var/lib/hestia/hestia.db",
        shown="`hestia.db` in `state_dir`",
    )
    waiting_page: Annotated[str, Text("the path of a file")] = key(
        "",
        "Template of your own for the page that waits for a cold service, see "
        "[the waiting page](waiting-page.md#a-page-of-your-own); a relative path counts from the file.",
        example="waiting.html",
        shown="the built-in page",
    )
    strategies: Annotated[str, Text("the path of a folder")] = key(
        "strategies",
        "Folder of strategies of your own; a relative path counts from the file. See "
        "[strategies](strategies.md).",
        example="/etc/hestia/strategies",
    )
    retention: Annotated[Retention, Nested(RetentionKeys, '{"days": 30, "size": "256MiB"}')] = key(
        _GATEWAY.retention,
        "How long events and requests are kept: `days`, and `size` of the database at most. What runs is "
        "never forgotten.",
        example={"days": 7, "size": "64MiB"},
        shown="{days: 30, size: 256MiB}",
    )
    telemetry: Annotated[
        Telemetry | None, Nested(TelemetryKeys, '{"otlp_endpoint": "http://localhost:4318"}')
    ] = key(
        _GATEWAY.telemetry,
        "Send traces of requests and starts to a collector of OpenTelemetry: `otlp_endpoint`, "
        "`service_name`, `sample` (a share from 0 to 1) and `headers`; what is not said, OTEL_… variables "
        "may say. Needs `pip install 'hestia[otel]'`. See [traces](metrics.md#traces).",
        example={"otlp_endpoint": "http://localhost:4318", "sample": 0.1},
        shown="none (no traces)",
    )
    start_without_store: Annotated[bool, Flag()] = key(
        _GATEWAY.start_without_store,
        "Start services although the database cannot be written, because its disk is full for instance. What "
        "is started then may be started twice, should the gateway be killed before it can be written.",
    )
    semaphore_base_url: Annotated[str, ServerAddress()] = key(
        _GATEWAY.semaphore_base_url,
        "Where Semaphore is, with the path of its `web_host` if it has one, without /api.",
        example="http://semaphore.lan:3000",
    )
    semaphore_api_key: Annotated[str, Text("a token of Semaphore")] = key(
        _GATEWAY.semaphore_api_key,
        "Token of a Semaphore user with the role task_runner. Better as `{env: …}` or `{file: …}`.",
        example="mxq4k0f2v6x3…=",
        shown="none",
    )
    semaphore_username: Annotated[str, Text("the name of a Semaphore user")] = key(
        _GATEWAY.semaphore_username,
        "Instead of a token: user, with `semaphore_password`.",
        example="hestia",
        shown="none",
    )
    semaphore_password: Annotated[str, Text("a password")] = key(
        _GATEWAY.semaphore_password, "Password of `semaphore_username`.", example="s3cret…", shown="none"
    )
    semaphore_project: Annotated[int | str, NumberOrName("a project")] = key(
        _GATEWAY.semaphore_project, "Project in Semaphore: its id or its name.", example="hestia"
    )
    semaphore_timeout: Annotated[float, Seconds()] = key(
        _GATEWAY.semaphore_timeout, "How long one call to Semaphore may take."
    )
