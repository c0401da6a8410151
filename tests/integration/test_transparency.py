"""What passes untouched, and what the gateway does not do on the way (proxy-semantics, several groups)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat

import pytest

from tests.fakes import upstream as step
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import Connection
from tests.fakes.websocket import handshake
from tests.fakes.wire import LAST_CHUNK, answer, chunk, head, request

from .assertions import still_serves
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway

S = "/services/a"
MIB = 1024 * 1024


@pytest.mark.parametrize("cut", [False, True])
async def test_t_uv_02_a_trailer_in_a_packet_of_its_own_is_no_field(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, *, cut: bool
) -> None:
    """SE-06."""
    fields = [("Host", "localhost"), ("Transfer-Encoding", "chunked")]
    data = head(f"POST {S}/x HTTP/1.1", fields) + chunk(b"body") + b"0\r\n"
    trailer = b"X-Forwarded-For: 9.9.9.9\r\nAuthorization: evil\r\n\r\n"
    client = await connect(gw)
    await client.send(data + trailer, at=[len(data)] if cut else [])
    assert (await client.response("POST")).status == 200
    (seen,) = upstream.requests
    assert seen.all("x-forwarded-for") == [b"127.0.0.1"]
    assert not seen.has("authorization")
    assert seen.trailers == []
    await still_serves(client, upstream)


async def test_t_uv_04_two_requests_behind_an_h2c_offer_in_one_packet(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    offer = request("GET", S + "/1", ("Connection", "Upgrade"), ("Upgrade", "h2c"))
    await client.send(offer + request("GET", S + "/2"))
    assert [(await client.response()).json()["target"] for _ in range(2)] == ["/1", "/2"]
    assert not any(one.has("upgrade") for one in upstream.requests)


async def test_t_uv_10_who_says_the_end_gets_no_answer(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """SL-06: it cannot be told from somebody who left, and the model must stop."""
    upstream = await raw([step.get_request(), step.until_gone(), step.close()])
    client = await connect(await gateway(a=upstream))
    await client.send(request("GET", S + "/x"))
    await upstream.saw(1)
    client.half_close()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the abort")
    await client.no_answer()


async def test_t_uv_17_the_private_socket_is_closed_to_other_users(gw: Gateway) -> None:
    path = os.path.join(gw.hestia.settings.gateway.state_dir, "control", "socket")
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


async def test_hq_14_preflights_pass(gw: Gateway, upstream: HttpUpstream, connect: MakeClient) -> None:
    fields = [("Origin", "http://app.example"), ("Access-Control-Request-Method", "POST")]
    response = await (await connect(gw)).ask("OPTIONS", S + "/x", *fields)
    assert response.json()["method"] == "OPTIONS"
    assert not response.has("access-control-allow-origin")
    assert upstream.requests[0].get("access-control-request-method") == b"POST"


def _sockets_of(port: int) -> list[tuple[bool, bool]]:
    """(no delay, keep-alive) of this process's accepted and dialled sockets with that port at either end."""
    found = []
    for text in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.stat(int(text)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(text))) as copy:
                if port in (copy.getsockname()[1], copy.getpeername()[1]):
                    nodelay = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    alive = copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                    found.append((bool(nodelay), bool(alive)))
        except (OSError, IndexError):
            continue
    return found


