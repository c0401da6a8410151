"""A request as a strategy sees it. Everything is looked up when it is asked for: most strategies need little.

Fits `core.strategy.Asked`.
"""

from __future__ import annotations

import time
from urllib.parse import unquote_plus

from hestia.http1.heads import Request


class Asking:
    """One request. target: as the service gets it. key: what of it a strategy wanted to know."""

    __slots__ = ("_request", "_target", "at", "client", "key")

    def __init__(self, request: Request, target: bytes, client: str) -> None:
        self._request = request
        self._target = target
        self.client = client
        self.at = time.time()
        self.key: str | None = None

    @property
    def method(self) -> str:
        return self._request.method.decode("latin-1")

    @property
    def target(self) -> str:
        return self._target.decode("latin-1")

    @property
    def path(self) -> str:
        return self._target.partition(b"?")[0].decode("latin-1") or "/"

    def header(self, name: str) -> str | None:
        """The first field of that name, in any case."""
        value = self._request.get(name.lower().encode("latin-1", "replace"))
        return None if value is None else value.decode("latin-1")

    def cookie(self, name: str) -> str | None:
        """The value of a cookie as it came."""
        wanted = name.encode("latin-1", "replace")
        for line in self._request.get_all(b"cookie"):
            for item in line.split(b";"):
                left, equals, value = item.strip(b" \t").partition(b"=")
                if equals and left == wanted:
                    return value.strip(b'"').decode("latin-1")
        return None

    def query(self, name: str) -> str | None:
        """The first value of that name in the query, percent-decoded."""
        _, mark, query = self._target.partition(b"?")
        if not mark:
            return None
        for item in query.split(b"&"):
            left, equals, value = item.partition(b"=")
            if equals and unquote_plus(left.decode("latin-1"), "utf-8") == name:
                return unquote_plus(value.decode("latin-1"), "utf-8")
        return None
