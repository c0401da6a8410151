"""One request told from end to end: a list of parts without gaps, so that they add up to what it took.

Owns the division and the sentences; the form is JSON, so that the store, the API and the command line have
the same. Pure: gets a record and what the services did meanwhile.
"""

from __future__ import annotations

from typing import Final

from hestia.core.lifecycle import State
from hestia.core.requests import RequestRecord, Step
from hestia.runtime.timeline import Mark, Timeline
from hestia.runtime.words import ONLY

Part = dict[str, object]  # JSON; fields in `api.past_models.Part`

BY: Final = {
    "prefix": "by its path",
    "host": "by its host name",
    "port": "by its port",
    "control": "as a call of the gateway itself",
    "none": "by nothing",
}
_SIDES: Final = {"client": "the client left", "upstream": "the service broke off", "gateway": "cut here"}
_STARTS: Final = {
    "demand": "a request",
    "api": "a call of the API",
    "spill_over": "its strategy, because the others were busy",
    "restart": "a restart",
    "keep_warm": "its keep_warm",
    "calendar": "its keep_warm",
    "crash": "the crash before",
    "adopted": "an earlier gateway",
}


def tell(record: RequestRecord, timeline: Timeline) -> dict[str, object]:
    """What is known of one request. `parts` follow each other and add up to `totalMs`."""
    parts = _of_steps(record, timeline) if record.steps else _straight(record)
    refused = [step for step in record.steps if step.what == "refused"]
    return {
        "method": record.method.decode("latin-1"),
        "path": record.path,
        "route": record.route,
        "status": record.status,
        "code": record.code,
        "aborted": record.aborted,
        "totalMs": _ms(record.total_ms / 1000),
        "queueMs": _ms(sum(_length(part) for part in parts if part["name"] == "queue") / 1000),
        "attempts": record.attempts,
        "fallback": record.fallback,
        "instance": record.instance,
        "generation": record.generation,
        "bytesIn": record.bytes_in,
        "bytesOut": record.bytes_out,
        "matched": _matched(record),
        "end": _end(record, _by_whom(record, timeline)),
        "detail": refused[-1].text if refused else "",
        "do": refused[-1].remedy if refused else "",
        "parts": parts,
    }


def _matched(record: RequestRecord) -> str:
    if not record.service:
        return f"matched {BY.get(record.route, record.route)}"
    chosen = [step.text for step in record.steps if step.what == "chosen"]
    why = f"; instance chosen by {chosen[-1]}" if chosen else ""
    return f"matched service {record.service} {BY.get(record.route, record.route)}{why}"


def _by_whom(record: RequestRecord, timeline: Timeline) -> str:
    """` by gpu-2`: which of several instances it was at; "" where the service has but one."""
    names = timeline.instances(record.service)
    named = record.instance not in ("", record.service, ONLY) or len(names) > 1
    return f" by {record.instance}" if record.instance and named and not record.fallback else ""


def _end(record: RequestRecord, by_whom: str) -> str:
    """How it ended, in a few words."""
    if record.aborted:
        by = by_whom if record.status else ""
        return (
            f"{_SIDES.get(record.aborted, record.aborted)} after {record.bytes_out} bytes of the answer{by}"
        )
    if record.code:
        return f"answered by the gateway: {record.status} {record.code}"
    return f"answered {record.status}{by_whom}, {record.bytes_out} bytes"


# -- what went straight through --------------------------------------------------------------------


def _straight(record: RequestRecord) -> list[Part]:
    """A request without a step: from its four durations."""
    at, parts = 0.0, []
    rest = record.total_ms - record.queue_ms - record.connect_ms - record.head_ms
    for name, length, text in (
        ("route", record.queue_ms, "looked at"),
        ("connect", record.connect_ms, _connected(record.reused)),
        ("first_byte", record.head_ms, "waited for the first byte"),
        ("answer", rest, _answering(record)),
    ):
        if length > 0:
            parts.append(_part(name, at / 1000, (at + length) / 1000, text, record.instance))
            at += length
    return parts


def _answering(record: RequestRecord) -> str:
    return "answered here" if record.code or not record.head_ms else "passed the answer on"


def _connected(reused: bool) -> str:
    return "sent on a connection that was open" if reused else "connected"


# -- what did not ------------------------------------------------------------------------------------


