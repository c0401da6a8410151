"""The kinds of value a key may have. Each reads one plain value, says in words what it expects, and knows
its JSON Schema; nothing else decides what is valid where.

A kind is metadata of a pydantic field: `Annotated[float, Duration(...)]`. `read` raises ValueError; its text
is the expectation, or a whole sentence that starts with "the ". Durations become float seconds, "never"
infinity (SPEC 1). Text that reads as the kind is accepted everywhere, since the environment has only text.
"""

from __future__ import annotations

import ipaddress
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from hestia.config.errors import one_of
from hestia.core.model import NEVER
from hestia.core.urls import fill_port, parse_base_url, uses_port_mark

UNITS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST: Final = 3650 * 86400.0  # ten years; anybody who means longer means never (CK-11)
_SPAN: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))(?: ?[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))*")
_SPAN_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_WHOLE: Final = re.compile(r"[-+]?[0-9]{1,18}")
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_LABEL: Final = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2

Schema = dict[str, Any]  # a JSON Schema; Any because it nests freely


class Kind(ABC):
    """Base of all kinds."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What is expected, to follow "expected "."""

    @abstractmethod
    def read(self, value: object) -> object:
        """The value as Hestia uses it. Raises ValueError."""

    @abstractmethod
    def schema(self) -> Schema:
        """JSON Schema of what may be written."""

    def wrong(self) -> ValueError:
        return ValueError(self.words)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        return self.schema()


