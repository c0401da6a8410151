"""One request in the doctor's report: what became of it, and what its service did (ET-07).

Asks the gateway, or the database where none answers. Secrets are taken out of the whole report afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

from hestia.cli import story
from hestia.cli.doctor.world import World
from hestia.cli.exits import CliError, Document, ExitCode
from hestia.cli.screen import Screen
from hestia.cli.stored import Stored
from hestia.cli.text import plain

LAST = 20  # events of its service
_PAPER = Screen(terminal=False, colour=False, redraw=False, drawn_marks=False, width=None)


def request_lines(world: World, request_id: str) -> Iterator[str]:
    """The request and the last events of its service, or why there is nothing to tell."""
    try:
        told, events = _found(world, request_id)
    except CliError as exc:
        yield plain(f"nothing can be told: {exc.detail}")
        return
    if told is None:
        yield "no request of this id is remembered; is it the `requestId` of the answer, or its X-Request-ID?"
        return
    yield from story.request_lines(told)
    if events:
        yield ""
        yield from (story.event_line(one, _PAPER, datetime.now(UTC)) for one in reversed(events))
    yield ""
    yield "Add the lines of the gateway's log that carry this id; under systemd:"
    yield f"journalctl -u hestia -o cat | grep {plain(request_id)}"


def _found(world: World, request_id: str) -> tuple[Document | None, list[Document]]:
    """The document of the request, and events, the newest first. Raises CliError."""
    client = world.asked.client
    try:
        told = _json(client.call("GET", f"/v1/requests/{quote(request_id, safe='')}", accept=(404,)))
        service = _service(told)
        if service:
            page = _json(client.call("GET", f"/v1/services/{quote(service, safe='')}/events?limit={LAST}"))
            return told, list((page or {}).get("events") or ())
        return told, []
    except CliError as exc:
        if exc.exit_code is not ExitCode.UNREACHABLE or world.named:
            raise
        stored = Stored(exc)
        body = stored.request(request_id)
        told = None if body is None else json.loads(body)
        if not _service(told):
            return told, []
        past = stored.events(_service(told), limit=LAST).model_dump_json(by_alias=True)
        return told, list(json.loads(past)["events"])


def _json(answer: tuple[int, bytes]) -> Document | None:
    status, body = answer
    found = json.loads(body) if status == 200 else None
    return found if isinstance(found, dict) else None


def _service(told: Document | None) -> str:
    return str(told.get("serviceId") or "") if told is not None else ""
