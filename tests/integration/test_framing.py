"""Bodies and framing (proxy-semantics BF), both directions; the refusals that prevent smuggling."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import upstream as step
from tests.fakes.http_upstream import HttpUpstream, pattern
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import LAST_CHUNK, answer, chunk, chunked, head, request

from .assertions import refused, still_serves, untouched
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway

S = "/services/a"
HOST = ("Host", "localhost")
CHUNKED = ("Transfer-Encoding", "chunked")
SMUGGLED = request("GET", S + "/smuggled")


def post(*fields: tuple[str, str | bytes], version: str = "1.1") -> bytes:
    """The head of a POST with exactly these framing fields."""
    return head(f"POST {S}/x HTTP/{version}", [HOST, *fields])


# -- requests that must be refused -------------------------------------------------------------

CL_AND_TE: list[list[tuple[str, str | bytes]]] = [
    [("Content-Length", "5"), CHUNKED],
    [CHUNKED, ("Content-Length", "5")],
    [("content-length", "5"), ("TRANSFER-ENCODING", "CHUNKED")],
    [("Content-Length", "0"), CHUNKED],
    [CHUNKED, ("Content-Length", "")],
    [("Content-Length", "5"), ("Transfer-Encoding", "identity")],
    [("Content-Length", "5"), CHUNKED, ("Content-Length", "5")],
]


@pytest.mark.parametrize("fields", CL_AND_TE)
async def test_t_bf_01_content_length_with_transfer_encoding_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, fields: list[tuple[str, str | bytes]]
) -> None:
    data = post(*fields) + LAST_CHUNK + SMUGGLED
    await refused(await connect(gw), data, (400, 501), method="POST")
    await untouched(upstream)


@pytest.mark.parametrize(
    "value",
    [
        "+1",
        "-1",
        "0x1",
        "1_0",
        "1 0",
        "",
        "99999999999999999999",
        "1, 1",
        "1,1",
        "1.0",
        "1e1",
        b"\xd9\xa1",
        "1\t1",
        "9223372036854775808",
    ],
)
async def test_t_bf_02_a_malformed_content_length_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, value: str | bytes
) -> None:
    data = post(("Content-Length", value)) + b"a" + SMUGGLED
    await refused(await connect(gw), data, 400, method="POST")
    await untouched(upstream)


@pytest.mark.parametrize("second", ["1", "2"])
async def test_t_bf_02_two_content_lengths_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, second: str
) -> None:
    data = post(("Content-Length", "1"), ("Content-Length", second)) + b"a" + SMUGGLED
    await refused(await connect(gw), data, 400, method="POST")
    await untouched(upstream)


@pytest.mark.parametrize(
    "value",
    [
        "gzip, chunked",
        "identity, chunked",
        "chunked, gzip",
        "xchunked",
        "chunked;x=1",
        "\x0bchunked",
        "chunked\x0c",
        b"chunked\x00",
        "chunked, chunked",
        "gzip",
        "identity",
        "",
        '"chunked"',
        "chunked,",
        ",chunked",
        "chunked x",
        "cow",
        "c hunked",
    ],
)
async def test_t_bf_03_other_transfer_codings_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, value: str | bytes
) -> None:
    data = post(("Transfer-Encoding", value)) + chunked([b"abc"]) + SMUGGLED
    await refused(await connect(gw), data, (400, 501), method="POST")
    await untouched(upstream)


async def test_t_bf_03_two_transfer_encodings_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    for second in ("chunked", "identity", "gzip"):
        data = post(CHUNKED, ("Transfer-Encoding", second)) + chunked([b"abc"]) + SMUGGLED
        await refused(await connect(gw), data, (400, 501), method="POST")
    await untouched(upstream)


async def test_t_bf_03_a_space_before_the_colon_hides_no_coding(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    data = post(("Transfer-Encoding ", "chunked"), ("Content-Length", "3"))
    await refused(await connect(gw), data + b"abc" + SMUGGLED, 400, method="POST")
    await untouched(upstream)


async def test_t_bf_04_transfer_encoding_on_http_1_0_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    data = post(CHUNKED, version="1.0") + chunked([b"abc"]) + SMUGGLED
    await refused(await connect(gw), data, 400, method="POST")
    await untouched(upstream)


@pytest.mark.parametrize(
    "size", [b"0x1", b"1 ", b" 1", b"-1", b"+1", b"1_0", b"1" * 17, b"", b"g", b"1\t", b"\xd9\xa1"]
)
async def test_t_bf_05_a_malformed_chunk_size_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, size: bytes
) -> None:
    data = post(CHUNKED) + size + b"\r\na\r\n" + LAST_CHUNK + SMUGGLED
    await refused(await connect(gw), data, 400, method="POST")
    assert not any(one.complete for one in upstream.requests)
    assert b"/smuggled" not in upstream.targets


@pytest.mark.parametrize(
    "body",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b"3;a\nb\r\nabc\r\n0\r\n\r\n",
        b"3;a\rb\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabcXX\r\n0\r\n\r\n",
        b"3\r\nabc\rX0\r\n\r\n",
    ],
)
async def test_t_bf_06_malformed_chunk_lines_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, body: bytes
) -> None:
    await refused(await connect(gw), post(CHUNKED) + body + SMUGGLED, 400, method="POST")
    assert not any(one.complete for one in upstream.requests)
    assert b"/smuggled" not in upstream.targets


async def test_t_bf_08_chunk_extensions_that_drown_the_body_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    long = post(CHUNKED) + b"1;" + b"x" * 65536 + b"\r\na\r\n" + LAST_CHUNK
    await refused(await connect(gw), long, 400, method="POST")
    many = post(CHUNKED) + b"".join(chunk(b"a", b";" + b"x" * 1024) for _ in range(64)) + LAST_CHUNK
    await refused(await connect(gw), many, 400, method="POST")
    assert not any(one.complete for one in upstream.requests)


async def test_t_bf_08_honest_one_byte_chunks_are_fine(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    data = pattern(5000)
    await client.send(post(CHUNKED) + chunked([data[n : n + 1] for n in range(5000)]))
    assert (await client.response("POST")).json()["sha256"] == hashlib.sha256(data).hexdigest()
    await still_serves(client, upstream)


async def test_t_uv_03_a_foreign_upgrade_with_a_body_hides_no_request(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """The body behind `Upgrade: foo` is a body, in one packet or in two, never a request."""
    hidden = SMUGGLED
    message = post(("Connection", "Upgrade"), ("Upgrade", "foo"), ("Content-Length", str(len(hidden))))
    for cut in ((), (len(message),)):
        client = await connect(gw)
        await client.send(message + hidden, at=cut, gap=0.05)
        assert (await client.response("POST")).json()["sha256"] == hashlib.sha256(hidden).hexdigest()
        await still_serves(client, upstream)
    assert b"/smuggled" not in upstream.targets
    assert not any(one.has("upgrade") for one in upstream.requests)


# -- requests that are forwarded ---------------------------------------------------------------


async def test_t_bf_07_chunk_extensions_are_dropped(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(post(CHUNKED) + chunk(b"hello", b';a=b;c="d"') + LAST_CHUNK)
    assert (await client.response("POST")).json()["size"] == 5
    assert b";a=b" not in upstream.connections[0].received
    await still_serves(client, upstream)


async def test_t_bf_09_request_trailers_reach_nobody(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    trailers = (
        b"Host: evil\r\nAuthorization: x\r\nContent-Type: y\r\nX-Forwarded-For: 9.9.9.9\r\nX-Plain: z\r\n\r\n"
    )
    for cut in ((), (len(post(CHUNKED)) + 12,)):
        client = await connect(gw)
        await client.send(post(CHUNKED) + chunk(b"hello") + b"0\r\n" + trailers, at=cut)
        assert (await client.response("POST")).json()["size"] == 5
        seen = upstream.requests[-1]
        assert seen.trailers == []
        assert not seen.has("authorization")
        assert not seen.has("x-plain")
        assert b"9.9.9.9" not in seen.all("x-forwarded-for")
        await still_serves(client, upstream)


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("coding", ["length", "chunked"])
async def test_t_bf_10_bodies_on_any_method_are_forwarded(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, method: str, coding: str
) -> None:
    client = await connect(gw)
    fields = [HOST, CHUNKED if coding == "chunked" else ("Content-Length", "5")]
    await client.send(
        head(f"{method} {S}/x HTTP/1.1", fields) + (chunked([b"hello"]) if coding == "chunked" else b"hello")
    )
    assert (await client.response(method)).status == 200
    seen = upstream.requests[0]
    assert (seen.method, bytes(seen.body), seen.chunked) == (method.encode(), b"hello", coding == "chunked")
    await still_serves(client, upstream)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_t_bf_11_no_framing_becomes_content_length_0(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, method: str
) -> None:
    client = await connect(gw)
    assert (await client.ask(method, S + "/x")).status == 200
    assert upstream.requests[0].all("content-length") == [b"0"]
    await still_serves(client, upstream)


async def test_t_bf_12_a_chunked_upload_in_many_splits_stays_chunked(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    data = pattern(200_000)
    message = post(CHUNKED) + chunked([data[n : n + 1777] for n in range(0, len(data), 1777)])
    await client.send(message, at=range(97, len(message), 4999), gap=0)
    assert (await client.response("POST")).json()["sha256"] == hashlib.sha256(data).hexdigest()
    assert upstream.requests[0].chunked
    assert not upstream.requests[0].has("content-length")
    await still_serves(client, upstream)


@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("leave", ["eof", "reset"])
async def test_t_bf_13_a_client_that_dies_mid_body_completes_nothing(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, coding: str, leave: str
) -> None:
    client = await connect(gw)
    if coding == "chunked":
        await client.send(post(CHUNKED) + chunk(b"hello") + b"5\r\nwo")
    else:
        await client.send(post(("Content-Length", "100")) + b"x" * 50)
    await upstream.until(lambda: bool(upstream.requests and upstream.requests[0].body), "a part of the body")
    if leave == "reset":
        client.reset()
    else:
        await client.close()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")
    assert not upstream.requests[0].complete
    if coding == "chunked":
        assert not upstream.connections[0].received.endswith(LAST_CHUNK)
    assert len(upstream.requests) == 1
    await still_serves(await connect(gw), upstream)


async def test_t_bf_28_head_and_body_in_one_packet_or_byte_by_byte(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    message = post(("Content-Length", "5")) + b"hello"
    whole, bytewise = await connect(gw), await connect(gw)
    await whole.send(message)
    await bytewise.byte_by_byte(message)
    for client in (whole, bytewise):
        assert (await client.response("POST")).json()["size"] == 5
        await still_serves(client, upstream)
    assert [bytes(one.body) for one in upstream.requests if one.method == b"POST"] == [b"hello", b"hello"]


# -- responses ---------------------------------------------------------------------------------


async def _get(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, *script: step.Step, sent: bytes = b""
) -> tuple[RawUpstream, Gateway, bytes]:
    """Play one scripted answer; return the upstream, the gateway and what the client got."""
    upstream = await raw([step.get_request(), *script], [step.repeat(answer(b"next"))])
    gw = await gateway(a=upstream)
    client = await connect(gw)
    await client.send(sent or request("GET", S + "/x"))
    await client.response()
    if client.ended == "":
        following = await client.ask("POST", S + "/y", body=b"")
        assert bytes(following.body) == b"next", following
    else:
        assert bytes((await (await connect(gw)).ask("POST", S + "/y", body=b"")).body) == b"next"
    return upstream, gw, bytes(client.received)


async def test_t_bf_14_a_short_content_length_shows_as_truncated(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    short = head("HTTP/1.1 200 OK", [("Content-Length", "100")]) + b"abc"
    upstream = await raw([step.get_request(), step.send(short), step.close()])
    client = await connect(await gateway(a=upstream))
    response = await client.ask("GET", S + "/x")
    assert (response.status, response.complete) == (200, False)
    assert bytes(response.body) in (b"abc", b"")
    assert response.get("content-length") == b"100"
    await client.gone()
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_t_bf_15_a_missing_last_chunk_is_not_made_up(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, end: str
) -> None:
    cut = head("HTTP/1.1 200 OK", [CHUNKED]) + chunk(b"abc")
    upstream = await raw(
        [step.get_request(), step.send(cut), step.pause(0.05), step.close() if end == "fin" else step.reset()]
    )
    client = await connect(await gateway(a=upstream))
    response = await client.ask("GET", S + "/x")
    assert (response.status, response.complete) == (200, False)
    await client.gone()
    assert not bytes(client.received).endswith(LAST_CHUNK)


async def test_t_bf_16_a_close_delimited_answer_ends_cleanly_on_fin(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [step.get_request(), step.send(b"HTTP/1.1 200 OK\r\n\r\nabc", b"def"), step.close()],
        [step.repeat(answer(b"next"))],
    )
    client = await connect(await gateway(a=upstream))
    response = await client.ask("GET", S + "/x")
    assert (bytes(response.body), response.complete, response.chunked) == (b"abcdef", True, True)
    assert bytes((await client.ask("GET", S + "/y")).body) == b"next"
    assert len(upstream.connections) == 2


async def test_t_bf_16_a_close_delimited_answer_that_is_reset_is_truncated(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [step.get_request(), step.send(b"HTTP/1.1 200 OK\r\n\r\nabc"), step.pause(0.05), step.reset()]
    )
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
    assert (response.status, response.complete) == (200, False)


async def test_t_bf_17_surplus_bytes_reach_nobody(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    for surplus in (b"SURPLUS", b"\r\n", answer(b"stolen")):
        upstream, _, got = await _get(
            raw, gateway, connect, step.send(answer(b"abc") + surplus), step.repeat(answer(b"next"))
        )
        assert b"SURPLUS" not in got
        assert b"stolen" not in got
        if surplus != b"\r\n":
            assert len(upstream.connections) == 2


async def test_t_bf_18_an_unasked_second_answer_reaches_nobody(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(
        [
            step.get_request(),
            step.send(answer(b"abc")),
            step.pause(0.05),
            step.send(answer(b"stolen")),
            step.until_gone(),
        ],
        [step.repeat(answer(b"next"))],
    )
    client = await connect(await gateway(a=upstream))
    assert bytes((await client.ask("GET", S + "/x")).body) == b"abc"
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the poisoned connection to be closed")
    assert bytes((await client.ask("GET", S + "/y")).body) == b"next"
    assert b"stolen" not in client.received


@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Length", "3"), CHUNKED],
        [CHUNKED, ("Content-Length", "3")],
        [("Content-Length", "3"), ("Content-Length", "4")],
        [("Content-Length", "3"), ("Content-Length", "3")],
        [("Content-Length", "3, 3")],
        [("Content-Length", "-3")],
        [("Content-Length", "0x3")],
        [("Content-Length", "")],
        [("Content-Length", "99999999999999999999")],
    ],
)
async def test_t_bf_19_ambiguous_response_framing_is_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, fields: list[tuple[str, str]]
) -> None:
    upstream, _, got = await _get(
        raw,
        gateway,
        connect,
        step.send(head("HTTP/1.1 200 OK", fields) + b"3\r\nabc\r\n" + LAST_CHUNK),
        step.until_gone(),
    )
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"upstream_invalid_response" in got
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the doubtful connection to be closed")


@pytest.mark.parametrize(
    "coding", ["gzip, chunked", "gzip", "identity", "chunked, gzip", "chunked, chunked", "xchunked"]
)
async def test_t_bf_20_other_response_codings_are_502(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, coding: str
) -> None:
    message = head("HTTP/1.1 200 OK", [("Transfer-Encoding", coding)]) + chunked([b"abc"])
    _, _, got = await _get(raw, gateway, connect, step.send(message), step.close())
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b"upstream_invalid_response" in got


async def test_t_bf_21_an_empty_body_stays_content_length_0(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw(step.once(answer(b"")))
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/x")
    assert response.all("content-length") == [b"0"]
    assert not response.has("transfer-encoding")


@pytest.mark.parametrize("size", [10_000, 2_000_000])
@pytest.mark.parametrize("framing", ["chunked", "eof", "length"])
async def test_t_bf_22_an_http_1_0_client_never_gets_chunks(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, size: int, framing: str
) -> None:
    data = pattern(size)
    if framing == "chunked":
        message = head("HTTP/1.1 200 OK", [CHUNKED]) + chunked(
            [data[n : n + 3000] for n in range(0, size, 3000)]
        )
    elif framing == "eof":
        message = b"HTTP/1.1 200 OK\r\n\r\n" + data
    else:
        message = answer(data)
    upstream = await raw([step.get_request(), step.send(message), step.close()])
    client = await connect(await gateway(a=upstream))
    await client.send(head(f"GET {S}/x HTTP/1.0", [HOST]))
    response = await client.response()
    assert (response.status, response.complete, bytes(response.body) == data) == (200, True, True)
    assert not response.has("transfer-encoding")
    await client.gone()
    assert client.ended == "eof"


async def test_t_bf_22_a_truncated_answer_to_an_http_1_0_client_is_a_reset(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    message = head("HTTP/1.1 200 OK", [CHUNKED]) + chunk(b"abc")
    upstream = await raw([step.get_request(), step.send(message), step.pause(0.05), step.close()])
    client = await connect(await gateway(a=upstream))
    await client.send(head(f"GET {S}/x HTTP/1.0", [HOST]))
    await client.gone()
    assert client.ended == "reset"


async def test_t_bf_23_an_http_1_0_upstream_is_fine_and_not_pooled(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    message = answer(b"old").replace(b"HTTP/1.1", b"HTTP/1.0")
    upstream = await raw(step.once(message))
    client = await connect(await gateway(a=upstream))
    for _ in range(2):
        response = await client.ask("GET", S + "/x")
        assert (bytes(response.body), response.version) == (b"old", b"1.1")
    assert len(upstream.connections) == 2


async def test_t_bf_24_a_content_length_of_10_gb_streams(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    message = head("HTTP/1.1 200 OK", [("Content-Length", str(10 * 1024**3))]) + b"first"
    upstream = await raw([step.get_request(), step.send(message), step.until_gone()])
    client = await connect(await gateway(a=upstream))
    await client.send(request("GET", S + "/x"))
    response = await client.head()
    assert response.get("content-length") == str(10 * 1024**3).encode()
    await client.got(b"first")
    await client.close()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")


async def test_t_bf_24_an_announced_upload_of_10_gb_streams(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(post(("Content-Length", str(10 * 1024**3))) + b"first")
    await upstream.until(
        lambda: bool(upstream.requests and upstream.requests[0].body == b"first"), "the first bytes"
    )
    assert upstream.requests[0].get("content-length") == str(10 * 1024**3).encode()
    await client.close()
    await upstream.until(lambda: bool(upstream.connections[0].ended), "the upstream to be told")


# -- byte-exactness ----------------------------------------------------------------------------

bodies = st.one_of(
    st.integers(0, 300), st.integers(0, 70_000), st.sampled_from([65535, 65536, 65537, 262_144, 1_000_003])
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    size=bodies,
    coding=st.sampled_from(["length", "chunked"]),
    piece=st.integers(1, 9000),
    cut=st.integers(50, 40_000),
)
async def test_t_bf_25_uploads_are_byte_exact(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, size: int, coding: str, piece: int, cut: int
) -> None:
    """Property: any size, chunk size and split arrives with the same hash."""
    data = pattern(size)
    if coding == "chunked":
        piece = max(piece, size // 500)
        message = post(CHUNKED) + chunked([data[n : n + piece] for n in range(0, size, piece)])
    else:
        message = post(("Content-Length", str(size))) + data
    client = await connect(gw)
    await client.send(message, at=range(cut, len(message), max(cut, len(message) // 40)), gap=0)
    told = (await client.response("POST")).json()
    assert (told["size"], told["sha256"]) == (size, hashlib.sha256(data).hexdigest())
    await client.close()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    size=bodies,
    coding=st.sampled_from(["length", "chunked", "eof"]),
    piece=st.integers(1, 9000),
    cut=st.integers(20, 40_000),
)
async def test_t_bf_25_downloads_are_byte_exact(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, size: int, coding: str, piece: int, cut: int
) -> None:
    """Property: any size, framing and split arrives with the same hash."""
    data = pattern(size)
    piece = max(piece, size // 500)
    if coding == "chunked":
        message = head("HTTP/1.1 200 OK", [CHUNKED]) + chunked(
            [data[n : n + piece] for n in range(0, size, piece)]
        )
    else:
        message = answer(data) if coding == "length" else b"HTTP/1.1 200 OK\r\n\r\n" + data
    width = max(cut, len(message) // 40)
    pieces = [message[n : n + width] for n in range(0, len(message), width)]
    async with RawUpstream([step.get_request(), step.send(*pieces), step.close()]) as upstream:
        gw = await gateway(a=upstream)
        client = await connect(gw)
        response = await client.ask("GET", S + "/x")
        assert response.complete
        assert bytes(response.body) == data
        await client.close()
        await gw.at_rest()
        await gw.aclose()
