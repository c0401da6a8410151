"""2,000 random events over real processes: starts, stops, requests, leavers, crashes; the invariants hold.

The oracle: every request gets exactly one outcome, an answer comes from the program that was running
then, no service ever has two programs, and at the end nothing runs, waits or is in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop

from hestia.app import Hestia
from hestia.core.errors import AlreadyRunning
from hestia.core.model import GatewaySettings, ServiceId, Settings
from hestia.core.ports import Row
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.programs import Programs, is_alive
from tests.fakes.wire import Response, request

EVENTS = 2000
NAMES = ("a", "b", "c")
ALLOWED = {"service_start_failed", "upstream_disconnected", "upstream_connect_failed", "queue_timeout"}
KINDS = {"request": 64, "leave": 8, "crash": 6, "stop": 6, "force": 4, "restart": 4, "start": 6, "rest": 2}


class Told:
    """A recorder that keeps every change of state; afterwards `check` reads each beside the one before it."""

    def __init__(self) -> None:
        self.changes: dict[str, list[Row]] = {}

    def transition(self, row: Row) -> None:
        """Keep it if it is a change."""
        if row.before != row.after:
            self.changes.setdefault(row.service, []).append(row)

    def stage(self, service: str, instance: str, name: str, text: str, episode: str) -> None:
        """Parts of a start are no changes of state."""

    def check(self) -> None:
        """No change is missing or told twice, and only what had crashed was stopped with leases open."""
        assert set(self.changes) == set(NAMES)
        for rows in self.changes.values():
            assert rows[-1].after in ("cold", "failed"), rows[-1]
            for before, row in pairwise(rows):
                assert row.before == before.after, f"INV-9: {before} then {row}"
                assert row.generation >= before.generation, f"INV-9: {before} then {row}"
            for row in rows:
                if row.after == "stopping" and not row.data["forced"] and row.event != "InstanceGone":
                    assert row.data["open_leases"] == 0, f"INV-4: {row}"


class Walk:
    """One random walk. outcomes: what requests got, by status and code."""

    def __init__(self, hestia: Hestia, programs: Programs, seed: int) -> None:
        self.hestia = hestia
        self.programs = programs
        self.dice = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.asked = 0
        self.left = 0
        self.events: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(40)

    async def run(self, events: int) -> None:
        """Do `events` random things, then wait for every request's outcome."""
        kinds, weights = list(KINDS), list(KINDS.values())
        for number in range(events):
            kind = self.dice.choices(kinds, weights)[0]
            self.events[kind] += 1
            await self._do(kind, ServiceId(self.dice.choice(NAMES)), number)
            if number % 20 == 0:
                self._one_program_each()
        await asyncio.gather(*self._tasks)

    async def _do(self, kind: str, name: ServiceId, number: int) -> None:
        gateway = self.hestia.gateway
        if kind in ("request", "leave"):
            await self._room.acquire()
            task = asyncio.get_running_loop().create_task(self._ask(name, number, leaves=kind == "leave"))
            self._tasks.add(task)
        elif kind == "crash":
            self._crash(name)
        elif kind == "start":
            with contextlib.suppress(AlreadyRunning):
                gateway.start(name, actor="walk")
        elif kind == "restart":
            gateway.restart(name, force=self.dice.random() < 0.3, actor="walk")
        elif kind == "rest":
            await asyncio.sleep(self.dice.uniform(0.05, 0.2))
        else:
            gateway.stop(name, force=kind == "force", actor="walk")
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.uniform(0, 0.01))

    def _crash(self, name: ServiceId) -> None:
        for pid in self.programs.started(name)[-1:]:
            if is_alive(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    async def _ask(self, name: ServiceId, number: int, *, leaves: bool) -> None:
        try:
            client = await Client.connect(self.hestia.address)
            try:
                target = self.dice.choice(
                    [f"/{number}", f"/slow?{self.dice.uniform(0, 0.05):.3f}", "/stream?5"]
                )
                await client.send(request(self.dice.choice(["GET", "POST"]), f"/services/{name}{target}"))
                if leaves:
                    await asyncio.sleep(self.dice.uniform(0, 0.1))
                    client.reset()
                    self.left += 1
                else:
                    self.asked += 1
                    self._judge(name, target, await client.response())
            finally:
                await client.close()
        finally:
            self._room.release()

    def _judge(self, name: ServiceId, target: str, response: Response) -> None:
        """One outcome: the service's own answer, or a problem that names a cause we caused."""
        if response.status == 200:
            if target.startswith("/stream"):
                self.outcomes["stream" if response.complete else "cut stream"] += 1
                return
            assert response.complete, response
            told = response.json()
            assert told["target"] == target
            assert told["pid"] in self.programs.started(name)
            self.outcomes["200"] += 1
        else:
            members = response.problem(response.json()["code"])
            assert members["code"] in ALLOWED, members
            self.outcomes[members["code"]] += 1

    def _one_program_each(self) -> None:
        """INV-1, seen from outside: never two programs of one service."""
        for name in NAMES:
            running = [pid for pid in self.programs.started(name)[-6:] if is_alive(pid)]
            assert len(running) <= 1, (name, running)


async def _at_rest(hestia: Hestia) -> None:
    """Everything stopped: no lease, no waiter, every instance cold."""
    for name in hestia.gateway.services():
        hestia.gateway.stop(name, force=True, actor="walk")
    world = hestia.gateway.world
    await eventually(
        lambda: all(
            slot.state.value in ("cold", "failed")
            for one in world.services.values()
            for slot in one.slots.values()
        ),
        lambda: f"all to be cold: {world.services}",
    )
    for one in await hestia.gateway.statuses():
        assert (one.queue, one.in_flight) == (0, 0), one
    counts = world.statistics()
    assert (counts.queued, counts.in_flight, counts.hot, counts.starting) == (0, 0, 0, 0), "INV-10"


async def _walk(folder: Path, seed: int) -> Walk:
    programs = Programs(folder)
    services = {
        ServiceId(name): programs.service(name=name, idle_timeout=0.4, stop_grace=1.0) for name in NAMES
    }
    settings = GatewaySettings(host="127.0.0.1", port=0, state_dir=str(folder / "state"), access_log=False)
    with open(os.devnull, "wb") as nowhere:
        told = Told()
        hestia = Hestia(Settings(gateway=settings, services=services), access_log=nowhere, recorder=told)
        await hestia.start()
        walk = Walk(hestia, programs, seed)
        try:
            await walk.run(EVENTS)
            await _at_rest(hestia)
        finally:
            await hestia.aclose(drain=2.0, everything=True)
    left = [pid for name in NAMES for pid in programs.started(name) if is_alive(pid)]
    assert left == []
    told.check()
    return walk


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [20260131])
def test_two_thousand_random_events_lose_nothing(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The seed is in the name; run it again with the same seed to see the same choices."""
    walk = uvloop.run(_walk(tmp_path, seed))
    print(f"events {dict(walk.events)}; outcomes {dict(walk.outcomes)}")
    assert sum(walk.outcomes.values()) == walk.asked
    assert walk.outcomes["200"] + walk.outcomes["stream"] > walk.asked / 3, (
        "the rest was stopped or killed by us"
    )
    assert all(count > 0 for count in walk.events.values())
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
