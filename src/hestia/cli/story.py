"""What the gateway tells about the past, as lines: an event, the way of a request, why a service is so.

Owns the layout. The sentences are the gateway's own, so that every reader has the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from hestia.cli import view
from hestia.cli.exits import Document
from hestia.cli.screen import Screen
from hestia.cli.text import clock, cut_end, instant, plain, span, wrapped

NAMES: Final = {"first_byte": "first byte", "back_off": "back-off"}


def event_line(event: Document, screen: Screen, now: datetime) -> str:
    """`12:03:04  sdxl starts: a request came (req_7kq2)`."""
    line = _event(event, now)
    if screen.width is not None:
        line = cut_end(line, screen.width, ellipsis=screen.ellipsis)
    return _toned(line, event, screen)


def _event(event: Document, now: datetime) -> str:
    then = instant(event.get("at"))
    return f"{clock(then, now) if then else '?'}  {_one_line(event.get('text'))}"


def _toned(line: str, event: Document, screen: Screen) -> str:
    return screen.toned(line, "failed") if event.get("after") == "failed" else line


def request_lines(told: Document) -> Iterator[str]:
    """The way of a request, in time order: when, how long, what."""
    status = f"{told.get('status') or 'no answer'} {plain(str(told.get('code', '')))}".strip()
    finished = told.get("finished", True)
    took = f"{status}   after" if finished else "under way for"
    took = f"{took} {_seconds(told.get('totalMs'))}"
    yield f"{plain(str(told.get('method')))} {plain(str(told.get('path')))}   {took}"
    yield f"{_at(0)}  {_one_line(told.get('matched'))}"
    parts = told.get("parts") or []
    several = len({part["instance"] for part in parts if part.get("instance")} - {"fallback"}) > 1
    for part in parts:
        yield _part(part, several=several)
        for inner in part.get("parts") or []:
            yield _part(inner, indent="  ")
    yield f"{_at(told.get('totalMs'))}  {_one_line(told.get('end'))}"
    if isinstance(now := told.get("now"), dict) and (behind := now.get("behind")):
        yield f"behind: {', '.join(plain(str(one)) for one in behind)}"
    if told.get("detail"):
        yield f"why: {_one_line(told['detail'])}"
    if told.get("do"):
        yield f"do: {_one_line(told['do'])}"


def service_lines(
    status: Document, events: Sequence[Document], screen: Screen, now: datetime
) -> Iterator[str]:
    """Why it is as it is, why there, what next and when; then what led there (OB-19)."""
    phase, name = view.phase_of(status), plain(str(status.get("serviceId", "")))
    yield f"{screen.painted(name, '1')}  {screen.toned(f'{screen.mark(phase)} {phase}', phase)}"
    moved = next((one for one in events if one.get("after") == phase), None)
    reason = _one_line(moved["text"]) if moved else _unmoved(phase)
    note = "" if phase == "failed" else view.note_of(status, now)  # the error is told below
    facts = [
        f"  why    {reason}{f' ({note})' if note else ''}",
        f"  where  {_where(status)}",
        f"  next   {view.next_sentence(status, now)}",
    ]
    for line in facts:
        yield from wrapped(line, screen.width, indent=9)
    yield from _instances(status, screen, now)
    if isinstance(error := status.get("lastError"), dict):
        for line in view.error_lines(error, now, service=name):
            yield from wrapped(line, screen.width, indent=4)
    if events:
        yield ""
    for one in reversed(events):
        for line in wrapped(f"  {_event(one, now)}", screen.width, indent=12):
            yield _toned(line, one, screen)


def _instances(status: Document, screen: Screen, now: datetime) -> Iterator[str]:
    """Each of several instances: its state, why it is not used, what comes next."""
    found = view.instances(status)
    for one in found if len(found) > 1 else ():
        phase = view.phase_of(one)
        yield f"  {plain(str(one.get('id')))}  {screen.toned(f'{screen.mark(phase)} {phase}', phase)}"
        for title, text in view.instance_words(one, now):
            yield from wrapped(f"    {title:<7}{text}", screen.width, indent=11)


def _unmoved(phase: str) -> str:
    if phase == "cold":
        return "it was not started since the store remembers; nobody asked for it"
    return f"it is {phase}; what led there is not remembered any more"


def _where(status: Document) -> str:
    instances = view.instances(status)
    engine, machine = plain(str(status.get("engine", ""))), plain(str(status.get("machineId", "")))
    if len(instances) < 2:
        return f"engine {engine} on {machine}: it has one instance, so there is no choice"
    rank = ", ".join(f"{plain(str(one.get('id')))} {view.phase_of(one)}" for one in instances)
    return f"engine {engine} on {machine}; tried in this order: {rank}"


def _part(part: Document, *, indent: str = "", several: bool = False) -> str:
    """several: the parts are of several instances, so each names its own."""
    name = NAMES.get(str(part.get("name")), plain(str(part.get("name"))))
    took = _seconds(part.get("durationMs"))
    label = f"{indent}{name}"
    where = plain(str(part.get("instance") or "")) if several else ""
    where = f" ({where})" if where not in ("", "fallback") else ""
    return f"{_at(part.get('startMs'))}  {label:<12}{took:>8}  {_one_line(part.get('text'))}{where}"


def _at(ms: object) -> str:
    return f"{_number(ms) / 1000:>7.2f} s"


def _seconds(ms: object) -> str:
    return span(_number(ms))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _one_line(text: object) -> str:
    return plain(" ".join(str(text or "").split()))
