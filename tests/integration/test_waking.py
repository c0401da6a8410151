"""Waking, serving and stopping real processes through the whole gateway (lifecycle SF, QF, ID, FB)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hestia.core.errors import AlreadyRunning
from hestia.core.model import Backoff, ServiceId, ServiceSettings
from tests.fakes import websocket
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.programs import QUICK, Programs, is_alive
from tests.fakes.wire import request

from .conftest import MakeClient
from .harness import Gateway, MakeGateway, cold

S = "/services/a"
A = ServiceId("a")


@pytest.fixture
async def programs(tmp_path: Path, leaks: None) -> AsyncIterator[Programs]:
    """Services as processes; afterwards not one of them runs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    made = Programs(folder)
    yield made
    await eventually(lambda: made.alive() == [], lambda: f"programs to end: {made.alive()}")


@pytest.fixture
async def wake(programs: Programs, gateway: MakeGateway) -> AsyncIterator[Callable[..., object]]:
    """`await wake(settings, …)`: a gateway whose services are stopped at the end of the test."""
    made: list[Gateway] = []

    async def make(*services: ServiceSettings) -> Gateway:
        running = await gateway(*services)
        made.append(running)
        return running

    yield make
    for running in made:
        for name in [] if running.closed else running.hestia.gateway.services():
            running.hestia.gateway.stop(name, force=True, actor="test")
            await running.until(lambda seen: seen.phase in ("cold", "failed"), "the end", name)


Wake = Callable[..., "asyncio.Future[Gateway]"]


def _waiting(gw: Gateway) -> int:
    return len(gw.hestia.gateway.world.service(A).queue)


async def test_cold_hot_idle_cold_twice_round(programs: Programs, wake: Wake, connect: MakeClient) -> None:
    """The main job: a request starts it, tokens stream, idleness stops it, a request starts it again."""
    gw = await wake(programs.service(idle_timeout=0.3))
    for turn in (1, 2):
        client = await connect(gw)
        response = await client.ask("GET", S + "/stream?20")
        assert bytes(response.body) == b"".join(b"data: event %d\n\n" % n for n in range(20))
        assert len(programs.started()) == turn
        assert (await gw.status()).phase == "hot"
        await gw.until_phase("cold")
        assert programs.alive() == []
    assert programs.started()[0] != programs.started()[1]


@pytest.mark.parametrize("limit", [None, 1])
async def test_sf01_a_thousand_clients_on_one_cold_service(
    programs: Programs, wake: Wake, connect: MakeClient, limit: int | None
) -> None:
    """One start, 1,000 answers; one at a time they reach the service in order of arrival."""
    gw = await wake(programs.service(gated=True, max_in_flight=limit, queue_size=1000))
    clients = [await connect(gw) for _ in range(1000)]
    for number, client in enumerate(clients):
        await client.send(request("GET", f"{S}/{number}"))
        while _waiting(gw) <= number:
            await asyncio.sleep(0)
    programs.open()
    answers = [(await client.response()).json() for client in clients]
    assert [one["target"] for one in answers] == [f"/{n}" for n in range(1000)]
    assert len(programs.started()) == 1
    assert {one["pid"] for one in answers} == set(programs.started())
    assert sorted(one["number"] for one in answers) == list(range(1000))
    assert answers[0]["number"] == 0
    if limit == 1:
        assert programs.targets() == [f"/{n}" for n in range(1000)]


async def test_qf02_one_more_than_the_queue_holds_is_shed(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(gated=True, queue_size=10))
    clients = [await connect(gw) for _ in range(11)]
    for client in clients:
        await client.send(request("GET", S + "/x"))
    await eventually(lambda: any(client.count for client in clients), "one refusal")
    shed = [client for client in clients if client.count]
    assert len(shed) == 1
    (await shed[0].response()).problem("queue_full", 503)
    programs.open()
    for client in clients:
        if client not in shed:
            assert (await client.response()).status == 200


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_sf03_one_of_three_waiters_leaves_during_the_start(
    programs: Programs, wake: Wake, connect: MakeClient, leaver: int
) -> None:
    gw = await wake(programs.service(gated=True))
    clients = [await connect(gw) for _ in range(3)]
    for number, client in enumerate(clients):
        await client.send(request("GET", f"{S}/{number}"))
        await gw.until_waiting(number + 1)
    clients[leaver].reset()
    await gw.until_waiting(2)
    programs.open()
    for number, client in enumerate(clients):
        if number != leaver:
            assert (await client.response()).json()["target"] == f"/{number}"
    assert len(programs.started()) == 1
    assert programs.targets() == [f"/{n}" for n in range(3) if n != leaver]


