"""Routes below `/v1/machines`: what each has, who has it, who waits."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Path, Query, Response
from pydantic import TypeAdapter

from hestia.api import machine_models as models
from hestia.api.documents import NO_STORE, problem_responses
from hestia.api.models import Phase
from hestia.api.names import nearest, quoted
from hestia.api.services import ControlOf, NoQuery
from hestia.core.errors import MachineNotFound
from hestia.runtime.machines import MachineStatus, Resident, Waiting

router = APIRouter(prefix="/v1/machines", tags=["machines"])

_LIST = TypeAdapter(list[models.MachineDocument])


@router.get(
    "",
    operation_id="listMachines",
    response_model=list[models.MachineDocument],
    responses=problem_responses(400),
)
async def list_machines(control: ControlOf, _query: Annotated[NoQuery, Query()]) -> Response:
    """Every machine that is described or that a service names."""
    documents = [document(one) for one in control.machines()]
    return Response(_LIST.dump_json(documents, by_alias=True), 200, NO_STORE, "application/json")


@router.get(
    "/{machineId}",
    operation_id="machine",
    response_model=models.MachineDocument,
    responses=problem_responses(400, 404),
)
async def machine(
    machine_id: Annotated[
        str, Path(alias="machineId", description="Name of the machine.", examples=["gpu-server-01"])
    ],
    control: ControlOf,
    _query: Annotated[NoQuery, Query()],
) -> Response:
    """One machine: what it has, who has it, who waits."""
    known = {str(one.id): one for one in control.machines()}
    if machine_id not in known:
        near = nearest(machine_id, known)
        hint = f' The nearest is "{near}".' if near else ""
        raise MachineNotFound(
            f"There is no machine {quoted(machine_id)}.{hint}",
            remedy="`hestia machines` lists them; a new one goes under `machines:` in hestia_config.yml.",
        )
    body = document(known[machine_id]).model_dump_json(by_alias=True)
    return Response(body, 200, NO_STORE, "application/json")


def document(status: MachineStatus) -> models.MachineDocument:
    """The document of one machine."""
    return models.MachineDocument(
        machine_id=status.id,
        state="awake",
        address=status.address,
        role=status.role,
        tags=list(status.tags),
        declared=status.declared,
        services=status.services,
        running=status.running,
        max_instances=status.max_instances,
        resources={
            name: models.Resource(
                total=one.total,
                used=one.used,
                free=one.total - one.used,
                unit="bytes" if one.is_size else "pieces",
            )
            for name, one in status.resources.items()
        },
        instances=[_resident(one) for one in status.residents],
        waiting=[_waiting(one) for one in status.waiting],
    )


def _resident(one: Resident) -> models.Resident:
    return models.Resident(
        service_id=one.service,
        instance_id=one.instance,
        phase=cast(Phase, one.phase),  # a word of the life-cycle table
        since=one.since,
        takes=dict(one.takes),
        gives_way=cast(models.GivesWay, one.gives_way),  # one of the runtime's four
        why=one.why,
    )


def _waiting(one: Waiting) -> models.Waiting:
    return models.Waiting(
        service_id=one.service,
        instance_id=one.instance,
        since=one.since,
        needs=dict(one.needs),
        text=one.text,
    )
