"""Spans of what happened: a request with its parts, a start with its stages; made afterwards.

Owns names and attributes; what is common to all who speak HTTP has the names of OpenTelemetry's semantic
conventions, the rest begins with `hestia.`. Knows no library: who sends them is `otel`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from hestia.core.lifecycle import State
from hestia.core.ports import Row
from hestia.core.requests import RequestRecord
from hestia.telemetry.traffic import METHODS, PATHS

NS: Final = 10**6  # nanoseconds of a millisecond
# Steps of what was held up: these requests are told whole, with their parts.
HELD_UP: Final = frozenset(("queued", "failed", "fallback", "kept", "refused"))

Value = str | int | float | bool
Generation = tuple[str, str, int]  # service, instance and number: one start


class Span(NamedTuple):
    """begin, end: nanoseconds since 1970. failed: why it counts as failed, or "". trace: the `traceparent`
    that it belongs under, or b"". about: the start that it is, or waited for. is_request: else it is a start.
    """

    name: str
    begin: int
    end: int
    attributes: Mapping[str, Value]
    parts: tuple[Span, ...] = ()
    failed: str = ""
    trace: bytes = b""
    about: Generation | None = None
    is_request: bool = False


def was_held_up(record: RequestRecord) -> bool:
    """Whether it waited, failed or was tried again."""
    return (
        record.status >= 499
        or bool(record.code or record.aborted)
        or any(step.what in HELD_UP for step in record.steps)
    )


def of_request(record: RequestRecord, story: Mapping[str, object] | None, *, scheme: str) -> Span:
    """The span of a request to a service. story: as `GET /v1/requests/{id}` tells it, for its parts."""
    end = _wall(record.at)
    begin = end - round(record.total_ms * NS)
    method = record.method.decode("latin-1")
    route = PATHS.get(record.route, "/{path}").replace("{serviceId}", record.service)
    found = _attributes(record, method, route, scheme)
    failed = ""
    if record.status >= 500 or record.aborted in ("upstream", "gateway"):
        found["error.type"] = failed = record.code or str(record.status)
    if story is not None:
        failed = failed and str(story["end"])
        if isinstance(waited := story["queueMs"], float):
            found["hestia.queue_ms"] = waited  # the sum of the parts that are shown
    queued = any(step.what == "queued" for step in record.steps)
    return Span(
        f"{method if method in METHODS else 'HTTP'} {route}",
        begin,
        end,
        found,
        _parts(story["parts"], begin) if story is not None else (),
        failed,
        record.trace,
        (record.service, record.instance, record.generation) if queued else None,
        is_request=True,
    )


def _attributes(record: RequestRecord, method: str, route: str, scheme: str) -> dict[str, Value]:
    known = method in METHODS
    found: dict[str, Value] = {
        "http.request.method": method if known else "_OTHER",
        "http.route": route,
        "url.scheme": scheme,
        "url.path": record.path,
        "http.request.body.size": record.bytes_in,
        "http.response.body.size": record.bytes_out,
        "hestia.service": record.service,
        "hestia.request_id": record.request_id.decode("latin-1"),
        "hestia.attempts": record.attempts,
        "hestia.queue_ms": round(record.queue_ms, 3),
        "hestia.connect_ms": round(record.connect_ms, 3),
        "hestia.first_byte_ms": round(record.head_ms, 3),
    }
    if not known:
        found["http.request.method_original"] = method
    if record.status:
        found["http.response.status_code"] = record.status
    if record.instance:
        found |= {"hestia.instance": record.instance, "hestia.generation": record.generation}
    if record.code:
        found["hestia.code"] = record.code
    if record.aborted:
        found["hestia.aborted"] = record.aborted
    if record.fallback:
        found["hestia.fallback"] = True
    return found


def _parts(parts: object, begun: int) -> tuple[Span, ...]:
    return tuple(_part(part, begun) for part in parts) if isinstance(parts, list) else ()


def _part(part: Mapping[str, object], begun: int) -> Span:
    begin = begun + _ns(part["startMs"])
    found: dict[str, Value] = {"hestia.text": str(part["text"])}
    if part["instance"]:
        found["hestia.instance"] = str(part["instance"])
    end = begin + _ns(part["durationMs"])
    return Span(str(part["name"]), begin, end, found, _parts(part.get("parts"), begun))


def _wall(at: float) -> int:
    # to the microsecond: as many digits as seconds since 1970 have in a float
    return round(at * 1e6) * 1000


def _ns(ms: object) -> int:
    assert isinstance(ms, float)
    return round(ms * NS)


class _Start:
    """A start under way. stages: what has begun: name, words, instant."""

    __slots__ = ("begun", "stages", "why")

    def __init__(self, why: Row, begun: float) -> None:
        self.why = why
        self.begun = begun
        self.stages: list[tuple[str, str, float]] = []


class Starts:
    """Tells each start once it is over. Fits `core.ports.Recorder`. clock: the loop's."""

    def __init__(self, clock: Callable[[], float], told: Callable[[Span], None]) -> None:
        self._clock = clock
        self._told = told
        self._under_way: dict[tuple[str, str], _Start] = {}

    def transition(self, row: Row) -> None:
        """A start begins where one was decided, and is over with the next state."""
        if not row.after:
            return
        place = (row.service, row.instance)
        if row.after == State.STARTING:
            if row.event == "StartDecided":
                self._under_way[place] = _Start(row, self._clock())
            return
        start = self._under_way.pop(place, None)
        if start is None or row.before != State.STARTING:
            return
        if start.stages or row.after != State.HOT:  # else it found something that ran already: no start
            self._told(_of_start(start, row, self._clock()))

    def stage(self, service: str, instance: str, name: str, text: str, episode: str) -> None:
        """A stage begins, or says something new."""
        start = self._under_way.get((service, instance))
        if start is None or name == "output":
            return
        if start.stages and start.stages[-1][0] == name:
            _, before, at = start.stages.pop()
            start.stages.append((name, text or before, at))
        else:
            start.stages.append((name, text, self._clock()))


def _of_start(start: _Start, row: Row, now: float) -> Span:
    """row: what ended it, at the instant `now` of the loop's clock."""

    def wall(at: float) -> int:
        return _wall(row.at - (now - at))

    own: dict[str, Value] = {
        "hestia.service": row.service,
        "hestia.instance": row.instance,
        "hestia.generation": row.generation,
    }
    ends = [at for _, _, at in start.stages[1:]] + [now]
    stages = tuple(
        Span(name, wall(at), wall(until), {**own, "hestia.text": text})
        for (name, text, at), until in zip(start.stages, ends, strict=True)
    )
    found: dict[str, Value] = {
        **own,
        "hestia.cause": start.why.cause,
        "hestia.actor": start.why.actor,
        "hestia.episode": row.episode or start.why.episode,
        "hestia.state": row.after,
    }
    failed = ""
    if row.event == "StartFailed":
        found["error.type"] = code = str(row.data.get("code", "")) or "start_failed"
        failed = str(row.data.get("detail", "")) or code
    return Span(
        f"start {row.service}",
        wall(start.begun),
        wall(now),
        found,
        stages,
        failed,
        about=(row.service, row.instance, row.generation),
    )
