"""The time of one exchange by step, beside the budget of SPEC 12.

    python -m benchmarks.steps             the table
    python -m benchmarks.steps --detail    with the functions of every step

From profiles of `hot_path`: what a function took itself goes to the step its name stands for, what a C
function took goes to its caller. The profiler's own cost is taken off in equal parts from both sides of each
call, so that the steps add up to the time without it. The kernel and the event loop are not in here; in the
budget they are part of the two parse steps.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import re
from dataclasses import dataclass, field
from typing import Any

import uvloop

from benchmarks.composed import composed
from benchmarks.hot_path import BATCH, Path, many

WARM_UP, PROFILED, ROUNDS = 2000, 1024, 60
OTHERS = "others"

# step → its budget in µs at nginx = 19 µs, and the functions (`file:name`) that belong to it; the first wins
STEPS: dict[str, tuple[float | None, str]] = {
    "access line": (2.5, r"telemetry/(access|text|writer)\.py:"),
    "id, metrics, record": (
        1.1,
        r"proxy/service\.py:(new_id|done|_?id\b)|:record$|telemetry/|core/requests\.py:|app\.py:",
    ),
    "route, path and instance key": (
        1.5,
        r"core/routing\.py:|proxy/service\.py:(match|_?quick_host|effective_host|upstreams)|http1/target\.py:",
    ),
    "lease": (0.5, r"core/(lease|world|queue|records|idle)\.py:|runtime/"),
    "request head": (
        4.0,
        r"rewrite\.py:(request|_request|_target)|:forwarded$|exchange\.py:_(connected|connect|leased)$",
    ),
    "response head and write": (6.0, r"rewrite\.py:|proxy/relay\.py:(_?response|_client_head|_flush|_await)"),
    "pool, write and upstream parse": (
        13.0,
        r"http1/(upstream|pool)\.py:|heads\.py:(read_response|_obey_response|Response)|heads\.py:.*response",
    ),
    "front parse and transport": (10.0, r"edge/|heads\.py:|http1/|hot_path\.py:"),
    "exchange object (the task of the budget)": (3.0, r"proxy/"),
    OTHERS: (None, r""),
}


@dataclass
class Step:
    """What one step took of one exchange: seconds, Python calls, and its functions with their seconds."""

    seconds: float = 0.0
    calls: float = 0.0
    functions: dict[str, float] = field(default_factory=dict)


def step_of(function: str) -> str:
    """The step of a function, named as `path/file.py:name`."""
    return next(name for name, (_, names) in STEPS.items() if re.search(names, function))


def _name(code: object) -> str:
    """`path/file.py:name` of what a profile has an entry for."""
    file, name = getattr(code, "co_filename", ""), getattr(code, "co_name", str(code))
    return f"{file}:{name}"


async def _measure() -> tuple[dict[str, Step], float]:
    async with composed() as path:
        many(path, WARM_UP)
        gc.collect()
        gc.freeze()
        alone = min(many(path, BATCH) for _ in range(ROUNDS)) / BATCH
        profiles = [_profiled(path) for _ in range(ROUNDS // 5)]
        return _grouped(min(profiles, key=_total), alone), alone


def _profiled(path: Path) -> list[Any]:
    profile = cProfile.Profile(builtins=False)
    profile.enable()
    many(path, PROFILED)
    profile.disable()
    return [entry for entry in profile.getstats() if not isinstance(entry.code, str)]


def _total(entries: list[Any]) -> float:
    return float(sum(entry.inlinetime for entry in entries))


def _sides(entry: Any) -> int:
    """How often it was called, and called others."""
    below = sum(one.callcount for one in entry.calls or () if not isinstance(one.code, str))
    return int(entry.callcount + below)


def _grouped(entries: list[Any], alone: float) -> dict[str, Step]:
    calls = sum(entry.callcount for entry in entries)
    overhead = max(0.0, _total(entries) - alone * PROFILED) / calls
    took = [max(0.0, entry.inlinetime - overhead * _sides(entry) / 2) for entry in entries]
    scale = alone / sum(took)  # what was cut off at zero is taken from the others
    steps: dict[str, Step] = {name: Step() for name in STEPS}
    for entry, seconds in zip(entries, took, strict=True):
        function = _name(entry.code)
        step = steps[step_of(function)]
        step.seconds += seconds * scale
        step.calls += entry.callcount / PROFILED
        short = function.rpartition("/hestia/")[2]
        step.functions[short] = step.functions.get(short, 0.0) + seconds * scale
    return steps


def measure() -> tuple[dict[str, Step], float]:
    """Each step, and the seconds of a whole exchange without the profiler."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure())


def table(*, detail: bool = False, whole: float | None = None) -> list[str]:
    """Lines of a Markdown table. whole: seconds of CPU a request takes with sockets, None when unknown."""
    steps, alone = measure()
    lines = ["| step, without sockets | budget (SPEC 12) | found | Python calls |", "|---|---|---|---|"]
    for name, (budget, _) in STEPS.items():
        step = steps[name]
        known = "–" if budget is None else f"{budget:.1f} µs"
        lines.append(f"| {name} | {known} | {step.seconds * 1e6:.1f} µs | {step.calls:.1f} |")
        if detail:
            ordered = sorted(step.functions.items(), key=lambda item: -item[1])
            lines += [f"| · {function} | | {took * 1e6:.2f} µs | |" for function, took in ordered]
    calls = sum(step.calls for step in steps.values())
    lines.append(f"| together | 41.6 µs | {alone * 1e6:.1f} µs | {calls:.1f} |")
    if whole is not None:
        rest = max(0.0, whole - alone)
        lines.append(
            f"| kernel and event loop (the rest of the CPU per request) | in it | {rest * 1e6:.1f} µs | |"
        )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The time of one exchange by step.")
    parser.add_argument("--detail", action="store_true", help="with the functions of every step")
    print("\n".join(table(detail=parser.parse_args().detail)))


if __name__ == "__main__":
    main()
