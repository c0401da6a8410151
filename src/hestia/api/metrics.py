"""Routes of the metrics: the seeds' JSON, of all and of one service, and text for Prometheus.

Owns their HTTP meaning and the names of our own routes. Reading starts nothing and is no use of a service.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse
from starlette.routing import Route

from hestia.api import models
from hestia.api.documents import NO_STORE, problem_responses
from hestia.api.services import NoQuery, ServiceOf
from hestia.telemetry.document import Document, Numbers
from hestia.telemetry.exposition import CONTENT_TYPE, pieces
from hestia.telemetry.metrics import Metrics
from hestia.telemetry.numbers import Histogram

router = APIRouter(tags=["metrics"])
NoParameters = Annotated[NoQuery, Query()]
SHARES: Final = (0.5, 0.95, 0.99)
OPENAPI: Final = "/openapi.json"  # FastAPI's own route
KNOWN: Final = 1024  # paths whose template is remembered


def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


@router.get(
    "/v1/metrics", operation_id="metrics", response_model=models.Metrics, responses=problem_responses(400)
)
async def metrics(request: Request, _query: NoParameters) -> Response:
    """Counters, timers and gauges since the gateway started, of all and of each service that was used."""
    document = await Document.read(_metrics(request))
    services = {}
    for name, numbers in document.services.items():
        services[name] = _numbers(numbers)
        await asyncio.sleep(0)
    whole = _numbers(document.whole)
    return _json(models.Metrics(**dict(whole), services=services))


@router.get(
    "/v1/services/{serviceId}/metrics",
    operation_id="serviceMetrics",
    response_model=models.ServiceMetrics,
    responses=problem_responses(400, 404),
)
async def service_metrics(request: Request, service: ServiceOf, _query: NoParameters) -> Response:
    """The same of one service; empty while nobody has used it."""
    document = await Document.read(_metrics(request), only=service)
    return _json(_numbers(document.services.get(service) or Numbers()))


@router.get(
    "/metrics",
    operation_id="prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "All metrics, in the text format 0.0.4.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problem_responses(400),
    },
)
async def prometheus(request: Request, _query: NoParameters) -> Response:
    """The numbers for Prometheus; docs/metrics.md says what each is."""
    return StreamingResponse(
        _text(_metrics(request)), 200, {**NO_STORE, "content-type": CONTENT_TYPE}, media_type=None
    )


async def _text(metrics: Metrics) -> AsyncIterator[str]:
    """The page in pieces, giving the loop back between them."""
    for family, points in metrics.families():
        for piece in pieces(family, points):
            yield piece
            await asyncio.sleep(0)


def _json(document: models.Metrics | models.ServiceMetrics) -> Response:
    return Response(document.model_dump_json(), 200, NO_STORE, "application/json")


def _numbers(numbers: Numbers) -> models.ServiceMetrics:
    counters = {
        name: models.Count(count=_short(one.value), timestamp=datetime.fromtimestamp(one.at, UTC))
        for name, one in numbers.counters.items()
    }
    timers = {name: _timer(one) for name, one in numbers.timers.items()}
    gauges = {name: _short(value) for name, value in numbers.gauges.items()}
    return models.ServiceMetrics(counters=counters, timers=timers, gauges=gauges)


def _timer(one: Histogram) -> models.Timer:
    p50, p95, p99 = map(_short, one.quantiles(SHARES))
    return models.Timer(
        count=one.count,
        avg_ms=_short(one.total / max(1, one.count)),
        min_ms=_short(one.least if one.count else 0.0),
        max_ms=_short(one.most),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )


def _short(value: float) -> int | float:
    """Three digits behind the point, none where it is whole."""
    return int(value) if value == int(value) else round(value, 3)


def templates(routers: Iterable[APIRouter]) -> Callable[[str], str]:
    """Finds the route template of a path of the API, "" where there is none; for the labels of metrics."""
    routes = [
        (one.path_regex, one.path) for router in routers for one in router.routes if isinstance(one, Route)
    ]
    known: dict[str, str] = {OPENAPI: OPENAPI}

    def template(path: str) -> str:
        found = known.get(path)
        if found is None:
            plain = path.rstrip("/") or "/"
            found = next((name for regex, name in routes if regex.match(plain)), "")
            if len(known) < KNOWN:
                known[path] = found
        return found

    return template
