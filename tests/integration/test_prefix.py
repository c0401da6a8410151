"""Prefix routes (proxy-semantics PR): the mapping, and what is rewritten in answers."""

from __future__ import annotations

import pytest

from tests.fakes import upstream as step
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import answer, request

from .assertions import refused, still_serves, untouched
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, service

S = "/services/a"

MAPPING = [
    ("/services/a/x/y?q=1", "", "/x/y?q=1"),
    ("/services/a/", "", "/"),
    ("/services/a/x", "/v1/", "/v1/x"),
    ("/services/a/x", "/v1", "/v1/x"),
    ("/services/a/", "/v1", "/v1/"),
    ("/services/a", "/v1", "/v1"),
    ("/services/a//x", "", "//x"),
    ("/services/a/%2Fx%20y", "", "/%2Fx%20y"),
    ("/services/a?q", "", "/?q"),
    ("/services/a", "", "/"),
    ("/services/a/http://evil/x", "", "/http://evil/x"),
    ("/services/a/@evil/", "", "/@evil/"),
    ("/services/a//evil/x", "/v1", "/v1//evil/x"),
    ("/services/a/services/a/x", "", "/services/a/x"),
    ("/services/a/x?", "/v1", "/v1/x?"),
]


@pytest.mark.parametrize(("target", "base", "wanted"), MAPPING)
async def test_t_pr_01_and_02_the_mapping(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, target: str, base: str, wanted: str
) -> None:
    gw = await gateway(service("a", upstream.url + base))
    client = await connect(gw)
    assert (await client.ask("POST", target, body=b"")).status == 200
    assert upstream.targets == [wanted.encode()]
    assert upstream.requests[0].get("host") == upstream.authority.encode()
    assert upstream.requests[0].get("x-forwarded-prefix") == S.encode()


@pytest.mark.parametrize(
    "target", ["/services/a/\\evil", "/\\evil", "http://evil.example/services/a/x", "//evil/services/a/x"]
)
async def test_t_pr_02_nothing_but_the_configured_address_is_dialled(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, target: str
) -> None:
    await refused(await connect(gw), request("GET", target), (400, 404, 421), closes=False)
    await untouched(upstream)


@pytest.mark.parametrize(
    "target",
    [
        "/services/ollama2/x",
        "/services/Ollama/",
        "/services/%6fllama/",
        "/services/ollam/",
        "/services/ollama;x/",
        "/services/ollama%2Fx",
        "/Services/ollama/x",
        "/services//ollama/x",
        "/services/-ollama/",
    ],
)
async def test_t_pr_03_only_the_exact_name_matches(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, target: str
) -> None:
    gw = await gateway(ollama=upstream)
    client = await connect(gw)
    response = await client.ask("GET", target)
    assert response.status == 404, response.body
    await untouched(upstream)
    await still_serves(client, upstream, "ollama")


