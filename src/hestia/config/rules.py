"""Keys whose values are mappings of their own: `headers`, `no_wake`, `cors` of a service, `tls`, `retention`.

Each is a pydantic model, checked like the options of an engine, so that a fault is shown at its own place
and a secret may stand wherever a text does. What the texts may say is decided in `core.rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from hestia.config.machines import MachineKeys, written_machine
from hestia.config.sizes import Size, size_text
from hestia.config.telemetry import TelemetryKeys, written_telemetry
from hestia.config.values import Flag, Kind, Schema
from hestia.config.warm import KeepWarmKeys, written
from hestia.core.calendar import Window
from hestia.core.model import Machine, Retention, Telemetry, Tls
from hestia.core.rules import (
    Cors,
    Edits,
    Headers,
    NoWake,
    check_glob,
    check_origin,
    check_path_glob,
    check_request_name,
    check_response_name,
    check_value,
)

_RETENTION: Final = Retention()


def _as_text(value: object) -> object:
    # YAML reads `X-Version: 2` as a number; what it wrote is meant
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Value = Annotated[str, BeforeValidator(_as_text), AfterValidator(check_value)]
RequestName = Annotated[str, AfterValidator(check_request_name)]
ResponseName = Annotated[str, AfterValidator(check_response_name)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _each_once(named: dict[str, str]) -> dict[str, str]:
    seen: dict[str, str] = {}
    for name in named:
        if (other := seen.setdefault(name.lower(), name)) != name:
            raise ValueError(f"{other!r} and {name!r} are the same header; keep one of the two")
    return named


class RequestEdits(_Model):
    """What is changed in requests before the service gets them."""

    set: Annotated[dict[RequestName, Value], AfterValidator(_each_once)] = Field(
        default={}, description="Headers to set; what came is replaced."
    )
    remove: list[RequestName] = Field(default=[], description="Headers to take off.")


class ResponseEdits(_Model):
    """What is changed in answers of the service."""

    set: Annotated[dict[ResponseName, Value], AfterValidator(_each_once)] = Field(
        default={}, description="Headers to set; what came is replaced."
    )
    remove: list[ResponseName] = Field(default=[], description="Headers to take off.")


class HeadersKeys(_Model):
    """`headers` of a service."""

    request: RequestEdits = Field(default=RequestEdits(), description="What the service gets.")
    response: ResponseEdits = Field(default=ResponseEdits(), description="What the client gets.")

    def made(self) -> Headers:
        return Headers(request=_edits(self.request), response=_edits(self.response))


class NoWakeKeys(_Model):
    """One item of `no_wake`: globs, all given ones must match."""

    path: Annotated[str, AfterValidator(check_path_glob)] = Field(
        default="", description="Glob for the path within the service, such as /favicon.ico."
    )
    method: Annotated[str, AfterValidator(check_glob)] = Field(default="", description="Glob: HEAD.")
    user_agent: Annotated[str, AfterValidator(check_glob)] = Field(
        default="", description="Glob for User-Agent, in any case, such as Prometheus/*."
    )

    @model_validator(mode="before")
    @classmethod
    def _says_something(cls, data: object) -> object:
        if isinstance(data, Mapping) and "key" in data:
            raise ValueError("'key' is not available yet in this version (access control); remove it for now")
        if isinstance(data, Mapping) and not data:
            raise ValueError(
                "an item without path, method and user_agent would match every request; name one"
            )
        return data

    def made(self) -> NoWake:
        return NoWake(path=self.path, method=self.method, user_agent=self.user_agent)


class CorsKeys(_Model):
    """`cors` of a service."""

    origins: list[Annotated[str, AfterValidator(check_origin)]] = Field(
        default=[], description="Origins of these pages, such as https://app.lan:3000, or * for any."
    )

    @model_validator(mode="before")
    @classmethod
    def _is_no_word(cls, data: object) -> object:
        if data == "passthrough":
            raise ValueError(
                "'passthrough' belongs to access control, which is not available yet in this version; "
                "preflights are passed on anyway: write {origins: [https://app.lan]} or remove the key"
            )
        return data

    @field_validator("origins")
    @classmethod
    def _each_once(cls, origins: list[str]) -> list[str]:
        return list(dict.fromkeys(origins))

    def made(self) -> Cors:
        return Cors(origins=tuple(self.origins))


_TlsVersion = Annotated[
    Literal["1.2", "1.3"],
    BeforeValidator(_as_text),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "enum": ["1.2", "1.3"]}, {"type": "number", "enum": [1.2, 1.3]}]}
    ),
]


class TlsKeys(_Model):
    """`tls` of the gateway."""

    certificate: Annotated[str, Field(min_length=1)] = Field(
        description="Path of a PEM file: the certificate, then those that lead to its authority."
    )
    key: Annotated[str, Field(min_length=1)] = Field(description="Path of a PEM file: the private key.")
    key_password: str = Field(default="", description="Password of the key, where it is encrypted.")
    min_version: _TlsVersion = Field(default="1.2", description="Oldest TLS version that is spoken.")

    def made(self) -> Tls:
        return Tls(
            certificate=self.certificate,
            key=self.key,
            key_password=self.key_password,
            min_version=self.min_version,
        )


class RetentionKeys(_Model):
    """`retention` of the gateway."""

    days: Annotated[int, Field(ge=1, le=36500)] = Field(
        default=_RETENTION.days, description="Days after which events and requests are forgotten."
    )
    size: Annotated[int, Size("256MiB", least=2**20)] = Field(
        default=_RETENTION.size,
        description="Size of the database from which on the oldest are forgotten.",
        json_schema_extra={"default": size_text(_RETENTION.size)},
    )

    def made(self) -> Retention:
        return Retention(days=self.days, size=self.size)


Nest = (
    HeadersKeys | NoWakeKeys | CorsKeys | TlsKeys | RetentionKeys | TelemetryKeys | KeepWarmKeys | MachineKeys
)


@dataclass(frozen=True)
class Nested(Kind):
    """A mapping of its own, or with `many` a list of such mappings. example: JSON, which is YAML too.

    flag: true and false may stand instead. named: such mappings by name.
    """

    model: type[Nest]
    example: str
    many: bool = False
    flag: bool = False
    named: bool = False

    @property
    def words(self) -> str:
        also = "true, or " if self.flag else ""
        return f"{also}a {'list of mappings' if self.many else 'mapping'} such as {self.example}"

    def read(self, value: object) -> object:
        """Plain values, or models that were made of them."""
        if self.flag and isinstance(value, bool):
            return value
        if self.named and isinstance(value, dict):
            return {name: replace(self._one(one), id=name) for name, one in value.items()}
        if not self.many:
            return self._one(value)
        if not isinstance(value, list | tuple):
            raise self.wrong()
        return tuple(self._one(one) for one in value)

    def _one(self, value: object) -> Any:  # Any: what it becomes depends on the model
        made = value if isinstance(value, self.model) else self.model.model_validate(value)
        return made.made()

    def schema(self) -> Schema:
        one = self.model.model_json_schema()
        if self.named:
            return {"type": "object", "additionalProperties": one}
        return {"type": "array", "items": one} if self.many else one

    def said(self, value: object) -> bool | None:
        """True or false where that is what was written and may be."""
        if not self.flag or isinstance(value, list | dict):
            return None
        try:
            return Flag().read(value)
        except ValueError:
            return None


def _edits(edits: Any) -> Edits:  # Any: RequestEdits or ResponseEdits, which differ in what they refuse
    return Edits(set=tuple(edits.set.items()), remove=tuple(edits.remove))


def plain(value: object) -> object:
    """What a nested key became, as it would be written in the file; None where nothing was."""
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, Machine):
        return written_machine(value)
    if isinstance(value, Headers):
        return {
            side: {"set": dict(edits.set), "remove": list(edits.remove)}
            for side, edits in (("request", value.request), ("response", value.response))
        }
    if isinstance(value, Tls):
        return {name: getattr(value, name) for name in TlsKeys.model_fields}
    if isinstance(value, Retention):
        return {"days": value.days, "size": size_text(value.size)}
    if isinstance(value, Telemetry):
        return written_telemetry(value)
    if isinstance(value, Window):
        return written(value)
    if isinstance(value, NoWake):
        members = {"path": value.path, "method": value.method, "user_agent": value.user_agent}
        return {name: text for name, text in members.items() if text}
    return {"origins": list(value.origins)} if isinstance(value, Cors) else value
