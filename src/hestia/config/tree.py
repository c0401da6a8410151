"""Values with their places: what every source is turned into before anything is checked.

Owns `Node`, `Place` and `Source`, and the wording of where a value came from. Reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hestia.config.errors import Problem, blot, excerpt, is_secret_name, shorten, show

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where values come from. name: as shown, `hestia_config.yml` or `environment`. lines: of a file."""

    name: str
    lines: tuple[str, ...] = ()


class Place(NamedTuple):
    """A spot in a source. line, column: from 1, 0 outside files. variable: `X_BASE_URL` or `--port`."""

    source: Source
    line: int = 0
    column: int = 0
    width: int = 1
    variable: str = ""

    def words(self) -> str:
        """`hestia_config.yml:14`, `.env:3`, `environment OLLAMA_BASE_URL`, `command line --port`."""
        if self.line:
            return f"{self.source.name}:{self.line}"
        return f"{self.source.name} {self.variable}".strip()


@dataclass(slots=True, eq=False)
class Node:
    """A value with its place.

    key, name: place and text of the key it stands under, as written. secret: where a secret came from.
    unit: `ms` or `s` when the key says the unit of a bare number. raw: a scalar of a file as it was typed.
    """

    value: Scalar | dict[str, Node] | list[Node]
    place: Place
    key: Place | None = None
    name: str = ""
    secret: str = ""
    unit: str = ""
    raw: str = field(default="", repr=False)

    @property
    def mapping(self) -> dict[str, Node] | None:
        return self.value if isinstance(self.value, dict) else None

    def walk(self) -> Iterator[Node]:
        """This node and everything below it."""
        yield self
        children: list[Node] = []
        if isinstance(self.value, dict):
            children = list(self.value.values())
        elif isinstance(self.value, list):
            children = self.value
        for child in children:
            yield from child.walk()

    def plain(self) -> object:
        """The value without places."""
        if isinstance(self.value, dict):
            return {name: child.plain() for name, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        if self.unit and self.value != "never":
            return f"{self.value}{self.unit}"
        return self.value

    def words(self) -> str:
        """Where the value came from, for `Settings.sources`."""
        secret = self.secret
        if isinstance(self.value, list):  # one secret item makes a secret of the list
            secret = next((item.secret for item in self.value if item.secret), secret)
        return self.place.words() + (f" (secret: {secret})" if secret else "")

    def quoted(self, text: str) -> str:
        """What the value became, for a sentence; not shown when it came from a secret."""
        return f"the secret from {self.secret}" if self.secret else text


def problem_at(
    node: Node,
    key: str,
    text: str,
    *,
    expected: str = "",
    nearest: str = "",
    remedy: str = "",
    at_key: bool = False,
    hide: bool = False,
) -> Problem:
    """A problem about a value, or about its key. `hide`: the value must not be shown."""
    place = node.key if at_key and node.key is not None else node.place
    found = "***" if hide or node.secret else show(node.value)
    if place.variable:
        typed = shorten(str(node.value)) if isinstance(node.value, str | int) else show(node.value)
        secret = hide or node.secret or is_secret_name(place.variable)
        shown = "***" if secret else blot(typed)
        between = " " if place.variable.startswith("-") else "="
        key = f"{place.variable}{between}{shown}"
    shown, caret = excerpt(place.source.lines, 0 if place.variable else place.line, place.column)
    if hide and not node.secret and not at_key and shown and isinstance(node.value, str):
        start = max(0, caret - 1)
        shown = shown[:start] + "*" * len(shown[start:][: place.width]) + shown[start:][place.width :]
    return Problem(
        source=place.source.name,
        line=place.line,
        column=0 if place.variable else place.column,
        width=place.width,
        key=key,
        found=found,
        expected=expected,
        nearest=nearest,
        text=text,
        excerpt=shown,
        caret=caret,
        remedy=remedy,
    )
