"""The parts of a run that every peer takes part in: small requests, large bodies, streams, echoes.

Each is a function that measures in interleaved rounds and adds its rows to the report.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from benchmarks import live, load, peers
from benchmarks.arena import LARGE, Arena
from benchmarks.figures import DIRECT, NGINX, Row, count, mebi, mebi_per_second, micro, milli, share
from benchmarks.programs import Program


def cpu(arena: Arena) -> None:
    """CPU per proxied small request at 32 connections."""
    report, rounds = arena.report, arena.rounds
    cost = report.row(Row("cpu", "CPU per small request, 32 connections", micro, ratio_to=NGINX))
    rate = report.row(Row("rate", "answers per second meanwhile", count))
    busy = report.row(Row("busy", "share of a core meanwhile", share))
    spent: dict[str, list[tuple[float, float, float]]] = {}
    for number in range(rounds + 1):  # the first only warms up
        for name, port, path, program in arena.targets(peers.SMALL, upstream=arena.upstreams.bench):
            before, began = program.cpu() if program else 0.0, time.monotonic()
            answered = load.many(port, path, arena.round_seconds)
            took, used = (time.monotonic() - began, (program.cpu() if program else 0.0) - before)
            if number:
                spent.setdefault(name, []).append((used / answered, answered / took, used / took))
    for name, samples in spent.items():
        if name != DIRECT:
            cost.add(name, [one for one, _, _ in samples])
            busy.add(name, [one for _, _, one in samples])
        rate.add(name, [one for _, one, _ in samples])


def latency(arena: Arena) -> None:
    """Time of a small request at one connection."""
    p50 = arena.report.row(Row("latency_p50", "one connection, p50", micro))
    p99 = arena.report.row(Row("latency_p99", "one connection, p99", micro))
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(arena.rounds * 2 + 1):
        for name, port, path, _ in arena.targets(peers.SMALL, upstream=arena.upstreams.bench):
            took = load.one_by_one(port, path, 500 if arena.quick else 2000)
            if number:
                found.setdefault(name, []).append((load.percentile(took, 0.5), load.percentile(took, 0.99)))
    for name, samples in found.items():
        p50.add(name, [one for one, _ in samples])
        p99.add(name, [one for _, one in samples])


def down(arena: Arena) -> None:
    """One large download."""
    _large(arena, "down", f"{peers.BENCH}/large", arena.upstreams.bench, live.download)


def up(arena: Arena) -> None:
    """One large upload."""
    _large(
        arena, "up", f"{peers.SINK}/large", arena.upstreams.sink,
        lambda port, path: live.upload(port, path, LARGE),
    )  # fmt: skip


def _large(
    arena: Arena, way: str, path: str, upstream: int, carry: Callable[[int, str], live.Transfer]
) -> None:
    """1 GiB `way`, which is "down" or "up": rate, CPU, and how much more memory was resident at most."""
    rate = arena.report.row(Row(way, f"1 GiB {way}", mebi_per_second))
    cost = arena.report.row(Row(f"{way}_cpu", "· CPU for it", milli, ratio_to=NGINX))
    growth = arena.report.row(Row(f"{way}_growth", "· memory growth", mebi))
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(1 if arena.quick else 3):
        for name, port, where, program in arena.targets(path, upstream=upstream):
            done, used, more = _watched(program, partial(carry, port, where))
            found.setdefault(name, []).append((done.size / done.seconds, used, more))
    for name, samples in found.items():
        rate.add(name, [one for one, _, _ in samples])
        if name != DIRECT:
            cost.add(name, [one for _, one, _ in samples])
            growth.add(name, [max(more for _, _, more in samples)])


def _watched(program: Program | None, run: Callable[[], live.Transfer]) -> tuple[live.Transfer, float, float]:
    """What `run` gives, with the CPU seconds and the growth of memory of the program meanwhile."""
    if program is None:
        return run(), 0.0, 0.0
    before, memory = program.cpu(), program.resident()
    program.forget_peak()
    done = run()
    return done, program.cpu() - before, program.peak() - memory


def streams(arena: Arena) -> None:
    """500 token streams."""
    p50 = arena.report.row(Row("stream_p50", "500 token streams, lateness p50", milli))
    p99 = arena.report.row(Row("stream_p99", "· p99", milli))
    cost = arena.report.row(Row("stream_cpu", "· share of a core", share, ratio_to=NGINX))
    seconds = 3.0 if arena.quick else 4.0
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(1 if arena.quick else 2):
        for name, port, path, program in arena.targets(f"{peers.LIVE}/stream", upstream=arena.upstreams.live):
            before, began = program.cpu() if program else 0.0, time.monotonic()
            late = live.streams(port, path, seconds)
            took = time.monotonic() - began
            used = (program.cpu() - before) / took if program else 0.0
            found.setdefault(name, []).append((load.percentile(late, 0.5), load.percentile(late, 0.99), used))
    for name, samples in found.items():
        p50.add(name, [one for one, _, _ in samples])
        p99.add(name, [one for _, one, _ in samples])
        if name != DIRECT:
            cost.add(name, [one for _, _, one in samples])


def echo(arena: Arena) -> None:
    """WebSocket messages per CPU second."""
    row = arena.report.row(Row("echo", "WebSocket echoes per CPU second", count, ratio_to=NGINX))
    found: dict[str, list[float]] = {}
    for number in range(2 if arena.quick else 4):
        for name, port, path, program in arena.targets(f"{peers.LIVE}/echo"):
            assert program is not None
            before = program.cpu()
            answered = live.echoes(port, path, arena.round_seconds)
            if number:
                found.setdefault(name, []).append(answered / (program.cpu() - before))
    for name, samples in found.items():
        row.add(name, samples)
