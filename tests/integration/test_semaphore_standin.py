"""The stand-in for Semaphore does what tests of the engine lean on: queue, stops, faults, restart, streams.

What it answers is held against recordings in tests/contract/test_semaphore_recordings.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.contract.semaphore_replay import client as client_of
from tests.fakes.semaphore import (
    FINAL,
    V2_10,
    V2_16,
    Fault,
    Held,
    Kind,
    Scene,
    Semaphore,
    Status,
    Version,
    acts,
    add_template,
    asks,
    fails,
    furnish,
    in_turn,
    succeeds,
)


class Client:
    """One caller of a furnished stand-in."""

    def __init__(self, server: Semaphore, scene: Scene) -> None:
        self.server = server
        self.scene = scene
        self.root = f"/api/project/{scene.project.id}"
        self.http = client_of(server.url, scene.token)

    async def start(self, template: str = "start", **more: object) -> int:
        """POST a task; its id."""
        asked = {"template_id": self.scene.templates[template], **more}
        answer = await self.http.post(f"{self.root}/tasks", json=asked)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])

    async def task(self, task_id: int) -> Any:
        """The task as a GET shows it."""
        return (await self.http.get(f"{self.root}/tasks/{task_id}")).json()

    async def stop(self, task_id: int, *, force: bool = False) -> None:
        """POST a stop."""
        answer = await self.http.post(f"{self.root}/tasks/{task_id}/stop", json={"force": force})
        assert answer.status_code == 204

    async def until(self, task_id: int, *wanted: Status) -> None:
        """Wait for one of these states."""
        tasks = self.server.world.tasks
        await self.server.bell.until(lambda: tasks[task_id].status in wanted, f"{wanted}")

    async def ended(self, task_id: int) -> Any:
        """Wait for the end; the task."""
        await self.server.bell.until(lambda: self.server.world.tasks[task_id].end is not None, "an end")
        return await self.task(task_id)

    def stream(self) -> connect:
        """A connection to the event stream."""
        address = f"{self.server.url.replace('http', 'ws')}/api/ws"
        return connect(address, additional_headers={"Authorization": f"Bearer {self.scene.token}"})


@pytest.fixture(params=[V2_10, V2_16], ids=lambda version: version.name)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A caller of each version, with a queue that reacts at once."""
    version: Version = request.param
    async with Semaphore(version, tick=0) as server:
        client = Client(server, furnish(server.world))
        async with client.http:
            yield client


async def test_a_play_gets_the_variables_and_leaves_its_output(client: Client) -> None:
    seen: list[Any] = []
    client.server.play = acts(seen.append, "\x1b[0;32mok\x1b[0m")
    task_id = await client.start(environment='{"port": 8080}', message="key-1")
    assert (await client.ended(task_id))["status"] == "success"
    assert seen[0]["port"] == 8080
    assert seen[0]["semaphore_vars"]["task_details"]["message"] == "key-1"
    lines = (await client.http.get(f"{client.root}/tasks/{task_id}/output")).json()
    assert [line["output"] for line in lines][-1] == "\x1b[0;32mok\x1b[0m"


async def test_a_failing_play_ends_in_error(client: Client) -> None:
    client.server.play = fails("no such host")
    task = await client.ended(await client.start())
    assert task["status"] == "error"


async def test_one_template_runs_one_task_at_a_time(client: Client) -> None:
    held = client.server.plays["start"] = Held()
    first, second = await client.start(), await client.start()
    await client.until(first, Status.RUNNING)
    other = await client.ended(await client.start("stop"))
    assert other["status"] == "success"
    assert (await client.task(second))["status"] == "waiting"
    held.finish()
    await client.until(second, Status.RUNNING)
    held.finish()
    await client.ended(second)


async def test_a_tick_starts_one_task_of_the_whole_server() -> None:
    async with Semaphore(tick=None) as server:
        client = Client(server, furnish(server.world))
        async with client.http:
            first, second = await client.start(), await client.start("stop")
            server.queue.tick()
            await client.ended(first)
            assert (await client.task(second))["status"] == "waiting"
            server.queue.tick()
            await client.ended(second)


