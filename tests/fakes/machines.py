"""Services that share a machine, for scripts and walks on paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hestia.core.model import BusyProbe, Machine, MachineId, ServiceId, ServiceSettings
from tests.fakes.runtime import PaperRuntime, service

GPU_1 = MachineId("gpu-1")


def shared(name: ServiceId, *, machine: MachineId = GPU_1, **settings: Any) -> ServiceSettings:
    """A service on a machine that others use as well. settings: of ServiceSettings, hence Any."""
    one = service(id=name, **settings)
    return replace(one, instances=tuple(replace(each, machine=machine) for each in one.instances))


def gpu(*, instances: int | None = None, **resources: int) -> Machine:
    """The machine, with room for so many instances, and so much of each resource."""
    return Machine(id=GPU_1, resources=resources, max_instances=instances)


def sharing(*services: ServiceSettings, instances: int | None = None, **resources: int) -> PaperRuntime:
    """A runtime with one machine for all: room for one, unless it is said otherwise."""
    only = 1 if instances is None and not resources else instances
    return PaperRuntime(*services, machines=[gpu(instances=only, **resources)])


def busy() -> dict[str, Any]:
    """Settings of a service that is asked whether it is busy."""
    return {"busy_probe": BusyProbe(command="busy")}
