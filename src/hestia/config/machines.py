"""`machines` of the gateway and `needs` of a service: how they are written, and what they become.

Amounts are sizes with their unit, or whole pieces. Whether they fit each other is for `config.room`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hestia.config.sizes import Size, size_text
from hestia.config.values import Kind, Schema, Whole
from hestia.core.model import Machine, MachineId
from hestia.core.room import INSTANCES

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RESOURCE: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_SIZE: Final = Size("24GiB")
_COUNT: Final = Whole(1, 1_000_000)
_LATER: Final = ("engine", "ssh", "idle_timeout", "sleep", "busy_probe")  # of machines that sleep


class Bytes(int):
    """An amount that was written as a size."""


@dataclass(frozen=True)
class Resources(Kind):
    """Amounts by name of the resource: `{vram: 24GiB, gpus: 4}`."""

    example: str = "{vram: 24GiB, gpus: 4}"

    @property
    def words(self) -> str:
        return f"amounts by name, a size with its unit or a whole number: {self.example}"

    def read(self, value: object) -> dict[str, int]:
        if isinstance(value, str) and value.strip().startswith("{"):  # the environment has only text
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise self.wrong() from None
        if not isinstance(value, dict):
            raise self.wrong()
        return {self._name(name): self._amount(name, amount) for name, amount in value.items()}

    def _name(self, name: object) -> str:
        if name == INSTANCES:
            raise ValueError(f"= {INSTANCES} is no resource: max_instances limits them")
        if not isinstance(name, str) or not _RESOURCE.fullmatch(name):
            raise ValueError(
                f"= {name!r} cannot be the name of a resource: write small letters, digits, '-' and '_'"
            )
        return name

    @staticmethod
    def _amount(name: object, amount: object) -> int:
        try:
            if isinstance(amount, int) and not isinstance(amount, bool):
                return amount if isinstance(amount, Bytes) else _COUNT.read(amount)
            text = str(amount).strip() if isinstance(amount, str) else ""
            return _COUNT.read(text) if text.isdecimal() else Bytes(_SIZE.read(amount))
        except ValueError:
            raise ValueError(
                f"= {amount!r} is no amount of {name}: write a size with its unit, such as 24GiB, or a whole "
                "number above 0"
            ) from None

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_RESOURCE.pattern}$"},
            "additionalProperties": {"anyOf": [_COUNT.schema(), _SIZE.schema()]},
        }


@dataclass(frozen=True)
class MachineName(Kind):
    """What a machine may be called."""

    @property
    def words(self) -> str:
        return "the name of a machine: letters, digits, '.', '-' and '_', at most 63"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not NAME.fullmatch(value.strip()):
            raise self.wrong()
        return value.strip()

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{NAME.pattern}$"}


class MachineKeys(BaseModel):
    """One machine of `machines`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    address: str = Field(default="", description="Name or address of it in the network.")
    role: str = Field(default="", description="What it is for, in a word of your own.")
    tags: list[str] = Field(default=[], description="Words of your own about it.")
    resources: Annotated[dict[str, int], Resources()] = Field(
        default={}, description="What it has: a size with its unit, or a number of pieces, by name."
    )
    max_instances: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="How many instances may run there at the same time."
    )

    @model_validator(mode="before")
    @classmethod
    def _is_built(cls, data: object) -> object:
        for name in _LATER:
            if isinstance(data, Mapping) and name in data:
                raise ValueError(
                    f"{name!r} is not available yet in this version (machines that sleep); remove it for now"
                )
        return data

    def made(self) -> Machine:
        return Machine(
            id=MachineId(""),  # its name stands before it
            address=self.address,
            role=self.role,
            tags=tuple(self.tags),
            resources=self.resources,
            sizes=frozenset(key for key, amount in self.resources.items() if isinstance(amount, Bytes)),
            max_instances=self.max_instances,
        )


def written_machine(machine: Machine) -> dict[str, object]:
    """The machine as it would stand in the file."""
    members: dict[str, object] = {
        "address": machine.address,
        "role": machine.role,
        "tags": list(machine.tags),
        "resources": amounts(machine.resources),
        "max_instances": machine.max_instances,
    }
    return {name: value for name, value in members.items() if value}


def amounts(resources: Mapping[str, int]) -> dict[str, object]:
    """Amounts as they would be written."""
    return {name: size_text(one) if isinstance(one, Bytes) else one for name, one in resources.items()}
