"""Routes about a new configuration: take it, and what came of the last time.

Owns the HTTP meaning; reading, comparing and applying are the gateway's.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from hestia.api import models, views
from hestia.api.control import Reload
from hestia.api.documents import NO_STORE, problem_responses
from hestia.api.services import NoBody, NoQuery, actor_of

NoParameters = Annotated[NoQuery, Query()]

router = APIRouter(prefix="/v1/config", tags=["gateway"])


@router.get(
    "/reload",
    operation_id="lastReload",
    response_model=models.Reload | None,
    responses=problem_responses(400),
)
async def last_reload(request: Request, _query: NoParameters) -> Response:
    """What came of the last reload; `null` when there was none since the gateway started."""
    last: Reload | None = request.app.state.reloads.last_reload
    body = views.reload(last).model_dump_json(by_alias=True) if last is not None else "null"
    return Response(body, 200, NO_STORE, "application/json")


@router.post(
    "/reload",
    operation_id="reload",
    response_model=models.Reload,
    responses={
        409: {"model": models.Reload, "description": "It has problems; the old configuration stays."},
        **problem_responses(400, 413),
    },
    dependencies=[NoBody],
)
async def reload(request: Request, _query: NoParameters) -> Response:
    """Read the configuration again and take it; only services that differ are touched."""
    done: Reload = await request.app.state.reloads.reload(actor_of(request))
    body = views.reload(done).model_dump_json(by_alias=True)
    return Response(body, 200 if done.ok else 409, NO_STORE, "application/json")
