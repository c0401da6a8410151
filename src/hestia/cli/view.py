"""A status document of the API in words: one row of the table, or the full view of one service.

Owns what is said about a state, why, and what happens next. Gets documents and an instant; asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from hestia.cli.exits import Document
from hestia.cli.screen import Screen
from hestia.cli.table import Column, render
from hestia.cli.text import (
    ago,
    clock,
    countdown,
    counted,
    cut_end,
    duration,
    instant,
    plain,
    span,
    within,
    wrapped,
)

COLUMNS: Final = (
    Column("SERVICE", shrink=3, least=12, middle=True),
    Column("STATE"),
    Column("WHERE", shrink=2, least=8, drop=3, middle=True),
    Column("QUEUE", right=True, drop=4),
    Column("BUSY", right=True, drop=5),
    Column("NEXT"),
    Column("NOTE", shrink=1, least=12, drop=2),
    Column("LAST USED", drop=1),
)
LIVE_COLUMNS: Final = (
    *COLUMNS[:5],
    Column("REQ/S", right=True, drop=2),
    Column("P95", right=True, drop=2),
    *COLUMNS[5:6],
    Column("NOTE", shrink=1, least=12, drop=1),
)
WARNINGS_SHOWN: Final = 3
_STATE_COLUMN: Final = 1
_WHERE: Final = 2


def table(services: Sequence[Document], screen: Screen, now: datetime, *, header: bool = True) -> list[str]:
    """The lines of `hestia status`."""
    rows = [_row(service, screen, now) for service in services]

    def paint(row: int, column: int, cell: str) -> str:
        return screen.toned(cell, phase_of(services[row])) if column == _STATE_COLUMN else cell

    return render(COLUMNS, rows, screen, header=header, paint=paint)


def live(
    services: Sequence[Document],
    screen: Screen,
    now: datetime,
    *,
    rates: Mapping[str, float],
    p95: Mapping[str, float],
) -> list[str]:
    """The lines of `hestia top`. rates: requests a second by service, where known. p95: milliseconds."""
    rows = []
    for service in services:
        name, phase, where, queue, busy, due, note, _ = _row(service, screen, now)
        rate, slow = rates.get(str(service.get("serviceId", ""))), p95.get(str(service.get("serviceId", "")))
        numbers = ["-" if rate is None else _rate(rate), "-" if slow is None else span(slow)]
        rows.append([name, phase, where, queue, busy, *numbers, due, note])

    def paint(row: int, column: int, cell: str) -> str:
        return screen.toned(cell, phase_of(services[row])) if column == _STATE_COLUMN else cell

    one_place = len({row[_WHERE] for row in rows}) == 1  # what all have in common tells nothing
    columns = [one for at, one in enumerate(LIVE_COLUMNS) if not (one_place and at == _WHERE)]
    cells = [[cell for at, cell in enumerate(row) if not (one_place and at == _WHERE)] for row in rows]
    return render(columns, cells, screen, paint=paint)


def _rate(rate: float) -> str:
    return f"{rate:.1f}" if 0 < rate < 9.95 else f"{rate:.0f}"


def phase_of(service: Document) -> str:
    """The exact state; the short form where an older gateway sends no `phase`."""
    return plain(str(service.get("phase") or service.get("state") or "unknown"))


def _row(service: Document, screen: Screen, now: datetime) -> list[str]:
    phase = phase_of(service)
    used = instant(service.get("lastUsedAt"))
    return [
        plain(str(service.get("serviceId", ""))),
        f"{screen.mark(phase)} {phase}" if screen.width is not None else phase,
        plain(str(service.get("machineId", ""))),
        str(service.get("queuePending", 0)),
        str(service.get("inFlight", 0)),
        next_of(service, now) or "-",
        note_of(service, now) or "-",
        ago(used, now) if used else "-",
    ]


def next_of(service: Document, now: datetime) -> str:
    """What happens next and when, of a service or of one of its instances; "" when nothing is due."""
    phase = phase_of(service)
    if phase in ("hot", "suspect") and not external(service):
        if stop := instant(service.get("idleStopAt")):
            return f"stops {within(stop, now)}"
        if names := kept_for(service):
            return f"kept for {names[0]}" + (f" +{len(names) - 1}" if len(names) > 1 else "")
        return "kept warm" if any(one.get("keptWarm") for one in instances(service) or [service]) else ""
    if phase == "starting" and isinstance(left := service.get("estimatedReadyMs"), int):
        return f"ready in ~{countdown(left / 1000)}"
    if phase == "failed" and (retry := instant(service.get("retryAt"))):
        return f"retry {within(retry, now)}" if retry > now else "retry on request"
    return ""


def note_of(service: Document, now: datetime) -> str:
    """A few words on why it is as it is, and which of its instances failed; "" when the state says all."""
    failed = [plain(str(one.get("id"))) for one in instances(service) if phase_of(one) == "failed"]
    if phase_of(service) == "failed" or not failed:
        return _note(service, now)
    return ", ".join(part for part in (f"{' and '.join(failed)} failed", _note(service, now)) if part)


def _note(service: Document, now: datetime) -> str:
    phase, open_ones = phase_of(service), int(service.get("inFlight", 0))
    if phase == "hot":
        if open_ones:
            return "in use"
        if external(service):
            return "started by somebody else"
        used, began = instant(service.get("lastUsedAt")), instant(service.get("startedAt"))
        if used is None:
            return "not used yet"
        if began is not None and used < began:
            return "not used again yet"
        return f"idle {countdown((now - used).total_seconds())}"
    if phase == "suspect":
        return "not answering"
    if phase == "starting":
        stage = running_stage(service)
        if stage and stage.get("name") == "room":
            return f"waits for room, {duration(stage['elapsedMs'] / 1000)}"
        return f"{plain(stage['name'])}, {duration(stage['elapsedMs'] / 1000)}" if stage else ""
    if phase == "draining":
        return f"{open_ones} open"
    if phase == "failed":
        return short_error(service.get("lastError"), str(service.get("serviceId", "")))
    return ""


def external(service: Document) -> bool:
    """Whether what serves was started by somebody else: it is used and never stopped."""
    return any(one.get("external") for one in instances(service) or [service])


def kept_for(service: Document) -> list[str]:
    """The services that need this one, and keep it up."""
    found = [one.get("keptFor") or () for one in instances(service) or [service]]
    return list(dict.fromkeys(plain(str(name)) for names in found for name in names))


def short_error(error: Any, service: str) -> str:  # Any: null, or the lastError object
    """`boot: the program ended with 137`, on one line; the service is named beside it."""
    if not isinstance(error, dict):
        return ""
    first = said(error, service).split("\n", 1)[0].removesuffix(".")
    return f"{plain(error['stage'])}: {first}" if error.get("stage") else first


def said(error: Document, service: str) -> str:
    """The detail of an error that is shown under the name of its service."""
    return plain(str(error.get("detail", "")).removeprefix(f"{service}: "))


def instances(service: Document) -> list[Document]:
    """The instances in their order; empty where there are none."""
    found = service.get("instances")
    return found if isinstance(found, list) else []


def starting_instance(service: Document) -> Document | None:
    """The instance whose start is shown: the one that starts, else the first."""
    known = instances(service)
    starting = [one for one in known if one.get("phase") == "starting"]
    return next(iter(starting or known), None)


def stages(service: Document) -> list[Document]:
    """The stages of the start that is shown."""
    instance = starting_instance(service)
    return list(instance.get("stages") or ()) if instance else []


def running_stage(service: Document) -> Document | None:
    """The stage that is under way, or None."""
    return next((stage for stage in reversed(stages(service)) if not stage.get("done")), None)


def stage_line(stage: Document, *, failed: bool = False) -> str:
    """One stage: `ok   room      0.1 s  comfyui stopped for it`."""
    word = "ok" if stage.get("done") else ("FAIL" if failed else "run")
    usual = stage.get("usualMs")
    tail = f"   (usually {duration(usual / 1000)})" if isinstance(usual, int) and word == "run" else ""
    spent = duration(stage.get("elapsedMs", 0) / 1000)
    name, text = plain(str(stage.get("name", ""))), plain(str(stage.get("text", "")))
    return f"  {word:<4} {name:<8} {spent:>8}  {text}{tail}"


def stage_lines(instance: Document | None, *, ended: bool = False) -> list[str]:
    """The stages of an instance's start. ended: the start is over, though the state does not say so."""
    if instance is None:
        return []
    failed, error = phase_of(instance) == "failed", instance.get("lastError")
    where = error.get("stage") if failed and isinstance(error, dict) else ""
    return [
        stage_line(
            {**stage, "done": stage.get("done") and stage.get("name") != where}, failed=failed or ended
        )
        for stage in instance.get("stages") or ()
    ]


