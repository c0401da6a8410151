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
from unicodedata import combining, east_asian_width

from hestia.core.errors import ConfigError

_SECRET_WORD: Final = r"(?:pass?wor?d|passwd|secret|token(?!s)|api[_-]?keys?|private[_-]?key|credentials?)"
_SECRET_NAME: Final = re.compile(rf"{_SECRET_WORD}|^(?:authorization|cookie)$", re.IGNORECASE)
_SECRET_PAIR: Final = re.compile(
    rf"({_SECRET_WORD}[\w-]{{0,64}}[\"']?\s*[:=]\s*)(?!\{{\s*(?:env|file)\s*:)(\"[^\"]*\"?|'[^']*'?|[^\s,}}\]#]+)",
    re.IGNORECASE,
)
_SECRET_OPTION: Final = re.compile(  # of a command: --api-key X, or as list items
    rf"(--?[\w-]{{0,64}}?{_SECRET_WORD}[\w-]{{0,64}}[\"']?(?:\s*,\s*|\s+)|\b(?:Bearer|Basic)\s+)(\"[^\"]*\"?|'[^']*'?|[^\s,}}\]#{{&|;\"']+)",
    re.IGNORECASE,
)
_URL_USER: Final = re.compile(r"(://)([^/\s@\"']+)(?=@)")
_WORDS_MAX: Final = 60  # characters of a found value that are shown
_LINE_MAX: Final = 160  # characters of a line of the file that are shown
_LEAD: Final = 40  # of them before the value, where the line has to be cut
_LOOK_MAX: Final = 5_000  # characters on either side of the value in which secrets are looked for
_NAME_MAX: Final = 80  # characters of a name that can be a mistyped key
_KEY_MAX: Final = 200  # characters of a dotted path that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault. line, column: from 1, 0 when there is no file. width: columns that the caret covers.

    source: "hestia_config.yml", "environment", ".env", "command line". key: dotted path, or what was
    typed in the environment (`NAME=value`). found, expected, nearest: "" where they do not apply.
    text: the one sentence. excerpt: the line of the file, cut around the value where it is very long;
    caret: the column of the value in it. remedy: what to do when `text` does not say it.
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
    caret: int = 0
    remedy: str = ""

    def render(self) -> str:
        """The text of `config check`: place, key and sentence; the line with a caret; nearest; remedy."""
        place = ":".join(str(part) for part in (self.source, self.line, self.column) if part)
        head = ": ".join(part for part in (place, shorten(printable(self.key), _KEY_MAX), self.text) if part)
        lines = [head]
        if self.excerpt:
            number = str(self.line).rjust(5)
            lines.append(f"{number} | {self.excerpt}")
            before, under = self.excerpt[: self.caret - 1], self.excerpt[self.caret - 1 :][: self.width]
            caret = " " * _columns(before) + "^" * max(1, _columns(under))
            lines.append(f"      | {caret}" + (f" nearest: {self.nearest}" if self.nearest else ""))
        elif self.nearest:
            lines[0] += f"; nearest: {self.nearest}"
        if self.remedy:
            lines.append(f"      do: {self.remedy}")
        return "\n".join(lines)


class ConfigProblems(ConfigError):
    """The configuration has faults; all of them, of all sources, in the order of their places.

    secret_files: those that `{file: …}` names, there or not; one that comes may be what was missing.
    """

    def __init__(self, problems: Iterable[Problem], secret_files: Iterable[str] = ()) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems, key=_order))
        self.secret_files = tuple(sorted(secret_files))
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
    if len(name) > _NAME_MAX:
        return ""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=cutoff)
    return found[0] if found else ""


def is_secret_name(name: str) -> bool:
    """Whether a key or variable of this name holds something that must not be shown."""
    return _SECRET_NAME.search(name) is not None


def blot(line: str) -> str:
    """Put stars in the place of what looks like a secret; the columns stay where they are."""
    for pattern in (_SECRET_PAIR, _SECRET_OPTION, _URL_USER):
        line = pattern.sub(lambda match: match[1] + "*" * len(match[2]), line)
    return line


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


def excerpt(lines: Sequence[str], line: int, column: int) -> tuple[str, int]:
    """Line `line` as it is shown, and where `column` is in it (all from 1): blotted, tabs as one column,
    cut around the column when it is very long. ("", 0) without such a line."""
    if not 1 <= line <= len(lines):
        return "", 0
    skipped = max(0, column - _LOOK_MAX)
    part = lines[line - 1][skipped : column + _LOOK_MAX]
    shown = blot("".join(ch if ch.isprintable() else " " for ch in part))
    start = 0 if column <= _LINE_MAX - _LEAD else column - 1 - _LEAD
    if start:
        shown = "…" + shown[start + 1 - skipped :]
    return shorten(shown, _LINE_MAX), column - start


def one_of(words: Iterable[str]) -> str:
    """`a, b or c`; "nothing" where there is none to choose from."""
    *most, last = list(words) or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last


def _columns(text: str) -> int:
    """Columns of a terminal that the text takes: wide letters two, combining marks none."""
    return sum(0 if combining(ch) else 2 if east_asian_width(ch) in "WF" else 1 for ch in text)


def _order(problem: Problem) -> tuple[bool, str, int, int]:
    return (not problem.line, problem.source, problem.line, problem.column)
