"""HEAD, 204, 205, 304 (proxy-semantics NB): no body, right lengths, both connections usable afterwards."""

from __future__ import annotations

import pytest

from tests.fakes import upstream as step
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import Response, answer, chunked, head

from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway

S = "/services/a"


async def _twice(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, message: bytes, method: str = "GET"
) -> tuple[Response, RawUpstream]:
    """One exchange with this answer, then a GET on the same client connection that gets its own body."""
    following = step.repeat(answer(b"next"))
    upstream = await raw([step.get_request(), step.send(message), following], [following])
    client = await connect(await gateway(a=upstream))
    response = await client.ask(method, S + "/x")
    assert bytes((await client.ask("GET", S + "/y")).body) == b"next"
    assert client.surplus == b""
    return response, upstream


async def test_t_nb_01_head_with_content_length(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    message = head("HTTP/1.1 200 OK", [("Content-Length", "5"), ("ETag", '"x"')])
    response, upstream = await _twice(raw, gateway, connect, message, "HEAD")
    assert (response.get("content-length"), bytes(response.body)) == (b"5", b"")
    assert response.get("etag") == b'"x"'
    assert len(upstream.connections) == 1
    assert [one.method for one in upstream.requests] == [b"HEAD", b"GET"]


async def test_nb_02_head_without_content_length_gets_none(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    response, _ = await _twice(raw, gateway, connect, head("HTTP/1.1 200 OK", [("X", "1")]), "HEAD")
    assert not response.has("content-length")


async def test_t_nb_02_a_body_wrongly_sent_after_head_reaches_nobody(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    response, upstream = await _twice(raw, gateway, connect, answer(b"wrong"), "HEAD")
    assert (response.get("content-length"), bytes(response.body)) == (b"5", b"")
    assert len(upstream.connections) == 2


async def test_t_nb_03_head_with_a_chunked_field(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    message = head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")])
    response, _ = await _twice(raw, gateway, connect, message, "HEAD")
    assert (response.status, bytes(response.body)) == (200, b"")
    assert not response.has("transfer-encoding")


@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_t_nb_04_204_has_neither_length_nor_body(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, body: bytes
) -> None:
    message = head("HTTP/1.1 204 No Content", [("Content-Length", "3"), ("X", "1")]) + body
    response, upstream = await _twice(raw, gateway, connect, message)
    assert (response.status, bytes(response.body), response.get("x")) == (204, b"", b"1")
    assert not response.has("content-length")
    assert not response.has("transfer-encoding")
    assert len(upstream.connections) == (2 if body else 1)


async def test_nb_04_a_chunked_204(raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient) -> None:
    message = head("HTTP/1.1 204 No Content", [("Transfer-Encoding", "chunked")]) + chunked([b"abc"])
    response, _ = await _twice(raw, gateway, connect, message)
    assert (response.status, bytes(response.body), response.has("transfer-encoding")) == (204, b"", False)


async def test_t_nb_05_304_keeps_its_content_length(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    fields = [("Content-Length", "1234"), ("ETag", '"x"'), ("Vary", "Accept"), ("Cache-Control", "no-cache")]
    response, upstream = await _twice(raw, gateway, connect, head("HTTP/1.1 304 Not Modified", fields))
    assert (response.status, bytes(response.body)) == (304, b"")
    for name, value in fields:
        assert response.get(name) == value.encode(), name
    assert len(upstream.connections) == 1


async def test_nb_05_304_without_length_gets_none(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    response, _ = await _twice(raw, gateway, connect, head("HTTP/1.1 304 Not Modified", [("ETag", '"x"')]))
    assert not response.has("content-length")
    assert not response.has("transfer-encoding")


async def test_t_nb_06_205_is_empty(raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient) -> None:
    response, _ = await _twice(raw, gateway, connect, answer(b"abc", status="205 Reset Content"))
    assert (response.status, bytes(response.body), response.get("content-length")) == (205, b"", b"0")


async def test_t_nb_07_head_errors_have_the_same_fields_and_no_body(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    asked = await client.ask("HEAD", "/services/nosuch/x")
    assert (asked.status, bytes(asked.body)) == (404, b"")
    got = await client.ask("GET", "/services/nosuch/x")
    same = ("content-type", "cache-control", "content-length")
    assert [asked.get(name) for name in same[:2]] == [got.get(name) for name in same[:2]]
    assert asked.has("content-length")
    assert asked.has("proxy-status")
    assert (await client.ask("HEAD", S + "/x")).status == 200
    assert [one.method for one in upstream.requests] == [b"HEAD"]
