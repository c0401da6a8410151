"""Connections to upstreams (proxy-semantics CP): reused when certain, destroyed when in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hestia.runtime.status import ServiceStatus
from tests.fakes import upstream as step
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import LAST_CHUNK, answer, chunk, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, service

S = "/services/a"


async def test_t_cp_01_a_hundred_requests_use_one_connection(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    for _ in range(4):  # four clients after each other share it
        client = await connect(gw)
        for _ in range(25):
            assert (await client.ask("GET", S + "/x")).status == 200
        await client.close()
    assert len(upstream.connections) == 1
    assert len(upstream.requests) == 100


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_t_cp_02_and_03_an_idle_connection_that_closed_is_not_used(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, method: str, end: str
) -> None:
    ended = step.close() if end == "close" else step.reset()
    upstream = await raw(
        [step.get_request(), step.send(answer(b"first")), step.pause(0.02), ended],
        [step.repeat(answer(b"second"))],
    )
    client = await connect(await gateway(a=upstream))
    assert bytes((await client.ask("GET", S + "/1")).body) == b"first"
    await upstream.until(lambda: upstream.connections[0].lost, "the upstream to have closed")
    assert bytes((await client.ask(method, S + "/2", body=b"x")).body) == b"second"
    assert upstream.targets == [b"/1", b"/2"]


async def test_t_cp_02_a_get_that_meets_the_close_is_repeated_once(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """The connection dies under the request: it was reused, so the GET goes on a fresh one."""
    upstream = await raw(
        [step.get_request(), step.send(answer(b"first")), step.get_head(), step.close()],
        [step.repeat(answer(b"again"))],
    )
    client = await connect(await gateway(a=upstream))
    assert bytes((await client.ask("GET", S + "/1")).body) == b"first"
    assert bytes((await client.ask("GET", S + "/2")).body) == b"again"
    assert upstream.targets == [b"/1", b"/2", b"/2"]


async def test_t_cp_04_a_post_that_was_read_and_not_answered_is_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [step.get_request(), step.send(answer(b"first")), step.get_request(), step.close()],
        [step.repeat(answer(b"never"))],
    )
    client = await connect(await gateway(a=upstream))
    assert bytes((await client.ask("GET", S + "/1")).body) == b"first"
    response = await client.ask("POST", S + "/2", body=b"once")
    response.problem("upstream_disconnected", 502)
    assert upstream.targets == [b"/1", b"/2"]


@pytest.mark.parametrize(
    "junk", [b"x", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", answer(b"stolen")]
)
async def test_t_cp_05_bytes_on_an_idle_connection_destroy_it(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, junk: bytes
) -> None:
    poison = asyncio.Event()
    upstream = await raw(
        [
            step.get_request(),
            step.send(answer(b"first")),
            step.wait_for(poison),
            step.send(junk),
            step.until_gone(),
            step.close(),
        ],
        [step.repeat(answer(b"second"))],
    )
    client = await connect(await gateway(a=upstream))
    assert bytes((await client.ask("GET", S + "/1")).body) == b"first"
    poison.set()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the connection to be destroyed")
    assert bytes((await client.ask("GET", S + "/2")).body) == b"second"
    assert b"stolen" not in client.received


@pytest.mark.parametrize(
    "message",
    [
        answer(b"ok", ("Connection", "close")),
        answer(b"ok").replace(b"1.1", b"1.0", 1),
        answer(b"ok", ("Connection", "x, Close")),
    ],
)
async def test_t_cp_06_connections_that_say_close_are_not_pooled(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, message: bytes
) -> None:
    upstream = await raw(step.once(message))
    client = await connect(await gateway(a=upstream))
    for _ in range(3):
        assert bytes((await client.ask("GET", S + "/x")).body) == b"ok"
    assert len(upstream.connections) == 3


async def test_a_clients_connection_close_does_not_close_the_upstream(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    for _ in range(3):
        client = await connect(gw)
        response = await client.ask("GET", S + "/x", ("Connection", "close"))
        assert (response.get("connection") or b"").lower() == b"close"
        await client.gone()
    assert len(upstream.connections) == 1


async def test_an_http_1_0_client_is_closed_and_one_that_asks_is_kept(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(head(f"GET {S}/x HTTP/1.0", [("Host", "localhost")]))
    assert (await client.response()).status == 200
    await client.gone()


@pytest.mark.parametrize("limit", [1, 2])
async def test_t_cp_08_max_in_flight_queues_in_order_and_a_leaver_changes_nothing(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, limit: int
) -> None:
    gw = await gateway(service("a", upstream.url, max_in_flight=limit))
    assert (await (await connect(gw)).ask("GET", f"{S}/slow0")).status == 200  # opens the warm-up gate
    upstream.requests.clear()
    clients = [await connect(gw) for _ in range(6)]
    for number, client in enumerate(clients):
        await client.send(request("GET", f"{S}/slow?{number}"))
        await gw.until(_counted(number + 1), "the request to be counted")
    seen = await gw.status()
    assert (seen.in_flight, seen.queue) == (limit, 6 - limit)
    await clients[3].close()
    await gw.until_waiting(5 - limit)
    upstream.release()
    for number in (0, 1, 2, 4, 5):
        assert bytes((await clients[number].response()).body) == b"released"
    wanted = [b"/slow?%d" % n for n in (0, 1, 2, 4, 5)]
    assert (upstream.targets if limit == 1 else sorted(upstream.targets)) == wanted
    assert len(upstream.connections) <= limit


def _counted(number: int) -> Callable[[ServiceStatus], bool]:
    return lambda seen: seen.in_flight + seen.queue == number


async def test_t_cp_08_without_it_each_request_gets_a_connection(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    clients = [await connect(gw) for _ in range(5)]
    for number, client in enumerate(clients):
        await client.send(request("GET", f"{S}/slow?{number}"))
    await upstream.saw(5)
    upstream.release()
    for client in clients:
        assert bytes((await client.response()).body) == b"released"
    assert len(upstream.connections) == 5


async def test_t_cp_11_localhost_with_only_one_family_listening(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(service("a", f"http://localhost:{upstream.port}"))
    client = await connect(gw)
    assert (await client.ask("GET", S + "/x")).status == 200
    assert upstream.requests[0].get("host") == f"localhost:{upstream.port}".encode()


async def test_t_cp_11_an_ipv6_upstream_is_reached(gateway: MakeGateway, connect: MakeClient) -> None:
    async with RawUpstream([step.repeat(answer(b"six"))]) as four:
        six = RawUpstream([step.repeat(answer(b"six"))])
        try:
            await six.start(host="::1")
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        try:
            gw = await gateway(service("a", f"http://[::1]:{six.port}"))
            client = await connect(gw)
            assert bytes((await client.ask("GET", S + "/x")).body) == b"six"
            assert six.requests[0].get("host") == f"[::1]:{six.port}".encode()
            assert four.connections == []
            await client.close()
            await gw.aclose()
        finally:
            await six.aclose()


async def test_t_cp_13_an_unfinished_upload_with_a_complete_answer_is_not_pooled(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [step.get_head(), step.send(answer(b"early")), step.until_gone(), step.close()],
        [step.repeat(answer(b"next"))],
    )
    gw = await gateway(a=upstream)
    client = await connect(gw)
    message = head(f"POST {S}/x HTTP/1.1", [("Host", "localhost"), ("Content-Length", "1000")]) + b"some"
    await client.send(message)
    assert bytes((await client.response("POST")).body) == b"early"
    other = await connect(gw)
    assert bytes((await other.ask("GET", S + "/y")).body) == b"next"
    assert len(upstream.connections) == 2


async def test_t_cp_14_head_with_content_length_then_get(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [
            step.get_request(),
            step.send(head("HTTP/1.1 200 OK", [("Content-Length", "5")])),
            step.get_request(),
            step.send(answer(b"hello")),
            step.until_gone(),
            step.close(),
        ]
    )
    client = await connect(await gateway(a=upstream))
    asked = await client.ask("HEAD", S + "/x")
    assert (asked.status, asked.get("content-length"), bytes(asked.body)) == (200, b"5", b"")
    assert bytes((await client.ask("GET", S + "/x")).body) == b"hello"
    assert len(upstream.connections) == 1


async def test_t_cp_15_the_most_recently_used_connection_comes_first(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    first, second = await connect(gw), await connect(gw)
    await first.send(request("GET", S + "/slow?1"))
    await upstream.saw(1)
    await second.ask("GET", S + "/x")
    upstream.release()
    await first.response()
    await first.ask("GET", S + "/y")
    assert len(upstream.connections) == 2
    assert [one.target for one in upstream.connections[0].requests] == [b"/slow?1", b"/y"]


@pytest.mark.parametrize("scheme", ["NTLM", "Negotiate abc=="])
async def test_t_cp_16_connection_bound_authentication_is_not_shared(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, scheme: str
) -> None:
    upstream = await raw(
        [step.repeat(answer(b"no", ("WWW-Authenticate", scheme), status="401 Unauthorized"))]
    )
    gw = await gateway(a=upstream)
    for _ in range(2):
        client = await connect(gw)
        assert (await client.ask("GET", S + "/x")).status == 401
        await client.close()
    assert len(upstream.connections) == 2


async def test_a_chunked_answer_leaves_a_usable_connection(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    message = head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]) + chunk(b"abc") + LAST_CHUNK
    upstream = await raw([step.repeat(message)])
    client = await connect(await gateway(a=upstream))
    for _ in range(5):
        assert bytes((await client.ask("GET", S + "/x")).body) == b"abc"
    assert len(upstream.connections) == 1
