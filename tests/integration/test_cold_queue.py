"""Waiting for a cold service (proxy-semantics CQ): one start, order kept, nobody lost or answered twice."""

from __future__ import annotations

import asyncio

import pytest

from hestia.core.errors import StartFailed
from hestia.core.model import InstanceId, ServiceId
from hestia.runtime.history import StageClock
from tests.fakes import upstream as step
from tests.fakes import websocket
from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.upstream import Connection
from tests.fakes.wire import Response, answer, chunk, head, request

from .assertions import still_serves, untouched
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, cold

S = "/services/a"


async def _asleep(gateway: MakeGateway, upstream: HttpUpstream, **settings: object) -> Gateway:
    """Service `a` is cold; its start goes on only when the probe says ready."""
    return await gateway(cold("a", **settings), wakes={"a": upstream}, ready=False)


async def test_t_cq_01_fifty_requests_one_start_in_order(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    clients = [await connect(gw) for _ in range(50)]
    for number, client in enumerate(clients):
        await client.send(request("GET", f"{S}/{number}"))
        await gw.until_waiting(number + 1)
    await untouched(upstream, connections=0)
    gw.probe.ready = True
    for number, client in enumerate(clients):
        assert (await client.response()).json()["target"] == f"/{number}"
    arrived = sorted(upstream.requests, key=lambda one: int(one.target[1:]))
    assert [one.target for one in arrived] == [b"/%d" % n for n in range(50)]
    assert len(gw.engine.starts) == 1
    assert upstream.requests[0].target == b"/0"


async def test_t_cq_02_a_full_queue_sheds_the_next_one(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream, queue_size=3)
    waiting = [await connect(gw) for _ in range(3)]
    for number, client in enumerate(waiting):
        await client.send(request("GET", f"{S}/{number}"))
    await gw.until_waiting(3)
    shed = await connect(gw)
    response = await shed.ask("POST", S + "/3", body=b"x")
    response.problem("queue_full", 503)
    assert int(response.get("retry-after") or b"0") >= 1
    gw.probe.ready = True
    for client in waiting:
        assert (await client.response()).status == 200
    await still_serves(shed, upstream)
    assert len(gw.engine.starts) == 1


async def test_t_cq_03_a_failed_start_answers_all_waiters(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    gw.engine.hold("start.call")
    gw.engine.fail_next_start(
        StartFailed("The program exited with status 3.", exit_status=3, tail=("no such model",))
    )
    clients = [await connect(gw) for _ in range(20)]
    for client in clients:
        await client.send(request("GET", S + "/x"))
    await gw.until_waiting(20)
    gw.engine.let_go("start.call")
    for client in clients:
        response = await client.response()
        members = response.problem("service_start_failed", 503)
        assert "status 3" in members["detail"]
        assert "no such model" in str(members)
        assert response.has("retry-after")
    assert len(gw.engine.starts) == 1
    await untouched(upstream, connections=0)


BODIES = {"none": (None, 0), "small": (1_000, 1_000), "part": (1_000_000, 300_000)}


@pytest.mark.parametrize("body", list(BODIES))
@pytest.mark.parametrize("leave", ["eof", "reset"])
async def test_t_cq_04_a_waiter_that_leaves_is_never_sent(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, body: str, leave: str
) -> None:
    gw = await _asleep(gateway, upstream)
    size, sent = BODIES[body]
    client, other = await connect(gw), await connect(gw)
    message = request("POST", S + "/left", body=None if size is None else bytes(size))
    await client.send(message[: len(message) - (size or 0) + sent])
    await gw.until_waiting(1)
    await other.send(request("GET", S + "/stays"))
    await gw.until_waiting(2)
    if leave == "reset":
        client.reset()
    else:
        client.transport.abort()
    await gw.until_waiting(1)
    gw.probe.ready = True
    assert (await other.response()).json()["target"] == "/stays"
    assert upstream.targets == [b"/stays"]


async def test_t_cq_05_a_service_that_answers_503_is_not_ready(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await gw.probe.until(lambda: gw.probe.asked >= 3, "three probes")
    assert (await gw.status()).phase == "starting"
    await untouched(upstream, connections=0)
    gw.probe.ready = True
    assert (await client.response()).status == 200


async def test_t_cq_06_a_listener_that_lags_behind_the_probe_is_waited_for(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    upstream.stop_listening()
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await gw.until_waiting(1)
    gw.probe.ready = True
    await asyncio.sleep(0.5)  # the lag itself
    await upstream.start()
    response = await client.response()
    assert response.status == 200, response.body
    assert upstream.targets == [b"/x"]


async def test_t_cq_07_a_post_of_1_mb_while_cold_is_delivered_once(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    data = pattern(1_000_000)
    client = await connect(gw)
    sending = asyncio.get_running_loop().create_task(client.send(request("POST", S + "/x", body=data)))
    await gw.until_waiting(1)
    gw.probe.ready = True
    response = await client.response("POST")
    await sending
    assert response.json()["size"] == len(data)
    assert [bytes(one.body) == data for one in upstream.requests] == [True]
    await still_serves(client, upstream)


async def test_t_cq_07_a_chunked_post_while_cold(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    client = await connect(gw)
    await client.send(head(f"POST {S}/x HTTP/1.1", [("Host", "localhost"), ("Transfer-Encoding", "chunked")]))
    await client.send(chunk(b"before "))
    await gw.until_waiting(1)
    gw.probe.ready = True
    await gw.until_in_flight(1)
    await client.send(chunk(b"after") + b"0\r\n\r\n")
    assert (await client.response("POST")).json()["size"] == 12
    assert bytes(upstream.requests[0].body) == b"before after"


async def test_t_cq_08_expect_is_answered_only_when_the_service_is_ready(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    client = await connect(gw)
    message = request("POST", S + "/x", ("Expect", "100-continue"), body=b"hello")
    await client.send(message[:-5])
    await gw.until_waiting(1)
    await gw.probe.until(lambda: gw.probe.asked >= 3, "three probes")
    assert client.count == 0
    gw.probe.ready = True
    await client.got(b"HTTP/1.1 100 ")
    await client.send(b"hello")
    response = await client.response("POST")
    assert ([one.status for one in response.interim], response.status) == ([100], 200)
    assert response.json()["size"] == 5


async def test_t_cq_09_a_websocket_while_cold_is_held_then_accepted(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    stays, leaves = await connect(gw), await connect(gw)
    for client in (stays, leaves):
        await client.send(websocket.handshake(S + "/ws"))
    await gw.until_waiting(2)
    assert stays.count == 0
    leaves.reset()
    await gw.until_waiting(1)
    gw.probe.ready = True
    assert (await stays.head(upgrade=True)).status == 101
    mask = b"abcd"
    await stays.send(websocket.frame(websocket.TEXT, b"hi", mask=mask))
    await stays.got(websocket.frame(websocket.TEXT, b"hi"))
    await stays.send(websocket.close_frame(1000, mask=mask))
    await stays.gone()
    assert len(upstream.requests) == 1


async def test_t_cq_09_a_websocket_on_a_service_that_fails_gets_503_before_101(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    gw.engine.fail_next_start(StartFailed("The program exited with status 3.", exit_status=3))
    client = await connect(gw)
    await client.send(websocket.handshake(S + "/ws"))
    (await client.response()).problem("service_start_failed", 503)


async def test_t_cq_10_a_running_stream_keeps_the_service_up(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """Open for many idle timeouts; the idle time counts from its end."""
    end = asyncio.Event()
    upstream = await raw(
        [
            step.get_request(),
            step.send(head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")])),
            step.wait_for(end),
            step.send(chunk(b"end") + b"0\r\n\r\n"),
            step.until_gone(),
            step.close(),
        ]
    )
    gw = await gateway(cold("a", idle_timeout=0.2), wakes={"a": upstream})
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await client.head()
    await asyncio.sleep(0.8)
    assert (await gw.status()).phase == "hot"
    assert gw.engine.stops == []
    end.set()
    assert bytes((await client.body()).body) == b"end"
    await gw.until_phase("cold")
    assert len(gw.engine.stops) == 1
    assert gw.engine.stopped_with_leases_open == []


async def test_t_cq_10_silent_websockets_are_closed_then_the_service_stops(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [step.get_request(), step.send(websocket.switching()), step.until_gone(), step.close()]
    )
    gw = await gateway(cold("a", idle_timeout=0.3), wakes={"a": upstream})
    client = await connect(gw)
    await client.send(websocket.handshake(S + "/ws"))
    await client.head(upgrade=True)
    await client.until(lambda: bool(websocket.frames(client.surplus)[0]), "a close frame")
    closing = websocket.frames(client.surplus)[0][0]
    assert (closing.opcode, closing.close_code, closing.was_masked) == (websocket.CLOSE, 1012, False)
    connection = upstream.connections[0]
    await connection.until(lambda: bool(websocket.frames(connection.after_upgrade)[0]), "a close frame")
    closing = websocket.frames(connection.after_upgrade)[0][0]
    assert (closing.opcode, closing.close_code, closing.was_masked) == (websocket.CLOSE, 1001, True)
    await client.close()
    await gw.until_phase("cold")
    assert gw.engine.stopped_with_leases_open == []


async def test_t_cq_11_a_request_during_the_stop_gets_the_next_generation(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a", idle_timeout=0.2), wakes={"a": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", S + "/first")).status == 200
    gw.engine.hold("stop")
    await gw.until_phase("stopping")
    await client.send(request("GET", S + "/second"))
    await gw.until_waiting(1)
    assert upstream.targets == [b"/first"]
    gw.engine.let_go("stop")
    assert (await client.response()).json()["target"] == "/second"
    assert [key.generation for key in gw.engine.starts] == [1, 2]
    assert gw.engine.machine.most_live_at_once[("a", "a")] == 1


async def test_t_cq_12_until_the_first_success_one_at_a_time(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    clients = [await connect(gw) for _ in range(10)]
    for number, client in enumerate(clients):
        await client.send(request("GET", f"{S}/slow?{number}"))
        await gw.until_waiting(number + 1)
    gw.probe.ready = True
    await upstream.saw(1)
    assert upstream.targets == [b"/slow?0"]
    upstream.release()
    for client in clients:
        assert bytes((await client.response()).body) == b"released"


async def test_t_cq_12_an_answer_that_never_comes_opens_the_gate_after_2_s(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    clients = [await connect(gw) for _ in range(3)]
    for number, client in enumerate(clients):
        await client.send(request("GET", f"{S}/slow?{number}"))
        await gw.until_waiting(number + 1)
    gw.probe.ready = True
    await upstream.saw(3)
    upstream.release()
    for client in clients:
        assert (await client.response()).status == 200


async def test_t_cq_12_a_500_does_not_open_the_gate(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    most = now = 0

    async def broken(connection: Connection) -> None:
        nonlocal most, now
        while (one := await connection.next_or_end()) is not None and await connection.whole(one):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.02)
            now -= 1
            await connection.send(answer(b"no", status="500 Broken"))
        connection.close()

    upstream = await raw([broken])
    gw = await gateway(cold("a"), wakes={"a": upstream}, ready=False)
    clients = [await connect(gw) for _ in range(5)]
    for number, client in enumerate(clients):
        await client.send(request("GET", f"{S}/{number}"))
        await gw.until_waiting(number + 1)
    gw.probe.ready = True
    answers: list[Response] = [await client.response() for client in clients]
    assert [one.status for one in answers] == [500] * 5
    assert most == 1
    assert upstream.targets == [b"/%d" % n for n in range(5)]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH", "DELETE", "PROPFIND"])
async def test_t_cq_14_any_method_wakes_a_service(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, method: str
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    assert (await client.ask(method, S + "/x")).status == 200
    assert [one.method for one in upstream.requests] == [method.encode()]
    assert len(gw.engine.starts) == 1
    await still_serves(client, upstream)


async def test_t_to_11_a_request_timeout_shorter_than_the_start(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """503 with Retry-After; the start goes on, and the next request is served by it."""
    gw = await _asleep(gateway, upstream, request_timeout=0.3)
    client = await connect(gw)
    response = await client.ask("GET", S + "/x")
    response.problem("queue_timeout", 503)
    assert int(response.get("retry-after") or b"0") >= 1
    assert (await gw.status()).phase == "starting"
    gw.probe.ready = True
    await gw.until_phase("hot")
    await still_serves(client, upstream)
    assert len(gw.engine.starts) == 1


def took(gw: Gateway, seconds: float) -> None:
    """Earlier starts of `a` took this long."""
    clock = StageClock(0.0)
    clock.enter("boot", "", 0.0)
    clock.finish(seconds)
    gw.hestia.gateway.history.add(ServiceId("a"), InstanceId("a"), clock)


async def test_t_to_11_the_estimate_comes_from_earlier_starts(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream, request_timeout=0.3)
    took(gw, 5000.0)
    response = await (await connect(gw)).ask("GET", S + "/x")
    members = response.problem("queue_timeout", 503)
    left = members["retry_after_ms"] / 1000
    assert 4000 < left < 5000
    assert abs(int(response.get("retry-after") or b"0") - left) <= 1
    assert "By earlier starts about" in members["detail"]


async def test_t_cq_02_a_full_queue_says_when_the_start_will_be_over(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream, queue_size=1)
    took(gw, 5000.0)
    waiting, shed = await connect(gw), await connect(gw)
    await waiting.send(request("GET", S + "/1"))
    await gw.until_waiting(1)
    members = (await shed.ask("GET", S + "/2")).problem("queue_full", 503)
    assert 4000 < members["retry_after_ms"] / 1000 <= 5000
    gw.probe.ready = True
    assert (await waiting.response()).status == 200


async def test_t_to_10_waiting_in_the_queue_does_not_count_as_upstream_time(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream, response_timeout=1.0)
    client = await connect(gw)
    await client.send(request("GET", S + "/x"))
    await gw.until_waiting(1)
    await asyncio.sleep(2.5)
    gw.probe.ready = True
    assert (await client.response()).status == 200


async def test_cq_12_nothing_is_written_to_a_waiting_client(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    client = await connect(gw)
    await client.send(request("GET", S + "/x", ("Accept", "application/json")))
    await gw.until_waiting(1)
    await gw.probe.until(lambda: gw.probe.asked >= 5, "five probes")
    assert client.count == 0
    gw.probe.ready = True
    response = await client.response()
    assert (response.status, response.interim) == (200, [])


async def test_requests_for_a_hot_service_do_not_wait_behind_a_cold_one(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    async with HttpUpstream("hot") as hot:
        gw = await gateway(cold("a"), wakes={"a": upstream}, ready=True, b=hot)
        gw.engine.hold("start.call")
        waiting = await connect(gw)
        await waiting.send(request("GET", S + "/x"))
        await gw.until_waiting(1)
        client = await connect(gw)
        for _ in range(5):
            assert (await client.ask("GET", "/services/b/y")).get("x-upstream") == b"hot"
        gw.engine.let_go("start.call")
        assert (await waiting.response()).status == 200
        await client.close()
        await waiting.close()
        await gw.aclose()


async def test_a_pipelined_request_behind_a_waiting_one_keeps_its_place(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await _asleep(gateway, upstream)
    client = await connect(gw)
    await client.send(
        request("GET", S + "/1") + request("POST", S + "/2", body=b"x") + request("GET", S + "/3")
    )
    await gw.until_waiting(1)
    gw.probe.ready = True
    targets = [(await client.response()).json()["target"] for _ in range(3)]
    assert targets == ["/1", "/2", "/3"]
