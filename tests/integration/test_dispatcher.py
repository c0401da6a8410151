"""The dispatcher `POST /v1/requests` (proxy-semantics SS): what a service is sent and what is refused."""

from __future__ import annotations

import json

from hestia.core.model import GatewaySettings
from hestia.inward.dispatch import BODY_MAX
from tests.fakes import upstream as step
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import answer

from .assertions import still_serves, untouched
from .conftest import MakeClient, MakeUpstream
from .dispatched import JSON, URL, Document, ask, call, refused, told
from .harness import Gateway, MakeGateway, service

# -- what the service is sent ------------------------------------------------------------------


async def test_the_example_of_the_seeds_works(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    tags = answer(b'{"models":[{"name":"llama2"}]}', ("Content-Type", "application/json; charset=utf-8"))
    ollama = await raw([step.repeat(tags)])
    gw = await gateway(ollama=ollama)
    client = await connect(gw)
    document = await told(client, serviceId="ollama", path="/api/tags")
    assert document["status"] == 200
    assert document["body"] == {"models": [{"name": "llama2"}]}
    assert ollama.requests[0].target == b"/api/tags"
    assert ollama.requests[0].method == b"GET"
    assert ollama.requests[0].body == b""


async def test_ss_09_the_request_walks_like_a_clients_own(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Same head at the service, same request id, an access line of its own."""
    client = await connect(gw)
    await client.send(call(("X-Request-ID", "mine-1"), path="/echo?q=%20", headers={"Accept": "*/*"}))
    response = await client.response("POST")
    assert response.get("x-request-id") == b"mine-1"
    direct = await client.ask("GET", "/services/a/echo?q=%20", ("Accept", "*/*"), ("X-Request-ID", "mine-1"))
    dispatched = response.json()["body"]
    assert sorted(dispatched["fields"]) == sorted(direct.json()["fields"])
    assert dispatched["target"] == direct.json()["target"] == "/echo?q=%20"

    def lines() -> list[Document]:
        return [json.loads(line) for line in gw.log.splitlines()]

    await eventually(lambda: len(lines()) == 3, "three access lines")
    first, second, third = lines()
    assert [one["request_id"] for one in lines()] == ["mine-1"] * 3
    assert {first["route"], second["route"]} == {"prefix", "control"}
    (inner,) = [one for one in (first, second) if one["route"] == "prefix"]
    assert inner["path"] == third["path"] == "/services/a/echo"


async def test_t_ss_05_a_body_is_sent_as_what_it_is(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    cases: list[tuple[object, bytes, bytes | None]] = [
        ({"a": [1, "é"]}, b'{"a": [1, "\\u00e9"]}', b"application/json"),
        ([], b"[]", b"application/json"),
        (0, b"0", b"application/json"),
        (False, b"false", b"application/json"),
        ("plain\r\ntext é", "plain\r\ntext é".encode(), b"text/plain; charset=utf-8"),
        ("", b"", b"text/plain; charset=utf-8"),
        ({"base64": "AP+AIQ=="}, b"\x00\xff\x80!", None),
    ]
    for number, (body, sent, kind) in enumerate(cases):
        await told(client, method="POST", body=body)
        got = upstream.requests[number]
        assert bytes(got.body) == sent
        assert got.get("content-type") == kind
        assert got.get("content-length") == str(len(sent)).encode()


async def test_t_ss_05_json_text_passes_as_it_was_written(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Numbers that no float holds, doubled keys, order and blanks are the service's business."""
    text = '{ "b":1.10, "a":1e999 ,"a":' + "9" * 5000 + ', "c":"\\ud83d\\ude00" }'
    document = '{"serviceId":"a","method":"POST","path":"/mirror","body": ' + text + "}"
    client = await connect(gw)
    response = await client.ask("POST", URL, JSON, body=document.encode())
    assert response.status == 200
    assert bytes(upstream.requests[0].body) == text.encode()


async def test_headers_with_several_values_are_sent_in_order(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await told(
        client,
        method="POST",
        body={"a": 1},
        headers={"X-One": ["1", "2"], "Content-Type": "application/vnd.x+json", "X-Empty": "", "X-Lat": "é"},
    )
    got = upstream.requests[0]
    assert got.all("x-one") == [b"1", b"2"]
    assert got.all("content-type") == [b"application/vnd.x+json"]
    assert got.get("x-empty") == b""
    assert got.get("x-lat") == b"\xe9"


async def test_methods_pass(gw: Gateway, connect: MakeClient) -> None:
    client = await connect(gw)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
        assert (await told(client, method=method))["body"]["method"] == method


# -- what is refused ---------------------------------------------------------------------------


PATHS = [
    "http://evil/",
    "//evil/",
    "\\\\evil",
    "x",
    "",
    "*",
    "/../x",
    "/a/%2e%2e/x",
    "/a%2f..%2fx",
    "/%00",
    "/a b",
]
PATHS += ["/a\r\nX: y", "/#x", "/é", "/%zz", "/\\x", "/a/..;/x"]


async def test_t_ss_01_a_path_that_is_none_of_the_service_is_400(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """Origin-form only, RT-12…16 applied."""
    client = await connect(gw)
    for path in PATHS:
        response = await ask(client, path=path)
        assert response.status == 400, (path, response.body)
        assert response.json()["code"] in ("bad_request", "path_rejected")
        assert "path" in response.json()["detail"]
        assert "Do: " in response.json()["detail"]
    await untouched(upstream)
    await still_serves(client, upstream)


async def test_a_path_that_is_too_long_is_414(gw: Gateway, connect: MakeClient) -> None:
    await refused(await connect(gw), 414, "target_too_long", path="/" + "x" * 20_000)


async def test_t_ss_02_an_unknown_service_is_404(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    for name in ("nope", "", "A", "a/../b", "a ", "../a", "a\r\nx"):
        detail = await refused(client, 404, "service_not_found", serviceId=name)
        assert "There are: a" in detail or "nearest" in detail
    await untouched(upstream)


FIELDS = [
    ("X-A", "a\r\nX-B: b"),
    ("X-A", "a\nb"),
    ("X-A", "a\0b"),
    ("X-A", "\x7f"),
    ("X-A", "€"),
    ("X A", "b"),
    ("X-A:", "b"),
    ("", "b"),
    ("X-é", "b"),
    ("Host", "evil"),
    ("TE", "trailers"),
    ("Connection", "x-a"),
    ("connection", "keep-alive"),
    ("Keep-Alive", "timeout=5"),
    ("Content-Length", "5"),
    ("content_length", "5"),
    ("Transfer-Encoding", "chunked"),
    ("Transfer_Encoding", "chunked"),
    ("Trailer", "x"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Expect", "100-continue"),
    ("Proxy-Authorization", "Basic x"),
    ("HTTP2-Settings", "x"),
]


async def test_t_ss_03_fields_of_the_connection_and_broken_ones_are_400(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    for name, value in FIELDS:
        for values in (value, ["x", value] if name == "X-A" else [value]):
            assert "headers" in await refused(client, 400, "bad_request", headers={name: values})
    await untouched(upstream)


async def test_a_websocket_is_refused_with_the_way_to_one(gw: Gateway, connect: MakeClient) -> None:
    detail = await refused(await connect(gw), 400, "bad_request", headers={"Upgrade": "websocket"})
    assert "ws://" in detail


async def test_ss_03_what_only_the_gateway_says_of_a_client_is_its_own(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """HQ-09: the caller's claims about itself do not arrive, as on every other way."""
    gw = await gateway(a=upstream, settings=GatewaySettings(identity_headers=("Remote-User",)))
    client = await connect(gw)
    claims = {
        "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil", "Forwarded": "for=6.6.6.6",
        "X-Real-IP": "6.6.6.6", "X_Forwarded_For": "6.6.6.6", "Remote-User": "root", "Remote_User": "root",
        "X-Request-ID": "other",
    }  # fmt: skip
    await client.send(call(("Remote-User", "root"), ("X-Request-ID", "mine"), headers=claims))
    assert (await client.response("POST")).status == 200
    got = upstream.requests[0]
    assert got.all("x-forwarded-for") == [b"127.0.0.1"]
    assert got.all("x-forwarded-host") == [b"localhost"]
    assert got.all("x-request-id") == [b"mine"]
    assert not [
        name for name, _ in got.fields if name.lower().replace(b"_", b"-") in (b"forwarded", b"x-real-ip")
    ]
    assert not [name for name, _ in got.fields if b"user" in name.lower()]


async def test_identity_of_a_trusted_proxy_goes_with_the_request(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    settings = GatewaySettings(identity_headers=("Remote-User",), trusted_proxies=("127.0.0.1",))
    gw = await gateway(a=upstream, settings=settings)
    client = await connect(gw)
    await client.send(
        call(("Remote-User", "ann"), ("X-Forwarded-For", "10.1.1.1"), headers={"Remote-User": "root"})
    )
    assert (await client.response("POST")).status == 200
    assert upstream.requests[0].all("remote-user") == [b"ann"]
    assert upstream.requests[0].all("x-forwarded-for") == [b"10.1.1.1, 127.0.0.1"]


async def test_ss_04_a_method_that_is_none_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    for method in ("get", "", "G T", "NOPE", "É"):
        assert "method" in await refused(client, 400, "bad_request", method=method)
    for method in ("CONNECT", "TRACE"):
        await refused(client, 405, "method_not_allowed", method=method)
    await untouched(upstream)


async def test_too_many_fields_are_431(gw: Gateway, upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(gw)
    await refused(client, 431, "head_too_large", headers={"X-A": ["b"] * 200})
    await refused(client, 431, "head_too_large", headers={"X-A": "b" * 17_000})
    await refused(client, 431, "head_too_large", headers={f"X-{at}": "b" * 10_000 for at in range(8)})
    await untouched(upstream)


async def test_ss_04_a_call_over_its_limit_is_413_and_names_it(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    detail = await refused(client, 413, "body_too_large", method="POST", body="x" * BODY_MAX)
    assert str(BODY_MAX) in detail
    await untouched(upstream)
    assert (await told(await connect(gw), method="POST", body="x" * (BODY_MAX - 200)))["status"] == 200


async def test_limits_of_the_service_hold(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """SS-09: what a service refuses of its clients, it refuses here."""
    gw = await gateway(service("a", upstream.url, max_body=10))
    detail = await refused(await connect(gw), 413, "body_too_large", method="POST", body="x" * 11)
    assert "max_body" in detail
    await untouched(upstream)
