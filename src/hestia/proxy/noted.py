"""What an exchange knows about itself when it ends: its record, and on the way the steps worth telling.

Owns the fields that the record is made of. What goes straight through notes nothing (`explain` is told from
its four durations); whoever waits, fails or tries again pays for a `Step`.
"""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Final

from hestia.core.errors import HestiaError
from hestia.core.requests import RequestRecord, Step
from hestia.core.routing import Match
from hestia.http1.heads import Request
from hestia.proxy.rewrite import Upstream

if TYPE_CHECKING:
    from hestia.proxy.service import DataPath

TRACE_LONGEST: Final = 256  # bytes of a traceparent; those of today have 55
_new_record: Final = tuple.__new__  # a fifth of what the class's own call costs


class Noted(ABC):
    """The part of an exchange that is told afterwards; its fields are set in `Relay`."""

    __slots__ = (
        "_attempts",
        "_bytes_in",
        "_bytes_out",
        "_fallback",
        "_match",
        "_path",
        "_steps",
        "_upstream",
        "aborted",
        "code",
        "id",
        "request",
        "reused",
        "started",
        "status",
        "t_connected",
        "t_head",
        "t_leased",
    )

    _path: DataPath
    request: Request
    id: bytes
    started: float  # loop-clock seconds, as all of these
    t_leased: float
    t_connected: float
    t_head: float
    status: int
    code: str
    aborted: str
    reused: bool
    _attempts: int
    _bytes_in: int
    _bytes_out: int
    _match: Match | None
    _upstream: Upstream | None
    _fallback: HestiaError | None  # why it went to the fallback; None while it did not
    _steps: list[Step] | None  # what did not go straight through; None while all did

    @property
    def request_id(self) -> str:
        return self.id.decode("latin-1")

    def _note(self, what: str, *, ahead: int = 0, text: str = "", remedy: str = "") -> None:
        """Remember a step for `explain`. Only for what does not go straight through."""
        steps = self._steps
        if steps is None:
            steps = self._steps = []
        upstream = self._upstream
        steps.append(
            Step(
                what,
                self._path.clock(),
                upstream.instance if upstream is not None else "",
                upstream.generation if upstream is not None else 0,
                self.t_leased,
                self.t_connected,
                self.t_head,
                ahead,
                text,
                remedy,
            )
        )

    def _noted(self) -> tuple[Step, ...]:
        self._note("end")
        steps, self._steps = self._steps, None
        return tuple(steps or ())

    def so_far(self, at: float, now: float) -> RequestRecord:
        """The record of an exchange that goes on; its last step is `end`, as if that were now."""
        steps, self._steps = self._steps, list(self._steps or ())
        record = self.record(at, now)
        self._steps = steps
        return record

    def record(self, at: float, now: float) -> RequestRecord:
        """What is known at the end. at: wall-clock seconds. now: loop-clock seconds."""
        match, started, upstream, steps = self._match, self.started, self._upstream, self._steps
        leased, connected, head = self.t_leased, self.t_connected, self.t_head
        if connected < leased:
            connected = 0.0  # of an attempt before
        return _new_record(
            RequestRecord,
            (
                at,
                match.route.service if match is not None and match.route is not None else "",
                self.id,
                self.request.method,
                match.kind if match is not None else "none",
                self.request.target,
                self.status,
                self._bytes_in,
                self._bytes_out,
                0.0 if steps is None else _waited(steps, now) * 1000,
                (connected - (leased or started)) * 1000 if connected else 0.0,
                (head - (connected or leased or started)) * 1000 if head else 0.0,
                (now - started) * 1000,
                self._attempts,
                self.reused,
                self.aborted,
                self.code,
                self._fallback is not None,
                upstream.instance if upstream is not None else "",
                upstream.generation if upstream is not None else 0,
                () if steps is None else self._noted(),
                _trace(self.request) if self._path.traced else b"",
            ),
        )


def _trace(request: Request) -> bytes:
    """Its traceparent; two of them are none."""
    given = request.get_all(b"traceparent")
    return given[0] if len(given) == 1 and len(given[0]) <= TRACE_LONGEST else b""


def _waited(steps: list[Step], now: float) -> float:
    """Seconds in the queue, over all attempts; each wait ends with the step behind it."""
    waited, queued = 0.0, 0.0
    for step in steps:
        if queued:
            waited += step.at - queued
        queued = step.at if step.what == "queued" else 0.0
    return waited + (now - queued if queued else 0.0)
