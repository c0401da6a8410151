"""`benchmarks/run`: start everything, measure in interleaved rounds, store what was found, leave nothing."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import cold, load, parts, peers, scale, steps, waiters
from benchmarks.arena import HERE, Arena
from benchmarks.figures import CADDY, ENVOY, HAPROXY, HESTIA, NGINX, Row, Show, count, mebi, milli
from benchmarks.programs import ProgramFailed


def cold_starts(arena: Arena) -> None:
    """Ready → first byte."""
    starts, seed = 8 if arena.quick else 20, arena.options.seed
    if seed is None:
        seed = random.randrange(10**6)
    found = cold.cold_starts(arena.folder / "cold", starts, seed)
    arena.report.facts["seed of the cold starts"] = str(seed)
    for key, ways, text in (
        ("cold_start", ("listen", "health"), f"ready → first byte, {starts} cold starts"),
        ("cold_listen", ("listen",), "· of them, refusing until ready"),
        ("cold_health", ("health",), "· of them, answering 503 until ready"),
    ):
        arena.report.row(Row(key, text, milli)).add(HESTIA, [one.late for one in found if one.way in ways])


def many_waiters(arena: Arena) -> None:
    """1,000 clients on one cold service."""
    runs = 1 if arena.quick else 3
    free = [waiters.rush(arena.folder / f"free-{one}", one_at_a_time=False) for one in range(runs)]
    strict = [waiters.rush(arena.folder / f"strict-{one}", one_at_a_time=True) for one in range(runs)]
    title = f"{waiters.CLIENTS:,} waiters: ready → last answer"
    rows: list[tuple[str, str, Show, list[float]]] = [
        ("took", title, milli, [one.took for one in free]),
        ("growth", "· memory growth", mebi, [one.growth for one in free]),
        ("starts", "· starts", count, [one.starts for one in free + strict]),
        ("failed", "· without a right answer", count, [one.failed for one in free + strict]),
        ("order", "· one at a time: most places out of order", count, [one.displaced for one in strict]),
        ("strict", "· one at a time: ready → last answer", milli, [one.took for one in strict]),
    ]
    for key, text, show, samples in rows:
        arena.report.row(Row(f"waiters_{key}", text, show)).add(HESTIA, samples)


def by_step(arena: Arena) -> None:
    """The budget of SPEC 12."""
    arena.report.tables.append(steps.table(whole=arena.report.value("cpu")))


PARTS: dict[str, Callable[[Arena], None]] = {
    "start": lambda _arena: None,  # measured while everything is started
    "cpu": parts.cpu,
    "latency": parts.latency,
    "cold": cold_starts,
    "down": parts.down,
    "up": parts.up,
    "streams": parts.streams,
    "echo": parts.echo,
    "services": scale.services,
    "waiters": many_waiters,
    "steps": by_step,
}
OURS = ("cold", "services", "waiters", "steps")  # parts that only Hestia takes part in


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/run", description="Measure Hestia against other proxies."
    )
    everyone = (NGINX, HAPROXY, ENVOY, CADDY, HESTIA)
    parser.add_argument("--quick", action="store_true", help="two minutes: shorter rounds, fewer of them")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure only this part; repeatable")
    parser.add_argument("--peer", action="append", choices=everyone, help="only these")
    parser.add_argument("--no-store", action="store_true", help="print only; do not append to RESULTS.md")
    parser.add_argument("--seed", type=int, default=None, help="for the delays of the cold starts")
    parser.add_argument("--results", type=Path, default=HERE / "RESULTS.md", help="where to append")
    parser.add_argument("--note", action="append", default=[], help="a remark to store with the figures")
    return parser.parse_args()


def measure(arena: Arena, names: list[str]) -> None:
    """These parts. One that fails becomes a note, the others go on."""
    for name in names:
        if name in OURS and arena.options.peer and HESTIA not in arena.options.peer:
            continue
        began = time.monotonic()
        try:
            PARTS[name](arena)
        except (load.LoadFailed, ProgramFailed, peers.PeerMissing, OSError) as exc:
            arena.missing(name, exc)
        print(f"measured {name} in {time.monotonic() - began:.0f} s", file=sys.stderr)


def main() -> int:
    """Exit code 0 when figures were found, 1 when there is nothing to measure."""
    options = read_options()
    (HERE / "out").mkdir(exist_ok=True)
    began, names = time.monotonic(), options.only or list(PARTS)
    with tempfile.TemporaryDirectory(prefix="hestia-bench-") as folder:
        arena = Arena(options, Path(folder), timed="start" in names)
        try:
            arena.find_peers()
            arena.facts()
            arena.start_upstreams()
            if set(names) - set(OURS):
                arena.start_proxies()
            measure(arena, names)
        except (ProgramFailed, peers.PeerMissing) as exc:
            print(f"benchmarks/run: {exc}", file=sys.stderr)
            return 1
        finally:
            arena.end()
    arena.report.facts["took"] = f"{time.monotonic() - began:.0f} s"
    print(arena.report.text())
    if not options.no_store:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        raw = HERE / "out" / f"{stamp}.json"
        arena.report.store(options.results, raw)
        print(f"stored in {options.results} and {raw}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