async def test_sf14_the_last_waiter_leaves_and_the_start_goes_on(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(gated=True))
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await gw.until_waiting(1)
    client.reset()
    await gw.until_waiting(0)
    programs.open()
    await gw.until_phase("hot")
    assert programs.targets() == []
    assert len(programs.started()) == 1


async def test_sf05_a_request_during_the_stop_gets_the_next_generation(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service("--linger", "0.5"))
    client = await connect(gw)
    first = (await client.ask("GET", S + "/1")).json()["pid"]
    gw.hestia.gateway.stop(A, force=False, actor="test")
    assert (await gw.status()).phase == "stopping"
    second = (await client.ask("GET", S + "/2")).json()["pid"]
    assert first != second
    assert programs.started() == [first, second]
    assert not is_alive(first)


async def test_sf05_a_request_while_draining_gets_the_next_generation(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service())
    busy, client = await connect(gw), await connect(gw)
    await busy.send(request("GET", S + "/slow?0.5"))
    await gw.until_in_flight(1)
    gw.hestia.gateway.stop(A, force=False, actor="test")
    assert (await gw.status()).phase == "draining"
    second = (await client.ask("GET", S + "/2")).json()["pid"]
    first = (await busy.response()).json()["pid"]
    assert [first, second] == programs.started()


