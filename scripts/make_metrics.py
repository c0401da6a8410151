"""Write docs/metrics.md: the catalogue of `hestia.telemetry.catalogue` as a table.

    python scripts/make_metrics.py            write the page
    python scripts/make_metrics.py --check    exit with 1 when the page is stale

The words around the table stand in scripts/metrics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from hestia.telemetry.catalogue import FAMILIES, Family, Kind
from hestia.telemetry.numbers import SHOWN

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

BEGIN = "<!-- Made by scripts/make_metrics.py from scripts/metrics.md and the catalogue. Do not edit. -->"
WORDS = Path(__file__).resolve().parent / "metrics.md"


def page() -> str:
    """The whole page, as Markdown."""
    words = WORDS.read_text(encoding="utf-8")
    return "\n".join([BEGIN, words, *_table(), "", *_buckets(), ""])


def unit(family: Family) -> str:
    """The unit that a name ends with, in words; "" for what is counted in ones."""
    name = family.name.removesuffix("_total")
    return next((word for word in ("seconds", "bytes") if name.endswith(f"_{word}")), "")


def _table() -> Iterator[str]:
    yield from ("## All of them", "", "| name | type | unit | labels | meaning |", "|---|---|---|---|---|")
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"| `{family.name}` | {family.kind} | {unit(family)} | {labels} | {family.help} |"


def _buckets() -> Iterator[str]:
    bounds = ", ".join(f"{bound / 1000:g}" for bound in SHOWN)
    count = sum(family.kind is Kind.HISTOGRAM for family in FAMILIES)
    yield f"The {count} histograms have the same bounds, in seconds: {bounds}."


def main() -> int:
    if "--check" in sys.argv[1:]:
        fresh = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
        print("docs/metrics.md is up to date" if fresh else "stale: run scripts/make_metrics.py")
        return 0 if fresh else 1
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
