"""Documents about what was: events, and what became of requests. Owns the wire shape and nothing else."""

from __future__ import annotations

from pydantic import Field, JsonValue

from hestia.api.models import Document, Instant


class Event(Document):
    """Something that happened, with its cause."""

    id: int = Field(description="Grows from event to event; `before` and `Last-Event-ID` take it.", ge=0)
    at: Instant
    service_id: str = Field(description="Empty for the gateway itself.")
    instance: str
    generation: int = Field(description="Number of the attempt to run the instance, or 0.", ge=0)
    event: str = Field(description="What happened, as one word.", examples=["StartDecided", "IdleElapsed"])
    before: str = Field(description="State before; empty where no state changed.", examples=["cold"])
    after: str = Field(description="State after.", examples=["starting"])
    cause: str = Field(description="Why, as one word or a sentence.", examples=["demand", "idle", "api"])
    actor: str = Field(description="Who: a request's id, `api:` with one, or empty.", examples=["req_7kq2"])
    episode: str = Field(description="All events of one cold start have the same.")
    lasted_ms: int = Field(description="How long the state before had lasted.", ge=0)
    data: dict[str, JsonValue] = Field(description="Further facts: open leases, error code, whether forced.")
    text: str = Field(description="The event as a sentence.")


class Events(Document):
    """A page of events, newest first."""

    events: list[Event]
    next: int | None = Field(
        description="Value of `before` for the next page; null when there is nothing older."
    )


class Part(Document):
    """A part of the way of a request. Those of one request follow each other without gaps."""

    name: str = Field(
        description="`route`, `queue`, `connect`, `first_byte`, `answer`, `pause`; within `queue` what the "
        "service did meanwhile: a stage of its start (`room`, `machine`, `engine`, `boot`, `probe`), "
        "`start`, `turn`, `stop`, `back_off`, `cold`.",
        examples=["queue"],
    )
    start_ms: float = Field(description="Since the request came.", ge=0)
    duration_ms: float = Field(ge=0)
    text: str = Field(description="What happened, in words.")
    instance: str = Field(description="The instance it concerns, or empty.")
    parts: list[Part] | None = Field(
        default=None, description="Of a wait: what it was a wait for; these add up to its duration, too."
    )


class Now(Document):
    """What a request that has not ended is doing."""

    state: str = Field(
        description="`routing`, `waiting` (for an instance), `connecting`, `sent` (no answer yet), "
        "`streaming` (the answer, or a WebSocket) or `pausing` (before a further attempt).",
        examples=["waiting"],
    )
    since: Instant
    text: str = Field(description="The same as a sentence, with what it waits for.")
    position: int | None = Field(description="Place in the queue, from 1; null where it does not wait.", ge=1)
    behind: list[str] = Field(description="Ids of the last ten requests that wait before it, in order.")


class RequestStory(Document):
    """Why a request took what it took. `parts` add up to `totalMs`."""

    finished: bool = Field(default=True, description="False while it is under way; all below is so far then.")
    now: Now | None = Field(default=None, description="While it is under way: what it does.")

    request_id: str
    service_id: str = Field(description="Empty for the gateway itself.")
    at: Instant = Field(description="When it came.")
    method: str
    path: str = Field(description="Without the query, which may hold secrets.")
    route: str = Field(
        description="What matched: `prefix`, `host`, `port`, `control` or `none`.", examples=["prefix"]
    )
    status: int = Field(description="Sent to the client; 499 where it had left, 0 where none was sent.", ge=0)
    code: str = Field(description="Of the gateway's own answer; empty when the service answered.")
    aborted: str = Field(description="Who broke it off: `client`, `upstream`, `gateway`, or empty.")
    total_ms: float = Field(ge=0)
    queue_ms: float = Field(description="Of these, waiting for an instance.", ge=0)
    attempts: int = Field(description="How often it was sent to an instance.", ge=0)
    fallback: bool = Field(description="Whether the last attempt was at `fallback_url`.")
    instance: str = Field(description="Where it was sent last, or empty.")
    generation: int = Field(ge=0)
    bytes_in: int = Field(ge=0)
    bytes_out: int = Field(ge=0)
    matched: str = Field(description="The rule that found the service, as a sentence.")
    end: str = Field(description="How it ended, as a sentence.")
    detail: str = Field(description="Why the gateway answered itself; empty when the service did.")
    do: str = Field(description="What to do about that; a command or a configuration key.")
    parts: list[Part]


class RequestStories(Document):
    """Requests that ended lately, newest first."""

    requests: list[RequestStory]
