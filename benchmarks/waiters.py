"""1,000 clients that ask one cold service, each on a connection of its own, before it can answer."""

from __future__ import annotations

import json
import resource
import selectors
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cold, load
from benchmarks.programs import START_LIMIT, Program

CLIENTS = 1000
READY_AFTER = 3.0  # seconds; long enough for all of them to be there
SPREAD = 0.001  # seconds between two clients, so that their order is known


@dataclass(frozen=True)
class Rush:
    """What came of it.

    starts: of the service. failed: clients without a right answer. displaced: places by which one request at
    most reached the service out of order. took: seconds from ready to the last answer. growth: bytes.
    """

    starts: int
    failed: int
    displaced: int
    took: float
    growth: int


def rush(folder: Path, *, one_at_a_time: bool) -> Rush:
    """Let them wait for a service of a gateway of its own. Raises LoadFailed, ProgramFailed, PeerMissing.

    one_at_a_time: the service takes one request at once. Otherwise 1,000 connections race to it, and which of
    them the service reads first says little about the gateway.
    """
    folder.mkdir(parents=True)
    _raise_descriptors()
    journal = folder / "ready"
    service = cold.service(journal, READY_AFTER, "listen")
    if one_at_a_time:
        service["max_in_flight"] = 1
    gateway = cold.gateway_of(folder, {"late": service})
    try:
        memory = gateway.resident()
        gateway.forget_peak()
        numbers, last = _ask(gateway, journal)
        growth = gateway.peak() - memory
    finally:
        gateway.end()
    answered = [number for number in numbers if number]
    return Rush(
        starts=len(Path(f"{journal}.starts").read_text().splitlines()),
        failed=CLIENTS - len(answered),
        displaced=max((abs(place - number) for place, number in enumerate(answered, 1)), default=0),
        took=last - json.loads(journal.read_text()),
        growth=growth,
    )


def _raise_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < CLIENTS + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(CLIENTS + 200, hard), hard))


def _ask(gateway: Program, journal: Path) -> tuple[list[int], float]:
    """Everybody asks, one after the other: the numbers in their answers (0: none), and when the last came."""
    request = load.request_bytes("/services/late/", gateway.port)
    numbers, last = [0] * CLIENTS, 0.0
    with selectors.DefaultSelector() as selector:
        for place in range(CLIENTS):
            sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=5)
            sock.sendall(request)
            selector.register(sock, selectors.EVENT_READ, place)
            time.sleep(SPREAD)
        if journal.exists():
            raise load.LoadFailed("the service was ready before all clients had asked")
        limit, left = time.monotonic() + READY_AFTER + START_LIMIT, CLIENTS
        while left and time.monotonic() < limit:
            for key, _ in selector.select(1.0):
                sock, left = key.fileobj, left - 1  # type: ignore[assignment]  # only sockets are registered here
                numbers[key.data] = _number(sock)
                last = time.clock_gettime(time.CLOCK_MONOTONIC)
                selector.unregister(sock)
                sock.close()
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return numbers, last


def _number(sock: socket.socket) -> int:
    """The number in an answer, 0 when it is none."""
    try:
        head, _, body = sock.recv(65536).partition(b"\r\n\r\n")
    except ConnectionError:
        return 0
    return int(body) if head.startswith(b"HTTP/1.1 200") and body.strip().isdigit() else 0
