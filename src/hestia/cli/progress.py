"""How a start or stop looks while it is followed (CL-05): redrawn, one line per change, JSON, or not at all.

Owns the drawing. What counts as the end, `follow` decides.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from hestia.cli.exits import Document
from hestia.cli.screen import Screen
from hestia.cli.session import Session
from hestia.cli.text import cut_end, duration, plain
from hestia.cli.view import phase_of, running_stage, stage_lines, starting_instance

if TYPE_CHECKING:
    from rich.live import Live

HEAD_WIDTH: Final = 78


class Progress(Protocol):
    """Shows each status document as it comes; `close` leaves the screen in order, also after a failure."""

    def show(self, status: Document, elapsed: float) -> None: ...
    def close(self) -> None: ...


def choose(session: Session, footer: str, *, starts: bool) -> Progress:
    """The way to show progress that was asked for, or that fits stderr.

    footer: a hint below the stages, until it is over. starts: what is followed has the stages of a start.
    """
    wanted = session.progress
    if session.quiet and wanted == "auto":
        wanted = "quiet"
    if wanted == "auto":
        wanted = "tty" if session.err.redraw else "plain"
    if wanted == "tty":
        return Redrawn(session.err, footer, starts=starts)
    if wanted == "plain":
        return Changes(session.note, plain_line)
    if wanted == "json":
        return Changes(session.note, json_line)
    return Silent()


class Silent:
    """Shows nothing."""

    def show(self, status: Document, elapsed: float) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Changes:
    """One line whenever phase or stage is another than before."""

    def __init__(self, write: Callable[[str], None], line: Callable[[Document, float], str]) -> None:
        self._write = write
        self._line = line
        self._last: tuple[str, str, str] | None = None

    def show(self, status: Document, elapsed: float) -> None:
        """Write a line if something changed."""
        stage = running_stage(status) or {}
        now = (phase_of(status), str(stage.get("name", "")), str(stage.get("text", "")))
        if now != self._last:
            self._last = now
            self._write(self._line(status, elapsed))

    def close(self) -> None:
        """Nothing to tidy up."""


def plain_line(status: Document, elapsed: float) -> str:
    """`sdxl: starting: engine: docker: creating container (4.2 s)`."""
    stage = running_stage(status)
    words = [plain(str(status.get("serviceId", ""))), phase_of(status)]
    if stage is not None:
        words += [plain(str(stage.get("name", ""))), plain(str(stage.get("text", "")))]
    return f"{': '.join(word for word in words if word)} ({duration(elapsed)})"


def json_line(status: Document, elapsed: float) -> str:
    """The same as one JSON object."""
    stage = running_stage(status)
    return json.dumps(
        {
            "serviceId": status.get("serviceId"),
            "phase": phase_of(status),
            "stage": stage.get("name") if stage else None,
            "text": stage.get("text") if stage else None,
            "elapsedMs": round(elapsed * 1000),
            "estimatedReadyMs": status.get("estimatedReadyMs"),
        },
        ensure_ascii=False,
    )


class Redrawn:
    """The stages, drawn over in place; what was drawn last stays, without the footer."""

    def __init__(self, screen: Screen, footer: str, *, starts: bool) -> None:
        self._screen = screen
        self._footer = footer
        self._starts = starts
        self._last: list[str] = []
        self._live: Live | None = None

    def show(self, status: Document, elapsed: float) -> None:
        """Draw the present state over the one before."""
        self._last = block(status, elapsed, self._screen.width or HEAD_WIDTH, starts=self._starts)
        self._draw([*self._last, *([self._footer] if self._footer else [])])

    def _draw(self, lines: list[str]) -> None:
        from rich.text import Text  # 0.1 s: only where something is drawn

        width = self._screen.width or HEAD_WIDTH
        picture = Text("\n".join(cut_end(line, width - 1, ellipsis=self._screen.ellipsis) for line in lines))
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=sys.stderr, no_color=not self._screen.colour, highlight=False)
            self._live = Live(picture, console=console, auto_refresh=False, transient=False)
            self._live.start()
        self._live.update(picture, refresh=True)

    def close(self) -> None:
        """Show the cursor again and leave the last picture where it is."""
        if self._live is not None:
            self._draw(self._last)
            self._live.stop()
            self._live = None


def block(status: Document, elapsed: float, width: int, *, starts: bool) -> list[str]:
    """The picture: head with elapsed time and estimate, stages of a start, who waits."""
    left = f"{plain(str(status.get('serviceId', '')))} on {plain(str(status.get('machineId', '')))}"
    right = f"{phase_of(status)}, {duration(elapsed)}"
    rest = status.get("estimatedReadyMs")
    if phase_of(status) == "starting" and isinstance(rest, int):
        about = f" of about {duration(elapsed + rest / 1000)}" if rest > 0 else ", longer than usual"
        right = f"{duration(elapsed)}{about}"
    room = min(width - 1, HEAD_WIDTH) - len(right)
    lines = [f"{left:<{max(room, len(left) + 1)}}{right}"]
    if starts and phase_of(status) in ("starting", "hot", "failed", "cold"):
        failed = phase_of(status) in ("failed", "cold")
        lines += stage_lines(starting_instance(status), ended=failed)
    if waiting := status.get("queuePending"):
        lines.append(f"{waiting} {'request waits' if waiting == 1 else 'requests wait'}.")
    return lines
