"""The kind of `busy_probe`: an address that is asked, or a command that is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hestia.config.values import Address, Kind, Schema
from hestia.core.model import BusyProbe

_ADDRESS: Final = Address(query=True)


@dataclass(frozen=True)
class AddressOrCommand(Kind):
    """`http://…` or `https://…`, or a command as a text for the shell or as a list of words."""

    @property
    def words(self) -> str:
        return (
            "an address such as http://localhost:8000/busy, or a command: a text for the shell, or a list of "
            "the program and its arguments"
        )

    def read(self, value: object) -> BusyProbe:
        if isinstance(value, BusyProbe):
            return value
        if isinstance(value, list) and value:
            words = tuple(str(one) if _is_number(one) else one for one in value)
            if (
                not all(isinstance(one, str) and "\0" not in one for one in words)
                or not str(words[0]).strip()
            ):
                raise self.wrong()
            return BusyProbe(command=tuple(map(str, words)))
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise self.wrong()
        if value.strip().lower().startswith(("http://", "https://")):
            return BusyProbe(url=_ADDRESS.read(value))
        return BusyProbe(command=value)

    def schema(self) -> Schema:
        words = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        return {"anyOf": [{"type": "string", "minLength": 1}, words]}


def written(probe: BusyProbe) -> object:
    """The probe as it would stand in the file."""
    return probe.url or (list(probe.command) if isinstance(probe.command, tuple) else probe.command)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