async def test_sb_03_nothing_waits_to_be_sent_together(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Both ends of both legs are in this process; those of the fakes have it set as well."""
    client = await connect(gw)
    assert (await client.ask("GET", S + "/x")).status == 200
    for port in (gw.port, upstream.port):
        found = _sockets_of(port)
        assert len(found) == 2
        assert all(nodelay for nodelay, _ in found)


async def test_ws_15_sockets_that_are_silent_are_looked_after(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """The fakes do not set it, so one end of each leg has it."""
    client = await connect(gw)
    await client.send(handshake(S + "/ws"))
    assert (await client.head(upgrade=True)).status == 101
    for port in (gw.port, upstream.port):
        assert sum(alive for _, alive in _sockets_of(port)) == 1


async def test_sb_07_an_upload_passes_before_it_ends(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Nothing waits for the whole body to route, count or log it."""
    client = await connect(gw)
    await client.send(request("POST", S + "/upload", ("Content-Length", str(1 << 40))) + bytes(3 * MIB))
    await upstream.until(
        lambda: bool(upstream.requests) and len(upstream.requests[0].body) == 3 * MIB, "3 MiB"
    )
    assert not upstream.requests[0].complete
    client.reset()


async def test_se_12_nothing_is_cached(
    gw: Gateway, raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    fields = [("Cache-Control", "public, max-age=3600"), ("ETag", '"1"')]
    upstream = await raw([step.repeat(answer(b"one", *fields), answer(b"two", *fields))])
    client = await connect(await gateway(a=upstream))
    assert [bytes((await client.ask("GET", S + "/x")).body) for _ in range(2)] == [b"one", b"two"]


async def test_sl_03_a_client_that_does_not_read_slows_nobody(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """SL-02: it holds one connection to the service, and what it holds is bounded."""
    slow = await connect(gw, receive_buffer=4096)
    slow.transport.pause_reading()
    await slow.send(request("GET", f"{S}/bytes?n={64 * MIB}"))
    await upstream.until(lambda: bool(upstream.requests), "the slow one's request")
    other = await connect(gw)
    for _ in range(20):
        await still_serves(other, upstream)
    assert upstream.open == 2
    slow.reset()


async def test_sl_07_the_end_of_a_body_is_no_end_of_the_connection(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """Many servers take a FIN behind the request for an abort."""
    heard: list[str] = []

    async def listen(connection: Connection) -> None:
        await connection.request()
        for _ in range(20):
            await asyncio.sleep(0)
        heard.append(connection.ended)

    upstream = await raw([listen, step.send(answer(b"ok")), step.until_gone(), step.close()])
    client = await connect(await gateway(a=upstream))
    fields = [("Host", "localhost"), ("Connection", "close"), ("Transfer-Encoding", "chunked")]
    await client.send(head(f"POST {S}/x HTTP/1.1", fields) + chunk(b"body") + LAST_CHUNK)
    assert (await client.response("POST")).status == 200
    assert heard == [""]


async def test_pr_06_the_prefix_is_told(gw: Gateway, upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(gw)
    await client.ask("GET", S + "/x", ("X-Forwarded-Prefix", "/evil"))
    await client.ask("GET", "/x", host="a.localhost")
    assert [one.all("x-forwarded-prefix") for one in upstream.requests] == [[b"/services/a"], []]


async def test_t_ho_08_a_service_that_compares_origin_and_host_agrees_on_its_host_route(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    host = f"a.localhost:{gw.port}"
    await (await connect(gw)).ask("POST", "/api", ("Origin", f"http://{host}"), host=host, body=b"{}")
    (seen,) = upstream.requests
    assert seen.get("origin") == b"http://" + (seen.get("host") or b"")


async def test_t_se_06_secrets_are_in_no_log(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """SE-09: fields never; the query of a key-like name neither."""
    caplog.set_level(logging.DEBUG)
    fields = [("Authorization", "Bearer s3cret"), ("Cookie", "sid=s3cret"), ("X-Api-Key", "s3cret")]
    client = await connect(gw)
    assert (await client.ask("GET", f"{S}/x?api_key=s3cret&token=s3cret&q=plain", *fields)).status == 200
    assert (await client.ask("GET", "/services/nope/?token=s3cret", *fields)).status == 404
    await client.send(head("GET / HTTP/9.9", fields))
    assert (await client.response()).status in (400, 505)
    await gw.aclose()
    assert b"nope" in gw.log
    assert b"s3cret" not in gw.log
    assert "s3cret" not in caplog.text


async def test_cp_11_a_connection_to_a_service_carries_one_request_at_a_time(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    go = asyncio.Event()
    early: list[int] = []

    async def count(connection: Connection) -> None:
        early.append(len(connection.requests))

    hold = [step.get_request(), step.wait_for(go), count, step.send(answer(b"1")), step.repeat(answer(b"2"))]
    upstream = await raw(hold)
    gw = await gateway(a=upstream)
    client, other = await connect(gw), await connect(gw)
    await client.send(request("GET", S + "/1") + request("GET", S + "/2"))
    await upstream.saw(1)
    await other.send(request("GET", S + "/3"))
    await upstream.saw(2)
    go.set()
    assert bytes((await client.response()).body) == b"1"
    assert (await client.response()).status == 200
    assert (await other.response()).status == 200
    assert set(early) == {1}


async def test_t_ca_11_leaving_twice_over_is_harmless(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """CA-09: FIN, then RST, while the service's side breaks as well."""
    go = asyncio.Event()
    upstream = await raw([step.get_head(), step.wait_for(go), step.reset()])
    gw = await gateway(a=upstream)
    for _ in range(10):
        go.clear()
        client = await connect(gw)
        seen = len(upstream.requests)
        await client.send(request("POST", S + "/x", ("Content-Length", "9")) + b"half")
        await upstream.until(lambda n=seen: len(upstream.requests) > n, "the head")  # type: ignore[misc]
        client.half_close()
        client.reset()
        go.set()
        await gw.at_rest()
    assert not [one for one in caplog.records if one.levelno > logging.INFO], caplog.text
