"""The control API as one FastAPI application: routes, failures, document.

Owns the assembly. Access, Host and cross-site rules are the edge's; nothing here depends on how the
application is reached (private socket, or mounted by another server).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from hestia.api import dispatch, failures, gateway, machines, metrics, past, reload, services, strategies
from hestia.api.boundary import Boundary
from hestia.api.control import ConfigView, Control, Dispatch, Reloads, RoutingView
from hestia.api.documents import OpenApi, finish
from hestia.api.past import Past
from hestia.api.waiting import WaitingPages
from hestia.telemetry.metrics import Metrics

DESCRIPTION = (
    "Control of the gateway: what its services do, starting and stopping them, their output, its own "
    "health and configuration. Every error it makes is an `application/problem+json` document."
)

ROUTERS: Final = (
    services.router,
    dispatch.router,
    past.router,
    metrics.router,
    reload.router,
    machines.router,
    strategies.router,
    gateway.router,
)


def create_api(
    control: Control,
    *,
    dispatch: Dispatch,
    version: str,
    config: Callable[[], ConfigView] = ConfigView,
    numbers: Metrics | None = None,
    past: Past | None = None,
    reloads: Reloads,
    routing: Callable[[], RoutingView] = RoutingView,
    waiting: WaitingPages | None = None,
) -> FastAPI:
    """Build the application around one gateway.

    dispatch: makes the calls of `POST /v1/requests`. config: asked at each `GET /v1/config`; hides secrets
    itself. numbers: what the metrics show; they name the gateway's own paths by the routes that are here.
    past: what was. reloads: takes a new configuration. routing: asked at each `GET /v1/strategies`.
    waiting: pages of browsers that wait.
    """
    app = _assemble(version)
    app.state.metrics = numbers or Metrics(version=version)
    app.state.metrics.traffic.template = metrics.templates(ROUTERS)
    app.state.control = control
    app.state.config = config
    app.state.reloads = reloads
    app.state.dispatch = dispatch
    app.state.past = past
    if waiting is not None:
        app.include_router(waiting.router())
    app.state.routing = routing
    return app


def openapi_document(version: str) -> OpenApi:
    """The OpenAPI document, without a gateway to control."""
    return _assemble(version).openapi()


def _assemble(version: str) -> FastAPI:
    app = _Api(
        title="Hestia",
        version=version,
        description=DESCRIPTION,
        docs_url=None,  # Swagger UI and ReDoc load their scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,  # Boundary takes a final slash off; a redirect would guess our own address
        openapi_tags=[
            {"name": "services"},
            {"name": "machines"},
            {"name": "past"},
            {"name": "metrics"},
            {"name": "gateway"},
        ],
    )
    for router in ROUTERS:
        app.include_router(router)
    app.state.routes = [route for router in ROUTERS for route in router.routes]
    failures.install(app)
    app.add_middleware(Boundary)
    return app


class _Api(FastAPI):
    """FastAPI whose document is made true by `documents.finish`."""

    def openapi(self) -> dict[str, Any]:
        """The document, generated once. Any: FastAPI's own signature."""
        if self.openapi_schema is None:
            raw = get_openapi(
                title=self.title,
                version=self.version,
                description=self.description,
                routes=self.routes,
                tags=self.openapi_tags,
            )
            self.openapi_schema = finish(raw)
        return self.openapi_schema
