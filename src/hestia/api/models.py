"""The JSON documents of the control API as pydantic models: names, types, descriptions, examples.

Owns the wire shape and nothing else; `views` fills it. Fields are only ever added (CL-02). The names
are the seeds' (camelCase, and snake_case inside `automation`, as the seeds have them).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

State = Literal["cold", "starting", "hot", "stopping"]
Phase = Literal["cold", "starting", "hot", "suspect", "draining", "stopping", "failed"]

HealthWord = Literal["ok", "draining", "failing"]


def rfc3339(instant: datetime) -> str:
    """Text of an aware instant in UTC with milliseconds, as RFC 3339 §5.6 has it."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Instant = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T12:03:04.120Z"]}),
]


class Document(BaseModel):
    """Common rules: camelCase on the wire, frozen, nothing unknown."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class Stage(Document):
    """One part of a start."""

    name: str = Field(description="`room`, `machine`, `engine`, `boot` or `probe`.", examples=["boot"])
    text: str = Field(description="What it is doing, in words.", examples=["waiting for port 8188"])
    elapsed_ms: int = Field(description="Time spent so far, or in all once done.", ge=0, examples=[4200])
    done: bool = Field(description="Whether this stage is over.")
    usual_ms: int | None = Field(
        description="Median of the last successful starts, if there were any.", examples=[5000]
    )


class LastError(Document):
    """The last thing that went wrong, with what to do about it."""

    code: str = Field(
        description="Stable code; explained at `/help/errors/{code}`.", examples=["service_start_failed"]
    )
    detail: str = Field(description="What happened, where and why.")
    cause: str = Field(description="One word of a closed list, or empty.", examples=["exited"])
    stage: str = Field(description="Stage of the start it happened in, or empty.", examples=["boot"])
    remedy: str = Field(description="What to do next: a command or a configuration key.")
    at: Instant = Field(description="When it happened.")
    tail: list[str] = Field(description="Last lines of the instance's output, oldest first.")


class Instance(Document):
    """One startable copy of a service."""

    id: str = Field(examples=["ollama"])
    state: State = Field(description="The state in the four words of the service.")
    phase: Phase = Field(description="The exact state of this instance.")
    machine_id: str = Field(examples=["local"])
    engine: str = Field(description="What starts and stops it.", examples=["process"])
    address: str = Field(
        description="Where it answers; empty while not known.", examples=["http://127.0.0.1:11434"]
    )
    generation: int = Field(description="Number of the current or last attempt to run it.", ge=0)
    in_flight: int = Field(description="Exchanges open right now.", ge=0)
    since: Instant = Field(description="When it entered this phase.")
    started_at: Instant | None = Field(description="When the running generation became hot.")
    last_used_at: Instant | None = Field(description="End of the last exchange.")
    idle_stop_at: Instant | None = Field(
        description="When it will be stopped if nobody uses it; null while in use, or never."
    )
    retry_at: Instant | None = Field(description="When a failed instance may be started again.")
    external: bool = Field(description="Somebody else started it.")
    stages: list[Stage] = Field(description="Parts of the current or last start.")
    last_error: LastError | None
    unused: str = Field(
        description="Why no request is sent to it now; empty where one may be.",
        examples=["its last start failed, so it pauses before the next try"],
    )
    kept_for: list[str] = Field(
        description="Services that need this one, so that it is not stopped while it is idle."
    )
    kept_warm: bool = Field(description="Its `keep_warm` says that it stays up now.")


class Budget(Document):
    """How many failed starts a service has had, and may have (`restart_backoff`)."""

    failures: int = Field(description="Failed starts and crashes within the last hour.", ge=0)
    per_hour: int = Field(description="With so many, no request starts it any more.", ge=0, examples=[20])
    free_in_ms: int | None = Field(
        description="Time until a request may start it again; null while the budget is not spent.", ge=0
    )
    episode_starts: int = Field(description="Starts that the running start has made so far.", ge=0)
    per_episode: int = Field(description="Starts that one may make at most.", ge=0, examples=[4])


class Task(Document):
    """One task of an automation system."""

    model_config = ConfigDict(alias_generator=None)

    task_id: str
    status: str
    template_id: str
    started_at: Instant | None
    completed_at: Instant | None
    duration_ms: int | None


class Automation(Document):
    """Whether an automation system (Semaphore) starts and stops this service."""

    model_config = ConfigDict(alias_generator=None)

    enabled: bool = Field(description="False unless an automation system runs this service.")
    provider: str | None = Field(examples=["semaphore"])
    machine_id: str | None
    current_task: Task | None
    last_task: Task | None


class ServiceStatus(Document):
    """What a service does right now. The first five fields are the whole of the short form."""

    service_id: str = Field(examples=["ollama"])
    state: State = Field(
        description="`draining` is shown as `stopping`, `failed` as `cold`; `phase` is exact.",
        examples=["hot"],
    )
    machine_id: str = Field(description="`local` where nothing else is said.", examples=["local"])
    readiness: Literal["ready", "not_ready"]
    queue_pending: int = Field(description="Requests that wait for an instance.", ge=0, examples=[0])
    phase: Phase = Field(description="The exact state of the best instance.")
    in_flight: int = Field(description="Exchanges open right now.", ge=0)
    last_used_at: Instant | None = Field(description="End of the last exchange.")
    idle_stop_at: Instant | None = Field(
        description="When it will be stopped if nobody uses it; null while in use, or never."
    )
    started_at: Instant | None = Field(description="When the running generation became hot.")
    estimated_ready_ms: int | None = Field(
        description="Time until it is hot, only while starting and when known.", ge=0
    )
    last_error: LastError | None
    instances: list[Instance]
    automation: Automation
    engine: str = Field(description="What starts and stops it.", examples=["process"])
    since: Instant = Field(description="When it entered this phase.")
    retry_at: Instant | None = Field(description="When a failed service may be started again.")
    episode: str = Field(description="Id of the running or last start; empty when never started.")
    idle_timeout_ms: int | None = Field(
        description="How long it stays up without use; null is for ever.", ge=0, examples=[1800000]
    )
    fallback_url: str = Field(
        description="Where requests go when it cannot be reached or started; empty without one.",
        examples=["http://backup.lan:8000"],
    )
    port: int | None = Field(
        description="Port of its own on the gateway's host, where every request is for it; null without one.",
        ge=0,
        le=65535,
        examples=[8081],
    )
    budget: Budget


class Health(Document):
    """The gateway's own health."""

    status: HealthWord
    ready: bool = Field(description="Whether requests are accepted.")
    problems: list[str] = Field(description="Names of what does not move; empty when all is well.")
    version: str = Field(examples=["0.1.0"])
    started_at: Instant


