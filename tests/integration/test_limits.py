"""Limits (proxy-semantics LI): at the value fine, one over refused, and the connection in a defined state."""

from __future__ import annotations

import pytest

from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import chunk, head, request

from .assertions import refused, still_serves, untouched
from .conftest import MakeClient
from .harness import Gateway

S = "/services/a"
KIB = 1024


def _of_size(total: int) -> bytes:
    """A request whose head is exactly `total` bytes, in fields of at most 8 KiB."""
    bare = request("GET", S + "/x")
    fields: list[tuple[str, str]] = []
    left = total - len(bare)
    while left:
        line = left if left <= 8 * KIB else min(8 * KIB, left - 100)
        name = f"X-{len(fields):03}"
        fields.append((name, "v" * (line - len(name) - 4)))
        left -= line
    made = request("GET", S + "/x", *fields)
    assert len(made) == total
    return made


async def test_t_li_01_a_head_of_64_kib_passes_and_one_more_byte_is_431(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(_of_size(64 * KIB))
    assert (await client.response()).status == 200
    await still_serves(client, upstream)
    seen = len(upstream.requests)
    await refused(await connect(gw), _of_size(64 * KIB + 1), 431, "head_too_large")
    assert len(upstream.requests) == seen


async def test_t_li_01_a_field_line_of_16_kib_passes_and_a_longer_one_is_431(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    assert (await client.ask("GET", S + "/x", ("X-A", "v" * (16 * KIB - 7)))).status == 200
    await still_serves(client, upstream)
    seen = len(upstream.requests)
    await refused(
        await connect(gw), request("GET", S + "/x", ("X-A", "v" * (16 * KIB + 1))), 431, "head_too_large"
    )
    assert len(upstream.requests) == seen


async def test_t_li_01_200_fields_pass_and_201_are_431(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    fields = [(f"X-{n}", "v") for n in range(199)]
    assert (await client.ask("GET", S + "/x", *fields)).status == 200
    await still_serves(client, upstream)
    seen = len(upstream.requests)
    await refused(await connect(gw), request("GET", S + "/x", *fields, ("X-199", "v")), 431, "head_too_large")
    assert len(upstream.requests) == seen


FLOODS = {
    "tiny fields": request("GET", S + "/x", *[(f"X{n}", "") for n in range(10_000)]),
    "huge value": request("GET", S + "/x", ("X", "v" * (1024 * KIB))),
    "huge name": request("GET", S + "/x", ("X" * (1024 * KIB), "v")),
    "endless value": head("GET / HTTP/1.1", [("Host", "localhost"), ("X", "v" * (20 * 1024 * KIB))])[:-4],
}


@pytest.mark.parametrize("kind", list(FLOODS))
async def test_t_li_02_floods_of_fields_are_431(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, kind: str
) -> None:
    """Also T-UV-07."""
    client = await connect(gw)
    await client.send(FLOODS[kind])
    response = await client.response()
    response.problem("head_too_large", 431)
    await client.gone()
    await untouched(upstream)


async def test_li_05_trailers_over_8_kib_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    data = head(f"POST {S}/x HTTP/1.1", [("Host", "localhost"), ("Transfer-Encoding", "chunked")]) + chunk(
        b"abc"
    )
    data += b"0\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"v" * 1000) for n in range(12)) + b"\r\n"
    await refused(await connect(gw), data, (400, 431), method="POST")
    assert not any(one.complete for one in upstream.requests)


async def test_li_13_many_pipelined_requests_are_answered_in_order(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(b"".join(request("GET", f"{S}/{n}") for n in range(200)))
    for number in range(200):
        assert (await client.response()).json()["target"] == f"/{number}"
    assert len(upstream.connections) == 1


async def test_an_endless_target_is_414(gw: Gateway, upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(gw)
    await client.send(b"GET " + S.encode() + b"/" + b"x" * (2 * 1024 * KIB))
    response = await client.response()
    assert response.status in (414, 431)
    await client.gone()
    await untouched(upstream)
