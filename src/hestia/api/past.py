"""Routes about what was: the timeline of events, its live stream, and what became of requests.

Owns the HTTP meaning and the paging; what is remembered, `runtime.records` and the store know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from hestia.api import past_models as models
from hestia.api.documents import NO_STORE, problem_responses
from hestia.api.models import Document
from hestia.api.names import quoted
from hestia.api.services import ControlOf, ServiceOf, find_service
from hestia.api.stream import EventStream
from hestia.core.errors import AdmissionError, BadRequest, NotFound
from hestia.core.ports import RequestEntry, StoredRow, StoreReader
from hestia.runtime.feed import Feed
from hestia.runtime.records import Records, Wanted
from hestia.runtime.words import sentence

PAGE = 1000

router = APIRouter(tags=["past"])


@dataclass(frozen=True, slots=True)
class Past:
    """Where what was is asked for. fresh: has the records of requests that just ended handed on.
    under_way: of the request of that id, if it has not ended. days: for which the store keeps things."""

    records: Records
    store: StoreReader
    feed: Feed
    fresh: Callable[[], None] = lambda: None
    under_way: Callable[[str], RequestEntry | None] = lambda _: None
    days: float = 30.0


class EventsQuery(BaseModel):
    """Query of the timeline of one service."""

    model_config = ConfigDict(extra="forbid")

    instance: str = Field("", description="Only of this instance.")
    event: str = Field("", description="Only of this kind, as in the field `event`.")
    since: AwareDatetime | None = Field(None, description="Not older than this instant (RFC 3339).")
    until: AwareDatetime | None = Field(None, description="Older than this instant.")
    before: int | None = Field(None, ge=0, description="Older than the event of this id: the next page.")
    limit: int = Field(100, ge=1, le=PAGE, description="Events at most.")


class AllEventsQuery(EventsQuery):
    """Query of the whole timeline."""

    service: str = Field("", description="Only of this service.")


class StreamQuery(BaseModel):
    """Query of the live stream."""

    model_config = ConfigDict(extra="forbid")

    service: str = Field("", description="Only of this service.")


class RequestsQuery(BaseModel):
    """Query of the requests."""

    model_config = ConfigDict(extra="forbid")

    service: str = Field("", description="Only to this service.")
    failed: bool = Field(False, description="Only those that went wrong.")
    waited: bool = Field(False, description="Only those that waited for an instance, or were sent again.")
    slow_ms: float = Field(0.0, ge=0, allow_inf_nan=False, description="Only those that took at least this.")
    limit: int = Field(100, ge=1, le=200, description="Requests at most.")


def past_of(request: Request) -> Past:
    """What this application was made with."""
    past: Past = request.app.state.past
    past.fresh()
    return past


def _json(document: Document) -> Response:
    return Response(document.model_dump_json(by_alias=True), 200, NO_STORE, "application/json")


def event(stored: StoredRow) -> models.Event:
    """The document of one event."""
    row = stored.row
    return models.Event(
        id=stored.id,
        at=datetime.fromtimestamp(row.at, UTC),
        service_id=row.service,
        instance=row.instance,
        generation=row.generation,
        event=row.event,
        before=row.before,
        after=row.after,
        cause=row.cause,
        actor=row.actor,
        episode=row.episode,
        lasted_ms=max(0, round(row.lasted * 1000)),
        data=dict(row.data),  # plain JSON values, as the store has them
        text=sentence(row),
    )


def story(entry: RequestEntry) -> models.RequestStory:
    """The document of one request; what a later version wrote beyond is left out."""
    known = {field.alias or name for name, field in models.RequestStory.model_fields.items()}
    told = {name: value for name, value in entry.document.items() if name in known}
    at = datetime.fromtimestamp(entry.at, UTC)
    return models.RequestStory.model_validate(
        {**told, "requestId": entry.request_id, "serviceId": entry.service, "at": at}
    )


async def _page(past: Past, query: EventsQuery, service: str) -> Response:
    rows = await past.store.events(
        service=service,
        instance=query.instance,
        event=query.event,
        since=query.since.timestamp() if query.since else None,
        until=query.until.timestamp() if query.until else None,
        before=query.before,
        limit=query.limit + 1,
    )
    shown = rows[: query.limit]
    more = shown[-1].id if len(rows) > len(shown) else None
    return _json(models.Events(events=[event(one) for one in shown], next=more))


@router.get(
    "/v1/events",
    operation_id="listEvents",
    response_model=models.Events,
    responses=problem_responses(400, 503),
)
async def list_events(request: Request, query: Annotated[AllEventsQuery, Query()]) -> Response:
    """What happened, newest first. A service that is configured no more is found by its name, too."""
    return await _page(past_of(request), query, query.service)


@router.get(
    "/v1/services/{serviceId}/events",
    operation_id="serviceEvents",
    response_model=models.Events,
    responses=problem_responses(400, 404, 503),
)
async def service_events(
    request: Request, service: ServiceOf, query: Annotated[EventsQuery, Query()]
) -> Response:
    """What happened to one service, newest first."""
    return await _page(past_of(request), query, service)


@router.get(
    "/v1/events/stream",
    operation_id="streamEvents",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events: `id` is the event's, `event` its kind (`change` for a "
            "document as in the list, `ping` every 15 s, `missed` where some could not be sent again, `end` "
            "as the last word), `data` JSON.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **problem_responses(400, 404, 503),
    },
)
async def stream_events(
    request: Request, control: ControlOf, query: Annotated[StreamQuery, Query()]
) -> Response:
    """Events as they happen. `Last-Event-ID` has those sent that came behind it."""
    past = past_of(request)
    service = find_service(control, query.service) if query.service else ""
    last = request.headers.get("last-event-id", "")
    if last and not (last.isascii() and last.isdecimal() and len(last) < 19):
        raise BadRequest(
            f"The header Last-Event-ID is {quoted(last)}; expected the id of an event, a whole number.",
            remedy="leave it out to get only what comes",
        )
    listener = past.feed.listen(service)
    if listener is None:
        raise AdmissionError(
            "Too many listen to the events already.", remedy="close some of them", retry_after=5.0
        )
    return EventStream(past.store, past.feed, listener, event, after=int(last) if last else None)


@router.get(
    "/v1/requests",
    operation_id="listRequests",
    response_model=models.RequestStories,
    responses=problem_responses(400, 404),
)
async def list_requests(
    request: Request, control: ControlOf, query: Annotated[RequestsQuery, Query()]
) -> Response:
    """Requests that ended lately, newest first: of the last 10,000."""
    if query.service:
        find_service(control, query.service)
    wanted = Wanted(
        service=query.service,
        failed=query.failed,
        waited=query.waited,
        slow_ms=query.slow_ms,
        limit=query.limit,
    )
    found = past_of(request).records.requests(wanted)
    return _json(models.RequestStories(requests=[story(one) for one in found]))


@router.get(
    "/v1/requests/{requestId}",
    operation_id="requestStory",
    response_model=models.RequestStory,
    responses=problem_responses(404, 503),
)
async def request_story(
    request: Request,
    request_id: Annotated[str, Path(alias="requestId", examples=["req_7kq2mxw3f5z6ayb4ndaaab"])],
) -> Response:
    """Why a request took what it took, or what it waits for. Its id is in the header `X-Request-ID` of its
    answer, and in the log."""
    past = past_of(request)
    entry = past.under_way(request_id) or await past.records.request(request_id)
    if entry is None:
        raise NotFound(
            f"There is no request {quoted(request_id)} that is under way or remembered. "
            f"The last 10,000 are remembered while the gateway runs; those that waited or failed are stored "
            f"for {past.days:g} days (retention).",
            remedy="GET /v1/requests lists the last ones; hestia events shows what happened.",
        )
    return _json(story(entry))
