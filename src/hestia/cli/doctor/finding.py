"""What a check found: how bad it is, what and where, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """ok: as it should be. skip: there was nothing to look at. warn: works, but. FAIL: does not work."""

    OK = "ok"
    SKIP = "skip"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. where: a key, a file with its line, an address; "" where `text` says it all.

    do: what to do, a line each. detail: further lines, such as the line of the file with a caret.
    """

    level: Level
    check: str
    text: str
    where: str = ""
    do: tuple[str, ...] = ()
    detail: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        """The level as programs read it: `ok`, `skip`, `warn`, `fail`."""
        return self.level.lower()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. look: may block; runs in a thread of its own. late: what to try when it hangs."""

    name: str
    where: str
    look: Callable[[], Iterable[Finding]]
    late: str


def ok(check: str, text: str, where: str = "") -> Finding:
    return Finding(Level.OK, check, text, where)


def skip(check: str, text: str, where: str = "", *do: str) -> Finding:
    return Finding(Level.SKIP, check, text, where, do)


def warn(check: str, text: str, where: str, *do: str) -> Finding:
    return Finding(Level.WARN, check, text, where, do)


def fail(check: str, text: str, where: str, *do: str) -> Finding:
    return Finding(Level.FAIL, check, text, where, do)


def counts(findings: Iterable[Finding]) -> dict[Level, int]:
    """How many of each level, none left out."""
    found = Counter(finding.level for finding in findings)
    return {level: found[level] for level in Level}
