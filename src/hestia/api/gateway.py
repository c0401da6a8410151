"""Routes about the gateway itself: landing, health, configuration, error help."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from hestia.api import models, pages, views
from hestia.api.documents import NO_STORE, OpenApi, problem_responses
from hestia.api.error_texts import ERRORS
from hestia.api.names import nearest, quoted
from hestia.api.services import ControlOf, NoQuery
from hestia.core.errors import NotFound

router = APIRouter(tags=["gateway"])
NoParameters = Annotated[NoQuery, Query()]
_PAGE: dict[int | str, OpenApi] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


def _json(document: models.Document, code: int = 200) -> Response:
    return Response(document.model_dump_json(by_alias=True), code, NO_STORE, "application/json")


@router.get("/v1", operation_id="index", response_model=models.Index, responses=_PAGE)
@router.get("/", include_in_schema=False)
@router.get("/help", include_in_schema=False)
async def index(request: Request, control: ControlOf) -> Response:
    """What is here: a page for a browser, a document for a program."""
    services = control.services()
    document = views.index(services, request.app.version)
    if pages.wants_page(request.scope):
        return pages.landing(document, len(services))
    return _json(document)


@router.get(
    "/healthz",
    operation_id="health",
    response_model=models.Health,
    responses={503: {"model": models.Health, "description": "Something does not move; `problems` names it."}},
)
async def healthz(control: ControlOf) -> Response:
    """Whether the gateway itself makes progress. Draining is healthy."""
    health = control.health()
    return _json(views.health(health), 200 if health.ok else 503)


@router.get(
    "/readyz",
    operation_id="readiness",
    response_model=models.Health,
    responses={503: {"model": models.Health, "description": "Draining, or something does not move."}},
)
async def readyz(control: ControlOf) -> Response:
    """Whether the gateway takes requests now."""
    health = control.health()
    return _json(views.health(health), 200 if health.ok and health.ready else 503)


@router.get(
    "/v1/config",
    operation_id="config",
    response_model=models.Config,
    responses=problem_responses(400),
)
async def config(request: Request, _query: NoParameters) -> Response:
    """The effective configuration with the source of each value; secrets are hidden."""
    return _json(views.config(request.app.state.config()))


@router.get("/help/errors", operation_id="errorCodes", response_model=list[str], responses=_PAGE)
async def error_codes(request: Request) -> Response:
    """Every error code the gateway can answer with."""
    if pages.wants_page(request.scope):
        return pages.error_list(ERRORS)
    return Response(json.dumps(list(ERRORS)), 200, NO_STORE, "application/json")


@router.get(
    "/help/errors/{code}",
    operation_id="errorHelp",
    response_model=models.ErrorHelp,
    responses={**_PAGE, **problem_responses(404)},
)
async def error_help(request: Request, code: Annotated[str, Path(examples=["queue_timeout"])]) -> Response:
    """What an error code means and what to do."""
    text = ERRORS.get(code)
    if text is None:
        near = nearest(code, ERRORS)
        hint = f' The nearest is "{near}".' if near else ""
        raise NotFound(
            f"There is no error code {quoted(code)}.{hint}", remedy="GET /help/errors lists all codes."
        )
    document = models.ErrorHelp(code=code, meaning=text.meaning, do=list(text.do))
    return pages.error_help(document) if pages.wants_page(request.scope) else _json(document)
