"""Types of parameters that several commands take: a service's id, a duration; and reading an answer."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from hestia.cli.client import Client
from hestia.cli.exits import CliError
from hestia.cli.session import session_of
from hestia.cli.target import config_file, service_ids

COMPLETION_TIMEOUT: Final = 0.3
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

if TYPE_CHECKING:
    TextType = click.ParamType[str]
    SecondsType = click.ParamType[float]
else:  # generic only since click 8.4
    TextType = SecondsType = click.ParamType

Kind = TypeVar("Kind", list[Any], dict[str, Any])


class ServiceName(TextType):
    """Id of a service; completes from the gateway, else from the file, else not at all."""

    name = "service"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id as it is: whether it exists, the gateway knows."""
        text = str(value)
        if not text or text.startswith("-"):
            self.fail(f'"{text}" is not the id of a service.', param, ctx)
        return text

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Ids that begin so. Never an error text: nobody asked for one."""
        return [CompletionItem(name) for name in _known_ids(ctx) if name.startswith(incomplete)]


def _known_ids(context: click.Context) -> list[str]:
    session = session_of(context)
    try:
        client = session.client(connect_timeout=COMPLETION_TIMEOUT, answer_timeout=COMPLETION_TIMEOUT)
        return [str(one["serviceId"]) for one in json.loads(client.services())]
    except (CliError, ValueError, KeyError, TypeError):
        return service_ids(config_file(session.environment, session.folder))


class Duration(SecondsType):
    """A time with its unit: `500ms`, `30s`, `2m`, `1h`. Becomes seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds. Fails on a number without unit, as everywhere in Hestia."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)", str(value).strip())
        if match is None:
            self.fail(f'"{value}" is not a duration; write a number with ms, s, m, h or d: 2m', param, ctx)
        return float(match[1]) * _UNITS[match[2]]


SERVICE: Final = ServiceName()
DURATION: Final = Duration()


def is_status(client: Client, body: bytes, kind: type[Kind]) -> Kind:
    """The answer as a list or an object. Raises CliError when somebody other than Hestia answered."""
    try:
        found: object = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, kind):
        raise client.stranger("what it answers is not a status")
    return found
