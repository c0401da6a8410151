"""Kinds of value of the seeds' `semaphore_*` keys and no other: bare seconds, numbers that may be names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hestia.config.values import Address, Duration, Kind, Schema, Text
from hestia.core.urls import uses_port_mark

_BARE: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_ID: Final = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Seconds(Duration):
    """A duration whose bare number is seconds (SPEC 1)."""

    @property
    def words(self) -> str:
        return "seconds, such as 300, or a duration with its unit, such as 5m"

    def read(self, value: object) -> float:
        if not isinstance(value, bool) and _BARE.fullmatch(str(value).strip()):
            value = f"{str(value).strip()}s"
        return super().read(value)

    def schema(self) -> Schema:
        bare: Schema = {"type": "number", "exclusiveMinimum": 0}
        return {"anyOf": [*super().schema()["anyOf"], bare]}


@dataclass(frozen=True)
class NumberOrName(Kind):
    """An id, or a name; text of digits is the id."""

    what: str

    @property
    def words(self) -> str:
        return f"the id of {self.what}, a number from 1, or its name"

    def read(self, value: object) -> int | str:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self.wrong()
        if _ID.fullmatch(str(value).strip()):
            return int(value)
        if not isinstance(value, str) or value.strip().lstrip("-").isdigit():
            raise self.wrong()
        return Text(self.words).read(value).strip()

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "minLength": 1}]}


@dataclass(frozen=True)
class ServerAddress(Address):
    """`http://host[:port][/path]` of another program's interface."""

    @property
    def words(self) -> str:
        return "an address such as http://localhost:3000"

    def read(self, value: object) -> str:
        text = super().read(value)
        if uses_port_mark(text) or text[:5].lower() == "unix:":
            raise self.wrong()
        return text.rstrip("/")

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^https?://[^\s]+$"}
