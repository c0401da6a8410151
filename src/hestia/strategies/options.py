"""Values that the options of strategies have in common: durations, regions, what counts as a failure."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from hestia.core.strategy import PEEK_MAX, Ejection

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)")
_SIZES: Final = {"B": 1, "KB": 1000, "KIB": 1024}
_SIZE: Final = re.compile(r"([0-9]+) ?([A-Za-z]+)")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2


def _seconds(value: object) -> object:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    match = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no duration; write a number with its unit (ms, s, m, h, d): 30s")
    return float(match[1]) * _UNITS[match[2]]


def _bytes(value: object) -> object:
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].upper() not in _SIZES:
        raise ValueError(f"{value!r} is no size; write a number with B, KB or KiB: 64KiB")
    return int(match[1]) * _SIZES[match[2].upper()]


def _token(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header or cookie; write letters, digits and hyphens")
    return name


def _plain(value: object) -> object:
    # YAML reads a model named 3 as a number; what it wrote is what is meant
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


_SPAN_SCHEMA: Final = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)$"}
_SIZE_SCHEMA: Final = {"type": "string", "pattern": r"^[0-9]+ ?(B|KB|KiB)$"}

Seconds = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(_SPAN_SCHEMA)]
Bytes = Annotated[int, BeforeValidator(_bytes), WithJsonSchema(_SIZE_SCHEMA)]
Name = Annotated[str, BeforeValidator(_token)]
Text = Annotated[str, BeforeValidator(_plain)]


PEEK: Final = Field(
    default=PEEK_MAX,
    validate_default=False,
    gt=0,
    le=PEEK_MAX,
    description="How much of a body is read ahead for it, at most 256KiB.",
    examples=["64KiB"],
)


class Options(BaseModel):
    """Base of all: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EjectOptions(Options):
    """When an instance that keeps failing is left out."""

    after: int = Field(
        default=5, ge=1, le=10_000, description="Failures in a row: connects, broken answers, these statuses."
    )
    statuses: tuple[Annotated[int, Field(ge=500, le=599)], ...] = Field(
        default=(502, 503, 504), description="Answers that are failures."
    )
    cool_down: Seconds = Field(
        default=30.0,
        validate_default=False,
        description="How long it is left out. Then it is probed, every 10 s at most, until it answers.",
    )

    def made(self) -> Ejection:
        return Ejection(after=self.after, statuses=frozenset(self.statuses), cool_down=self.cool_down)


class StickyOptions(Options):
    """How a client keeps its instance. One of the two."""

    cookie: Name = Field(default="", validate_default=False, description="Name of a cookie that is set.")
    header: Name = Field(
        default="",
        validate_default=False,
        description="A header whose value picks the instance: X-User. No value: as without.",
    )
    max_age: Seconds = Field(
        default=0.0, validate_default=False, description="Life of the cookie; 0 ends with the browser."
    )