async def test_rd04_and_fb17_a_program_that_exits_answers_all_waiters_with_its_last_lines(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(
        programs.service("--say", "loading weights", "--say", "CUDA out of memory", "--fail", "3")
    )
    clients = [await connect(gw) for _ in range(10)]
    for client in clients:
        await client.send(request("GET", S + "/x"))
    for client in clients:
        response = await client.response()
        members = response.problem("service_start_failed", 503)
        assert "3" in members["detail"]
        assert "CUDA out of memory" in members["detail"]
        assert response.has("retry-after")
    last = (await gw.status()).last_error
    assert last is not None
    assert "CUDA out of memory" in last.tail


async def test_fb05_a_program_that_always_fails_is_not_started_for_ever(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    backoff = Backoff(base=0.01, cap=0.02, intensity=3, cool_down=60.0)
    gw = await wake(programs.service("--fail", "3", restart_backoff=backoff))
    client = await connect(gw)
    for _ in range(20):
        response = await client.ask("GET", S + "/x")
        response.problem("service_start_failed", 503)
    assert len(programs.started()) <= 4


async def test_en13_a_command_that_does_not_exist_is_told_at_once(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(command=["no-such-program-here", "{port}"]))
    members = (await (await connect(gw)).ask("GET", S + "/x")).problem("service_start_failed", 503)
    assert "no-such-program-here" in members["detail"]


async def test_rd08_a_health_url_that_is_never_ready_times_out_with_what_it_said(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(gated=True, start_timeout=1.0))
    response = await (await connect(gw)).ask("GET", S + "/x")
    assert response.status == 503
    members = response.problem(response.json()["code"])
    assert members["code"] in ("service_start_timeout", "queue_timeout")
    await gw.until(lambda seen: seen.phase in ("cold", "failed"), "the start to be given up")
    await eventually(lambda: programs.alive() == [], "the program to be stopped")
    last = (await gw.status()).last_error
    assert last is not None
    assert "503" in last.detail


async def _stop_while(
    gw: Gateway, connect: MakeClient, reached: Callable[[], bool], let_go: Callable[[], None]
) -> None:
    """A request waits, the start has come this far, somebody stops it; then a new request is served."""
    client = await connect(gw)
    await client.send(request("GET", S + "/1"))
    await gw.until_waiting(1)
    await eventually(reached, "the stage to be reached")
    gw.hestia.gateway.stop(A, force=False, actor="test")
    response = await client.response()
    response.problem("service_start_failed", 503)
    let_go()
    await gw.until(lambda seen: seen.phase == "cold" and seen.queue == 0, "cold")
    assert (await client.ask("GET", S + "/2")).json()["target"] == "/2"


@pytest.mark.parametrize("point", ["start.call", "start.made"])
async def test_sf07_a_stop_while_the_engine_starts(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, point: str
) -> None:
    gw = await gateway(cold("a", restart_backoff=QUICK), wakes={"a": upstream})
    gw.engine.hold(point)
    await _stop_while(gw, connect, lambda: len(gw.engine.starts) == 1, lambda: gw.engine.let_go(point))
    assert gw.engine.machine.most_live_at_once[("a", "a")] == 1
    assert len(gw.engine.live_keys) == 1
    assert upstream.targets == [b"/2"]


async def test_sf07_a_stop_during_the_warm_up(programs: Programs, wake: Wake, connect: MakeClient) -> None:
    """Without health_url: the program runs and `warmup` is not over."""
    settings = programs.service(warmup=60.0)
    gw = await wake(settings)
    client = await connect(gw)
    await client.send(request("GET", S + "/1"))
    await gw.until_waiting(1)
    await eventually(lambda: len(programs.started()) == 1, "the program to run")
    gw.hestia.gateway.stop(A, force=False, actor="test")
    (await client.response()).problem("service_start_failed", 503)
    await gw.until_phase("cold")
    assert programs.alive() == []


async def test_sf07_a_stop_while_it_is_probed(programs: Programs, wake: Wake, connect: MakeClient) -> None:
    gw = await wake(programs.service(gated=True))
    await _stop_while(gw, connect, lambda: len(programs.started()) == 1, programs.open)
    assert len(programs.started()) == 2
    assert len(programs.alive()) == 1


async def test_sf07_a_restart_during_the_start_keeps_the_waiter(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(gated=True))
    client = await connect(gw)
    await client.send(request("GET", S + "/1"))
    await gw.until_waiting(1)
    await eventually(lambda: len(programs.started()) == 1, "the program to run")
    gw.hestia.gateway.restart(A, force=False, actor="test")
    programs.open()
    assert (await client.response()).json()["target"] == "/1"
    assert len(programs.started()) <= 2
    assert len(programs.alive()) == 1


async def test_sf13_an_api_start_and_a_request_share_one_start(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(gated=True))
    gw.hestia.gateway.start(A, actor="test")
    client = await connect(gw)
    await client.send(request("GET", S + "/1"))
    await gw.until_waiting(1)
    with pytest.raises(AlreadyRunning):
        gw.hestia.gateway.start(A, actor="test")
    programs.open()
    assert (await client.response()).status == 200
    assert len(programs.started()) == 1


async def test_qf14_a_websocket_is_held_while_cold(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(gated=True))
    client = await connect(gw)
    await client.send(
        websocket.handshake(S + "/ws") + websocket.frame(websocket.TEXT, b"early", mask=b"abcd")
    )
    await gw.until_waiting(1)
    assert client.count == 0
    programs.open()
    assert (await client.head(upgrade=True)).status == 101
    await client.got(websocket.frame(websocket.TEXT, b"early"))
    await client.send(websocket.close_frame(1000, mask=b"abcd"))
    await client.gone()
    await gw.at_rest()


async def test_qf14_a_websocket_on_a_program_that_fails_gets_503(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service("--fail", "3"))
    client = await connect(gw)
    await client.send(websocket.handshake(S + "/ws"))
    (await client.response()).problem("service_start_failed", 503)


async def test_id03_a_silent_websocket_does_not_hold_it_up_and_data_does(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(idle_timeout=0.6))
    client = await connect(gw)
    await client.send(websocket.handshake(S + "/ws"))
    assert (await client.head(upgrade=True)).status == 101
    for number in range(8):
        await client.send(websocket.frame(websocket.TEXT, b"%d" % number, mask=b"abcd"))
        await client.got(websocket.frame(websocket.TEXT, b"%d" % number))
        await asyncio.sleep(0.15)
    assert (await gw.status()).phase == "hot"
    await client.until(
        lambda: any(one.opcode == 8 for one in websocket.frames(client.surplus)[0]), "a close frame"
    )
    await client.close()
    await gw.until_phase("cold")
    assert len(programs.started()) == 1


async def test_en10_the_whole_process_group_is_stopped(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    """A shell that stays in between, and a child that nobody waits for."""
    words = " ".join(programs.command("a"))
    command = f"sleep 300 & echo started $! >> {programs.folder / 'sleeper'}; {words}; true"
    gw = await wake(programs.service(command=command, idle_timeout=0.3))
    assert (await (await connect(gw)).ask("GET", S + "/x")).status == 200
    assert len(programs.alive()) == 2
    await gw.until_phase("cold")
    await eventually(lambda: programs.alive() == [], "the group to be gone")


async def test_a_program_that_ignores_term_is_killed_after_its_grace(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service("--linger", "600", stop_grace=0.3))
    assert (await (await connect(gw)).ask("GET", S + "/x")).status == 200
    gw.hestia.gateway.stop(A, force=False, actor="test")
    await gw.until_phase("cold")
    assert programs.alive() == []


async def test_fb11_a_crash_while_idle_is_noticed_and_the_next_request_starts_it_again(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service())
    client = await connect(gw)
    first = (await client.ask("GET", S + "/1")).json()["pid"]
    os.kill(first, signal.SIGKILL)
    await gw.until(lambda seen: seen.phase in ("cold", "failed"), "the crash to be noticed")
    second = (await client.ask("GET", S + "/2")).json()["pid"]
    assert [first, second] == programs.started()


async def test_fb12_a_crash_with_requests_in_flight(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    """Those in flight are answered 502, those that wait are served by the next generation."""
    gw = await wake(programs.service(max_in_flight=3))
    flying = [await connect(gw) for _ in range(3)]
    assert (await flying[0].ask("GET", S + "/warm")).status == 200
    for client in flying:
        await client.send(request("POST", S + "/slow?60", body=b""))
    await gw.until_in_flight(3)
    waiting = [await connect(gw) for _ in range(3)]
    for number, client in enumerate(waiting):
        await client.send(request("GET", f"{S}/{number}"))
        await gw.until_waiting(number + 1)
    await eventually(lambda: len(programs.targets()) == 4, "the three to have reached it")
    os.kill(programs.started()[0], signal.SIGKILL)
    for client in flying:
        (await client.response()).problem("upstream_disconnected", 502)
    for number, client in enumerate(waiting):
        told = (await client.response()).json()
        assert (told["target"], told["pid"]) == (f"/{number}", programs.started()[1])
    assert len(programs.started()) == 2


async def test_a_crash_inside_a_request_is_502_and_the_next_is_served(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service())
    client = await connect(gw)
    assert (await client.ask("GET", S + "/1")).status == 200
    (await client.ask("POST", S + "/crash", body=b"")).problem("upstream_disconnected", 502)
    assert (await client.ask("GET", S + "/2")).status == 200
    assert programs.targets() == ["/1", "/crash", "/2"]


async def test_two_services_start_and_stop_independently(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(name="a", gated=True), programs.service(name="b", idle_timeout=0.3))
    first, second = await connect(gw), await connect(gw)
    await first.send(request("GET", S + "/1"))
    await gw.until_waiting(1)
    assert (await second.ask("GET", "/services/b/1")).status == 200
    await gw.until_phase("cold", "b")
    programs.open()
    assert (await first.response()).status == 200
    assert (len(programs.started("a")), len(programs.started("b"))) == (1, 1)


async def test_id17_closing_the_gateway_during_a_start_leaves_no_program_behind(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(gated=True))
    client = await connect(gw)
    await client.send(request("GET", S + "/1"))
    await gw.until_waiting(1)
    await eventually(lambda: len(programs.started()) == 1, "the program to run")
    closing = asyncio.get_running_loop().create_task(gw.aclose())
    (await client.response()).problem("shutting_down", 503)
    await closing
    await eventually(lambda: programs.alive() == [], "the program to be stopped")
