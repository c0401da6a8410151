"""What the store says while no gateway answers: a crash can be explained before the next start.

Owns what is told then, and how it is marked. Imports the configuration and the store, so it is imported only
where `Session.is_away` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hestia.api.past import event, story
from hestia.api.past_models import Events
from hestia.cli.configuration import load_settings
from hestia.cli.exits import CliError, Document
from hestia.cli.screen import Screen
from hestia.cli.story import event_line
from hestia.cli.text import plain
from hestia.config import ConfigProblems
from hestia.core.errors import StoreUnavailable
from hestia.core.model import Settings
from hestia.store.choice import Choice
from hestia.store.choose import database_path
from hestia.store.lock import holder
from hestia.store.look import Left, looking

_START: Final = "start the gateway: hestia serve; it takes over what still runs"


class Stored:
    """See the module docstring. error: why no gateway could be asked; raised where this knows nothing."""

    def __init__(self, error: CliError) -> None:
        self._error = error
        try:
            self._settings: Settings = load_settings(None)
        except ConfigProblems:
            raise error from None
        path = database_path(self._settings.gateway)
        if path is None:
            raise error
        self._path = path
        pid = holder(Path(self._settings.gateway.state_dir) / "gateway.lock")
        who = f"A gateway runs (pid {pid}), and does not answer there." if pid else "No gateway runs."
        self.note = f"{error.detail} {who} What follows is from its database, {plain(str(path))}."
        elsewhere = "Its log says where it listens. Name that address: --url URL, or HESTIA_URL."
        self.remedy = (elsewhere,) if pid else error.remedy  # a second one could not start
        self.then = "ask the gateway that runs" if pid else _START

    @property
    def services(self) -> list[str]:
        """Ids of those that are configured."""
        return [str(one) for one in self._settings.services]

    def events(self, service: str = "", *, since: float | None = None, limit: int = 50) -> Events:
        """The newest first. since: seconds of the wall clock. Raises the error."""
        choice = Choice(service=service, since=since, limit=limit + 1)
        try:
            with looking(self._path) as look:
                found = look.events(choice)
        except StoreUnavailable as exc:
            raise self._error from exc
        shown = found[:limit]
        return Events(
            events=[event(one) for one in shown], next=shown[-1].id if len(found) > len(shown) else None
        )

    def request(self, request_id: str) -> bytes | None:
        """The document of one request; None: it is not remembered. Raises the error."""
        try:
            with looking(self._path) as look:
                found = look.requests(Choice(request_id=request_id, limit=1))
        except StoreUnavailable as exc:
            raise self._error from exc
        return story(found[0]).model_dump_json(by_alias=True).encode() if found else None

    def left(self) -> list[Left]:
        """What may still run. Raises the error."""
        try:
            with looking(self._path) as look:
                return look.left()
        except StoreUnavailable as exc:
            raise self._error from exc


def rest_of(service: str, left: Sequence[Left]) -> str:
    """What is known of a service without a gateway."""
    mine = [one for one in left if one.service == service]
    if not mine:
        return "nothing of it was running"
    several = len(mine) > 1
    told = [
        f"{f'{one.instance} ' if several else ''}was {one.state or 'about to start'} "
        f"(engine {one.engine}, generation {one.generation})"
        for one in mine
    ]
    return plain("; ".join(told)) + ", and may still run"


def status_lines(services: Sequence[str], left: Sequence[Left]) -> Iterator[str]:
    """One line for each service."""
    names = list(dict.fromkeys([*services, *(one.service for one in left)]))
    width = max(map(len, names), default=0)
    for name in names:
        more = "" if name in services else "; no setting names it any more"
        yield f"{plain(name):<{width}}  {rest_of(name, left)}{more}"


def service_lines(
    service: str, events: Sequence[Document], left: Sequence[Left], screen: Screen, then: str
) -> Iterator[str]:
    """Why a service was as it was, what is left of it, and what led there. then: what to do."""
    now = datetime.now(UTC)
    moved = next((one for one in events if one.get("after")), None)
    yield f"{screen.painted(plain(service), '1')}  {rest_of(service, left)}"
    yield f"  why    {plain(str(moved['text'])) if moved else 'the store remembers nothing of it'}"
    yield f"  next   {then}"
    if events:
        yield ""
    for one in reversed(events):
        yield f"  {event_line(one, screen, now)}"