NAVIGATIONS = [
    [("Sec-Fetch-Mode", "navigate"), ("Accept", "text/html")],
    [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")],
]


@pytest.mark.parametrize("fields", NAVIGATIONS)
@pytest.mark.parametrize("query", ["", "?a=b&c=%2F"])
async def test_t_pr_04_a_navigation_to_the_bare_prefix_is_redirected(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, fields: list[tuple[str, str]], query: str
) -> None:
    client = await connect(gw)
    response = await client.ask("GET", S + query, *fields)
    assert response.status == 308
    assert (response.get("location") or b"").endswith(f"{S}/{query}".encode())
    await untouched(upstream)
    await still_serves(client, upstream)


OTHERS = [
    ("GET", [("Accept", "*/*")]),
    ("GET", [("Sec-Fetch-Mode", "cors"), ("Accept", "text/html")]),
    ("POST", [("Accept", "application/json")]),
    ("GET", []),
]


@pytest.mark.parametrize(("method", "fields"), OTHERS)
async def test_t_pr_04_anything_else_on_the_bare_prefix_is_forwarded_as_the_root(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, method: str, fields: list[tuple[str, str]]
) -> None:
    client = await connect(gw)
    assert (await client.ask(method, S + "?q", *fields)).status == 200
    assert upstream.targets == [b"/?q"]


LOCATIONS = [
    ("http://{up}/v1/x?y#z", "/services/a/x?y#z"),
    ("http://{up}/v1", "/services/a"),
    ("/v1/x?y#z", "/services/a/x?y#z"),
    ("/v1/", "/services/a/"),
    ("x/y", "x/y"),
    ("../x", "../x"),
    ("?q", "?q"),
    ("#f", "#f"),
    ("//other/x", "//other/x"),
    ("http://other.example/x", "http://other.example/x"),
    ("http://{up}.evil/x", "http://{up}.evil/x"),
    ("https://{up}/v1/x", "https://{up}/v1/x"),
]


@pytest.mark.parametrize(("given", "wanted"), LOCATIONS)
async def test_t_pr_05_locations_are_mapped_back(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, given: str, wanted: str
) -> None:
    upstream = await raw()
    given, wanted = given.format(up=upstream.authority), wanted.format(up=upstream.authority)
    fields = [("Location", given), ("Content-Location", given)]
    upstream.scripts = [[step.repeat(answer(b"", *fields, status="302 Found"))]]
    gw = await gateway(service("a", upstream.url + "/v1"))
    client = await connect(gw)
    host = f"localhost:{gw.port}"
    response = await client.ask("GET", S + "/y", host=host)
    got = (response.get("location") or b"").decode()
    assert got in (wanted, f"http://{host}{wanted}"), got
    assert response.get("content-location") == response.get("location")


async def test_t_pr_05_host_routes_rewrite_nothing_that_is_path_absolute(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw([step.repeat(answer(b"", ("Location", "/x"), status="302 Found"))])
    response = await (await connect(await gateway(a=upstream))).ask("GET", "/y", host="a.localhost")
    assert response.get("location") == b"/x"


COOKIES = [
    ("a=1; Path=/", "a=1; Path=/services/a/"),
    ("a=1; Path=/x; HttpOnly", "a=1; Path=/services/a/x; HttpOnly"),
    ("a=1", "a=1"),
    ("a=1; path=/x;Secure", "a=1; path=/services/a/x;Secure"),
    ("__Host-a=1; Secure; Path=/", "__Host-a=1; Secure; Path=/"),
    ("a=Path=/x; SameSite=Lax", "a=Path=/x; SameSite=Lax"),
    ("a=1; Domain=other.example", "a=1; Domain=other.example"),
]


@pytest.mark.parametrize(("given", "wanted"), COOKIES)
async def test_t_pr_06_cookie_paths_are_mapped(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, given: str, wanted: str
) -> None:
    upstream = await raw([step.repeat(answer(b"", ("Set-Cookie", given), ("Set-Cookie", "z=9")))])
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/y")
    assert response.all("set-cookie") in (
        [wanted.encode(), b"z=9"],
        [wanted.removesuffix("/").encode(), b"z=9"],
    )


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a=1; Path=/services/a/", "a=1; Path=/services/a/"),
        ("a=1; Path=/services/a", "a=1; Path=/services/a"),
        ("a=1; Path=/services/a/lab; HttpOnly", "a=1; Path=/services/a/lab; HttpOnly"),
        ("a=1; Path=/", "a=1; Path=/services/a/"),
        ("a=1; Path=/services/ab", "a=1; Path=/services/a/services/ab"),
    ],
)
async def test_t_pr_06_the_path_of_base_url_is_taken_off_a_cookies_path(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, given: str, wanted: str
) -> None:
    """An app that is told its prefix (JupyterLab's base_url) sets cookies for it."""
    upstream = await raw([step.repeat(answer(b"", ("Set-Cookie", given)))])
    gw = await gateway(service("a", upstream.url + S))
    response = await (await connect(gw)).ask("GET", S + "/y")
    assert response.get("set-cookie") == wanted.encode()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("http://localhost/login?next=x", "/services/a/login?next=x"),
        ("http://LOCALHOST/login", "/services/a/login"),
        ("https://other.example/login", "https://other.example/login"),
        ("http://localhost:1/login", "http://localhost:1/login"),
    ],
)
async def test_t_pr_05_a_location_on_the_hosts_name_that_the_service_was_told(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, given: str, wanted: str
) -> None:
    """With `host_header: preserve` an app takes the gateway's name for its own."""
    upstream = await raw([step.repeat(answer(b"", ("Location", given), status="302 Found"))])
    gw = await gateway(service("a", upstream.url, host_header="preserve"))
    response = await (await connect(gw)).ask("GET", S + "/y")
    assert response.get("location") == wanted.encode()


async def test_t_pr_06_a_domain_equal_to_the_upstreams_host_is_dropped(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw([step.repeat(answer(b"", ("Set-Cookie", "a=1; Domain=127.0.0.1; HttpOnly")))])
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/y")
    assert response.get("set-cookie") == b"a=1; HttpOnly"


async def test_t_pr_08_bodies_are_never_rewritten(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    upstream = await raw()
    body = f'<a href="{upstream.url}/x"><a href="/y">'.encode()
    upstream.scripts = [[step.repeat(answer(body, ("Content-Type", "text/html")))]]
    response = await (await connect(await gateway(a=upstream))).ask("GET", S + "/")
    assert bytes(response.body) == body


@pytest.mark.parametrize("target", ["/services", "/services/", "/services//x", "/services?x"])
async def test_t_pr_09_no_service_named_is_404(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, target: str
) -> None:
    client = await connect(gw)
    assert (await client.ask("GET", target)).status == 404
    await untouched(upstream)
    await still_serves(client, upstream)