def details(service: Document, screen: Screen, now: datetime, *, url: str) -> list[str]:
    """The lines of `hestia status SERVICE` (CL-16)."""
    phase = phase_of(service)
    name = plain(str(service.get("serviceId", "")))
    head = f"{screen.painted(name, '1')}  {screen.toned(f'{screen.mark(phase)} {phase}', phase)}"
    lines = [head, ""]
    facts = [
        ("why", _why(service, now)),
        ("next", next_sentence(service, now)),
        ("address", f"{url}/services/{name}/"),
        ("own port", plain(str(service.get("port") or ""))),
        ("engine", f"{plain(str(service.get('engine', '')))} on {plain(str(service.get('machineId', '')))}"),
        ("requests", f"{service.get('inFlight', 0)} open, {service.get('queuePending', 0)} waiting"),
        ("failures", _budget(service)),
        ("fallback", plain(str(service.get("fallbackUrl", "")))),
        ("last used", _instant_words(service.get("lastUsedAt"), now, "not since the gateway started")),
    ]
    lines += [f"  {title:<10}{text}" for title, text in facts if text]
    several = len(instances(service)) > 1
    for instance in instances(service):
        lines += ["", *_instance_lines(instance, screen, now, several=several)]
    if isinstance(error := service.get("lastError"), dict):
        lines += ["", *error_lines(error, now, service=name)]
    return [part for line in lines for part in wrapped(line, screen.width, indent=12)]


