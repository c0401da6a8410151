"""What every command shares: its options, its two streams, the client it talks through.

Results go to stdout; progress, warnings, hints and errors to stderr (CL-02). `--json` leaves stdout to
documents. Owns the common options; each may stand before or after the command's name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from hestia.cli.client import ANSWER_TIMEOUT, CONNECT_TIMEOUT, Client
from hestia.cli.exits import CliError, ExitCode
from hestia.cli.screen import Screen, look
from hestia.cli.target import find_target, read_key

Decorated = TypeVar("Decorated", bound=Callable[..., Any])  # click decorates functions of any shape
_PREFIX: Final = "hestia.cli."

PROGRESS: Final = ("auto", "tty", "plain", "json", "quiet")
COLOR: Final = ("auto", "always", "never")


@dataclass(slots=False)
class Session:
    """One run of one command."""

    json: bool = False
    quiet: bool = False
    verbose: int = 0
    url: str | None = None
    key_file: str | None = None
    color: str = "auto"
    progress: str = "auto"
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path = field(default_factory=Path.cwd)

    @cached_property
    def out(self) -> Screen:
        """What stdout can show."""
        return look(sys.stdout, self.environment, color=self.color)

    @cached_property
    def err(self) -> Screen:
        """What stderr can show."""
        return look(sys.stderr, self.environment, color=self.color)

    def client(
        self, *, connect_timeout: float = CONNECT_TIMEOUT, answer_timeout: float = ANSWER_TIMEOUT
    ) -> Client:
        """The gateway this run talks to. Raises CliError for an address or key file that cannot be used."""
        return Client(
            find_target(self.url, self.environment, self.folder),
            key=read_key(self.key_file, self.environment),
            trace=self.note if self.verbose else None,
            bodies=self.verbose > 1,
            connect_timeout=connect_timeout,
            answer_timeout=answer_timeout,
        )

    def is_away(self, error: CliError) -> bool:
        """Whether it is the gateway configured here that could not be reached: no address was given."""
        named = self.url or self.environment.get("HESTIA_URL")
        return error.exit_code is ExitCode.UNREACHABLE and not named

    def result(self, text: str) -> None:
        """One line of the result."""
        _write(sys.stdout, text)

    def body(self, document: bytes) -> None:
        """A body of the API, byte for byte, as one line."""
        sys.stdout.flush()
        sys.stdout.buffer.write(document.rstrip(b"\n") + b"\n")
        sys.stdout.buffer.flush()

    def note(self, text: str) -> None:
        """A line on stderr that is asked for (`-v`) or tells what happens."""
        _write(sys.stderr, text)

    def hint(self, text: str) -> None:
        """The next useful command: for people at a terminal only."""
        if self.out.terminal and self.err.terminal and not self.quiet and not self.json:
            _write(sys.stderr, self.err.painted(text, "2"))


def _write(stream: Any, text: str) -> None:  # Any: pytest and click swap the standard streams for others
    encoding = getattr(stream, "encoding", None) or "utf-8"
    safe = text.encode(encoding, "replace").decode(encoding)
    stream.write(safe + "\n")
    stream.flush()


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Keep a value that was given; an option before the command must not be lost to its default."""
    assert parameter.name is not None
    if value is not None and value is not False and value != 0:
        context.meta[_PREFIX + parameter.name] = value


def _option(*names: str, **settings: Any) -> Callable[[Decorated], Decorated]:  # Any: click's own keywords
    return click.option(*names, callback=_remember, expose_value=False, **settings)


_OUTPUT_OPTIONS = (
    _option("--json", is_flag=True, help="Print JSON: the body of the API call, errors as problem JSON."),
    _option("-q", "--quiet", is_flag=True, help="Only results and errors."),
    _option("--color", type=click.Choice(COLOR), help="Colour; NO_COLOR is honoured."),
)
_CLIENT_OPTIONS = (
    _option("--url", metavar="URL", help="Address of the gateway. Also: HESTIA_URL."),
    _option("--key-file", metavar="PATH", help="File with the API key. Also: HESTIA_API_KEY."),
    _option("-v", "--verbose", count=True, help="Show the calls and their timing; twice: the bodies."),
)
PROGRESS_OPTION = _option(
    "--progress", type=click.Choice(PROGRESS), help="How a start or stop is shown while it is followed."
)


def output_options(function: Decorated) -> Decorated:
    """Add the options that every command takes."""
    for option in reversed(_OUTPUT_OPTIONS):
        function = option(function)
    return function


def client_options(function: Decorated) -> Decorated:
    """Add the options of a command that talks to the gateway."""
    function = output_options(function)
    for option in reversed(_CLIENT_OPTIONS):
        function = option(function)
    return function


def current() -> Session:
    """The session of the command that runs now."""
    return session_of(click.get_current_context())


def session_of(context: click.Context) -> Session:
    """The session made of the options given so far."""
    known = {name.removeprefix(_PREFIX): value for name, value in context.meta.items() if _is_ours(name)}
    return Session(**known)


def _is_ours(name: str) -> bool:
    return name.startswith(_PREFIX)


@dataclass(frozen=True, slots=True)
class Example:
    """A line for the top of a command's help: what to type, and what it does."""

    line: str
    says: str
