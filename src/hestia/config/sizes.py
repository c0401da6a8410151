"""The kind of a size in bytes: a number with its unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hestia.config.values import Kind, Schema

_UNITS: Final[Mapping[str, int]] = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_SIZE: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]+)")


@dataclass(frozen=True)
class Size(Kind):
    """Bytes. least: fewest allowed."""

    example: str = "10MiB"
    least: int = 1

    @property
    def words(self) -> str:
        return f"a size with its unit (KiB, MiB, GiB, KB, MB or GB), such as {self.example}"

    def read(self, value: object) -> int:
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        unit = _UNITS.get(match[2].lower()) if match is not None else None
        if match is None or unit is None:
            raise self.wrong()
        size = int(float(match[1]) * unit)
        if size < self.least:
            raise ValueError(f"at least {size_text(self.least)}, such as {self.example}")
        return size

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?([KMGkmg][Ii]?)?[Bb]$"}


def size_text(size: int) -> str:
    """The shortest way to write a size: 10MiB, 1500B."""
    for unit in ("gib", "gb", "mib", "mb", "kib", "kb"):
        if size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit[0].upper()}{unit[1:].replace('b', 'B')}"
    return f"{size}B"