@dataclass(frozen=True)
class Duration(Kind):
    """Seconds. least: smallest allowed. endless: `never` and 0 mean without limit."""

    least: float = 0.001
    endless: bool = False
    hint: str = ""  # what to write instead of 0

    @property
    def words(self) -> str:
        also = ", or never" if self.endless else ""
        return f"a duration with its unit (ms, s, m, h or d), such as 30s or 5m{also}"

    def read(self, value: object) -> float:
        seconds = self._seconds(value)
        if self.endless and seconds == 0:
            return NEVER
        if seconds < self.least:
            raise ValueError(f"{self._bound()}{self.hint}")
        if seconds > LONGEST and seconds != NEVER:
            raise ValueError("at most 3650d" + (", or never" if self.endless else ""))
        return seconds

    def _bound(self) -> str:
        return f"at least {duration_text(self.least)}"

    def _seconds(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong()
        text = str(value).strip()
        if text.lower() == "never":
            if not self.endless:
                raise ValueError("a duration with an end, such as 30s or 5m; never is not possible here")
            return NEVER
        if text in ("0", "0.0"):
            return 0.0
        if _NUMBER.fullmatch(text):
            raise ValueError(f"a unit after the number: {text}s, {text}m or {text}ms")
        if not _SPAN.fullmatch(text):
            raise self.wrong()
        return sum(float(number) * UNITS[unit] for number, unit in _SPAN_PART.findall(text))

    def schema(self) -> Schema:
        span = _SPAN.pattern
        pattern = f"^(?:{span}|never|0)$" if self.endless else f"^(?:{span}|0)$"
        return {"anyOf": [{"type": "string", "pattern": pattern}, {"const": 0}]}


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number."""

    least: int = 0
    most: int | None = None

    @property
    def words(self) -> str:
        if self.most is not None:
            return f"a whole number from {self.least} to {self.most:,}"
        return f"a whole number, at least {self.least}"

    def read(self, value: object) -> int:
        if isinstance(value, bool):
            raise self.wrong()
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            value = int(value)
        if not isinstance(value, int) or value < self.least or (self.most is not None and value > self.most):
            raise self.wrong()
        return value

    def schema(self) -> Schema:
        most = {} if self.most is None else {"maximum": self.most}
        return {"type": "integer", "minimum": self.least, **most}


@dataclass(frozen=True)
class Real(Kind):
    """A number."""

    least: float = 0.0
    most: float = 1e9

    @property
    def words(self) -> str:
        return f"a number, at least {self.least:g}"

    def read(self, value: object) -> float:
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong()
        if not self.least <= value <= self.most:
            raise self.wrong()
        return float(value)

    def schema(self) -> Schema:
        return {"type": "number", "minimum": self.least}


@dataclass(frozen=True)
class Flag(Kind):
    """True or false, in the words of SPEC 2.2."""

    @property
    def words(self) -> str:
        return "true or false (yes, no, on and off do as well)"

    def read(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower() if isinstance(value, str | int) else ""
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise self.wrong()

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no", "on", "off"]}]}


@dataclass(frozen=True)
class Word(Kind):
    """One of a closed list of words, whatever their case. plus: also any text of that kind."""

    choices: tuple[str, ...]
    upper: bool = False
    plus: Kind | None = None

    @property
    def words(self) -> str:
        last = f", or {self.plus.words}" if self.plus else ""
        return one_of(self.choices) + last

    def read(self, value: object) -> str:
        if isinstance(value, bool) and {"on", "off"} & set(self.choices):
            value = "on" if value else "off"
        text = value.strip() if isinstance(value, str) else ""
        text = text.upper() if self.upper else text.lower()
        if text in self.choices:
            return text
        if self.plus is not None and text:
            try:
                return str(self.plus.read(value))
            except ValueError:
                pass
        raise self.wrong()

    def schema(self) -> Schema:
        named: Schema = {"enum": list(self.choices)}
        return {"anyOf": [named, self.plus.schema()]} if self.plus else named


@dataclass(frozen=True)
class Text(Kind):
    """Some text on one line."""

    what: str = "a text"

    @property
    def words(self) -> str:
        return self.what

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value.strip() or any(ch in value for ch in "\0\r\n"):
            raise self.wrong()
        return value

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class Address(Kind):
    """`http://host[:port][/path]`, `https://…` or `unix:/path`; may hold `{port}`. query: `?…` allowed."""

    query: bool = False

    @property
    def words(self) -> str:
        return "an address such as http://localhost:8000" + (
            "/health" if self.query else " or unix:/run/app.sock"
        )

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.wrong()
        text = value.strip()
        checked = fill_port(text, 1) if uses_port_mark(text) else text
        if self.query:
            if checked[:5].lower() == "unix:":
                raise self.wrong()
            checked = checked.partition("?")[0]
        if text.startswith("/"):
            raise ValueError(f"= {text!r} has no host; write the whole address: http://localhost:8000{text}")
        try:
            parse_base_url(checked)
        except ValueError as exc:
            raise ValueError(f"= {exc}") from exc
        return text

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^(https?://[^\s]+|unix:/[^\s]+)$"}


@dataclass(frozen=True)
class HostName(Kind):
    """A host name without scheme and port, as it stands in a URL; lower-cased."""

    port: bool = False

    @property
    def words(self) -> str:
        return "a host name such as chat.lan, without http:// and port"

    def read(self, value: object) -> str:
        text = value.strip().lower().rstrip(".") if isinstance(value, str) else ""
        if not _HOST.fullmatch(text) or len(text) > 253:
            raise self.wrong()
        return text

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^[A-Za-z0-9_.-]+$"}


@dataclass(frozen=True)
class HostHeaderText(HostName):
    """A literal Host, port allowed."""

    @property
    def words(self) -> str:
        return "a host name such as app.lan or app.lan:8443"

    def read(self, value: object) -> str:
        text = str(value).strip().lower()
        host, mark, port = text.partition(":")
        if mark and not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
            raise self.wrong()
        return super().read(host) + mark + port


@dataclass(frozen=True)
class ListenHost(Kind):
    """Where the gateway listens: an IP address or a name."""

    @property
    def words(self) -> str:
        return "an IP address or a host name: 127.0.0.1, 0.0.0.0 for every network, ::1"

    def read(self, value: object) -> str:
        text = value.strip() if isinstance(value, str) else ""
        bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        try:
            return str(ipaddress.ip_address(bare))
        except ValueError:
            if not _HOST.fullmatch(text.lower()) or text.replace(".", "").isdigit():
                raise self.wrong() from None
        return text.lower()

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class Network(Kind):
    """An IP address or a CIDR range."""

    @property
    def words(self) -> str:
        return "an IP address or range such as 10.0.0.1 or 10.0.0.0/8"

    def read(self, value: object) -> str:
        try:
            return str(ipaddress.ip_network(str(value).strip(), strict=False))
        except ValueError:
            raise self.wrong() from None

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 2}


@dataclass(frozen=True)
class FieldName(Kind):
    """The name of an HTTP header field; lower-cased."""

    @property
    def words(self) -> str:
        return "the name of a header such as Remote-User"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not _TOKEN.fullmatch(value.strip()):
            raise self.wrong()
        return value.strip().lower()

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class AnyMapping(Kind):
    """A mapping whose keys are checked elsewhere."""

    @property
    def words(self) -> str:
        return "a mapping"

    def read(self, value: object) -> object:
        if not isinstance(value, dict):
            raise self.wrong()
        return value

    def schema(self) -> Schema:
        return {"type": "object"}


@dataclass(frozen=True)
class Many(Kind):
    """A list of one kind, each value once; the order is kept."""

    item: Kind
    example: str

    @property
    def words(self) -> str:
        return f"a list, each item {self.item.words}: {self.example}"

    def read(self, value: object) -> tuple[object, ...]:
        if not isinstance(value, list):
            raise ValueError(f"a list: {self.example}")
        return tuple(dict.fromkeys(self.item.read(one) for one in value))

    def schema(self) -> Schema:
        return {"type": "array", "items": self.item.schema()}


@dataclass(frozen=True)
class Mappings(Many):
    """A list of mappings whose keys are checked elsewhere."""

    @property
    def words(self) -> str:
        return f"a list of mappings: {self.example}"

    def read(self, value: object) -> tuple[object, ...]:
        if not isinstance(value, list):
            raise ValueError(f"a list: {self.example}")
        return tuple(self.item.read(one) for one in value)


def duration_text(seconds: float) -> str:
    """The shortest way to write a duration: 90s, 5m, 1500ms, never."""
    if seconds == NEVER:
        return "never"
    if seconds == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        number = seconds / UNITS[unit]
        if number == int(number):
            return f"{int(number)}{unit}"
    return f"{seconds * 1000:g}ms"
