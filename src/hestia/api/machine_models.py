"""The documents of `/v1/machines`: what a machine has, who has it, who waits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hestia.api.models import Document, Instant, Phase

GivesWay = Literal["at_once", "after_wait", "never", "leaving"]


class Resource(Document):
    """How much there is of one resource."""

    total: int = Field(ge=0, examples=[25769803776])
    used: int = Field(ge=0, description="Taken by instances; more than `total` where more was found running.")
    free: int = Field(description="What is left; negative where more was found running than fits.")
    unit: Literal["bytes", "pieces"]


class Resident(Document):
    """An instance that has room there: from before its start until it is confirmed gone."""

    service_id: str = Field(examples=["sdxl"])
    instance_id: str = Field(examples=["main"])
    phase: Phase
    since: Instant = Field(description="When it entered this phase.")
    takes: dict[str, int] = Field(description="What it has of each resource.")
    gives_way: GivesWay = Field(
        description="Whether it is stopped for others: `at_once`, to who waited `max_room_wait` "
        "(`after_wait`), or `never`; `leaving`: it is being stopped."
    )
    why: str = Field(description="Why so, in words.", examples=["is busy (2 requests)"])


class Waiting(Document):
    """A start that waits for room."""

    service_id: str = Field(examples=["llama"])
    instance_id: str = Field(examples=["main"])
    since: Instant = Field(description="From when on it waits.")
    needs: dict[str, int] = Field(description="What it will take of each resource.")
    text: str = Field(description="For whom, in words.", examples=["sdxl is busy (2 requests)"])


class MachineDocument(Document):
    """One machine."""

    machine_id: str = Field(examples=["gpu-server-01"])
    state: Literal["awake"] = Field(description="Always `awake` in this version.")
    address: str = Field(description="As configured, or empty.", examples=["gpu.lan"])
    role: str = Field(description="As configured, or empty.")
    tags: list[str]
    declared: bool = Field(description="Whether `machines` describes it; otherwise services only name it.")
    services: int = Field(ge=0, description="How many services have an instance there, running or not.")
    running: int = Field(ge=0, description="Instances that are not confirmed gone.")
    max_instances: int | None = Field(description="How many may run at the same time; null is no limit.")
    resources: dict[str, Resource]
    instances: list[Resident] = Field(description="Those that have room, by name.")
    waiting: list[Waiting] = Field(description="Starts that wait for room.")
