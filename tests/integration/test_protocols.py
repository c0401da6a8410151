"""Other protocols that the parser takes for HTTP (proxy-semantics RT-01): refused wherever they stand."""

from __future__ import annotations

import pytest

from tests.fakes import upstream as step
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import LAST_CHUNK, answer, chunk, head, request

from .assertions import refused
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway

S = "/services/a"
HTTP_LINE = f"GET {S}/other HTTP/1.1".encode()
CHUNKED = head(f"POST {S}/x HTTP/1.1", [("Host", "localhost"), ("Transfer-Encoding", "chunked")])


def other(protocol: str = "RTSP/1.0", *, blanks: int = 1) -> bytes:
    return head(f"GET{' ' * blanks}{S}/other {protocol}", [("Host", "localhost"), ("A", "b")])


BEFORE = {
    "nothing": b"",
    "a line end": b"\r\n",
    "many line ends": b"\r\n" * 20_000,
    "a request": request("GET", S + "/x"),
    "a field that reads like it": request("GET", S + "/x", ("A", HTTP_LINE.decode())),
    "a body that reads like it": request("POST", S + "/x", body=HTTP_LINE),
    "chunks that read like it": CHUNKED + chunk(HTTP_LINE) + LAST_CHUNK,
    "a foreign offer": request("GET", S + "/x", ("Connection", "Upgrade"), ("Upgrade", "h2c")),
}


@pytest.mark.parametrize("split", ["whole", "before it", "in its line", "in its fields", "in its end"])
@pytest.mark.parametrize("before", BEFORE)
async def test_t_rt_11_another_protocol_is_refused_wherever_it_begins(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, before: str, split: str
) -> None:
    client = await connect(gw)
    first, message = BEFORE[before], other()
    line = message.index(b"\r\n")
    cuts = {
        "whole": [],
        "before it": [max(1, len(first) - 7), len(first)],
        "in its line": [len(first) + 3, len(first) + line - 6],
        "in its fields": [len(first) + line + 20],
        "in its end": [len(first) + len(message) - 2],
    }
    await client.send(first + message, at=sorted({*cuts[split], len(first + message) - 1}), gap=0.005)
    if first.strip():
        assert (await client.response("GET")).status == 200
    await refused(client, b"", (505, 431))  # 431 behind more line ends than a head in pieces may have
    assert all(b"other" not in one.target for one in upstream.requests)


@pytest.mark.parametrize("blanks", [2, 5_000, 40_000])
@pytest.mark.parametrize("protocol", ["RTSP/1.0", "ICE/1.1", "HTTP/1.1"])
async def test_t_rt_11_blanks_in_the_line_hide_nothing(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, protocol: str, blanks: int
) -> None:
    client = await connect(gw)
    await client.send(other(protocol, blanks=blanks))
    response = await client.response()
    if protocol == "HTTP/1.1" and blanks < 40_000:
        assert response.status == 200
    else:
        assert response.status in (400, 431, 505)
        assert upstream.requests == []


async def test_t_rt_11_behind_a_head_that_came_in_pieces(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    first = request("GET", S + "/x", ("A", "b" * 10_000))
    await client.send(first + other(), at=[len(first) - 3], gap=0.02)
    assert (await client.response()).status == 200
    await refused(client, b"", 505)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("version", ["HTTP/1.2", "HTTP/5.6", "HTTP/2.0", "HTTP/0.9", "HTTP/1", "HTTP/11.1"])
async def test_t_rt_11_versions_that_are_not_spoken_are_505(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, version: str
) -> None:
    client = await connect(gw)
    await refused(client, other(version), 505, "http_version_not_supported")
    assert upstream.requests == []


async def test_a_request_may_speak_of_other_protocols(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    for _ in range(2):
        talk = request("POST", S + "/x", ("A", "GET /y RTSP/1.0"), body=b"PLAY rtsp://a/b RTSP/1.0\r\n\r\n")
        await client.send(talk * 2, at=[len(talk) - 5, len(talk) + 3], gap=0.005)
        for _ in range(2):
            assert (await client.response("POST")).status == 200
    assert len(upstream.requests) == 4


EARLY = head("HTTP/1.1 103 Early Hints", [("Link", "</a>")])


@pytest.mark.parametrize("protocol", ["RTSP/1.0", "ICE/1.0", "HTTP/1.2"])
@pytest.mark.parametrize(
    "before", [[b"\r\n"], [b"\r\n", b"\r\n\r\n"], [EARLY[:-1], EARLY[-1:]], [EARLY], []], ids=repr
)
@pytest.mark.parametrize("together", [False, True])
async def test_t_hr_13_other_protocols_are_no_answer_wherever_they_begin(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    before: list[bytes],
    protocol: str,
    together: bool,
) -> None:
    message = head(f"{protocol} 200 OK", [("Content-Length", "2")]) + b"hi"
    pieces = [b"".join([*before, message])] if together else [*before, message]
    if together and before and before[-1] == EARLY[-1:]:
        pieces = [before[0], before[1] + message]
    upstream = await raw([step.get_request(), step.send(*pieces), step.until_gone()])
    client = await connect(await gateway(a=upstream))
    response = await client.ask("GET", S + "/x")
    response.problem("upstream_invalid_response", 502)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("before", [[b"\r\n"], [EARLY, b"\r\n"], [EARLY, EARLY[:5], EARLY[5:]]], ids=repr)
async def test_line_ends_and_interim_answers_before_an_answer_are_passed_over(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, before: list[bytes]
) -> None:
    upstream = await raw([step.get_request(), step.send(*before, answer(b"fine")), step.until_gone()])
    client = await connect(await gateway(a=upstream))
    response = await client.ask("GET", S + "/x")
    assert (response.status, bytes(response.body)) == (200, b"fine")
    assert [one.status for one in response.interim] == [103] * b"".join(before).count(b" 103 ")


async def test_what_is_behind_a_head_answer_is_seen_where_its_end_is_in_pieces(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """NB-02: the connection is not used again."""
    whole = head("HTTP/1.1 200 OK", [("Content-Length", "5")])
    junk = head("HTTP/1.1 200 OK", [("X-Evil", "1")])
    upstream = await raw(
        [step.get_request(), step.send(whole[:-1], whole[-1:] + junk), step.until_gone()],
        [step.repeat(answer(b"own"))],
    )
    client = await connect(await gateway(a=upstream))
    assert (await client.ask("HEAD", S + "/x")).status == 200
    response = await client.ask("GET", S + "/y")
    assert bytes(response.body) == b"own"
    assert len(upstream.connections) == 2


async def test_a_service_that_speaks_tls_where_http_is_configured_is_told_so(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    alert = b"\x15\x03\x01\x00\x02\x02\x46"
    upstream = await raw([step.get_request(), step.send(alert), step.close()])
    client = await connect(await gateway(a=upstream))
    members = (await client.ask("GET", S + "/x")).problem("upstream_invalid_response", 502)
    assert "speaks TLS" in members["detail"]
    assert "write https:// in base_url" in members["detail"]