class Setting(Document):
    """One effective setting."""

    key: str = Field(examples=["services.ollama.idle_timeout"])
    value: JsonValue = Field(description="As it is used; a secret is `***`.")
    source: str = Field(
        description="Where the value came from: a file with its line, a variable, or `default`.",
        examples=["hestia_config.yml:14", "environment: OLLAMA_BASE_URL", "default"],
    )


class ConfigProblem(Document):
    """One mistake in the configuration."""

    source: str = Field(
        description="The file, `environment`, `command line`, or `gateway` where it cannot be applied.",
        examples=["hestia_config.yml"],
    )
    line: int = Field(description="From 1; 0 where there is none.", examples=[14])
    column: int
    key: str = Field(examples=["services.ollama.idle_timout"])
    text: str = Field(description="What is wrong.", examples=["there is no such key"])
    nearest: str = Field(description="The known name most like it, or empty.", examples=["idle_timeout"])
    remedy: str = Field(description="What to do where the text does not say it.")


class Reload(Document):
    """One attempt to take a new configuration."""

    at: Instant
    actor: str = Field(description="Who asked.", examples=["file", "SIGHUP", "api:req_4q7x"])
    ok: bool = Field(description="Whether it was taken. If not, the old one stays whole.")
    added: list[str] = Field(description="Services that are new.")
    removed: list[str] = Field(description="Services that end, after their open exchanges.")
    changed: list[str] = Field(description="Services with other settings.")
    gateway: list[str] = Field(description="Keys of the gateway that changed.", examples=[["log_level"]])
    needs_restart: list[str] = Field(
        description="Keys of the gateway whose new value waits for a restart.", examples=[["port"]]
    )
    problems: list[ConfigProblem] = Field(description="All mistakes; empty when it was taken.")


class Config(Document):
    """The effective configuration."""

    path: str = Field(description="The file it was read from; empty when there is none.")
    settings: list[Setting]
    warnings: list[str] = Field(description="What the gateway finds doubtful about it.")
    reload: Reload | None = Field(description="What came of the last reload, if there was one.")


