"""What a run leaves: a section at the end of RESULTS.md, the raw figures as JSON, a table on the screen."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import (
    CADDY,
    DIRECT,
    ENVOY,
    HESTIA,
    NGINX,
    ORDER,
    Goal,
    Row,
    count,
    mebi,
    milli,
    share,
    times,
)

HEADING = """# What was measured

Each section is one run of `benchmarks/run`, newest last; how to read it is in [README.md](README.md).
"""


@dataclass
class Report:
    """All of one run.

    facts: what it ran on, in the order shown. tables: further ones, as lines. notes: what else to know.
    """

    facts: dict[str, str] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tables: list[list[str]] = field(default_factory=list)

    def row(self, row: Row) -> Row:
        """Add a row, or find the one with its key."""
        return self.rows.setdefault(row.key, row)

    def ratio(self, key: str, to: str) -> float | None:
        """Hestia over another program, None when one of the two was not measured."""
        row = self.rows.get(key)
        return None if row is None else row.ratio(HESTIA, to)

    def value(self, key: str, who: str = HESTIA) -> float | None:
        """The median of one program."""
        row = self.rows.get(key)
        return None if row is None else row.value(who)

    def worst(self, key: str) -> float | None:
        """The largest sample of Hestia."""
        row = self.rows.get(key)
        return max(row.figures[HESTIA].samples) if row and HESTIA in row.figures else None

    def _added(self, key: str) -> float | None:
        """What Hestia adds over direct, as a multiple of what nginx adds."""
        ours, theirs, direct = (self.value(key, who) for who in (HESTIA, NGINX, DIRECT))
        if ours is None or theirs is None or direct is None or theirs <= direct:
            return None
        return (ours - direct) / (theirs - direct)

    def goals(self) -> list[Goal]:
        """The numbers of SPEC 12 that this run can judge."""
        return [
            Goal("CPU per small request, over nginx", self.ratio("cpu", NGINX), 2.3, times),
            Goal("CPU per small request, over Envoy", self.ratio("cpu", ENVOY), 0.85, times),
            Goal("CPU per small request, over Caddy", self.ratio("cpu", CADDY), 0.45, times),
            Goal("added latency p50, over what nginx adds", self._added("latency_p50"), 1.3, times),
            Goal("added latency p99, over what nginx adds", self._added("latency_p99"), 2.0, times),
            Goal("ready → first byte, p50", self.value("cold_start"), 0.010, milli),
            Goal("ready → first byte, max", self.worst("cold_start"), 0.050, milli),
            Goal("exec → listening", self.value("listens"), 1.0, milli),
            Goal("resident, idle", self.value("resident"), 80 * 2**20, mebi),
            Goal("500 streams: p99 lateness, over Envoy", self.ratio("stream_p99", ENVOY), 1.0, times),
            Goal("500 streams: CPU, over Caddy", self.ratio("stream_cpu", CADDY), 1.0, times),
            *self._large("down"),
            *self._large("up"),
            Goal(
                "WebSocket echoes per CPU second, over nginx",
                self.ratio("echo", NGINX),
                0.6,
                times,
                at_least=True,
            ),
            Goal("10,000 services: later to listen", self.value("many_start"), 2.0, milli),
            Goal("10,000 services: CPU per request, over one", self.value("many_cpu"), 1.1, times),
            Goal("10,000 services: share of a core, idle", self.value("many_idle"), 0.01, share),
            Goal("1,000 waiters: starts", self.worst("waiters_starts"), 1, count),
            Goal("1,000 waiters: without a right answer", self.worst("waiters_failed"), 0, count),
            Goal("1,000 waiters: places out of order", self.worst("waiters_order"), 0, count),
            Goal("1,000 waiters: memory growth", self.worst("waiters_growth"), 64 * 2**20, mebi),
        ]

    def _large(self, way: str) -> list[Goal]:
        return [
            Goal(f"1 GiB {way}: throughput, over Envoy", self.ratio(way, ENVOY), 0.5, times, at_least=True),
            Goal(f"1 GiB {way}: throughput, over nginx", self.ratio(way, NGINX), 0.7, times, at_least=True),
            Goal(f"1 GiB {way}: memory growth", self.value(f"{way}_growth"), 16 * 2**20, mebi),
        ]

    def text(self) -> str:
        """The section for RESULTS.md."""
        who = [name for name in ORDER if any(name in row.figures for row in self.rows.values())]
        lines = [f"## {self.facts['date']}", ""]
        lines += [f"- {name}: {value}" for name, value in self.facts.items() if name != "date"]
        lines += ["", "| measured | " + " | ".join(who) + " |", "|---" * (len(who) + 1) + "|"]
        for row in self.rows.values():
            cells = [self._cell(row, name) for name in who]
            lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
        lines += ["", "| goal (SPEC 12) | found | at most / at least | |", "|---|---|---|---|"]
        for goal in self.goals():
            found = "–" if goal.found is None else goal.show(goal.found)
            sign = "≥" if goal.at_least else "≤"
            lines.append(f"| {goal.text} | {found} | {sign} {goal.show(goal.limit)} | {goal.verdict} |")
        for table in self.tables:
            lines += ["", *table]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def _cell(self, row: Row, who: str) -> str:
        figure = row.figures.get(who)
        if figure is None:
            return "–"
        text = figure.text(row.show)
        ratio = row.ratio(who, row.ratio_to) if row.ratio_to and who not in (row.ratio_to, DIRECT) else None
        return text if ratio is None else f"{text}, {times(ratio)}"

    def raw(self) -> str:
        """Everything as JSON: seconds, bytes, counts."""
        document = {
            "facts": self.facts,
            "notes": self.notes,
            "figures": {
                row.key: {
                    who: {"median": one.median, "samples": one.samples} for who, one in row.figures.items()
                }
                for row in self.rows.values()
            },
            "goals": [
                {"goal": one.text, "found": one.found, "limit": one.limit, "met": one.met}
                for one in self.goals()
            ],
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"

    def store(self, results: Path, raw: Path) -> None:
        """Append to RESULTS.md, write the raw figures beside the others."""
        before = results.read_text() if results.exists() else HEADING
        results.write_text(before.rstrip("\n") + "\n\n" + self.text())
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.write_text(self.raw())
