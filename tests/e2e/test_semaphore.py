"""A real gateway and a Semaphore: cold, task, request answered, idle, stop task; and kill -9 on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.automated import Automated, automated
from tests.fakes.facts import PATIENCE, eventually
from tests.fakes.semaphore import Fault, Held, Kind, fails, in_turn

pytestmark = pytest.mark.e2e
KIND = "the task to be there"


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Automated]:
    async with automated(tmp_path / "gateway") as one:
        yield one


async def test_a_request_wakes_it_through_a_task_and_idleness_ends_it(
    room: Automated,
) -> None:
    """A hundred clients meanwhile: one start, an answer for each."""
    held = Held("loading")
    room.server.plays["start"] = in_turn(held)
    room.set(idle_timeout="500ms")
    gateway = await room.lives.boot()
    many = httpx.AsyncClient(timeout=PATIENCE * 5, trust_env=False, limits=httpx.Limits())
    clients = [
        asyncio.ensure_future(many.get(f"{gateway.url}/services/one/{n}"))  # noqa: TID251  # awaited below
        for n in range(100)
    ]
    await eventually(lambda: len(held.runs) == 1, "the task to run")
    status = await gateway.status("one")
    assert (status["phase"], status["machineId"]) == ("starting", "gpu-1")
    run = held.runs[0]
    assert await room.start(run) == 0
    held.finish()
    answers = await asyncio.gather(*clients)
    await many.aclose()
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["pid"] for answer in answers}) == 1
    automation = (await gateway.status("one"))["automation"]
    assert automation["enabled"]
    assert (automation["provider"], automation["machine_id"]) == ("semaphore", "gpu-1")
    assert automation["last_task"]["status"] == "success"
    assert automation["last_task"]["task_id"] == str(run.task.id)
    await gateway.until_phase("cold", "one")
    assert room.messages() == ["start", "stop"]
    assert (await gateway.status("one"))["automation"]["last_task"]["template_id"] == str(
        room.scene.templates["stop"]
    )
    await room.lives.end()


async def test_output_of_the_task_is_shown_live_and_its_stages_are_named(room: Automated) -> None:
    held = Held("TASK [load the model]")
    room.server.plays["start"] = in_turn(held, room.start)
    gateway = await room.lives.boot()
    await room.lives.send("/services/one/first")
    await eventually(lambda: len(held.runs) == 1, "the task to run")
    await eventually(lambda: any(row[2] is not None for row in room.lives.rows()), "the handle to be kept")
    status = await gateway.status("one")
    url = f"{gateway.url}/v1/services/one/logs?follow=true"
    async with gateway.http.stream("GET", url) as logs:
        text = ""
        async for piece in logs.aiter_text():
            text += piece
            if "load the model" in text and held.runs:
                run = held.runs[0]
                await room.start(run)
                held.finish()
            if "starting one on gpu-1" in text:
                break
    stages = [stage["text"] for one in status["instances"] for stage in one["stages"]]
    assert any(f"semaphore: task {run.task.id}" in stage for stage in stages), stages
    await gateway.until_phase("hot", "one")
    await room.lives.end()


async def test_a_task_that_fails_is_in_the_answer_with_its_last_lines(room: Automated) -> None:
    room.server.plays["start"] = in_turn(fails("fatal: [gpu-1]: UNREACHABLE!"), room.start)
    room.set(restart_backoff={"intensity": 1, "cool_down": "10m"})
    gateway = await room.lives.boot()
    answer = await gateway.http.get(f"{gateway.url}/services/one/x")
    assert answer.status_code == 503
    problem = answer.json()
    assert (problem["code"], problem["stage"]) == ("service_start_failed", "engine")
    assert "UNREACHABLE" in problem["detail"]
    await gateway.until_phase("failed", "one")
    assert room.messages() == ["start", "stop"], "what it may have made was undone"
    await gateway.http.post(f"{gateway.url}/v1/services/one/start")
    await gateway.until_phase("hot", "one")
    await room.lives.end()


async def test_without_credentials_it_serves_and_the_answer_names_the_setting(room: Automated) -> None:
    del room.lives.configuration["semaphore_api_key"]
    gateway = await room.lives.boot()
    answer = await gateway.http.get(f"{gateway.url}/services/one/x")
    assert answer.status_code in (502, 503)
    assert "semaphore_api_key" in answer.json()["detail"]
    assert room.messages() == []


async def test_en65_a_stop_that_fails_is_stuck_until_it_is_mended(room: Automated) -> None:
    room.server.plays["stop"] = in_turn(fails("unit not found"), room.stop)
    gateway = await room.lives.boot()
    await gateway.get("/services/one/x")
    await gateway.http.post(f"{gateway.url}/v1/services/one/stop")
    status = await gateway.until_phase("failed", "one")
    assert "may still run" in status["lastError"]["detail"]
    assert len(room.lives.programs()) == 1
    await room.lives.end()


async def test_a_stop_while_the_task_runs_ends_task_and_service(room: Automated) -> None:
    held = Held("half way")
    room.server.plays["start"] = in_turn(held, room.start)
    gateway = await room.lives.boot()
    await room.lives.send("/services/one/first")
    await eventually(lambda: len(held.runs) == 1, "the task to run")
    await room.start(held.runs[0])
    await gateway.http.post(f"{gateway.url}/v1/services/one/stop")
    await gateway.until_phase("cold", "one")
    assert (room.messages(), held.runs, room.lives.programs()) == (["start", "stop"], [], {})
    await room.lives.end()


# -- EN-66: kill -9 ----------------------------------------------------------------------------


async def test_en66_killed_after_the_intent(room: Automated) -> None:
    """No task is there: the boot resumes with the key."""
    await room.lives.boot(at="intent")
    await room.lives.send("/services/one/first")
    await room.lives.reaches_the_point()
    room.lives.kill()
    assert room.messages() == []
    await room.lives.boot()
    await room.lives.is_true("hot")
    assert room.messages() == ["start"]
    await room.lives.end()


async def test_en66_killed_after_the_post_before_its_answer(room: Automated) -> None:
    room.server.faults.add(Fault(Kind.HOLD_REPLY, "POST", r"/tasks$"))
    await room.lives.boot()
    await room.lives.send("/services/one/first")
    await eventually(lambda: room.messages() == ["start"], KIND)
    room.lives.kill()
    room.server.faults.lift()
    await room.lives.boot()
    await room.lives.is_true("hot")
    assert room.messages() == ["start"]
    await room.lives.end()


@pytest.mark.parametrize("point", ["made", "commit"])
async def test_en66_killed_after_the_answer_before_the_handle_is_kept(room: Automated, point: str) -> None:
    await room.lives.boot(at=point)
    await room.lives.send("/services/one/first")
    await room.lives.reaches_the_point()
    room.lives.kill()
    assert room.lives.rows() == [("one", "starting", None)]
    await room.lives.boot()
    await room.lives.is_true("hot")
    assert room.messages() == ["start"]
    await room.lives.end()


@pytest.mark.parametrize("state", ["waiting", "running", "finished"])
async def test_en66_killed_after_the_handle_is_kept(room: Automated, state: str) -> None:
    """AD-15: the task is followed to its end, not repeated."""
    held = Held("half way")
    room.server.plays["start"] = room.start if state == "finished" else in_turn(held, room.start)
    if state == "waiting":
        room.server.queue.parallel = 0
    await room.lives.boot()
    await room.lives.send("/services/one/first")
    await eventually(lambda: any(row[2] is not None for row in room.lives.rows()), "the handle to be kept")
    if state == "running":
        await eventually(lambda: len(held.runs) == 1, "the task to run")
    if state == "finished":
        await eventually(lambda: len(room.lives.programs()) == 1, "the program")
    room.lives.kill()
    await room.lives.boot()
    if state != "finished":
        await room.lives.now.until_phase("starting", "one")
        room.server.queue.parallel = 10
        if state == "waiting":
            room.server.queue.tick()
        await eventually(lambda: len(held.runs) == 1, "the task to run")
        await room.start(held.runs[0])
        held.finish()
    await room.lives.is_true("hot")
    assert room.messages() == ["start"]
    await room.lives.end()


async def test_en66_killed_while_the_stop_task_runs(room: Automated) -> None:
    held = Held("stopping slowly")
    room.server.plays["stop"] = in_turn(held, room.stop)
    await room.lives.boot()
    await room.lives.now.get("/services/one/x")
    await room.lives.now.http.post(f"{room.lives.now.url}/v1/services/one/stop")
    await eventually(lambda: len(held.runs) == 1, "the stop task to run")
    room.lives.kill()
    await room.lives.boot()
    await room.lives.now.until_phase("stopping", "one")
    await room.stop(held.runs[0])
    held.finish()
    await room.lives.is_true("cold")
    assert room.messages() == ["start", "stop", "start"]
    await room.lives.end()
