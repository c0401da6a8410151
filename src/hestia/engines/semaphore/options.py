"""The options of the engine `semaphore`, as the configuration gives them. Checks form, asks no server.

What the top of the file says about the server (`semaphore_base_url` and so on) stands in the same model: the
configuration fills it in where a service does not say it itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLES_MAX: Final = 1024  # bytes of JSON; they are kept in the handle, which has 4 KiB
RESERVED: Final = "hestia_"


def _seconds(value: object) -> object:
    """Seconds, as a number or with a unit."""
    match = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    return float(match[1]) * _UNITS[match[2] or "s"]


def _number_or_name(value: object) -> object:
    """`"3"` is the number: the environment has only text."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _plain_text(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


_SECONDS_SCHEMA: Final[dict[str, object]] = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)?$"},
    ]
}
_TARGET_SCHEMA: Final[dict[str, object]] = {
    "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "minLength": 1}]
}
Seconds = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(_SECONDS_SCHEMA)]
Target = Annotated[int | str, BeforeValidator(_number_or_name), WithJsonSchema(_TARGET_SCHEMA)]
Text = Annotated[str, BeforeValidator(_plain_text)]


class SemaphoreOptions(BaseModel):
    """How the engine `semaphore` starts and stops a service."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # a change of these leaves what runs as it is: how it is asked for, not what is started
    not_started_with: ClassVar[frozenset[str]] = frozenset(
        {"task_timeout", "queue_timeout", "poll_interval", "timeout", "api_key", "username", "password"}
    )

    machine_id: str = Field(
        default="",
        description="Name of the machine, handed to the playbook as `hestia_machine`. Default: `machine` of "
        "the service.",
        examples=["gpu-server-01"],
    )
    start_template: Target = Field(
        default=1, description="Id or name of the template that starts the service.", examples=["start app"]
    )
    stop_template: Target = Field(
        default=2, description="Id or name of the template that stops it: another one.", examples=["stop app"]
    )
    variables: Mapping[str, Text] = Field(
        default_factory=dict,
        description="Further variables for both playbooks. Semaphore keeps and shows them: no secrets.",
        examples=[{"gpu": "0"}],
    )
    task_timeout: Seconds = Field(
        default=300.0,
        gt=0,
        description="Seconds that a task may run, or a duration with its unit.",
        examples=[600],
    )
    queue_timeout: Seconds | None = Field(
        default=None,
        gt=0,
        description="Seconds that a task may wait in Semaphore's queue. Default: as `task_timeout`.",
        examples=["2m"],
    )
    poll_interval: Seconds = Field(
        default=2.0,
        ge=0.05,
        description="Seconds between two looks at a task while its events cannot be had over a WebSocket.",
        examples=[5],
    )
    base_url: str = Field(
        default="",
        description="Address of the server, with its path if it has one. Default: `semaphore_base_url`.",
        examples=["http://localhost:3000"],
    )
    project: Target | None = Field(
        default=None,
        description="Id or name of the project. Default: `semaphore_project`.",
        examples=["hestia"],
    )
    timeout: Seconds | None = Field(
        default=None, gt=0, description="Seconds for one call. Default: `semaphore_timeout`.", examples=[30]
    )
    api_key: str = Field(
        default="", repr=False, description="Default: `semaphore_api_key`.", examples=["mxq4k0f2v6x3…="]
    )
    username: str = Field(default="", description="Default: `semaphore_username`.", examples=["hestia"])
    password: str = Field(
        default="", repr=False, description="Default: `semaphore_password`.", examples=["s3cret…"]
    )

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
            raise ValueError(f"{url!r} is no address of a server; write it as http://localhost:3000")
        return url

    @field_validator("variables")
    @classmethod
    def _can_be_handed_over(cls, variables: Mapping[str, str]) -> Mapping[str, str]:
        for name in variables:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a variable; use letters, digits and _")
            if name.startswith((RESERVED, "semaphore_")):
                raise ValueError(f"{name} is not free: names with hestia_ and semaphore_ are set for you")
        if len(json.dumps(dict(variables))) > _VARIABLES_MAX:
            raise ValueError(
                f"they are longer than {_VARIABLES_MAX} bytes in all; put them into the variable group"
            )
        return variables

    @property
    def waiting_limit(self) -> float:
        """Seconds that a task may wait in the queue."""
        return self.task_timeout if self.queue_timeout is None else self.queue_timeout
