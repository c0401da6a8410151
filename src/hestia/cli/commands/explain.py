"""`hestia explain`: why a request took what it took, or why a service is as it is (CL-18, OB-19)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote

import click

from hestia.cli import story
from hestia.cli.client import Client
from hestia.cli.command import command
from hestia.cli.exits import CliError, Document, ExitCode
from hestia.cli.parameters import SERVICE, is_status
from hestia.cli.session import Example, Session, client_options, current
from hestia.cli.text import nearest, plain, wrapped

REQUEST = "req_"  # how the ids that the gateway gives begin
LAST = 20  # events of a service that are looked at


@command(
    "explain",
    examples=(
        Example("hestia explain req_7kq2mxw3f5z6ayb4ndaaab", "why a request took what it took"),
        Example("hestia explain ollama", "why a service is as it is, and what comes next"),
    ),
)
@click.argument("what", metavar="REQUEST_ID|SERVICE", type=SERVICE)
@client_options
def explain(what: str) -> None:
    """Tell why: of a request by its id (the header X-Request-ID of its answer), or of a service."""
    session = current()
    client = session.client()
    asked = [_service, _request] if not what.startswith(REQUEST) else [_request, _service]
    try:
        if any(one(session, client, what) for one in asked):
            return
    except CliError as exc:
        if not session.is_away(exc):
            raise
        if _stored(session, exc, what):
            return
    raise _unknown(client, what)


def _unknown(client: Client, what: str) -> CliError:
    """Neither a service nor a request: what it most likely is decides what is said."""
    if what.startswith(REQUEST):
        return CliError(
            f"No request {plain(what)} is remembered.",
            exit_code=ExitCode.NOT_FOUND,
            code="request_not_found",
            remedy=(
                "The last 10,000 requests are remembered while the gateway runs,",
                "and those that waited or failed as long as `retention` says.",
                "What happened lately: hestia events",
            ),
        )
    try:
        known = [str(one["serviceId"]) for one in json.loads(client.services())]
    except (CliError, ValueError, KeyError, TypeError):
        known = []
    close = nearest(what, known)
    return CliError(
        f'There is no service "{plain(what)}", and no request of that id is remembered.',
        exit_code=ExitCode.NOT_FOUND,
        code="not_found",
        remedy=(f"Did you mean: {', '.join(close)}?" if close else "List services: hestia status",),
    )


def _stored(session: Session, error: CliError, what: str) -> bool:
    """Tell the same from the store, where no gateway answers."""
    from hestia.cli import stored as past

    stored = past.Stored(error)
    request = stored.request(what)
    page = json.loads(stored.events(what, limit=LAST).model_dump_json(by_alias=True))["events"]
    if request is None and not page and what not in stored.services:
        return False
    session.note(stored.note)
    if request is not None:
        _tell_request(session, request, json.loads(request))
    elif session.json:
        session.result(json.dumps({"status": None, "events": page}, ensure_ascii=False))
    else:
        for line in past.service_lines(what, page, stored.left(), session.out, stored.then):
            session.result(line)
    return True


def _request(session: Session, client: Client, request_id: str) -> bool:
    status, body = client.call("GET", f"/v1/requests/{quote(request_id, safe='')}", accept=(404,))
    if status == 404:
        return False
    _tell_request(session, body, is_status(client, body, dict))
    return True


def _tell_request(session: Session, body: bytes, told: Document) -> None:
    if session.json:
        session.body(body)
    else:
        for line in story.request_lines(told):
            for part in wrapped(line, session.out.width, indent=11):
                session.result(part)


def service_past(client: Client, service: str) -> tuple[Document, list[Document]] | None:
    """The status of a service and its last events, the newest first; None: there is no such service."""
    path = f"/v1/services/{quote(service, safe='')}"
    status, body = client.call("GET", f"{path}/status", accept=(404,))
    if status == 404:
        return None
    now = is_status(client, body, dict)
    _, page = client.call("GET", f"{path}/events?limit={LAST}")
    return now, is_status(client, page, dict).get("events") or []


def _service(session: Session, client: Client, service: str) -> bool:
    told = service_past(client, service)
    if told is None:
        return False
    now, events = told
    if session.json:
        session.result(json.dumps({"status": now, "events": events}, ensure_ascii=False))
    else:
        for line in story.service_lines(now, events, session.out, datetime.now(UTC)):
            session.result(line)
    return True
