"""A dispatcher without an edge: gives the answer that a test names and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from hestia.core.errors import BodyTooLarge, HestiaError


@dataclass
class Answer:
    """As `api.control.DispatchAnswer` has it."""

    status: int = 200
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    own: bool = False


@dataclass(frozen=True)
class Asked:
    """One request that was sent."""

    service: str
    method: str
    path: str
    fields: list[tuple[str, str]]
    body: bytes | None
    kind: str


class FakeDispatch:
    """answer: what comes back, or what is raised. limit: bytes of a call. asked: every request."""

    def __init__(self) -> None:
        self.answer: Answer | HestiaError = Answer()
        self.limit = 100_000
        self.asked: list[Asked] = []
        self.hangs = False
        self.cancelled = 0
        self.open = 0

    def call(self) -> FakeCall:
        return FakeCall(self)


class FakeCall:
    """One call."""

    def __init__(self, fake: FakeDispatch) -> None:
        self._fake = fake
        self._taken = 0

    def __enter__(self) -> Self:
        self._fake.open += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fake.open -= 1

    def take(self, size: int) -> None:
        self._taken += size
        if self._taken > self._fake.limit:
            raise BodyTooLarge("The call is too large.")

    async def send(
        self,
        service: str,
        method: str,
        path: str,
        fields: Sequence[tuple[str, str]],
        body: bytes | None,
        *,
        kind: str,
        caller: Sequence[tuple[bytes, bytes]],
    ) -> Answer:
        fake = self._fake
        fake.asked.append(Asked(service, method, path, list(fields), body, kind))
        if fake.hangs:
            try:
                await asyncio.Event().wait()
            finally:
                fake.cancelled += 1
        if isinstance(fake.answer, HestiaError):
            raise fake.answer
        return fake.answer