class Service(Document):
    """One line of the index."""

    service_id: str
    status: str = Field(description="Path of its status document.")
    proxy: str = Field(description="Path under which the service itself answers.")


class Index(Document):
    """What is here: the landing page for programs."""

    name: Literal["hestia"]
    version: str
    services: list[Service] = Field(description="At most the first hundred.")
    links: dict[str, str] = Field(description="Paths of this gateway worth knowing.")


class ErrorHelp(Document):
    """What an error code means."""

    code: str = Field(examples=["queue_timeout"])
    meaning: str
    do: list[str] = Field(description="What to try, most likely first.")


HeaderValues = dict[str, str | list[str]]


class DispatchRequest(Document):
    """A request to a service, as a document."""

    service_id: str = Field(description="A configured service.", examples=["ollama"])
    method: str = Field(description="As HTTP writes it: in capitals.", examples=["GET", "POST"])
    path: str = Field(
        description="Path and query at the service, percent-encoded.",
        pattern="^/([^/].*)?$",
        examples=["/api/tags"],
    )
    headers: HeaderValues | None = Field(
        default=None,
        description="Field names with a value, or a list where a field is sent several times. Host and what "
        "belongs to the connection or the length of the body cannot be set.",
        examples=[{"accept": "application/json"}],
    )
    body: JsonValue = Field(
        default=None,
        description='A string is sent as it is, `{"base64": …}` as its bytes, any other value as JSON; null '
        "or left out is no body. Its `content-type` is text/plain, none or application/json, unless "
        "`headers` has one.",
        examples=[{"model": "llama2", "prompt": "Hello world"}],
    )


class DispatchAnswer(Document):
    """The answer of a service, as a document."""

    status: int = Field(ge=200, le=599, examples=[200])
    headers: HeaderValues = Field(
        description="By lower-case name; a list where the service sent a field several times. "
        "`content-length` is that of the body as it came.",
        examples=[{"content-type": "application/json"}],
    )
    body: JsonValue = Field(
        description="JSON as JSON, text in UTF-8 as a string, anything else and what is compressed as "
        '`{"base64": …}`; null where there is none.',
        examples=[{"models": []}],
    )


class Accepted(Document):
    """Not waited for, as `Prefer: respond-async` asked: the start goes on."""

    service_id: str
    request_id: str
    state: Literal["starting"]
    queue_pending: int = Field(description="Requests that wait for an instance.", ge=0)
    estimated_ready_ms: int | None = Field(description="Time until it is hot, when known.", ge=0)
    status: str = Field(description="Path to ask at.", examples=["/v1/services/ollama/status"])


class Problem(BaseModel):
    """Every error the gateway makes itself (RFC 9457). Fields are absent where they do not apply."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(examples=["urn:hestia:error:service_not_found"])
    title: str = Field(examples=["Service not found"])
    status: int = Field(ge=400, le=599, examples=[404])
    detail: str = Field(description="What happened, where, why and what to do.")
    code: str = Field(description="Stable; explained at `help`.", examples=["service_not_found"])
    error: str = Field(description="The same as `detail`, where many clients look for it.")
    serviceId: str | None = None  # noqa: N815 - the wire name; this model has no aliases
    requestId: str | None = None  # noqa: N815
    phase: str | None = Field(default=None, examples=["route"])
    attempts: int | None = None
    retryable: bool | None = None
    retry_after_ms: int | None = None
    cause: str | None = Field(default=None, examples=["refused"])
    stage: str | None = Field(default=None, examples=["boot"])
    help: str | None = Field(
        default=None, description="Path of a page about this code.", examples=["/help/errors/queue_timeout"]
    )


class Count(BaseModel):
    """How often something happened since the gateway started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int | float = Field(description="Whole where things are counted; seconds may not be.", ge=0)
    timestamp: Instant = Field(description="The last time.")


class Timer(BaseModel):
    """Durations, in milliseconds. Percentiles are within 5 %."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=0)
    avg_ms: int | float
    min_ms: int | float
    max_ms: int | float
    p50_ms: int | float
    p95_ms: int | float
    p99_ms: int | float


class ServiceMetrics(BaseModel):
    """Numbers by name, as in `requests_total[method=GET,path=/services/{serviceId}/{path}]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counters: dict[str, Count]
    timers: dict[str, Timer]
    gauges: dict[str, int | float]


class Metrics(ServiceMetrics):
    """The numbers of everything, and of each service that was ever used."""

    services: dict[str, ServiceMetrics]
