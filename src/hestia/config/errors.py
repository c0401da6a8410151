"""Owns what is said about a configuration that cannot be used: one `Problem` per fault, all at once.

A problem never shows a secret: the line of the file is blotted before it is kept. Which faults there are,
`check`, `environment` and `build` decide. Source: experience.md CL-20, ET-03, ET-09.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hestia.core.errors import ConfigError

_SECRET_WORD: Final = r"(?:password|passwd|secret|token|api_?keys?|private_?key|credentials?)"
_SECRET_NAME: Final = re.compile(_SECRET_WORD, re.IGNORECASE)
_SECRET_PAIR: Final = re.compile(
    rf"([\w-]*{_SECRET_WORD}[\w-]*[\"']?\s*[:=]\s*)(?!\{{\s*(?:env|file)\s*:)(\"[^\"]*\"?|'[^']*'?|[^\s,}}\]#]+)",
    re.IGNORECASE,
)
_URL_USER: Final = re.compile(r"(://)([^/\s@\"']+)(?=@)")
_WORDS_MAX: Final = 60  # characters of a found value that are shown
_LINE_MAX: Final = 160  # characters of a line of the file that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault. line, column: from 1, 0 when there is no file. width: columns that the caret covers.

    source: "hestia_config.yml", "environment", ".env", "command line". key: dotted path, or what was
    typed in the environment (`NAME=value`). found, expected, nearest: "" where they do not apply.
    text: the one sentence. excerpt: the line of the file. remedy: what to do when `text` does not say it.
    """

    source: str
    line: int = 0
    column: int = 0
    width: int = 1
    key: str = ""
    found: str = ""
    expected: str = ""
    nearest: str = ""
    text: str = ""
    excerpt: str = ""
    remedy: str = ""

    def render(self) -> str:
        """The text of `config check`: place, key and sentence; the line with a caret; nearest; remedy."""
        place = ":".join(str(part) for part in (self.source, self.line, self.column) if part)
        head = ": ".join(part for part in (place, printable(self.key), self.text) if part)
        lines = [head]
        if self.excerpt:
            number = str(self.line).rjust(5)
            lines.append(f"{number} | {self.excerpt}")
            caret = " " * (self.column - 1) + "^" * max(1, self.width)
            lines.append(f"      | {caret}" + (f" nearest: {self.nearest}" if self.nearest else ""))
        elif self.nearest:
            lines[0] += f"; nearest: {self.nearest}"
        if self.remedy:
            lines.append(f"      do: {self.remedy}")
        return "\n".join(lines)


class ConfigProblems(ConfigError):
    """The configuration has faults; all of them, of all sources, in the order of their places."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems, key=_order))
        first = self.problems[0]
        count = len(self.problems)
        place = ":".join(str(part) for part in (first.source, first.line, first.column) if part)
        more = f" (and {count - 1} more)" if count > 1 else ""
        super().__init__(
            ": ".join(part for part in (place, first.key, first.text) if part) + more,
            remedy="hestia config check",
        )

    def render(self) -> str:
        """Every problem as `config check` prints it."""
        return "\n".join(problem.render() for problem in self.problems)


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known name most like `name`, or ""."""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=cutoff)
    return found[0] if found else ""


def is_secret_name(name: str) -> bool:
    """Whether a key or variable of this name holds something that must not be shown."""
    return _SECRET_NAME.search(name) is not None


def blot(line: str) -> str:
    """Put stars in the place of what looks like a secret; the columns stay where they are."""
    line = _SECRET_PAIR.sub(lambda match: match[1] + "*" * len(match[2]), line)
    return _URL_USER.sub(lambda match: match[1] + "*" * len(match[2]), line)


def show(value: object) -> str:
    """A found value in few words, without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(shorten(value)) if value else "an empty text"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return printable(str(value))


def shorten(text: str, limit: int = _WORDS_MAX) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def printable(text: str) -> str:
    """Control characters escaped: a file must not be able to write to the terminal (CL-26)."""
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape").decode() for ch in text)


def excerpt(lines: Sequence[str], line: int) -> str:
    """Line `line` (from 1) as it is shown: blotted, tabs as one column, cut when it is very long."""
    if not 1 <= line <= len(lines):
        return ""
    shown = "".join(ch if ch.isprintable() else " " for ch in lines[line - 1])
    return shorten(blot(shown), _LINE_MAX)


def one_of(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = list(words)
    return f"{', '.join(most)} or {last}" if most else last


def _order(problem: Problem) -> tuple[bool, str, int, int]:
    return (not problem.line, problem.source, problem.line, problem.column)
