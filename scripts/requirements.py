"""Which test shows which requirement: `requirements.py [ID …]`.

Owns the map. Ids stand in the lists in tests/requirements; a test claims one by its name
(`test_cp_08_…`, `test_t_cp_09_…`) or in its docstring (`CP-08`, `T-CP-09`), or in that of its class. What no
test claims must stand in elsewhere.txt with its reason; anything else is a gap, and the exit code is 1.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "requirements"
LISTS = ("proxy.txt", "lifecycle.txt", "experience.txt")
BINDING = ("MUST", "SHOULD")
LINE = re.compile(r"([A-Z]{2}-\d{2}) (MUST|SHOULD|MAY|-) (.+?) \|(.*)")
IN_NAME = re.compile(r"test_(t_)?([a-z]{2})_?(\d{2})((?:_and_\d{2})*)(?=_|$)")
IN_TEXT = re.compile(r"\b(?:T-)?[A-Z]{2}-\d{2}\b")

Claims = dict[str, list[str]]  # id → tests


@dataclass
class Requirement:
    """One promise. shown_by: the catalogue's tests that belong to it."""

    id: str
    level: str
    words: str
    shown_by: list[str] = field(default_factory=list)


def requirements() -> dict[str, Requirement]:
    """Every requirement by id. Raises SystemExit on a line that is none."""
    found: dict[str, Requirement] = {}
    for name in LISTS:
        for line in _lines(FOLDER / name):
            match = LINE.fullmatch(line)
            if match is None or match[1] in found:
                raise SystemExit(f"{name}: not a requirement, or one seen before: {line}")
            found[match[1]] = Requirement(match[1], match[2], match[3], match[4].split())
    return found


def elsewhere() -> dict[str, str]:
    """Id (or `SS-*`) to why it has no test here."""
    found = {}
    for line in _lines(FOLDER / "elsewhere.txt"):
        name, _, reason = line.partition(" ")
        if not reason.strip():
            raise SystemExit(f"elsewhere.txt: a reason is missing: {line}")
        found[name] = reason.strip()
    return found


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def claims() -> Claims:
    """Id to the tests that claim it, as `file::test`."""
    found: Claims = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for name, text in _tests(ast.parse(path.read_text())):
            for one in sorted(_ids(name, text)):
                found.setdefault(one, []).append(f"{path.relative_to(ROOT / 'tests')}::{name}")
    return found


def _tests(tree: ast.AST, outer: str = "") -> Iterator[tuple[str, str]]:
    """Name and docstrings of each test function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _tests(node, ast.get_docstring(node) or "")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name, outer + " " + (ast.get_docstring(node) or "")


def _ids(name: str, text: str) -> set[str]:
    ids = set(IN_TEXT.findall(text))
    if match := IN_NAME.match(name):
        for number in re.findall(r"\d{2}", match[3] + match[4]):
            ids.add(f"{'T-' if match[1] else ''}{match[2].upper()}-{number}")
    return ids


def report(wanted: list[str]) -> int:
    """Print the map (of the wanted ids or groups) and the gaps; 1 when there are any."""
    known, told, shown = requirements(), elsewhere(), claims()
    for one in known.values():
        if not wanted or one.id in wanted or one.id[:2] in wanted:
            print(f"{one.id} {one.level:6} {one.words}")
            reason = _reason(one.id, told)
            for text in [*_shown(one, shown), *([f"elsewhere: {reason}"] if reason else [])]:
                print(f"    {text}")
    catalogue = {test for one in known.values() for test in one.shown_by}
    gaps = [*_unshown(known, told, shown), *_stale(known, catalogue, told, shown)]
    for gap in gaps:
        print(gap, file=sys.stderr)
    print(f"{len(known)} requirements, {len(catalogue)} catalogued tests, {len(gaps)} gaps", file=sys.stderr)
    return 1 if gaps else 0


def _shown(one: Requirement, shown: Claims) -> list[str]:
    through = [f"{test} {name}" for test in one.shown_by for name in shown.get(test, [])]
    return [*shown.get(one.id, []), *through]


def _unshown(known: dict[str, Requirement], told: dict[str, str], shown: Claims) -> list[str]:
    gaps = [
        f"{one.id} {one.words}: no test, and no reason in elsewhere.txt"
        for one in known.values()
        if one.level in BINDING and not _shown(one, shown) and not _reason(one.id, told)
    ]
    catalogue = sorted({test for one in known.values() for test in one.shown_by})
    gaps += [
        f"{test} of the catalogue: no test has its name, and no reason in elsewhere.txt"
        for test in catalogue
        if test not in shown and not _reason(test, told)
    ]
    return gaps


def _stale(
    known: dict[str, Requirement], catalogue: set[str], told: dict[str, str], shown: Claims
) -> list[str]:
    """Entries of elsewhere.txt that have become wrong."""
    every = [*known, *catalogue]
    groups = {one[:-2] + "*" for one in every}
    return [
        *[
            f"{name}: shown by {shown[name][0]}; take it out of elsewhere.txt"
            for name in told
            if name in shown
        ],
        *[f"{name}: neither a requirement nor catalogued" for name in told if name not in {*every, *groups}],
    ]


def _reason(one: str, told: dict[str, str]) -> str:
    return told.get(one) or told.get(one[:-2] + "*") or ""


if __name__ == "__main__":
    sys.exit(report(sys.argv[1:]))
