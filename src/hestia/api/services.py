"""Routes below `/v1/services`: list, status, start, stop, restart, logs.

Owns the HTTP meaning of each call; decides nothing about a service (that is `Control`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from hestia.api import models, views
from hestia.api.control import Control
from hestia.api.documents import NO_STORE, problem_responses, status_responses
from hestia.api.logs import LogStream
from hestia.api.names import nearest, quoted
from hestia.core.errors import AlreadyRunning, BadRequest, BodyTooLarge, InstanceNotFound, ServiceNotFound
from hestia.core.model import ServiceId
from hestia.runtime.status import ServiceStatus

BODY_LIMIT = 4096
BATCH = 100  # services rendered at once: about 3 ms, so that a long list does not hold the loop
WAIT_LIMIT = 3600.0

router = APIRouter(prefix="/v1/services", tags=["services"])


class StartQuery(BaseModel):
    """Query of start."""

    model_config = ConfigDict(extra="forbid")

    wait: bool = Field(False, description="Answer only when the service is hot, with 200.")
    timeout: float = Field(
        WAIT_LIMIT,
        gt=0,
        le=WAIT_LIMIT,
        allow_inf_nan=False,
        description="With `wait`: seconds to wait at most. The start goes on afterwards.",
    )


class StopQuery(BaseModel):
    """Query of stop and restart."""

    model_config = ConfigDict(extra="forbid")

    force: bool = Field(False, description="Do not wait for open exchanges: cut them off.")


class LogsQuery(BaseModel):
    """Query of logs."""

    model_config = ConfigDict(extra="forbid")

    follow: bool = Field(False, description="Stay and send what comes.")
    tail: int | None = Field(None, ge=0, le=100_000, description="Only the last lines of what is kept.")
    instance: str = Field("", description="Id of one instance; all of them without it.")


class NoQuery(BaseModel):
    """For calls without query parameters."""

    model_config = ConfigDict(extra="forbid")


def control_of(request: Request) -> Control:
    """The control side of the gateway this application was made for."""
    control: Control = request.app.state.control
    return control


async def service_of(
    request: Request,
    service_id: Annotated[
        str, Path(alias="serviceId", description="Id of the service.", examples=["ollama"])
    ],
) -> ServiceId:
    """The service named in the path. Raises ServiceNotFound with the nearest id."""
    return find_service(control_of(request), service_id)


def find_service(control: Control, name: str) -> ServiceId:
    """The configured service of this name. Raises ServiceNotFound with the nearest id."""
    known = control.services()
    service = ServiceId(name)
    if service in known:
        return service
    near = nearest(name, known)
    hint = f'The nearest is "{near}".' if near else _listed(known)
    raise ServiceNotFound(
        f"There is no service {quoted(name)}. {hint}",
        remedy="`hestia status` lists all services; a new one goes under `services:` in hestia_config.yml.",
    )


def _listed(known: Sequence[str]) -> str:
    if not known:
        return "No service is configured."
    return f"There are: {', '.join(known)}." if len(known) <= 10 else f"There are {len(known)} others."


async def no_body(request: Request) -> None:
    """Refuse a body with something in it: a setting that is ignored would be a silent lie (ET-09)."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise BodyTooLarge("This call takes no body.", remedy="Write options into the query.")
    if not body.strip():
        return
    remedy = "Leave the body out and write options into the query, as in ?force=true or ?wait=true."
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError) as exc:
        place = f"line {exc.lineno} column {exc.colno}" if isinstance(exc, json.JSONDecodeError) else "byte 0"
        raise BadRequest(
            f"The body is not JSON (at {place}), and this call takes none.", remedy=remedy
        ) from exc
    if found not in ({}, None):
        raise BadRequest(f"This call takes no body; found {quoted(json.dumps(found))}.", remedy=remedy)


ControlOf = Annotated[Control, Depends(control_of)]
ServiceOf = Annotated[ServiceId, Depends(service_of)]
NoBody = Depends(no_body)


def _answer(status: ServiceStatus, code: int = 200, *, location: bool = False) -> Response:
    """A status document as a response."""
    fields = {**NO_STORE}
    if location:
        fields["location"] = f"/v1/services/{status.id}/status"
    body = views.service_status(status).model_dump_json(by_alias=True)
    return Response(body, code, fields, "application/json")


