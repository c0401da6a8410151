"""`hestia demo`: cold, hot, idle and cold again, told in three steps, in under a minute (FM-06).

Owns the script. `demo_gateway` makes and removes what is shown; the states are asked of it, not invented.
"""

from __future__ import annotations

import http.client
import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Final

import click

from hestia.cli import address, view
from hestia.cli.client import Client
from hestia.cli.command import command
from hestia.cli.demo_gateway import QUICK, SLOW, Play, running
from hestia.cli.exits import CliError, Document, ExitCode
from hestia.cli.session import Example, Session, current, output_options

PORT: Final = 8080
LOOK_EVERY: Final = 0.1
REQUEST_LIMIT: Final = 60.0
COLD_LIMIT: Final = 60.0


@command(
    "demo",
    examples=(
        Example("hestia demo", "the show; then it stays up for you to try, until Ctrl-C"),
        Example("hestia demo --once", "the show, then the end; so also where there is no terminal"),
    ),
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the demo's gateway. Default: 8080 or a free one."
)
@click.option("--once", is_flag=True, help="End after the show.")
@output_options
def demo(port: int | None, once: bool) -> int:
    """Show two small services being woken by a request and put back to sleep. Nothing is left behind."""
    session = current()
    if port is not None:
        address.check("127.0.0.1", port, command="hestia demo")
    else:
        port = PORT if address.is_free("127.0.0.1", PORT) else address.free_port("127.0.0.1", PORT)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    play = Play()
    began = time.monotonic()
    try:
        with running(port, play) as client:
            stage = Stage(session, client)
            _show(stage, port, play, began)
            if once or not session.out.terminal:
                return 0
            _stay(stage, port)
    except KeyboardInterrupt:
        session.note("Ended; every process and file of the demo is gone.")
        return int(ExitCode.INTERRUPTED)
    session.note("Every process and file of the demo is gone.")
    return 0


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave through every `finally`: they remove what was made."""
    sys.exit(128 + number)


@dataclass(slots=True)
class Stage:
    """Where the show is told: lines with the time since the step began, states as they change."""

    session: Session
    client: Client
    began: float = field(default_factory=time.monotonic)
    phases: dict[str, str] = field(default_factory=dict)

    def step(self, *lines: str) -> None:
        """Begin a step: its heading and the command one would type."""
        self.began = time.monotonic()
        for number, line in enumerate(("", *lines)):
            self._say(self.session.out.painted(line, "1") if number == 1 else line)

    def tell(self, text: str) -> None:
        """One line of what happens, with the seconds since the step began."""
        self._say(f"  {time.monotonic() - self.began:5.1f} s  {text}")

    def look(self) -> None:
        """Ask for the states and tell those that changed."""
        for service in json.loads(self.client.services()):
            name, phase = str(service["serviceId"]), view.phase_of(service)
            if self.phases.get(name) != phase:
                self.phases[name] = phase
                self.tell(self._state(name, phase, service))

    def _state(self, name: str, phase: str, service: Document) -> str:
        screen = self.session.out
        words = {
            "cold": "cold: no process, nothing used",
            "starting": "starting",
            "hot": "hot",
            "draining": "draining",
            "stopping": "stopping",
        }
        detail = (
            f" ({reason})"
            if phase == "failed" and (reason := view.note_of(service, datetime.now(UTC)))
            else ""
        )
        return f"{screen.toned(f'{screen.mark(phase)} {name}', phase)} is {words.get(phase, phase)}{detail}"

    def _say(self, text: str) -> None:
        if self.session.json:
            print(json.dumps({"text": text.strip()}), flush=True)
        else:
            self.session.result(text)


def _show(stage: Stage, port: int, play: Play, began: float) -> None:
    url = address.browsable("127.0.0.1", port)
    stage.step(f"A gateway at {url} with two services. Nobody uses them, so nothing runs.")
    stage.look()
    stage.step("1. A request wakes a service.", f"   curl {url}/services/{QUICK}/hello")
    _request(stage, port, QUICK, "/hello")
    stage.step(
        f"2. This one takes {play.slow_start:.0f} s to start. The request is held, then the answer streams.",
        f"   curl -N {url}/services/{SLOW}/story",
    )
    _request(stage, port, SLOW, "/story")
    stage.step(
        f"3. Unused for {play.idle:.0f} s, a service is stopped. The next request would start it again."
    )
    _until_cold(stage)
    stage.step(
        f"That was all of it, in {time.monotonic() - began:.0f} s. Your own services: hestia config example"
    )


def _until_cold(stage: Stage) -> None:
    deadline = time.monotonic() + COLD_LIMIT
    while set(stage.phases.values()) != {"cold"}:
        if time.monotonic() > deadline:
            raise CliError(
                "The services were not stopped in time; this is a fault of Hestia.", code="demo_failed"
            )
        time.sleep(LOOK_EVERY)
        stage.look()


def _request(stage: Stage, port: int, service: str, path: str) -> None:
    """Send one request as any client would, and tell states and answer as they come."""
    parts: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_fetch, args=(port, service, path, parts), name="request", daemon=True).start()
    for text in _told(stage, parts):
        stage.tell(f"the answer: {text}")
    stage.look()


def _told(stage: Stage, parts: queue.Queue[str | None]) -> Iterator[str]:
    """Lines of the answer; states are told in between."""
    line = ""
    deadline = time.monotonic() + REQUEST_LIMIT
    while time.monotonic() < deadline:
        try:
            part = parts.get(timeout=LOOK_EVERY)
        except queue.Empty:
            stage.look()
            continue
        if part is None:
            break
        if not line:
            stage.look()
        line += part
        if len(line) > 60:
            yield line.rstrip()
            line = ""
    if line.strip():
        yield line.rstrip()


def _fetch(port: int, service: str, path: str, parts: queue.Queue[str | None]) -> None:
    """One GET through the gateway; pieces of the answer, then None."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_LIMIT)
    try:
        connection.request("GET", f"/services/{service}{path}")
        response = connection.getresponse()
        if response.status != 200:
            parts.put(f"{response.status} ")
        while piece := response.read1(4096):
            parts.put(piece.decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as exc:
        parts.put(f"none, {type(exc).__name__}")
    finally:
        connection.close()
        parts.put(None)


def _stay(stage: Stage, port: int) -> None:
    """Stay up for a newcomer to try, telling what happens; Ctrl-C is the ordinary end."""
    url = address.browsable("127.0.0.1", port)
    stage.step(
        "Your turn, in another terminal. Ctrl-C ends the demo and removes everything it made.",
        f"   curl -N {url}/services/{SLOW}/story",
        f"   hestia status --url {url}",
    )
    try:
        while True:
            time.sleep(LOOK_EVERY)
            stage.look()
    except KeyboardInterrupt:
        stage.session.note("")
