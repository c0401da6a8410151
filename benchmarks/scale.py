"""Hestia with very many services, and with one: both measured in turn, so that only the number differs.

Half of the services run elsewhere, half are programs nobody has asked for. The service that is asked stands
last in the file.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from pathlib import Path

from benchmarks import load, peers
from benchmarks.arena import Arena
from benchmarks.figures import HESTIA, Row, Show, mebi, milli, share, times
from benchmarks.programs import Program, free_port, http_status, start

MANY = 10_000
SERVER = Path(__file__).parent / "servers" / "late_server.py"


def _start(arena: Arena, services: int, number: int) -> Program:
    """A gateway with so many services, listening."""
    folder = arena.folder / f"scale-{services}-{number}"
    folder.mkdir()
    bench = peers.elsewhere(arena.upstreams.bench)
    command = [sys.executable, str(SERVER), "{port}", str(folder / "journal"), "0", "listen"]
    managed: dict[str, object] = {"engine": {"type": "process", "command": command}}
    others = {f"other-{one}": (bench, managed)[one % 2] for one in range(services - 1)}
    config, port = peers.hestia_config(folder, {**others, "bench": bench}), free_port()
    words = [*peers.hestia_program(), "serve", "--config", str(config), "--port", str(port)]
    env = {**peers.HESTIA_ENV, "HOME": str(folder), "XDG_STATE_HOME": str(folder)}
    return start(f"hestia-{services}", words, port=port, folder=folder, path=peers.SMALL, env=env)


def _starts(arena: Arena, gateways: dict[int, Program]) -> tuple[list[float], list[float]]:
    """Start both a few times in turn; `gateways` holds the last ones. Returns by how much one is later, and
    how much more CPU it took to its first answer.
    """
    later, more = [], []
    for number in range(2 if arena.quick else 4):
        for services in random.sample((1, MANY), 2):
            if services in gateways:
                gateways.pop(services).end()
            gateways[services] = _start(arena, services, number)
        later.append(gateways[MANY].listens_after - gateways[1].listens_after)
        more.append(gateways[MANY].cpu() - gateways[1].cpu())
    return later, more


def _idle(program: Program, seconds: float) -> float:
    """The share of a core it uses when nobody asks."""
    before = program.cpu()
    time.sleep(seconds)
    return (program.cpu() - before) / seconds


def _requests(arena: Arena, gateways: dict[int, Program]) -> list[float]:
    """CPU per small request with many services over that with one, for each round."""
    ratios = []
    for number in range(arena.rounds + 1):  # the first only warms up
        cost = {}
        for services in random.sample((1, MANY), 2):
            program = gateways[services]
            before = program.cpu()
            answered = load.many(program.port, peers.SMALL, arena.round_seconds)
            cost[services] = (program.cpu() - before) / answered
        if number:
            ratios.append(cost[MANY] / cost[1])
    return ratios


def _list(program: Program) -> float:
    """Seconds until the status of every service is here."""
    began = time.monotonic()
    status, body = http_status(program.port, "/v1/services", timeout=60.0)
    if status != 200 or body.count(b'"id"') < MANY:
        raise load.LoadFailed(f"GET /v1/services: status {status}, {len(body)} bytes")
    return time.monotonic() - began


def services(arena: Arena) -> None:
    """10,000 services configured: what they add to the start, to a request, to an idle gateway, to memory."""

    def row(key: str, title: str, show: Show, samples: list[float]) -> None:
        arena.report.row(Row(f"many_{key}", title, show)).add(HESTIA, samples)

    gateways: dict[int, Program] = {}
    try:
        later, more = _starts(arena, gateways)
        row("start", f"{MANY:,} services: later to listen than with one", milli, later)
        row("start_cpu", "· more CPU to the first answer", milli, more)
        resident = float(gateways[MANY].resident())
        row("idle", "· share of a core, idle", share, [_idle(gateways[MANY], 3.0 if arena.quick else 10.0)])
        row("cpu", "· CPU per request, over one service", times, _requests(arena, gateways))
        row("resident", "· resident, idle", mebi, [resident])
        lists = [_list(gateways[MANY]) for _ in range(3)]
        row("list", "· all of `GET /v1/services`", milli, [statistics.median(lists)])
    finally:
        for program in gateways.values():
            program.end()