async def test_a_killed_play_ends_as_the_version_says(client: Client) -> None:
    client.server.play = Held()
    task_id = await client.start()
    await client.until(task_id, Status.RUNNING)
    await client.stop(task_id)
    ended = await client.ended(task_id)
    assert ended["status"] == client.server.version.killed


async def test_a_forced_stop_of_a_waiting_task_is_shown_and_runs_all_the_same(client: Client) -> None:
    held = Held()
    ran: list[Any] = []
    client.server.play = in_turn(held, acts(ran.append))
    first, second = await client.start(), await client.start()
    await client.until(first, Status.RUNNING)
    await client.stop(second, force=True)
    assert (await client.task(second))["status"] == "stopped"
    held.finish()
    task = await client.ended(second)
    assert (task["status"], task.get("start"), len(ran)) == ("stopped", None, 1)


async def test_a_soft_stop_of_a_waiting_task_is_done_when_its_turn_comes(client: Client) -> None:
    held = Held()
    ran: list[Any] = []
    client.server.play = in_turn(held, acts(ran.append))
    first, second = await client.start(), await client.start()
    await client.until(first, Status.RUNNING)
    await client.stop(second)
    assert (await client.task(second))["status"] == "stopping"
    held.finish()
    assert (await client.ended(second))["status"] == "stopped"
    assert not ran


async def test_a_stop_overwrites_a_finished_result(client: Client) -> None:
    task_id = await client.start()
    await client.ended(task_id)
    await client.stop(task_id)
    assert (await client.task(task_id))["status"] == "stopped"


async def test_a_play_that_no_kill_reaches_keeps_stopping_with_an_end() -> None:
    async with Semaphore(tick=0) as server:
        client = Client(server, furnish(server.world))
        held = server.play = Held(deaf=True)
        async with client.http:
            task_id = await client.start()
            await client.until(task_id, Status.RUNNING)
            await client.stop(task_id)
            held.finish()
            assert (await client.ended(task_id))["status"] == "stopping"


async def test_a_finished_task_may_lack_its_end_for_a_moment(client: Client) -> None:
    client.server.queue.hold_ends = True
    task_id = await client.start()
    await client.until(task_id, *FINAL)
    assert (await client.task(task_id)).get("end") is None
    client.server.queue.write_ends()
    assert (await client.task(task_id))["end"]


async def test_a_task_waits_for_confirmation(client: Client) -> None:
    client.server.play = asks("plan")
    task_id = await client.start()
    await client.until(task_id, Status.WAITING_CONFIRMATION)
    answer = await client.http.post(f"{client.root}/tasks/{task_id}/confirm")
    assert answer.status_code == 204
    assert (await client.ended(task_id))["status"] == "success"
    answer = await client.http.post(f"{client.root}/tasks/{task_id}/confirm")
    assert answer.status_code == 400


async def test_a_confirmation_nobody_asked_for_shows_and_changes_nothing_else(client: Client) -> None:
    held = client.server.plays["start"] = Held()
    first, second = await client.start(), await client.start()
    await client.until(first, Status.RUNNING)
    answer = await client.http.post(f"{client.root}/tasks/{second}/confirm")
    assert (answer.status_code, (await client.task(second))["status"]) == (204, "confirmed")
    held.finish()
    await client.until(second, Status.RUNNING)
    held.finish()
    assert (await client.ended(second))["status"] == "success"


async def test_bolt_counts_ids_in_each_project_and_sql_over_all(client: Client) -> None:
    world = client.server.world
    other = world.add_project("other", world.users[1])
    made = add_template(world, other, "start")["id"]
    assert made == (client.scene.templates["start"] if client.server.version is V2_10 else 3)


async def test_a_dropped_reply_leaves_a_task_that_its_message_finds(client: Client) -> None:
    client.server.faults.add(Fault(Kind.DROP_REPLY, "POST", "/tasks$"))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.start(message="key-7")
    listed = (await client.http.get(f"{client.root}/tasks/last")).json()
    assert [task["message"] for task in listed] == ["key-7"]
    assert [seen.status for seen in client.server.called("POST", "/tasks$")] == [None]


async def test_a_dropped_call_leaves_nothing(client: Client) -> None:
    client.server.faults.add(Fault(Kind.DROP_CALL, "POST", "/tasks$"))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.start(message="key-8")
    assert (await client.http.get(f"{client.root}/tasks/last")).json() == []


