"""The dispatcher `POST /v1/requests` (proxy-semantics SS): the answer of a service as a document."""

from __future__ import annotations

import base64

import pytest

from hestia.inward.dispatch import ANSWER_MAX
from tests.fakes import upstream as step
from tests.fakes.http_upstream import GZIPPED, HttpUpstream
from tests.fakes.wire import answer, chunk, head

from .conftest import MakeClient, MakeUpstream
from .dispatched import METADATA, ask, refused, told
from .harness import Gateway, MakeGateway, service

ANSWERS: list[tuple[bytes, str, object]] = [
    (b'{"a": 1.10}', "application/json", {"a": 1.1}),
    (b'[1,"\xc3\xa9"]', "application/problem+json; charset=utf-8", [1, "é"]),
    (b'"text"', "application/json", "text"),
    (b"text \xc3\xa9\n", "text/plain", "text é\n"),
    (b'{"a":1}\n{"a":2}\n', "application/x-ndjson", '{"a":1}\n{"a":2}\n'),
    (b"<a/>", "image/svg+xml", "<a/>"),
    (b"", "application/json", None),
    (b"", "text/plain", None),
    (b"\xff\xfe", "text/plain", b"\xff\xfe"),
    (b"caf\xe9", "text/html; charset=latin-1", b"caf\xe9"),
    (b'{"a":', "application/json", b'{"a":'),
    (b"NaN", "application/json", b"NaN"),
    (b'{"base64": "eA=="}', "application/json", b'{"base64": "eA=="}'),
    (b"\x00\x01", "application/octet-stream", b"\x00\x01"),
    (b"plain", "", b"plain"),
]