def _budget(service: Document) -> str:
    """Failed starts that were, and may be (FB-04); "" of an older gateway."""
    found = service.get("budget")
    if not isinstance(found, dict):
        return ""
    text = f"{found.get('failures', 0)} of {found.get('perHour', 0)} in the last hour"
    if isinstance(left := found.get("freeInMs"), int):
        text += f": no request starts it for {countdown(left / 1000)}"
    if tried := found.get("episodeStarts"):
        text += f"; this start is try {tried} of {found.get('perEpisode')}"
    return text


def _why(service: Document, now: datetime) -> str:
    since = _instant_words(service.get("since"), now, "")
    note, found = note_of(service, now), instances(service)
    if phase_of(service) == "failed":  # the error is told below
        note = plain(str(found[0].get("unused") or "")) if len(found) == 1 else ""
    return ", ".join(part for part in (note, f"{phase_of(service)} since {since}" if since else "") if part)


def next_sentence(service: Document, now: datetime) -> str:
    """What happens next, as a sentence; "" where nothing does."""
    phase = phase_of(service)
    if (names := kept_for(service)) and not service.get("inFlight"):
        return f"stays up while {' or '.join(names)} needs it (depends_on)"
    if phase == "failed" and (retry := instant(service.get("retryAt"))) and retry > now:
        return f"a request may start it again {within(retry, now)}"
    if phase != "failed" and (due := next_of(service, now)):
        return "stays up: keep_warm says so" if due == "kept warm" else due
    if phase == "starting" and (stage := running_stage(service)) and stage.get("name") == "room":
        return "starts when there is room: hestia machines"
    if phase in ("hot", "suspect") and external(service):
        return "stays up: Hestia never stops what it did not start"
    if phase in ("hot", "suspect"):
        return "stays up while in use" if service.get("inFlight") else "stays up: idle_timeout is never"
    return {
        "cold": "starts on the next request",
        "failed": "not before that is settled" if _blocked(service) else "the next request starts it again",
        "starting": "hot when its readiness probe passes",
        "draining": "stops when its open requests have ended",
        "stopping": "cold when it is gone",
    }.get(phase, "")


