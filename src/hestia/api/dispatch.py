"""Route `POST /v1/requests`: a request to a service as a JSON document, its answer as another.

Owns the HTTP meaning of the call: what is the service's answer is 200 whatever its own status; what the
gateway answers instead (a full queue, a failed start, a refusal) is this call's own answer, unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from hestia.api import models
from hestia.api.control import Dispatch, DispatchAnswer, DispatchCall
from hestia.api.dispatch_wire import Wanted, answer_document, read_call
from hestia.api.documents import NO_STORE, OpenApi, problem_responses
from hestia.api.names import quoted
from hestia.api.services import ControlOf, NoQuery, find_service
from hestia.core.errors import BadRequest, ClientGone

router = APIRouter(tags=["services"])

_SCHEMA: OpenApi = models.DispatchRequest.model_json_schema(by_alias=True)
_BODY: Mapping[str, object] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}
}


@router.post(
    "/v1/requests",
    operation_id="dispatchRequest",
    response_model=models.DispatchAnswer,
    responses={
        202: {"model": models.Accepted, "description": "With `Prefer: respond-async`: the service starts."},
        **problem_responses(400, 403, 404, 405, 413, 414, 431, 502, 503, 504, 508),
    },
    openapi_extra=dict(_BODY),
)
async def dispatch_request(
    request: Request, control: ControlOf, _query: Annotated[NoQuery, Query()]
) -> Response:
    """Send one request to a service, starting it if it is cold, and give its whole answer.

    The request goes the way of `/services/{serviceId}{path}`. Redirects are not followed.
    """
    dispatch: Dispatch = request.app.state.dispatch
    with dispatch() as call:
        wanted = read_call(await _document(request, call))
        service = find_service(control, wanted.service)
        answer = await _unless_gone(request, call, wanted, service)
        if answer.own:
            return _own(answer)
        body = answer_document(answer.status, answer.fields, answer.body)
        return Response(body, 200, NO_STORE, "application/json")


async def _document(request: Request, call: DispatchCall) -> bytes:
    """The body of the call, as large as the dispatcher takes it."""
    kind = request.headers.get("content-type", "")
    name = kind.partition(";")[0].strip().lower()
    if name != "application/json":
        found = f"The Content-Type of the call is {quoted(kind)}" if kind else "The call has no Content-Type"
        raise BadRequest(
            f"{found}; it is a JSON document.", remedy="send the header Content-Type: application/json"
        )
    body = bytearray()
    async for part in request.stream():
        call.take(len(part))
        body += part
    return bytes(body)


async def _unless_gone(request: Request, call: DispatchCall, wanted: Wanted, service: str) -> DispatchAnswer:
    """The answer; when the caller leaves first, the request is aborted (CA-01). Raises what `send` raises."""
    sending = call.send(
        service,
        wanted.method,
        wanted.path,
        wanted.fields,
        wanted.body,
        kind=wanted.kind,
        caller=request.scope["headers"],
    )
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(sending, name="api-dispatch-send")
            watch = group.create_task(_leave(request), name="api-dispatch-watch")
            answer = await task
            watch.cancel()
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the request's own failure, or that the caller left
    return answer


async def _leave(request: Request) -> None:
    """Raises ClientGone when the caller leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientGone("The caller left.")


def _own(answer: DispatchAnswer) -> Response:
    """An answer of the gateway itself, as it would have been given to a client of the service."""
    response = Response(answer.body, answer.status)
    for name, value in answer.fields:
        if name not in (b"date", b"content-length"):
            response.headers[name.decode("latin-1")] = value.decode("latin-1")
    return response
