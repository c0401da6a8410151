"""Findings as lines for people and as one JSON document."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hestia import __version__
from hestia.cli.doctor.finding import Finding, Level, counts
from hestia.cli.screen import Screen
from hestia.cli.text import plain

FOLDED: Final = 8  # findings of one check that are well and are shown one by one
_TONE: Final = {Level.OK: "32", Level.SKIP: "2", Level.WARN: "33", Level.FAIL: "31"}
_NAME_WIDTH: Final = 9
_INDENT: Final = " " * 6


def lines(findings: Sequence[Finding], screen: Screen, *, quiet: bool = False) -> Iterator[str]:
    """Each finding with what to do, wrapped to a terminal and whole in a pipe. quiet: only what is wrong."""
    many = Counter((finding.check, finding.level) for finding in findings)
    shown: Counter[tuple[str, Level]] = Counter()
    for finding in findings:
        kind = (finding.check, finding.level)
        if finding.level in (Level.OK, Level.SKIP):
            if quiet:
                continue
            shown[kind] += 1
            if many[kind] > FOLDED + 1 and shown[kind] > FOLDED:
                if shown[kind] == FOLDED + 1:
                    rest = many[kind] - FOLDED
                    yield from _finding(Finding(finding.level, finding.check, f"and {rest} more"), screen)
                continue
        yield from _finding(finding, screen)


def _finding(finding: Finding, screen: Screen) -> Iterator[str]:
    level = screen.painted(f"{finding.level:<5}", _TONE[finding.level])
    head = f"{level} {finding.check:<{_NAME_WIDTH}} "
    body = _wrapped(plain(finding.text), screen, used=5 + 1 + _NAME_WIDTH + 1)
    yield head + body[0]
    yield from (_INDENT + line for line in body[1:])
    yield from (_INDENT + plain(line) for line in finding.detail)
    for number, remedy in enumerate(finding.do):
        first, *rest = _wrapped(
            ("do: " if number == 0 else "or: ") + plain(remedy), screen, used=len(_INDENT)
        )
        yield _INDENT + first
        yield from (_INDENT + "    " + line for line in rest)


def _wrapped(text: str, screen: Screen, *, used: int) -> list[str]:
    if screen.width is None:
        return [text]
    room = screen.width - 1 - len(_INDENT) - 4
    found = textwrap.wrap(
        text,
        room,
        initial_indent=" " * max(used - len(_INDENT) - 4, 0),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.lstrip() for line in found] or [""]


def summary(findings: Sequence[Finding]) -> str:
    """`1 failed, 1 warning, 9 ok`."""
    number = counts(findings)
    said = []
    if number[Level.FAIL]:
        said.append(f"{number[Level.FAIL]} failed")
    if number[Level.WARN]:
        said.append(f"{number[Level.WARN]} {'warning' if number[Level.WARN] == 1 else 'warnings'}")
    return ", ".join([*said, f"{number[Level.OK]} ok"])


def document(findings: Sequence[Finding], *, seconds: float, url: str) -> dict[str, Any]:  # Any: JSON
    """The findings for programs. ok: nothing has failed."""
    number = counts(findings)
    return {
        "ok": not number[Level.FAIL],
        "version": __version__,
        "gateway": url,
        "counts": {level.lower(): count for level, count in number.items()},
        "elapsedMs": round(seconds * 1000),
        "findings": rows(findings),
    }


def rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:  # Any: JSON
    """Each finding for programs."""
    return [
        {
            "severity": finding.severity,
            "check": finding.check,
            "where": finding.where,
            "text": finding.text,
            "do": list(finding.do),
            "detail": list(finding.detail),
        }
        for finding in findings
    ]
