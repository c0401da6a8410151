"""Set-up of the standard library's logging: one JSON object a line, or short lines for people.

Owns the two formats and what never gets into them. Who logs uses `logging.getLogger(__name__)`, a message
and `extra={...}`; `event_type`, `service_id` and `request_id` have their place in every line.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from typing import Any, Final, Literal

from hestia.telemetry.folding import Folding
from hestia.telemetry.text import clock_text, plain, utc_text
from hestia.telemetry.writer import Stream

Form = Literal["json", "console"]

# What logging itself puts on a record; everything else came from `extra`.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_FIRST: Final = ("event_type", "service_id", "request_id")
_SECRET: Final = ("authorization", "cookie", "password", "secret", "token", "api_key", "credential")
_COLOURS: Final[Mapping[int, str]] = {
    logging.DEBUG: "\x1b[2m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[31m",
}
# Left out for people: the message says it already, or only a program can use it.
_FOR_PROGRAMS: Final = frozenset(
    {"event_type", "service_id", "instance", "generation", "from", "to", "episode", "actor", "lasted_ms"}
)
_QUIET: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "httpx", "httpcore", "websockets")


def choose_form(wanted: str, *, terminal: bool) -> Form:
    """Resolve `auto`: console on a terminal, JSON otherwise."""
    if wanted == "auto":
        return "console" if terminal else "json"
    return "console" if wanted == "console" else "json"


def choose_colour(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether to colour (CL-04): a terminal that is not dumb, and NO_COLOR empty."""
    return terminal and environment.get("TERM") != "dumb" and not environment.get("NO_COLOR")


def configure(stream: Stream, *, level: str = "INFO", form: Form = "json", colour: bool = False) -> None:
    """Send everything that is logged in this process to `stream`. A second call replaces the first."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, LineHandler):
            root.removeHandler(handler)
    handler = LineHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else ConsoleFormatter(colour=colour))
    root.addHandler(handler)
    set_level(level)


def set_level(level: str) -> None:
    """From which level on is written."""
    root = logging.getLogger()
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class LineHandler(logging.Handler):
    """Writes each record as whole lines of bytes; what repeats itself is folded."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream
        self.addFilter(Folding())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a failure to do so is told the way logging does."""
        try:
            self._stream.write((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
            self._stream.flush()
        except (OSError, ValueError, TypeError, KeyError):
            self.handleError(record)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The fields given as `extra`, secrets hidden, empty ones left out."""
    found: dict[str, object] = {}
    for name, value in vars(record).items():
        if name not in _OWN and value is not None and value != "":
            found[name] = "***" if _is_secret(name) else value
    return found


def _is_secret(name: str) -> bool:
    lower = name.lower().replace("-", "_")
    return any(word in lower for word in _SECRET)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; the seeds' fields first."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its newline."""
        fields = fields_of(record)
        line: dict[str, object] = {"timestamp": utc_text(record.created), "level": record.levelname}
        line["event_type"] = fields.pop("event_type", "log")
        for name in _FIRST[1:]:
            if name in fields:
                line[name] = fields.pop(name)
        line["message"] = record.getMessage()
        line["logger"] = record.name
        line.update((name, value) for name, value in fields.items() if name not in line)
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = f"{type(error).__name__}: {error}"
            line["traceback"] = "".join(traceback.format_exception(error))
        return json.dumps(line, default=str, separators=(",", ":"))


class ConsoleFormatter(logging.Formatter):
    """`12:03:04 INFO    Starting service: ollama  cause=demand`: only what a person would read."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it an exception, without the final newline."""
        fields = fields_of(record)
        word = f"{record.levelname:<7}"
        if self._colour and record.levelno in _COLOURS:
            word = f"{_COLOURS[record.levelno]}{word}\x1b[0m"
        shown = ((name, value) for name, value in fields.items() if value and name not in _FOR_PROGRAMS)
        tail = "".join(f" {name}={_short(value)}" for name, value in shown)
        text = f"{clock_text(record.created)} {word} {plain(record.getMessage())}{' ' if tail else ''}{tail}"
        if record.exc_info and record.exc_info[1] is not None:
            lines = "".join(traceback.format_exception(record.exc_info[1])).splitlines()
            text += "".join(f"\n    {plain(line)}" for line in lines)
        return text


def _short(value: Any) -> str:
    """A value of any type as one word, quoted when it has spaces. Any: extras are whatever was logged."""
    text = f"{value:g}" if isinstance(value, float) else plain(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text