def _blocked(service: Document) -> bool:
    """Whether what failed waits for something that no time ends: nobody knows that it is gone."""
    told = any(one.get("unused") for one in instances(service) or [service])
    return told and instant(service.get("retryAt")) is None


def _instant_words(text: object, now: datetime, otherwise: str) -> str:
    then = instant(text)
    return f"{clock(then, now)} ({ago(then, now)})" if then else otherwise


def instance_words(instance: Document, now: datetime) -> list[tuple[str, str]]:
    """Why one of several instances is not used, and what happens to it next (OB-19)."""
    coming = next_sentence(instance, now)
    if phase_of(instance) == "cold":
        coming = "starts when a request is for it"
    return [
        (title, text)
        for title, text in (("unused", plain(str(instance.get("unused") or ""))), ("next", coming))
        if text
    ]


def _instance_lines(instance: Document, screen: Screen, now: datetime, *, several: bool) -> list[str]:
    phase = phase_of(instance)
    address = plain(str(instance.get("address") or "no address yet"))
    if "{port}" in address:
        address = "gets a port when it starts"
    number = instance.get("generation", 0)
    name = f"{plain(str(instance.get('instanceId') or instance.get('id', '')))}  " if several else ""
    head = (
        f"  {name}{screen.mark(phase)} {phase}"
        f"  {address}  {f'start no. {number}' if number else 'not started yet'}"
    )
    words = instance_words(instance, now) if several else []
    lines = [f"    {title:<8}{text}" for title, text in words]
    return [head, *lines, *(f"  {line}" for line in stage_lines(instance))]


def error_lines(error: Document, now: datetime | None = None, *, service: str) -> list[str]:
    """A `lastError` in full: when, what, the last lines of output, what to do. service: that was named."""
    then = instant(error.get("at"))
    when = f" {ago(then, now)}" if then and now else ""
    lines = [f"  last error{when}: {said(error, service)}"]
    lines += [f"    | {plain(str(line))}" for line in error.get("tail") or ()]
    if error.get("remedy"):
        lines.append(f"  do: {plain(str(error['remedy']))}")
    return lines


_RELOADED = (
    ("added", "added"),
    ("removed", "removed, ends after its open requests"),
    ("changed", "changed"),
    ("gateway", "changed for the gateway"),
    ("needsRestart", "waits for a restart of the gateway"),
)


def reload(document: Document) -> Iterator[str]:
    """What came of a reload, in lines."""
    if not document["ok"]:
        yield from problems(document)
        count = len(document["problems"])
        yield f"{count} {'error' if count == 1 else 'errors'}; the old configuration stays in force."
        return
    said = [f"{text}: {', '.join(map(plain, document[key]))}" for key, text in _RELOADED if document[key]]
    yield from said or ["nothing has changed"]


def warned(warnings: Sequence[str], screen: Screen) -> Iterator[str]:
    """What is doubtful about a configuration that is in force, a line each; all of it elsewhere."""
    for text in warnings[:WARNINGS_SHOWN]:
        line = f"warning: {plain(text.partition(chr(10))[0])}"
        yield cut_end(line, screen.width, ellipsis=screen.ellipsis) if screen.width else line
    if len(warnings) > WARNINGS_SHOWN:
        yield f"and {counted(len(warnings) - WARNINGS_SHOWN, 'warning')} more: hestia config check"


def problems(document: Document) -> Iterator[str]:
    """What was wrong with a configuration, each with its place and its remedy."""
    for one in document["problems"]:
        place = ":".join(str(part) for part in (one["source"], one["line"], one["column"]) if part)
        text = ": ".join(part for part in (place, one["key"], one["text"]) if part)
        yield plain(text) + (f"; nearest: {plain(one['nearest'])}" if one["nearest"] else "")
        if one["remedy"]:
            yield f"      do: {plain(one['remedy'])}"
