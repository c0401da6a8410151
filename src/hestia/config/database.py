"""The kind of a database's address."""

from __future__ import annotations

from dataclasses import dataclass

from hestia.config.values import Kind, Schema


@dataclass(frozen=True)
class DatabaseUrl(Kind):
    """`sqlite:///path/of/a/file`, or `memory:`."""

    @property
    def words(self) -> str:
        return "sqlite:/// and the path of a file, such as sqlite:////var/lib/hestia/hestia.db, or memory:"

    def read(self, value: object) -> str:
        text = value.strip() if isinstance(value, str) else ""
        if text in ("memory", "memory:", "sqlite://", "sqlite:///:memory:"):
            return "memory:"
        path = text.removeprefix("sqlite:///")
        if path == text or not path.strip("/") or path.endswith("/") or any(ch in path for ch in "?#\0\r\n"):
            raise self.wrong()
        return text

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^(sqlite:///[^?#]*[^/?#]|memory:?|sqlite://)$"}
