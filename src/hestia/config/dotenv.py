"""The `.env` file beside the configuration: lines of NAME=value. Owns its dialect; reads no disk.

`export` is allowed, `#` begins a comment at the start of a line or after a space, single quotes keep
everything, double quotes know \\n \\t \\" \\\\ and \\$. Nothing is filled in for `$NAME`: where a value with
one is used, `environment` says so. A line with a name alone (Compose: "take it from the shell") says nothing.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from hestia.config.errors import Problem, excerpt
from hestia.config.tree import Node, Place, Source

_LINE: Final = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:=\s*(.*))?")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SINGLE: Final = re.compile(r"'([^']*)'\s*(?:#.*)?")
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r"}
FILLED_IN: Final = re.compile(r"\$[({A-Za-z_]")


class DotEnv(NamedTuple):
    """values: variable → node; the last of two lines counts. unfilled: those that hold a `$NAME`."""

    values: dict[str, Node]
    unfilled: frozenset[str]
    problems: list[Problem]


def read_dotenv(source: Source) -> DotEnv:
    """Read the lines of the source."""
    found: dict[str, Node] = {}
    unfilled: set[str] = set()
    problems: list[Problem] = []
    for number, line in enumerate(source.lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        value = None if match is None else _value(match[2])
        if match is None or (value is None and match[2] is not None):
            text = (
                "expected NAME=value" if match is None else "a quote is not closed, or something follows it"
            )
            shown, caret = excerpt(source.lines, number, 1)
            problems.append(
                Problem(
                    source=source.name,
                    line=number,
                    column=1,
                    width=len(line.rstrip()),
                    text=text,
                    excerpt=shown,
                    caret=caret,
                    expected="NAME=value",
                )
            )
        elif value is not None:
            text, open_dollar = value
            place = Place(source, number, match.start(2) + 1, max(1, len(match[2].rstrip())), match[1])
            found[match[1]] = Node(text, place)
            (unfilled.add if open_dollar else unfilled.discard)(match[1])
    return DotEnv(found, frozenset(unfilled), problems)


def _value(written: str | None) -> tuple[str, bool] | None:
    """The value and whether it holds a `$NAME` outside single quotes."""
    if written is None:
        return None
    if written.startswith('"'):
        match = _DOUBLE.fullmatch(written)
        if match is None:
            return None
        bare = re.sub(r"\\\$", "", match[1])
        return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), match[1]), bool(
            FILLED_IN.search(bare)
        )
    if written.startswith("'"):
        match = _SINGLE.fullmatch(written)
        return None if match is None else (match[1], False)
    text = "" if written.startswith("#") else re.split(r"\s#", written, maxsplit=1)[0].rstrip()
    return text, bool(FILLED_IN.search(text))