def _of_steps(record: RequestRecord, timeline: Timeline) -> list[Part]:
    """From the steps: each begins the part that follows it; an attempt has its own marks within."""
    end = record.steps[-1]
    started = end.at - record.total_ms / 1000
    points: list[tuple[float, str, str, str]] = [(started, "route", "looked at", "")]
    last = started
    for step in record.steps:
        if step.what == "chosen":  # that is told where the service is
            continue
        points += _of_attempt(step, last)
        if step.what != "end":
            points.append((step.at, *_begins(step)))
        last = max(last, step.at)
    ends = [point[0] for point in points[1:]] + [end.at]
    parts: list[Part] = []
    for (at, name, text, instance), until in zip(points, ends, strict=True):
        at, until = min(max(at, started), end.at), min(max(until, started), end.at)
        if until - at <= 0.0 and name not in ("queue", "pause"):
            continue
        part = _part(name, at - started, until - started, text, instance)
        if name == "queue":
            part["text"] = text + _whose(record, timeline, at, until)
            part["parts"] = _waited(record, timeline, started, at, until)
        parts.append(part)
    return parts


def _of_attempt(step: Step, since: float) -> list[tuple[float, str, str, str]]:
    """Connecting, first byte and answer of the attempt that a step ended, as far as it got."""
    points = []
    if step.leased > since:
        points.append((step.leased, "connect", "connecting", step.instance))
    if step.connected and step.connected >= max(since, step.leased):
        points.append((step.connected, "first_byte", "waited for the first byte", step.instance))
    if step.head > since and step.head >= step.connected:
        points.append((step.head, "answer", "passed the answer on", step.instance))
    return [point for point in points if point[0] <= step.at]


def _begins(step: Step) -> tuple[str, str, str]:
    """Name, words and instance of what a step begins."""
    match step.what:
        case "queued":
            ahead = f"{step.ahead} before it" if step.ahead else "nobody before it"
            return "queue", f"waited for an instance, {ahead}", ""
        case "granted":
            return "connect", "connecting", ""
        case "failed":
            return "pause", f"attempt failed: {step.text}", step.instance
        case "stale":
            return "connect", "the open connection had ended: connecting anew", step.instance
        case "knock":
            return "connect", f"hot, but nobody listened there yet: asked again and again ({step.text})", ""
        case "fallback":
            return "connect", f"connecting to its fallback: {step.text}", "fallback"
        case "page":
            return "answer", "the waiting page was shown; the page waits on in its place", ""
        case "kept":
            return "answer", f"no other answer came, so the last one is passed on: {step.text}", step.instance
        case _:
            return "answer", "answered by the gateway", ""


def _whose(record: RequestRecord, timeline: Timeline, begin: float, end: float) -> str:
    """Who began the start that the request waited for; "" where it waited for none."""
    for _, _, mark in timeline.between(record.service, begin, end):
        if mark is not None and mark.state == State.STARTING:
            return f"; the start was {_by(mark, record, timeline)}"
    return ""


def _waited(
    record: RequestRecord, timeline: Timeline, started: float, begin: float, end: float
) -> list[Part]:
    """What the service was doing while the request waited."""
    parts = []
    for at, until, mark in timeline.between(record.service, begin, end):
        name, text = _doing(mark, record, timeline)
        parts.append(_part(name, at - started, until - started, text, mark.instance if mark else ""))
    return parts


def _doing(mark: Mark | None, record: RequestRecord, timeline: Timeline) -> tuple[str, str]:
    if mark is None:
        return "cold", "it had not been started, or what it did then is forgotten"
    match mark.state:
        case State.STARTING if mark.stage:
            return mark.stage, mark.text
        case State.STARTING:
            return "start", "it was being started"
        case State.HOT:
            return "turn", "hot; others had their turn first"
        case State.FAILED:
            why = f": {mark.text}" if mark.text else ""
            return "back_off", f"its start failed, so it was not tried at once{why}"
        case State.DRAINING | State.STOPPING:
            why = f": {mark.text}" if mark.text else ""
            return "stop", f"it was being stopped ({mark.cause or 'no cause'}){why}"
        case _:
            return "cold", "nothing of it ran"


def _by(mark: Mark, record: RequestRecord, timeline: Timeline) -> str:
    """Who began the start: this request, another one, or something else."""
    first = timeline.begun(record.service, mark.episode) or mark
    if first.cause == "demand" and first.actor:
        own = first.actor == record.request_id.decode("latin-1")
        return "begun by this request" if own else f"begun by request {first.actor}"
    return f"begun by {_STARTS.get(first.cause, first.cause)}" + (f" ({first.actor})" if first.actor else "")


def _part(name: str, begin: float, end: float, text: str, instance: str) -> Part:
    """begin, end: seconds since the request came."""
    return {
        "name": name,
        "startMs": _ms(begin),
        "durationMs": _ms(end - begin),
        "text": text,
        "instance": instance,
    }


def _length(part: Part) -> float:
    length = part["durationMs"]
    assert isinstance(length, float)
    return length


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