async def test_t_ss_05_an_answer_is_represented_without_loss(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    """SS-04: bytes that are neither JSON nor UTF-8 text are base64, never forced through a decoding."""
    wire = [answer(given, *([("Content-Type", kind)] if kind else [])) for given, kind, _ in ANSWERS]
    up = await raw([step.repeat(*wire)])
    client = await connect(await gateway(a=up))
    for given, _, body in ANSWERS:
        document = await told(client)
        expected = {"base64": base64.b64encode(body).decode()} if isinstance(body, bytes) else body
        assert document["body"] == expected
        assert document["headers"]["content-length"] == str(len(given))


async def test_a_compressed_answer_is_left_compressed(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    document = await told(await connect(gw), path="/gzip")
    assert base64.b64decode(document["body"]["base64"]) == GZIPPED
    assert document["headers"]["content-encoding"] == "gzip"


async def test_ss_08_doubled_fields_of_an_answer_are_lists(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    """T-SS-05: two cookies stay two, in order; names are lower-case, bytes are Latin-1."""
    fields = (
        ("Set-Cookie", "a=1; Path=/"),
        ("X-One", b"\xe9"),
        ("Set-Cookie", "b=2, c"),
        ("Set-Cookie", "d=3"),
    )
    up = await raw([step.repeat(answer(b"", *fields))])
    gw = await gateway(a=up)
    headers = (await told(await connect(gw)))["headers"]
    assert headers["set-cookie"] == ["a=1; Path=/services/a/", "b=2, c", "d=3"]
    assert headers["x-one"] == "é"


async def test_t_ss_04_a_redirect_is_returned_and_not_followed(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    """SS-05: also one to the metadata address of a cloud."""
    up = await raw([step.repeat(answer(b"", ("Location", METADATA), status="302 Found"))])
    gw = await gateway(a=up)
    document = await told(await connect(gw))
    assert document["status"] == 302
    assert document["headers"]["location"] == METADATA.decode()
    assert len(up.requests) == 1


@pytest.mark.parametrize(
    ("method", "given", "status", "length"),
    [
        ("HEAD", answer(b"", status="200 OK").replace(b"ength: 0", b"ength: 12345"), 200, "12345"),
        ("HEAD", answer(b"").replace(b"ength: 0", b"ength: 99999999"), 200, "99999999"),
        ("GET", head("HTTP/1.1 204 No Content", [("X-A", "b")]), 204, None),
        ("GET", head("HTTP/1.1 304 Not Modified", [("ETag", '"1"')]), 304, None),
    ],
)
async def test_answers_without_a_body_have_null(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient,
    method: str, given: bytes, status: int, length: str | None,
) -> None:  # fmt: skip
    up = await raw([step.repeat(given)])
    gw = await gateway(a=up)
    client = await connect(gw)
    for _ in range(2):
        document = await told(client, method=method)
        assert (document["status"], document["body"]) == (status, None)
        assert document["headers"].get("content-length") == length


async def test_chunks_are_joined_and_trailers_dropped(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    start = head("HTTP/1.1 200 OK", [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")])
    interim = head("HTTP/1.1 103 Early Hints", [("Link", "</x>")])
    whole = interim + start + chunk(b"one ") + chunk(b"two") + b"0\r\nX-Trailer: t\r\n\r\n"
    up = await raw([step.repeat(whole)])
    gw = await gateway(a=up)
    document = await told(await connect(gw))
    assert document["body"] == "one two"
    assert document["headers"]["content-length"] == "7"
    assert not {"transfer-encoding", "x-trailer", "link", "connection"} & set(document["headers"])


@pytest.mark.parametrize("framed", [True, False])
async def test_ss_04_an_answer_over_the_cap_is_502(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient, framed: bool
) -> None:
    """With a length nothing of it is read; without one the service is cut off where it grows too large."""
    if framed:
        up = await raw([step.get_request(), step.send(answer(b"").replace(b"ength: 0", b"ength: 4194305")),
                        step.until_gone(), step.close()])  # fmt: skip
    else:
        start = head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")])
        up = await raw([step.get_request(), step.send(start + chunk(bytes(1 << 20)) * 5), step.until_gone(),
                        step.close()])  # fmt: skip
    gw = await gateway(a=up)
    detail = await refused(await connect(gw), 502, "answer_too_large")
    assert str(ANSWER_MAX) in detail
    await up.until(lambda: bool(up.connections[0].ended), "the upstream to be told")
    await gw.at_rest()


async def test_an_answer_that_breaks_off_is_502(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    cut = answer(b"half").replace(b"ength: 4", b"ength: 8")
    up = await raw([step.get_request(), step.send(cut), step.close()])
    gw = await gateway(service("a", up.url, retry_count=0))
    response = await ask(await connect(gw), method="POST")
    members = response.problem("upstream_disconnected", 502)
    assert members["serviceId"] == "a"
    assert "middle" in members["detail"]


async def test_a_service_cannot_pass_for_the_gateway(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    """Its answer is 200 with its status, whatever it looks like."""
    problem = (
        ("Content-Type", "application/problem+json"),
        ("Proxy-Status", "hestia; error=connection_refused"),
        ("Hestia-Own-Answer", "0" * 32),
        ("X-Request-ID", "x"),
    )
    up = await raw([step.repeat(answer(b'{"code":"queue_full"}', *problem, status="503 Busy"))])
    gw = await gateway(service("a", up.url, retry_count=0))
    document = await told(await connect(gw), method="POST")
    assert (document["status"], document["body"]) == (503, {"code": "queue_full"})


async def test_the_mark_of_our_own_answers_is_not_shown(gw: Gateway, connect: MakeClient) -> None:
    response = await ask(await connect(gw), method="TRACE")
    response.problem("method_not_allowed", 405)
    assert not [name for name, _ in response.fields if b"own-answer" in name.lower()]


async def test_a_large_answer_during_a_large_body_does_not_lock(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """A service that answers while it reads would wait for us, and we for it."""
    data = base64.b64encode(bytes(2 << 20)).decode()
    document = await told(await connect(gw), method="POST", path="/mirror", body={"base64": data})
    assert document["body"] == {"base64": data}
