"""From the runtime's snapshots to the API's documents. Pure; owns the mapping of the state words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, cast

from hestia.api import models
from hestia.api.control import ConfigView, Reload
from hestia.core.ports import AutomationTask
from hestia.runtime.status import ErrorStatus, Health, InstanceStatus, ServiceStatus, StageStatus

STATES: Final[dict[str, models.State]] = {
    "cold": "cold",
    "starting": "starting",
    "hot": "hot",
    "suspect": "hot",
    "draining": "stopping",
    "stopping": "stopping",
    "failed": "cold",
}
INDEX_LIMIT = 100


def milliseconds(seconds: float | None) -> int | None:
    """Whole milliseconds, never negative; None for unknown and for never."""
    if seconds is None or math.isinf(seconds):
        return None
    return max(0, round(seconds * 1000))


def service_status(status: ServiceStatus) -> models.ServiceStatus:
    """The status document of one service."""
    return models.ServiceStatus(
        service_id=status.id,
        state=STATES[status.phase],
        machine_id=status.machine,
        readiness="ready" if STATES[status.phase] == "hot" else "not_ready",
        queue_pending=status.queue,
        phase=cast(models.Phase, status.phase),  # the lookup above refused any other word
        in_flight=status.in_flight,
        last_used_at=status.last_used_at,
        idle_stop_at=status.idle_stop_at,
        started_at=status.started_at,
        estimated_ready_ms=milliseconds(status.estimated_ready),
        last_error=_error(status.last_error),
        instances=[_instance(instance) for instance in status.instances],
        automation=_automation(status),
        engine=status.engine,
        since=status.since,
        retry_at=status.retry_at,
        episode=status.episode,
        idle_timeout_ms=milliseconds(status.idle_timeout),
        fallback_url=status.fallback_url,
        port=status.port,
        budget=models.Budget(
            failures=status.budget.failures,
            per_hour=status.budget.per_hour,
            free_in_ms=milliseconds(status.budget.free_in),
            episode_starts=status.budget.episode_starts,
            per_episode=status.budget.per_episode,
        ),
    )


def _automation(status: ServiceStatus) -> models.Automation:
    seen = status.automation
    if seen is None:
        return NO_AUTOMATION
    return models.Automation(
        enabled=True,
        provider=seen.provider,
        machine_id=status.machine,
        current_task=_task(seen.current_task),
        last_task=_task(seen.last_task),
    )


def _task(task: AutomationTask | None) -> models.Task | None:
    if task is None:
        return None
    return models.Task(
        task_id=task.task_id,
        status=task.status,
        template_id=task.template_id,
        started_at=task.started_at,
        completed_at=task.completed_at,
        duration_ms=milliseconds(task.duration),
    )


def _instance(instance: InstanceStatus) -> models.Instance:
    return models.Instance(
        id=instance.id,
        state=STATES[instance.phase],
        phase=cast(models.Phase, instance.phase),  # as above
        machine_id=instance.machine,
        engine=instance.engine,
        address=instance.address,
        generation=instance.generation,
        in_flight=instance.in_flight,
        since=instance.since,
        started_at=instance.started_at,
        last_used_at=instance.last_used_at,
        idle_stop_at=instance.idle_stop_at,
        retry_at=instance.retry_at,
        external=instance.external,
        stages=[_stage(stage) for stage in instance.stages],
        last_error=_error(instance.last_error),
        unused=instance.unused,
        kept_for=list(instance.kept_for),
        kept_warm=instance.kept_warm,
    )


def _stage(stage: StageStatus) -> models.Stage:
    return models.Stage(
        name=stage.name,
        text=stage.text,
        elapsed_ms=milliseconds(stage.seconds) or 0,
        done=stage.done,
        usual_ms=milliseconds(stage.usual),
    )


def _error(error: ErrorStatus | None) -> models.LastError | None:
    if error is None:
        return None
    return models.LastError(
        code=error.code,
        detail=error.detail,
        cause=error.cause,
        stage=error.stage,
        remedy=error.remedy,
        at=error.at,
        tail=list(error.tail),
    )


def health(health: Health) -> models.Health:
    """The health document; `failing` outranks `draining`."""
    healthy = "ok" if health.ready else "draining"
    return models.Health(
        status=cast(models.HealthWord, healthy if health.ok else "failing"),
        ready=health.ready,
        problems=list(health.problems),
        version=health.version,
        started_at=health.started_at,
    )


def config(view: ConfigView) -> models.Config:
    """The effective configuration. Raises pydantic's ValidationError for a value that is not JSON."""
    return models.Config(
        path=view.path,
        settings=[
            models.Setting.model_validate({"key": row.key, "value": row.value, "source": row.source})
            for row in view.rows
        ],
        warnings=list(view.warnings),
        reload=reload(view.reload) if view.reload is not None else None,
    )


def reload(reload: Reload) -> models.Reload:
    """One attempt as a document."""
    found = reload.found
    return models.Reload(
        at=datetime.fromtimestamp(reload.at, UTC),
        actor=reload.actor,
        ok=reload.ok,
        added=list(found.added),
        removed=list(found.removed),
        changed=list(found.changed),
        gateway=list(found.gateway),
        needs_restart=list(found.waiting),
        problems=[
            models.ConfigProblem(
                source=one.source,
                line=one.line,
                column=one.column,
                key=one.key,
                text=one.text,
                nearest=one.nearest,
                remedy=one.remedy,
            )
            for one in reload.problems
        ],
    )


def index(services: Sequence[str], version: str) -> models.Index:
    """The landing document."""
    return models.Index(
        name="hestia",
        version=version,
        services=[
            models.Service(
                service_id=service, status=f"/v1/services/{service}/status", proxy=f"/services/{service}/"
            )
            for service in services[:INDEX_LIMIT]
        ],
        links={
            "services": "/v1/services",
            "config": "/v1/config",
            "machines": "/v1/machines",
            "strategies": "/v1/strategies",
            "metrics": "/v1/metrics",
            "prometheus": "/metrics",
            "health": "/healthz",
            "readiness": "/readyz",
            "openapi": "/openapi.json",
            "errors": "/help/errors",
        },
    )


NO_AUTOMATION: Final = models.Automation(
    enabled=False, provider=None, machine_id=None, current_task=None, last_task=None
)
