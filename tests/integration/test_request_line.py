"""Request line and target (proxy-semantics RT): what is forwarded byte for byte, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import head, request

from .assertions import refused, still_serves, untouched
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway

S = "/services/a"


async def _forwarded(gw: Gateway, connect: MakeClient, upstream: HttpUpstream, rest: str) -> None:
    client = await connect(gw)
    response = await client.ask("GET", S + rest)
    assert response.status == 200, response.body
    assert upstream.targets == [rest.encode()]
    await still_serves(client, upstream)


async def test_t_rt_01_absolute_form_authority_routes_and_is_not_dialled(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """The authority of the target replaces Host for routing; nothing else is connected to."""
    async with HttpUpstream("other") as other:
        gw = await gateway(a=upstream, b=other)
        client = await connect(gw)
        await client.send(head("GET http://b.localhost/p HTTP/1.1", [("Host", "a.localhost")]))
        response = await client.response()
        assert response.get("x-upstream") == b"other"
        assert other.targets == [b"/p"]
        await untouched(upstream)


async def test_t_rt_01_absolute_form_of_a_foreign_host_is_not_an_open_proxy(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    async with RawUpstream() as elsewhere:
        client = await connect(gw)
        await client.send(
            head(f"GET http://evil.example:{elsewhere.port}/p HTTP/1.1", [("Host", "localhost")])
        )
        (await client.response()).problem("unknown_host", 421)
        await client.send(head(f"GET {elsewhere.url}{S}/p HTTP/1.1", [("Host", "localhost")]))
        assert (await client.response()).status == 200
        assert elsewhere.connections == []
        assert upstream.targets == [b"/p"]


async def test_t_rt_02_absolute_form_without_path_is_the_root(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(head("GET http://a.localhost HTTP/1.1", [("Host", "a.localhost")]))
    assert (await client.response()).status == 200
    assert upstream.targets == [b"/"]
    await still_serves(client, upstream)


@pytest.mark.parametrize(
    "target",
    [
        "http://user@a.localhost/x",
        "http://u:p@a.localhost/",
        "http:///x",
        "http://",
        "a.localhost:80",
        "services/a/x",
    ],
)
async def test_t_rt_03_bad_absolute_forms_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, target: str
) -> None:
    client = await connect(gw)
    await refused(client, head(f"GET {target} HTTP/1.1", [("Host", "localhost")]), 400, closes=False)
    await untouched(upstream)


@pytest.mark.parametrize("target", ["ftp://localhost/", "file:///etc/passwd", "ws://localhost/x"])
async def test_t_rt_04_other_schemes_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, target: str
) -> None:
    await refused(
        await connect(gw), head(f"GET {target} HTTP/1.1", [("Host", "localhost")]), 400, closes=False
    )
    await untouched(upstream)


async def test_t_rt_05_options_star_is_answered_here(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    response = await client.ask("OPTIONS", "*")
    assert response.status == 204
    assert response.has("allow")
    await untouched(upstream)
    await still_serves(client, upstream)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_t_rt_06_star_with_another_method_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, method: str
) -> None:
    await refused(await connect(gw), request(method, "*"), 400, "bad_request", closes=False)
    await untouched(upstream)


async def test_t_rt_07_connect_is_refused_and_what_follows_not_parsed(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    data = head(f"CONNECT {upstream.authority} HTTP/1.1", [("Host", upstream.authority)])
    await client.send(data + request("GET", S + "/smuggled"))
    response = await client.response()
    assert response.status in (400, 405, 501)
    await client.gone()
    assert client.received.count(b"HTTP/1.1") == 1
    await untouched(upstream)


async def test_t_rt_08_trace_is_refused_and_echoes_nothing(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    response = await client.ask("TRACE", S + "/x", ("Cookie", "secret=1"))
    response.problem("method_not_allowed", 405)
    assert b"secret" not in client.received
    await untouched(upstream)
    await still_serves(client, upstream)


@pytest.mark.parametrize(
    "method",
    [
        "PROPFIND",
        "REPORT",
        "PURGE",
        "QUERY",
        "M-SEARCH",
        "PATCH",
        "OPTIONS",
        "DELETE",
        "MKCOL",
        "LOCK",
        "SEARCH",
    ],
)
async def test_t_rt_09_known_methods_pass(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, method: str
) -> None:
    client = await connect(gw)
    assert (await client.ask(method, S + "/x")).json()["method"] == method
    assert [one.method for one in upstream.requests] == [method.encode()]
    await still_serves(client, upstream)


@pytest.mark.parametrize("method", ["FOO", "get", "G@T", ""])
async def test_t_rt_10_unknown_methods_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, method: str
) -> None:
    data = head(f"{method} {S}/x HTTP/1.1", [("Host", "localhost")])
    await refused(await connect(gw), data, 400, "bad_request")
    await untouched(upstream)


@pytest.mark.parametrize(
    "version", ["HTTP/2.0", "HTTP/1.2", "HTTP/3.1", "HTTP/0.9", "http/1.1", "HTTP/1", "XTTP/1.1"]
)
async def test_t_rt_11_other_versions_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, version: str
) -> None:
    data = head(f"GET {S}/x {version}", [("Host", "localhost")])
    await refused(await connect(gw), data, (505, 400))
    await untouched(upstream)


@pytest.mark.parametrize(
    "target",
    [
        f"{S}/%2e%2e/x",
        f"{S}/..%2fx",
        f"{S}/%2e./x",
        f"{S}/..;/x",
        f"{S}/..%5cx",
        "/services/../x",
        f"{S}/..",
        f"{S}/x/%2E%2E",
        f"{S}/x%2f..%2fy",
        f"{S}/..;a=b/c",
        f"{S}/%2e%2e%5cx",
        "/..",
        f"{S}/x/../..",
    ],
)
async def test_t_rt_12_dot_dot_in_any_spelling_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, target: str
) -> None:
    client = await connect(gw)
    await refused(client, request("GET", target), 400, "path_rejected", closes=False)
    await untouched(upstream)


@pytest.mark.parametrize(
    "rest", ["/./x", "/.well-known/x", "/a..b/", "/...", "/..a", "/a../b", "/x?../../y", "/x?%2e%2e/"]
)
async def test_t_rt_13_harmless_dots_pass(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, rest: str
) -> None:
    await _forwarded(gw, connect, upstream, rest)


@pytest.mark.parametrize(
    "rest",
    ["/%2F", "/%2f", "/%252e%252e", "/%3F", "/%23", "/%7E", "/%7e", "/%25", "/%20a+b", "/%C3%A9", "/%ff"],
)
async def test_t_rt_14_escapes_keep_their_bytes(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, rest: str
) -> None:
    await _forwarded(gw, connect, upstream, rest)


@pytest.mark.parametrize("rest", ["//x//y", "//", "/x//", "/x/"])
async def test_t_rt_15_slashes_are_not_merged(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, rest: str
) -> None:
    await _forwarded(gw, connect, upstream, rest)


@pytest.mark.parametrize(
    "rest", ["/x;v=1;w", "/x?a;b&c=d+e%20f%zz??", "/x?a=1&a=2&A=3", "/:@!$&'()*,=", '/x"<>{}|^`', "/x?q=%zz%"]
)
async def test_t_rt_16_parameters_and_queries_pass_unread(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, rest: str
) -> None:
    await _forwarded(gw, connect, upstream, rest)


async def test_t_rt_17_an_empty_query_stays(gw: Gateway, upstream: HttpUpstream, connect: MakeClient) -> None:
    await _forwarded(gw, connect, upstream, "/x?")


@pytest.mark.parametrize("rest", ["/x#f", "/x?a#f", "#"])
async def test_t_rt_18_a_fragment_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, rest: str
) -> None:
    await refused(await connect(gw), request("GET", S + rest), 400, closes=False)
    await untouched(upstream)


@pytest.mark.parametrize("octet", [b"\x80", b"\xc3\xa9", b"\t", b"\\", b"\x7f", b"\x00", b"\x01"])
async def test_t_rt_19_bytes_outside_printable_ascii_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, octet: bytes
) -> None:
    for target in (S.encode() + b"/a" + octet + b"b", S.encode() + b"/a?q=" + octet + b"b"):
        await refused(await connect(gw), request("GET", target), 400, closes=False)
    await untouched(upstream)


@pytest.mark.parametrize("rest", ["/%00", "/a%00b/c"])
async def test_t_rt_20_an_escaped_nul_in_the_path_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, rest: str
) -> None:
    await refused(await connect(gw), request("GET", S + rest), 400, "path_rejected", closes=False)
    await untouched(upstream)


@pytest.mark.parametrize("rest", ["/%zz", "/x%", "/x%2", "/%g0/y", "/%u0041"])
async def test_t_rt_21_broken_escapes_in_the_path_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, rest: str
) -> None:
    await refused(await connect(gw), request("GET", S + rest), 400, closes=False)
    await untouched(upstream)


async def test_t_rt_21_broken_escapes_in_the_query_pass(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    await _forwarded(gw, connect, upstream, "/x?%zz&%")


async def test_t_rt_22_the_longest_target_passes_and_one_more_byte_does_not(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    limit = 16 * 1024
    rest = "/" + "x" * (limit - len(S) - 1)
    await _forwarded(gw, connect, upstream, rest)
    seen = len(upstream.requests)
    response = await refused(
        await connect(gw), request("GET", S + rest + "y"), 414, "target_too_long", closes=False
    )
    assert response.status == 414
    assert len(upstream.requests) == seen


printable = st.text(alphabet=[chr(code) for code in range(0x21, 0x7F)], max_size=40)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=printable)
async def test_t_rt_23_a_path_is_forwarded_unchanged_or_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, rest: str
) -> None:
    """Property: what the upstream sees is exactly the rest, or the answer is 400."""
    client = await connect(gw)
    before = len(upstream.requests)
    response = await client.ask("GET", f"{S}/{rest}")
    if response.status == 400:
        assert len(upstream.requests) == before
    else:
        assert response.status in (200, 101), response.body
        assert upstream.targets[before:] == [b"/" + rest.encode()]
    await client.close()


async def test_t_rt_24_pipelined_requests_to_different_services_keep_order(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    async with HttpUpstream("other") as other:
        gw = await gateway(a=upstream, b=other)
        client = await connect(gw)
        names = ["a", "b", "a", "b", "b", "a"]
        await client.send(b"".join(request("GET", f"/services/{name}/{n}") for n, name in enumerate(names)))
        for number, name in enumerate(names):
            response = await client.response()
            assert response.json()["target"] == f"/{number}"
            assert response.get("x-upstream") == (b"up" if name == "a" else b"other")


async def test_t_rt_25_leading_crlf_is_tolerated(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.send(b"\r\n\r\n" + request("GET", S + "/x"))
    assert (await client.response()).status == 200
    await still_serves(client, upstream)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"hello\r\n\r\n",
        b"\x00" * 64,
    ],
)
async def test_garbage_on_the_port_is_refused_and_nobody_else_suffers(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, garbage: bytes
) -> None:
    bystander = await connect(gw)
    await still_serves(bystander, upstream)
    await refused(await connect(gw), garbage, (400, 505))
    assert len(upstream.requests) == 1
    await still_serves(bystander, upstream)


async def test_a_request_in_single_bytes_is_served(
    raw: MakeUpstream, upstream: HttpUpstream, gw: Gateway, connect: MakeClient
) -> None:
    client = await connect(gw)
    await client.byte_by_byte(request("GET", S + "/x", ("A", "b")))
    assert (await client.response()).json()["target"] == "/x"
    await still_serves(client, upstream)
