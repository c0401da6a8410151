"""Two services that name one Semaphore machine take turns on it, without further configuration (the seeds).

The truth about "at once" is the kernel's: each program takes one lock for its whole life and notes an overlap
when it is taken.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.process_machine import free_port
from tests.e2e.automated import Automated, automated
from tests.e2e.served import Served
from tests.fakes.facts import PATIENCE, eventually
from tests.fakes.semaphore import Held, in_turn

pytestmark = pytest.mark.e2e


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Automated]:
    async with automated(tmp_path / "gateway") as one:
        one.words = ("--alone", str(tmp_path / "alone"))
        port = free_port()
        own = {"base_url": f"http://127.0.0.1:{port}", "health_url": f"http://127.0.0.1:{port}/health"}
        keys: dict[str, Any] = {"min_hot": "200ms", "max_room_wait": "1s"}
        one.lives.set(one=one.service(**keys), two=one.service(**{**keys, **own}))
        yield one


def journal(room: Automated) -> list[str]:
    """First words of what the programs wrote: `started`, `overlap`, …"""
    path = room.lives.folder / "journal"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


async def ask(served: Served, name: str) -> str:
    """A request that is served, however long its service waits for room; its id."""
    answer = await served.http.get(f"{served.url}/services/{name}/here", timeout=PATIENCE * 4)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-request-id"]


async def test_two_services_of_one_machine_alternate_under_load(room: Automated) -> None:
    """Nobody starves, and the kernel saw no two at once."""
    served = await room.lives.boot()
    turns = {"one": 0, "two": 0}

    async def client(name: str) -> None:
        while min(turns.values()) < 10 or journal(room).count("started") < 4:
            await ask(served, name)
            turns[name] += 1

    async with asyncio.timeout(PATIENCE * 4):
        await asyncio.gather(*(client(name) for name in ["one", "two"] * 2))
    assert "overlap" not in journal(room)
    messages = room.messages()
    assert all(a != b for a, b in itertools.pairwise(messages)), "a start before the stop's end"
    stops = {line["cause"] for line in served.lines() if line.get("to") in ("stopping", "draining")}
    assert {"evicted_for:one", "evicted_for:two"} <= stops
    await room.lives.end()


async def test_who_waited_is_told_for_which_service_and_machine(room: Automated) -> None:
    served = await room.lives.boot()
    await ask(served, "one")
    waited = await ask(served, "two")
    told = (await served.get(f"/v1/requests/{waited}")).text
    assert "gpu-1" in told
    assert "one" in told
    machines = (await served.get("/v1/machines/gpu-1")).json()
    assert [one["serviceId"] for one in machines["instances"] if one["phase"] == "hot"] == ["two"]
    await room.lives.end()


async def test_killed_while_a_stop_task_makes_room_for_the_other(room: Automated) -> None:
    """The boot follows the stop to its end; then who asked gets its turn, and the first one again."""
    held = Held("unloading")
    served = await room.lives.boot()
    await ask(served, "one")
    room.server.plays["stop"] = in_turn(held, room.stop)
    await room.lives.send("/services/two/here")
    await eventually(lambda: len(held.runs) == 1, "the stop task to run")
    room.lives.kill()
    run = held.runs[0]
    served = await room.lives.boot()
    waiting = asyncio.ensure_future(ask(served, "two"))  # noqa: TID251 - awaited below
    await room.stop(run)
    held.finish()
    await waiting
    await ask(served, "one")
    assert "overlap" not in journal(room)
    assert journal(room).count("started") == 3
    await room.lives.end()
