"""The options of the engine `process`, as the configuration gives them. Checks form, not the machine.

Whether the program, the folder and the user exist is known at start time: `process_launch` looks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

from hestia.core.urls import uses_port_mark

_UNITS: Final = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
}  # fmt: skip
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)")
_SIZE_SCHEMA: Final[dict[str, object]] = {
    "type": "string",
    "pattern": r"^[0-9]+(\.[0-9]+)? ?([KMG]i?)?B$",
    "examples": ["10MiB"],
}
_ENV_NAME: Final = re.compile(r"[^=\0]+")
STAMPED: Final = frozenset({"HESTIA_KEY", "HESTIA_OPTIONS", "HESTIA_ENDPOINT", "HESTIA_HEALTH_URL"})


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(f"{value!r} is not a size; write a number with KiB, MiB, GiB, KB, MB or GB: 10MiB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _plain_text(value: object) -> object:
    # YAML reads `PORT: 8080` as a number; what it wrote is what the program gets.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(value)


Text = Annotated[str, BeforeValidator(_plain_text)]


class ProcessOptions(BaseModel):
    """How the engine `process` starts a program. `{port}` is a free port, a new one per generation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str | list[Text] = Field(
        description="Program and arguments as a list, or a text that /bin/sh runs. `{port}` is filled in.",
        min_length=1,
        examples=[["llama-server", "--port", "{port}"]],
    )
    env: Mapping[str, Text] = Field(
        default_factory=dict,
        repr=False,  # secrets are handed over here
        description="Environment of the program, on top of the short list it gets from the gateway.",
        examples=[{"MODEL": "small"}],
    )
    cwd: str | None = Field(
        default=None,
        min_length=1,
        description="Folder in which the program runs; `~` is the home. Default: the gateway's own.",
        examples=["~/models"],
    )
    user: Text | None = Field(
        default=None,
        min_length=1,
        description="User name or number to run as, with its groups; another than our own needs root.",
        examples=["llm"],
    )
    log_max: Annotated[int, BeforeValidator(_size), WithJsonSchema(_SIZE_SCHEMA)] = Field(
        default=10 * 2**20,
        ge=4096,
        description="Size, with unit, at which the captured output is rotated; one older part is kept.",
    )

    @field_validator("command")
    @classmethod
    def _command_is_runnable(cls, command: str | list[str]) -> str | list[str]:
        words = [command] if isinstance(command, str) else command
        if not words[0].strip():
            raise ValueError("the program's name is empty; write it first: [ollama, serve]")
        if any("\0" in word for word in words):
            raise ValueError("it holds a zero byte, which no program can be given; remove it")
        return command

    @field_validator("env")
    @classmethod
    def _env_can_be_set(cls, env: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in env.items():
            if not _ENV_NAME.fullmatch(name) or "\0" in value:
                raise ValueError(
                    f"the variable {name!r} cannot be set: a name has no '=', neither has a zero byte"
                )
            if name in STAMPED:
                raise ValueError(f"{name} is set by the gateway to find the program again; remove it")
        return env

    @property
    def words(self) -> list[str]:
        """The command as program and arguments."""
        return ["/bin/sh", "-c", self.command] if isinstance(self.command, str) else list(self.command)

    def uses_port_mark(self) -> bool:
        """Whether the program is told a port through its command or its environment."""
        return uses_port_mark(*self.words, *self.env.values())
