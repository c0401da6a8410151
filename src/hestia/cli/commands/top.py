"""`hestia top`: all services, live: state, queue, requests, rate, and when the idle stop comes."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import click

from hestia.cli import view
from hestia.cli.client import Client
from hestia.cli.command import command
from hestia.cli.exits import CliError, Document, ExitCode
from hestia.cli.live import Live
from hestia.cli.parameters import is_status
from hestia.cli.screen import Screen, look
from hestia.cli.session import Example, Session, client_options, current
from hestia.cli.text import cut_end, duration, plain

INTERVAL: Final = 1.0  # seconds between looks
HEIGHT_LEAST: Final = 5
_SHOWN_FIRST: Final = ("failed", "starting", "draining", "stopping", "suspect", "hot", "cold")


@command(
    "top",
    examples=(
        Example("hestia top", "until q or Ctrl-C"),
        Example("hestia top --once", "the same table, once"),
        Example("hestia top --json", "GET /v1/services, once"),
    ),
)
@click.option("--once", is_flag=True, help="Print it once, as where there is no terminal.")
@client_options
def top(once: bool) -> None:
    """Watch the services: what runs is above, what sleeps below. q ends."""
    session = current()
    client = session.client()
    if session.json:
        session.body(client.services())
        return
    if once or not session.out.redraw:
        seen = Seen.ask(client)
        for line in view.table(seen.ordered(), session.out, datetime.now(UTC)):
            session.result(line)
        return
    _watch(session, client)


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What the gateway said at one moment. answers: responses so far by service; empty where unknown."""

    at: float
    services: list[Document]
    answers: Mapping[str, float]

    @classmethod
    def ask(cls, client: Client, *, count: bool = False) -> Seen:
        """Raises CliError. count: ask for the numbers too."""
        services = is_status(client, client.services(), list)
        answers = _answers(client) if count else {}
        return cls(time.monotonic(), services, answers)

    def ordered(self) -> list[Document]:
        """What needs a look first; among equals as configured."""
        rank = {phase: at for at, phase in enumerate(_SHOWN_FIRST)}
        return sorted(self.services, key=lambda one: rank.get(view.phase_of(one), 0))

    def rates(self, before: Seen) -> dict[str, float]:
        """Requests a second since an earlier look. A gateway that began anew has counted nothing yet."""
        apart = max(self.at - before.at, 0.001)
        return {
            name: max(count - before.answers.get(name, 0.0), 0.0) / apart
            for name, count in self.answers.items()
            if before.answers
        }


def _answers(client: Client) -> dict[str, float]:
    """Responses of each service so far; nothing where an older gateway does not count."""
    try:
        found = json.loads(client.call("GET", "/v1/metrics")[1])
    except (CliError, ValueError):
        return {}
    services = found.get("services") if isinstance(found, dict) else None
    return (
        {str(name): _responses(one) for name, one in services.items()} if isinstance(services, dict) else {}
    )


def _responses(numbers: Document) -> float:
    counters = numbers.get("counters", {})
    return sum(float(one["count"]) for key, one in counters.items() if key.startswith("responses_total"))


def _watch(session: Session, client: Client) -> None:
    """Draw until q. Raises CliError when the gateway cannot be reached at first; later that is shown."""
    seen = Seen.ask(client, count=True)
    rates: dict[str, float] = {}
    trouble = ""
    with Live() as page:
        while True:
            screen = look(sys.stdout, session.environment, color=session.color)
            height = _height()
            page.draw(_page(seen, rates, screen, height, trouble), height)
            key = page.key(INTERVAL)
            if key in ("q", "Q"):
                return
            try:
                now = Seen.ask(client, count=True)
            except CliError as exc:
                if exc.exit_code is not ExitCode.UNREACHABLE:
                    raise
                trouble = f"not reachable, last seen {duration(time.monotonic() - seen.at)} ago"
                continue
            trouble, rates, seen = "", now.rates(seen) if now.at - seen.at > INTERVAL / 2 else rates, now


def _height() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines
    except OSError:
        return 24


def _page(seen: Seen, rates: Mapping[str, float], screen: Screen, height: int, trouble: str) -> list[str]:
    """The lines of the whole screen: what there is in all, the table, what the keys do."""
    width = screen.width or 80
    if height < HEIGHT_LEAST:
        return [cut_end("This window is too low: 5 lines at least. q quits", width, ellipsis=screen.ellipsis)]
    phases = Counter(view.phase_of(one) for one in seen.services)
    words = [f"{phases[one]} {one}" for one in _SHOWN_FIRST if phases[one] and one != "cold"]
    head = (
        f"{len(seen.services)} services: {', '.join(words) or 'all cold'}   {sum(rates.values()):.0f} req/s"
    )
    lines = view.live(seen.ordered(), screen, datetime.now(UTC), rates=rates)
    room = height - 2
    if len(lines) > room:
        left = len(lines) - room + 1
        lines = [*lines[: room - 1], f"... {left} more: hestia status"]
    lines += [""] * (room - len(lines))
    foot = plain(trouble) or "q quit"
    return [
        screen.painted(cut_end(head, width, ellipsis=screen.ellipsis), "1"),
        *lines,
        screen.painted(cut_end(foot, width, ellipsis=screen.ellipsis), "31" if trouble else "2"),
    ]