async def test_faults_answer_for_the_server_until_they_are_lifted(client: Client) -> None:
    for fault, status in (
        (Fault(Kind.HTML, times=None), 200),
        (Fault(Kind.UNAUTHORIZED, times=None), 401),
        (Fault(Kind.STATUS, status=503, times=None), 503),
    ):
        client.server.faults.add(fault)
        answers = [await client.http.get("/api/projects") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [status] * 2
        client.server.faults.lift(fault)
    assert (await client.http.get("/api/projects")).json()[0]["name"] == "hestia"


async def test_a_task_pushed_out_of_the_list_still_answers_by_its_id(client: Client) -> None:
    client.server.settings.last = client.server.settings.longest = 1
    first, second = await client.start(), await client.start("stop")
    for where in ("tasks", "tasks/last"):
        listed = (await client.http.get(f"{client.root}/{where}")).json()
        assert [task["id"] for task in listed] == [second]
    assert (await client.task(first))["id"] == first


async def test_a_restart_leaves_records_as_they_were_and_knows_them_no_more(client: Client) -> None:
    """EN-63: `running` and `waiting` for ever; they block nothing; a stop sets `stopped` and no end."""
    client.server.play = in_turn(Held(), succeeds())
    running = await client.start()
    await client.until(running, Status.RUNNING)
    waiting = await client.start()
    await client.server.restart()
    assert (await client.task(running))["status"] == "running"
    assert (await client.task(waiting))["status"] == "waiting"
    assert (await client.ended(await client.start()))["status"] == "success"
    await client.stop(waiting)
    task = await client.task(waiting)
    assert (task["status"], task.get("end")) == ("stopped", None)


async def test_a_server_that_is_down_refuses_and_comes_back_at_its_port(client: Client) -> None:
    held = client.server.faults.add(Fault(Kind.HOLD_CALL, times=None))
    async with asyncio.TaskGroup() as group:
        group.create_task(_fails_to_ask(client), name="asking")
        await client.server.bell.until(lambda: held.met == 1, "a call that is held")
        await client.server.go_down()
    with pytest.raises(httpx.ConnectError):
        await client.http.get("/api/ping")
    client.server.faults.lift()
    await client.server.come_up()
    assert (await client.http.get("/api/ping")).text == "pong"


async def _fails_to_ask(client: Client) -> None:
    with pytest.raises(httpx.TransportError):
        await client.http.get("/api/ping")


async def test_an_expired_login_and_a_forgotten_task(client: Client) -> None:
    task_id = await client.start()
    await client.ended(task_id)
    client.server.lose(task_id)
    assert (await client.http.get(f"{client.root}/tasks/{task_id}")).status_code == 400
    client.server.revoke_tokens()
    assert (await client.http.get("/api/projects")).status_code == 401


async def test_below_a_prefix_everything_else_is_the_web_page() -> None:
    async with Semaphore(web_root="/semaphore") as server, httpx.AsyncClient() as http:
        assert (await http.get(f"{server.url}/api/ping/")).text == "pong"
        wrong = await http.get(server.url.removesuffix("/semaphore") + "/api/ping")
        assert (wrong.status_code, wrong.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


async def test_streams_tell_every_change_and_the_end_twice(client: Client) -> None:
    client.server.plays["start"] = succeeds("line")
    async with client.stream() as stream:
        await client.server.bell.until(lambda: client.server.streams.count == 1, "a stream")
        await client.start()
        told = await _until_the_end(stream)
    states = [one["status"] for one in told if one["type"] == "update"]
    assert states == ["waiting", "starting", "running", "success", "success"]
    assert [one["output"] for one in told if one["type"] == "log"][-1] == "line"


async def test_streams_can_be_cut(client: Client) -> None:
    async with client.stream() as stream:
        await client.server.bell.until(lambda: client.server.streams.count == 1, "a stream")
        client.server.streams.cut()
        assert [one async for one in stream] == []


async def _until_the_end(stream: ClientConnection) -> list[Any]:
    told = []
    async for text in stream:
        told.append(json.loads(text))
        if told[-1].get("end"):
            break
    return told