def actor_of(request: Request) -> str:
    """Who acts, for the timeline: the API, with the id of the request where it has one."""
    request_id = request.headers.get("x-request-id", "")
    return f"api:{request_id}" if request_id else "api"


@router.get(
    "",
    operation_id="listServices",
    response_model=list[models.ServiceStatus],
    responses=problem_responses(400),
)
async def list_services(control: ControlOf, _query: Annotated[NoQuery, Query()]) -> Response:
    """Status of every service, in the order of the configuration."""
    statuses = await control.statuses()
    return StreamingResponse(_list(statuses), 200, NO_STORE, "application/json")


async def _list(statuses: Sequence[ServiceStatus]) -> AsyncIterator[str]:
    """The JSON array in pieces, giving the loop back between them."""
    before = "["
    for first in range(0, len(statuses), BATCH):
        batch = statuses[first : first + BATCH]
        yield before + ",".join(views.service_status(item).model_dump_json(by_alias=True) for item in batch)
        before = ","
        await asyncio.sleep(0)
    yield "]" if statuses else "[]"


@router.get(
    "/{serviceId}/status",
    operation_id="serviceStatus",
    response_model=models.ServiceStatus,
    responses=problem_responses(400, 404),
)
async def service_status(
    service: ServiceOf, control: ControlOf, _query: Annotated[NoQuery, Query()]
) -> Response:
    """What the service does right now. An instance that somebody else started is found by a probe."""
    return _answer(await control.status(service))


@router.post(
    "/{serviceId}/start",
    operation_id="startService",
    status_code=202,
    response_model=models.ServiceStatus,
    responses={
        **status_responses({200: "Hot (with `wait`).", 409: "Starting or hot already; nothing changed."}),
        **problem_responses(400, 404, 413, 503),
    },
    dependencies=[NoBody],
)
async def start_service(
    request: Request, service: ServiceOf, control: ControlOf, query: Annotated[StartQuery, Query()]
) -> Response:
    """Start the service; with `wait`, answer when it is hot, whoever started it."""
    try:
        control.start(service, actor=actor_of(request))
    except AlreadyRunning:
        if not query.wait:
            return _answer(await control.status(service, probe=False), 409)
    if query.wait:
        await control.wait_hot(service, timeout=query.timeout)
        return _answer(await control.status(service, probe=False))
    return _answer(await control.status(service, probe=False), 202, location=True)


@router.post(
    "/{serviceId}/stop",
    operation_id="stopService",
    status_code=202,
    response_model=models.ServiceStatus,
    responses=problem_responses(400, 404, 413, 503),
    dependencies=[NoBody],
)
async def stop_service(
    request: Request, service: ServiceOf, control: ControlOf, query: Annotated[StopQuery, Query()]
) -> Response:
    """Stop the service after its open exchanges have ended. Stopping what is cold changes nothing."""
    control.stop(service, force=query.force, actor=actor_of(request))
    return _answer(await control.status(service, probe=False), 202, location=True)


@router.post(
    "/{serviceId}/restart",
    operation_id="restartService",
    status_code=202,
    response_model=models.ServiceStatus,
    responses=problem_responses(400, 404, 413, 503),
    dependencies=[NoBody],
)
async def restart_service(
    request: Request, service: ServiceOf, control: ControlOf, query: Annotated[StopQuery, Query()]
) -> Response:
    """Stop the service after its open exchanges have ended, then start it again."""
    control.restart(service, force=query.force, actor=actor_of(request))
    return _answer(await control.status(service, probe=False), 202, location=True)


@router.get(
    "/{serviceId}/logs",
    operation_id="serviceLogs",
    response_class=Response,
    responses={
        200: {
            "description": "Output of the service, oldest line first; empty where the engine keeps none.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problem_responses(400, 404, 503),
    },
)
async def service_logs(
    service: ServiceOf, control: ControlOf, query: Annotated[LogsQuery, Query()]
) -> Response:
    """Output of the service where its engine has it, as it was written."""
    if query.instance:
        status = await control.status(service, probe=False)
        known = [instance.id for instance in status.instances]
        if query.instance not in known:
            raise InstanceNotFound(
                f"Service {quoted(service)} has no instance {quoted(query.instance)}. "
                f"It has: {', '.join(known)}.",
                remedy=f"`hestia status {service}` lists its instances.",
                service_id=service,
            )
    lines = control.logs(service, instance=query.instance, follow=query.follow)
    return LogStream(lines, tail=query.tail, follow=query.follow)
