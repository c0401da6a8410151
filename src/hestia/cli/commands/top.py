"""`hestia top`: all services, live: state, queue, requests, rate, and when the idle stop comes."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Final

import click

from hestia.cli import story, view
from hestia.cli.client import Client
from hestia.cli.command import command
from hestia.cli.commands.explain import service_past
from hestia.cli.exits import CliError, ExitCode
from hestia.cli.live import Live
from hestia.cli.screen import Screen, look
from hestia.cli.session import Example, Session, client_options, current
from hestia.cli.text import duration, plain, wrapped
from hestia.cli.top.board import Board, Text, Wish
from hestia.cli.top.page import HELP, page
from hestia.cli.top.seen import Seen
from hestia.cli.top.wake import Wake

INTERVAL: Final = 1.0  # seconds between looks while nothing happens
SOONEST: Final = 0.25  # seconds between looks however much happens (CL-22)
LOG_LINES: Final = 500


@command(
    "top",
    examples=(
        Example("hestia top", "until q or Ctrl-C; ? tells the keys"),
        Example("hestia top --once", "the same table, once"),
        Example("hestia top --json", "GET /v1/services, once"),
    ),
)
@click.option("--once", is_flag=True, help="Print it once, as where there is no terminal.")
@client_options
def top(once: bool) -> None:
    """Watch the services, start and stop them: what runs is above, what sleeps below. q ends."""
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
    quiet = dataclasses.replace(session, verbose=0)  # a trace would be drawn into the picture
    _Watch(quiet, quiet.client()).run()


class _Watch:
    """The table on a terminal, from the first look to the last key."""

    def __init__(self, session: Session, client: Client) -> None:
        self._session = session
        self._client = client
        self._board = Board()
        self._rates: dict[str, float] = {}
        self._trouble = ""
        self._seen = Seen.ask(client, count=True)
        self._take(self._seen)

    def run(self) -> None:
        """Draw until q. Raises CliError where the gateway refuses; that it is away is shown."""
        looked = time.monotonic()
        due, draws = looked + INTERVAL, True
        with Wake(self._session.client()) as wake, Live() as live:
            while True:
                screen = look(sys.stdout, self._session.environment, color=self._session.color)
                if draws:
                    self._draw(live, screen)
                soon = due <= looked + SOONEST  # there was news: more of it changes nothing now
                key = live.key(max(due - time.monotonic(), 0.0), news=-1 if soon else wake.reader)
                if news := wake.taken():
                    due = looked + SOONEST
                draws = bool(key) or not news  # a key, another size; news is drawn when it is known
                wish = self._board.press(key) if key else Wish.NOTHING
                if wish is Wish.QUIT:
                    return
                if wish is not Wish.NOTHING:
                    self._grant(wish, screen)
                if wish in (Wish.START, Wish.STOP) or time.monotonic() >= due:
                    self._look()
                    self._read_again(screen)
                    looked = time.monotonic()
                    due, draws = looked + INTERVAL, True

    def _draw(self, live: Live, screen: Screen) -> None:
        height = _height()
        now = datetime.now(UTC)
        live.draw(page(self._board, self._seen, self._rates, screen, height, self._trouble, now), height)

    def _look(self) -> None:
        try:
            now = Seen.ask(self._client, count=True)
        except CliError as exc:
            if exc.exit_code is not ExitCode.UNREACHABLE:
                raise
            self._trouble = f"not reachable, last seen {duration(time.monotonic() - self._seen.at)} ago"
            return
        self._trouble = ""
        if now.at - self._seen.at > INTERVAL / 2:
            self._rates = now.rates(self._seen)
        else:  # too soon to tell a rate: count on from the look before
            now = dataclasses.replace(now, at=self._seen.at, answers=self._seen.answers)
        self._take(now)

    def _take(self, seen: Seen) -> None:
        self._seen = seen
        self._board.services = seen.ordered()
        self._board.settle()

    def _grant(self, wish: Wish, screen: Screen) -> None:
        """Do what a key asks for; what comes of it is shown, also a refusal."""
        name = self._board.chosen
        try:
            if wish is Wish.START:
                self._board.say(self._start(name))
            elif wish is Wish.STOP:
                self._client.act(name, "stop")
                self._board.say(f"{name} is told to stop.")
            elif wish is Wish.HELP:
                lines = _fitted(HELP, screen, indent=16)
                self._board.text = Text("The keys of hestia top", lines, wish)
            else:
                lines = self._text(wish, name, screen)
                title = (
                    f"{plain(name)}: output" if wish is Wish.LOGS else f"{plain(name)}: why, and what next"
                )
                self._board.text = Text(title, lines, wish, at_end=wish is Wish.LOGS)
        except CliError as exc:
            self._board.say(" ".join([exc.detail.splitlines()[0], *exc.remedy]), failed=True)

    def _start(self, name: str) -> str:
        code, body = self._client.act(name, "start")
        phase = view.phase_of(json.loads(body))
        return f"{name} is {phase} already." if code == 409 else f"{name} is told to start."

    def _text(self, wish: Wish, name: str, screen: Screen) -> list[str]:
        if wish is Wish.LOGS:
            found = self._client.log_lines(name, follow=False, tail=LOG_LINES, instance="")
            lines = [plain(line.rstrip(b"\r\n").decode("utf-8", "replace")) for line in found]
            return _fitted(
                lines or ["(nothing is kept: not started yet, or its engine keeps no output)"], screen
            )
        told = service_past(self._client, name)
        if told is None:
            return [f'There is no service "{plain(name)}" any more.']
        return list(story.service_lines(*told, screen, datetime.now(UTC)))

    def _read_again(self, screen: Screen) -> None:
        """A text that changes is fetched anew; while nothing answers, what was read stays."""
        text = self._board.text
        if text is None or text.again is Wish.HELP or self._trouble:
            return
        try:
            text.lines = self._text(text.again, self._board.chosen, screen)
        except CliError as exc:
            self._board.say(exc.detail.splitlines()[0], failed=True)


def _fitted(lines: list[str] | tuple[str, ...], screen: Screen, *, indent: int = 2) -> list[str]:
    width = screen.width or 80
    return [part for line in lines for part in wrapped(line, width, indent=indent)]


def _height() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines
    except OSError:
        return 24
