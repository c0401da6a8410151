"""What every mapping of the configuration file has in common: its base, its fields, its spellings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from hestia.config.values import Duration, Kind, Text


def key(
    default: object,
    description: str,
    *,
    since: str = "0.1",
    example: object = None,
    shown: str = "",
) -> Any:  # Any: like pydantic.Field, the default of a field of whatever type
    """A field. shown: words for the default where the value alone does not say it."""
    extra: JsonDict = {"since": since, **({"shown": shown} if shown else {})}
    examples = None if example is None else [example]
    return Field(default=default, description=description, examples=examples, json_schema_extra=extra)


class Keys(BaseModel):
    """Base of the mappings of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EngineKeys(Keys):
    """`engine` of a service: `type`, and beside it the options of that engine."""

    type: Annotated[str, Text("the name of an engine, such as process")] = key(
        "none", "Who starts and stops the service. `none`: somebody else."
    )


def kind_of(field: FieldInfo) -> Kind | None:
    """The kind of a field; None when it holds a mapping of its own."""
    return next((data for data in field.metadata if isinstance(data, Kind)), None)


def spellings(model: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """Every way to write a key of a model → (field, unit); the unit is "" where the value has its own."""
    known: dict[str, tuple[str, str]] = {}
    for name, field in model.model_fields.items():
        known[name] = (name, "")
        if isinstance(kind_of(field), Duration):
            known[f"{name}_ms"] = (name, "ms")
            known[f"{name}_seconds"] = (name, "s")
    return known
