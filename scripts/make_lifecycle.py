"""Draw docs/lifecycle.md from the transition table of `hestia.core.lifecycle`.

    python scripts/make_lifecycle.py            write the page
    python scripts/make_lifecycle.py --check    exit with 1 when the page is stale

The page owns nothing: every word of it comes from the table, its guards and the events' docstrings.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from hestia.core import lifecycle
from hestia.core.lifecycle import TABLE, Event, Row, State

PAGE = Path(__file__).resolve().parent.parent / "docs" / "lifecycle.md"

INTRODUCTION = """\
<!-- Made by scripts/make_lifecycle.py from src/hestia/core/lifecycle.py. Do not edit. -->
# The life cycle of an instance

An instance moves only through this table. An event that it does not list for a state is refused: it
raises and changes nothing. Where an event has several rows, the first whose condition holds applies.
Results of work carry the generation they belong to; those of an older one never get here.
"""


def page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([INTRODUCTION, *_diagram(), "", *_table(), "", *_events(), "", *_matrix(), ""])


def words(name: str) -> str:
    """`StopRequested` becomes `stop requested`."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()


def events() -> list[type[Event]]:
    """Every event there is, in the order of the module, whether the table knows it or not."""
    named = [thing for thing in vars(lifecycle).values() if isinstance(thing, type)]
    return [kind for kind in named if issubclass(kind, Event) and kind is not Event]


def _rows() -> Iterator[tuple[State, type[Event], Row]]:
    for (state, event), rows in TABLE.items():
        for row in rows:
            yield state, event, row


def _condition(row: Row) -> str:
    return (row.when.__doc__ or row.when.__name__) if row.when is not None else ""


def _diagram() -> Iterator[str]:
    """Changes of state only; what leaves the state as it is stands in the table."""
    edges: dict[tuple[State, State], list[str]] = {}
    for state, event, row in _rows():
        if row.to is not state:
            condition = _condition(row)
            label = f"{words(event.__name__)} [{condition}]" if condition else words(event.__name__)
            edges.setdefault((state, row.to), []).append(label)
    yield from ("```mermaid", "stateDiagram-v2", "    [*] --> cold")
    for (before, after), labels in edges.items():
        yield f"    {before} --> {after} : {'<br>'.join(labels)}"
    yield "```"


def _table() -> Iterator[str]:
    yield from ("## Rows", "", "| in | event | when | then it is | to do |", "|---|---|---|---|---|")
    for state, event, row in _rows():
        todo = ", ".join(row.do)
        yield f"| {state} | {words(event.__name__)} | {_condition(row)} | {row.to} | {todo} |"


def _events() -> Iterator[str]:
    yield from ("## Events", "", "| event | meaning |", "|---|---|")
    for event in events():
        meaning = " ".join((event.__doc__ or "").split())
        yield f"| {words(event.__name__)} | {meaning} |"


def _matrix() -> Iterator[str]:
    yield from ("## What is refused", "", "A dot means: refused.", "")
    yield f"| event | {' | '.join(State)} |"
    yield f"|---|{'---|' * len(State)}"
    for event in events():
        cells = []
        for state in State:
            rows = TABLE.get((state, event), ())
            cells.append(" / ".join(dict.fromkeys(str(row.to) for row in rows)) or "·")
        yield f"| {words(event.__name__)} | {' | '.join(cells)} |"


def main() -> int:
    if "--check" in sys.argv[1:]:
        fresh = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
        print("docs/lifecycle.md is up to date" if fresh else "stale: run scripts/make_lifecycle.py")
        return 0 if fresh else 1
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
