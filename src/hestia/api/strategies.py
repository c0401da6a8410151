"""The route about strategies: which there are, which files are broken, and which services use them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from hestia.api import strategy_models as models
from hestia.api.control import RoutingView
from hestia.api.documents import NO_STORE, problem_responses
from hestia.api.services import NoQuery
from hestia.core.model import ServiceSettings

router = APIRouter(prefix="/v1/strategies", tags=["gateway"])


@router.get("", operation_id="strategies", response_model=models.Strategies, responses=problem_responses(400))
async def strategies(request: Request, _query: Annotated[NoQuery, Query()]) -> Response:
    """Strategies that are there, files that could not be loaded, and how services are routed."""
    body = document(request.app.state.routing()).model_dump_json()
    return Response(body, 200, NO_STORE, "application/json")


def document(view: RoutingView) -> models.Strategies:
    """The document."""
    return models.Strategies(
        loaded_strategies={
            name: models.LoadedStrategy(
                name=name,
                version=str(one.plugin.version),
                features=[str(feature) for feature in one.plugin.features],
                origin=one.origin,
            )
            for name, one in view.strategies.loaded.items()
        },
        failed_strategies=[
            models.FailedStrategy(file=one.file, detail=one.detail, trace=one.trace)
            for one in view.strategies.failed
        ],
        service_configurations={
            str(one.id): _service(one, view.errors.get(one.id, ""), view.failures.get(one.id, 0))
            for one in view.services
        },
    )


def _service(settings: ServiceSettings, error: str, failures: int) -> models.ServiceRouting:
    strategy = settings.strategy
    return models.ServiceRouting.model_validate(
        {
            "strategy": strategy.name if strategy is not None else None,
            "instances": [
                models.RoutedInstance(
                    id=one.id,
                    url=one.base_url,
                    weight=one.weight,
                    region=one.region,
                    models=list(one.models),
                    last=one.is_last,
                )
                for one in settings.instances
            ],
            "routing": dict(strategy.written) if strategy is not None else {},
            "error": error,
            "failures": failures,
        }
    )
