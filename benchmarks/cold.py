"""Cold starts of Hestia: from the instant a service could answer to the first byte its client sees.

Owns the services that become ready late and the gateway before them; `waiters` asks one of them many times.

Every start is of a service of its own that nobody asked for before. Both instants are CLOCK_MONOTONIC, one
written down by the service, the other taken here; half of the services do not listen until they are ready,
the other half listen and answer 503 to the probe.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.load import LoadFailed, request_bytes
from benchmarks.programs import START_LIMIT, Program, free_port, start

SHORTEST, LONGEST = 0.1, 2.5  # seconds until a service can answer
SERVER = Path(__file__).parent / "servers" / "late_server.py"


@dataclass(frozen=True)
class ColdStart:
    """One of them. delay: seconds the service took. late: seconds from ready to the first byte."""

    way: str
    delay: float
    late: float


def service(journal: Path, delay: float, way: str) -> dict[str, object]:
    """A service that can answer `delay` seconds after its start, and writes `journal` then."""
    command = [sys.executable, "-S", "-E", str(SERVER), "{port}", str(journal), f"{delay:.4f}", way]
    return {"engine": {"type": "process", "command": command}, "health_url": "http://127.0.0.1:{port}/health"}


def gateway_of(folder: Path, services: dict[str, dict[str, object]]) -> Program:
    """A gateway of its own with these services. Raises ProgramFailed, PeerMissing."""
    config, port = peers.hestia_config(folder, services), free_port()
    command = [*peers.hestia_program(), "serve", "--config", str(config), "--port", str(port)]
    env = {**peers.HESTIA_ENV, "HOME": str(folder), "XDG_STATE_HOME": str(folder)}
    return start("hestia-cold", command, port=port, folder=folder, path="/healthz", env=env)


def _services(
    folder: Path, starts: int, seed: int
) -> tuple[dict[str, dict[str, object]], list[tuple[str, float]]]:
    chance = random.Random(seed)
    services: dict[str, dict[str, object]] = {}
    plan: list[tuple[str, float]] = []
    for number in range(starts):
        way, delay = ("listen", "health")[number % 2], chance.uniform(SHORTEST, LONGEST)
        services[f"late-{number}"] = service(folder / f"ready-{number}", delay, way)
        plan.append((way, delay))
    return services, plan


def cold_starts(folder: Path, starts: int, seed: int) -> list[ColdStart]:
    """Wake so many services, one after the other. Raises LoadFailed, ProgramFailed, PeerMissing."""
    folder.mkdir(parents=True, exist_ok=True)
    services, plan = _services(folder, starts, seed)
    gateway = gateway_of(folder, services)
    try:
        found = []
        for number, (way, delay) in enumerate(plan):
            first_byte = _first_byte(gateway, f"/services/late-{number}/")
            ready = json.loads((folder / f"ready-{number}").read_text())
            found.append(ColdStart(way, delay, first_byte - ready))
        return found
    finally:
        gateway.end()


def _first_byte(gateway: Program, path: str) -> float:
    """Ask once and hold on; the instant the first byte of the answer is here."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=LONGEST + START_LIMIT) as sock:
        sock.sendall(request_bytes(path, gateway.port))
        data = sock.recv(65536)
        instant = time.clock_gettime(time.CLOCK_MONOTONIC)
    if not data.startswith(b"HTTP/1.1 200"):
        raise LoadFailed(f"cold start of {path}: {data[:600]!r}\n{gateway.words()}")
    return instant
