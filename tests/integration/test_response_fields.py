"""Response fields (proxy-semantics HR): relayed as they are, or 502 before a byte was written."""

from __future__ import annotations

import pytest

from tests.fakes import upstream as step
from tests.fakes.http_upstream import GZIPPED, HttpUpstream
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import Response, answer, chunk, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import MakeGateway

S = "/services/a"


async def _relayed(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, *pieces: bytes, sent: bytes = b""
) -> tuple[Response, RawUpstream]:
    """What a client gets when the upstream answers these bytes; then that the gateway goes on serving."""
    following = step.repeat(answer(b"next"))
    upstream = await raw([step.get_request(), step.send(*pieces), following], [following])
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(sent or request("GET", S + "/x"))
    response = await client.response()
    if not client.ended:
        assert bytes((await client.ask("POST", S + "/next", body=b"")).body) == b"next"
    return response, upstream


async def test_t_hr_01_repeated_fields_stay_separate_and_in_order(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    fields = [
        ("Set-Cookie", "a=1; HttpOnly"),
        ("WWW-Authenticate", 'Basic realm="x"'),
        ("Set-Cookie", "b=2, c"),
        ("WWW-Authenticate", "Bearer"),
        ("Set-Cookie", "a=3"),
        ("X-A", "1"),
        ("x-a", "2"),
    ]
    response, _ = await _relayed(raw, gateway, connect, answer(b"ok", *fields))
    names = {b"set-cookie", b"www-authenticate", b"x-a"}
    kept = [
        (name.lower().decode(), value.decode()) for name, value in response.fields if name.lower() in names
    ]
    assert kept == [(name.lower(), value) for name, value in fields]


async def test_t_hr_02_date_and_server_are_the_upstreams(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    date = "Tue, 15 Nov 1994 08:12:31 GMT"
    response, _ = await _relayed(raw, gateway, connect, answer(b"ok", ("Date", date), ("Server", "mine/1")))
    assert response.all("date") == [date.encode()]
    assert response.all("server") == [b"mine/1"]


async def test_t_hr_02_without_them_a_date_is_added_and_no_server(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    response, _ = await _relayed(raw, gateway, connect, answer(b"ok"))
    assert (response.get("date") or b"").endswith(b"GMT")
    assert not response.has("server")
    assert not response.has("proxy-status")


async def test_t_hr_03_nominated_response_fields_are_removed(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    response, _ = await _relayed(
        raw,
        gateway,
        connect,
        answer(b"ok", ("Connection", "X-Secret, keep-alive"), ("X-Secret", "s"), ("X-B", "b")),
    )
    assert not response.has("x-secret")
    assert response.get("x-b") == b"b"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Keep-Alive", "timeout=5"),
        ("Upgrade", "h2c"),
        ("Trailer", "X-T"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Connection", "keep-alive"),
        ("Alt-Svc", 'h3=":443"'),
    ],
)
async def test_t_hr_04_hop_by_hop_response_fields_stop_here(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, name: str, value: str
) -> None:
    response, _ = await _relayed(raw, gateway, connect, answer(b"ok", (name, value)))
    assert response.status == 200
    assert value.encode() not in response.all(name)


@pytest.mark.parametrize("status", ["099", "600", "999", "1000", "20", "2x0", "000", "-20", "", "0200"])
async def test_t_hr_05_an_impossible_status_is_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, status: str
) -> None:
    response, upstream = await _relayed(raw, gateway, connect, answer(b"ok", status=f"{status} X"))
    members = response.problem(response.json()["code"], 502)
    assert members["code"] in ("upstream_invalid_status", "upstream_invalid_response")
    assert [one.method for one in upstream.connections[0].requests] == [b"GET"]
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the doubtful connection to be closed")


@pytest.mark.parametrize(
    "line",
    [
        b"X: a\x00b",
        b"X: a\x01b",
        b"X: a\rb",
        b"X: a\r\n folded",
        b"X : a",
        b"nocolon",
        b": a",
        b"X\xe9: a",
        b"X: a\nY: b",
    ],
)
async def test_t_hr_06_malformed_response_fields_are_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, line: bytes
) -> None:
    message = b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 2\r\n\r\nok"
    response, upstream = await _relayed(raw, gateway, connect, message)
    response.problem("upstream_invalid_response", 502)
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the doubtful connection to be closed")


async def test_t_hr_07_a_head_of_70_kb_is_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    fields = [(f"X-{n}", "v" * 1000) for n in range(70)]
    response, _ = await _relayed(raw, gateway, connect, answer(b"ok", *fields))
    response.problem("upstream_invalid_response", 502)


async def test_t_hr_07_200_fields_pass_and_201_are_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    fine = head("HTTP/1.1 200 OK", [(f"X-{n}", "v") for n in range(199)] + [("Content-Length", "0")])
    response, _ = await _relayed(raw, gateway, connect, fine)
    assert response.status == 200
    assert response.has("x-198")
    one_more = head("HTTP/1.1 200 OK", [(f"X-{n}", "v") for n in range(200)] + [("Content-Length", "0")])
    response, _ = await _relayed(raw, gateway, connect, one_more)
    response.problem("upstream_invalid_response", 502)


async def test_t_hr_08_obs_text_keeps_its_bytes(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    response, _ = await _relayed(
        raw, gateway, connect, answer(b"ok", ("X-Raw", b"\xe9\xff caf\xc3\xa9"), ("X-E", ""))
    )
    assert response.get("x-raw") == b"\xe9\xff caf\xc3\xa9"
    assert response.get("x-e") == b""


async def test_t_hr_09_a_compressed_body_is_not_touched(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(a=upstream)
    response = await (await connect(gw)).ask("GET", S + "/gzip", ("Accept-Encoding", "gzip"))
    assert bytes(response.body) == GZIPPED
    assert response.get("content-encoding") == b"gzip"
    assert response.get("etag") == b'"v1"'
    assert response.get("content-length") == str(len(GZIPPED)).encode()
    assert not response.has("transfer-encoding")


@pytest.mark.parametrize(
    "status", [200, 201, 206, 299, 300, 399, 400, 404, 418, 425, 451, 500, 503, 511, 599]
)
async def test_t_hr_10_every_final_status_passes(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, status: int
) -> None:
    gw = await gateway(a=upstream)
    client = await connect(gw)
    response = await client.ask("GET", S + f"/status?n={status}")
    assert (response.status, response.reason) == (status, b"Told")
    assert bytes(response.body) == b"status %d" % status
    assert not response.has("proxy-status")
    assert len(upstream.requests) == 1
    assert (await client.ask("GET", S + "/echo")).status == 200


async def test_t_hr_11_event_streams_ask_an_outer_nginx_not_to_buffer(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    kind = ("Content-Type", "text/event-stream; charset=utf-8")
    response, _ = await _relayed(raw, gateway, connect, answer(b"data: x\n\n", kind))
    assert response.all("x-accel-buffering") == [b"no"]
    response, _ = await _relayed(
        raw, gateway, connect, answer(b"data: x\n\n", kind, ("X-Accel-Buffering", "yes"))
    )
    assert response.all("x-accel-buffering") == [b"yes"]
    response, _ = await _relayed(
        raw, gateway, connect, answer(b"data: x\n\n", ("Content-Type", "text/plain"))
    )
    assert not response.has("x-accel-buffering")


async def test_t_hr_12_trailers_are_no_fields_and_do_not_decide_on_reuse(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    message = head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")]) + chunk(
        b"abc"
    )
    message += b"0\r\nX-Sum: 1\r\nSet-Cookie: t=1\r\nConnection: close\r\n\r\n"
    upstream = await raw([step.get_request(), step.send(message), step.repeat(answer(b"again"))])
    client = await connect(await gateway(a=upstream))
    response = await client.ask("GET", S + "/x")
    assert response.trailers == []
    assert bytes(response.body) == b"abc"
    for name in ("set-cookie", "x-sum", "trailer"):
        assert not response.has(name), name
    assert bytes((await client.ask("GET", S + "/y")).body) == b"again"
    assert len(upstream.connections) == 1


async def test_t_hr_12_trailers_are_relayed_to_a_client_that_takes_them(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    message = head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")]) + chunk(
        b"abc"
    )
    message += b"0\r\nX-Sum: 1\r\nSet-Cookie: t=1\r\nAuthorization: x\r\nHost: h\r\n\r\n"
    upstream = await raw(step.once(message))
    client = await connect(await gateway(a=upstream))
    await client.send(request("GET", S + "/x", ("TE", "trailers"), ("Connection", "TE")))
    response = await client.response()
    assert [(name.lower(), value) for name, value in response.trailers] == [(b"x-sum", b"1")]


@pytest.mark.parametrize(
    "junk",
    [
        b"ICY 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"<html><body>hi</body></html>\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_t_hr_13_what_is_not_http_is_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, junk: bytes
) -> None:
    upstream = await raw([step.get_request(), step.send(junk), step.until_gone(), step.close()])
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
    response.problem("upstream_invalid_response", 502)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("reason", [b"", b"Perfectly Fine", "Schön — 好".encode(), b"caf\xe9", b"a  b"])
async def test_t_hr_14_the_reason_phrase_keeps_its_bytes(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, reason: bytes
) -> None:
    message = b"HTTP/1.1 200 " + reason + b"\r\nContent-Length: 2\r\n\r\nok"
    upstream = await raw(step.once(message[:15], message[15:18], message[18:]))
    client = await connect(await gateway(a=upstream))
    response = await client.ask("GET", S + "/x")
    assert bytes(response.body) == b"ok"
    assert bytes(client.received).startswith(b"HTTP/1.1 200 " + reason + b"\r\n")


async def test_t_hr_14_a_status_line_without_reason_or_blank_is_relayed(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    response, _ = await _relayed(raw, gateway, connect, b"HTTP/1.1 204\r\n\r\n")
    assert (response.status, response.reason) == (204, b"")


async def test_a_response_in_single_bytes_is_relayed_whole(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    message = answer(b"hello", ("X-A", "b"), ("Set-Cookie", "c=d"))
    pieces = [message[n : n + 1] for n in range(len(message))]
    response, _ = await _relayed(raw, gateway, connect, *pieces)
    assert (response.status, bytes(response.body), response.get("x-a")) == (200, b"hello", b"b")
