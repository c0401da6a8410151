"""Host routes and the defence against DNS rebinding (proxy-semantics HO)."""

from __future__ import annotations

import pytest

from hestia.core.model import GatewaySettings
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import head, request

from .assertions import refused, still_serves, untouched
from .conftest import MakeClient
from .harness import Gateway, MakeGateway, service

S = "/services/a"


@pytest.mark.parametrize(
    "host", ["a.localhost:8080", "a.localhost", "A.LOCALHOST", "a.localhost.", "A.LocalHost.:1"]
)
async def test_t_ho_01_names_of_a_service(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, host: str
) -> None:
    client = await connect(gw)
    assert (await client.ask("GET", "/x?y", host=host)).status == 200
    assert upstream.targets == [b"/x?y"]
    await still_serves(client, upstream)


BAD_HOSTS = [
    "",
    "a b",
    "a/b",
    "u@a",
    "a,b",
    "a:99999",
    "[::1",
    "a:b",
    "a:-1",
    "[::1]x",
    "a:80:80",
    "a\tb",
    ":80",
    "a%00",
]


@pytest.mark.parametrize("host", BAD_HOSTS)
async def test_t_ho_02_a_malformed_host_is_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, host: str
) -> None:
    await refused(await connect(gw), request("GET", S + "/x", host=host), 400, closes=False)
    await untouched(upstream)


@pytest.mark.parametrize(
    "hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"], ["a.localhost", "b.localhost"]]
)
async def test_t_ho_02_none_or_several_hosts_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, hosts: list[str]
) -> None:
    data = head(f"GET {S}/x HTTP/1.1", [("Host", one) for one in hosts])
    await refused(await connect(gw), data, 400, "bad_host", closes=False)
    await untouched(upstream)


async def test_ho_02_http_1_0_needs_no_host(gw: Gateway, upstream: HttpUpstream, connect: MakeClient) -> None:
    client = await connect(gw)
    await client.send(head(f"GET {S}/x HTTP/1.0"))
    assert (await client.response()).status == 200
    assert upstream.targets == [b"/x"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "sub.hestia.example"]
)
@pytest.mark.parametrize("target", [S + "/x", "/v1/services", "/"])
async def test_t_ho_03_a_foreign_name_is_421_everywhere(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, host: str, target: str
) -> None:
    client = await connect(gw)
    (await client.ask("GET", target, host=host)).problem("unknown_host", 421)
    await untouched(upstream)


@pytest.mark.parametrize(
    "host",
    [
        "hestia:8080",
        "hestia.localhost",
        "192.0.2.1",
        "[::1]:8080",
        "127.0.0.1",
        "localhost:1",
        "listed.example",
        "box",
    ],
)
async def test_t_ho_03_and_10_own_names_are_answered(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, host: str
) -> None:
    gw = await gateway(a=upstream, settings=GatewaySettings(allowed_hosts=("listed.example",)))
    client = await connect(gw)
    assert (await client.ask("GET", S + "/x", host=host)).status == 200
    assert (await client.ask("GET", "/v1/services", host=host)).status == 200
    assert upstream.targets == [b"/x"]


async def test_t_ho_03_a_label_that_names_no_service_is_404_with_the_nearest(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(ollama=upstream)
    members = (await (await connect(gw)).ask("GET", "/x", host="olama.localhost")).problem(
        "service_not_found", 404
    )
    assert "ollama" in str(members)
    await untouched(upstream)


async def test_t_ho_04_the_host_is_judged_per_request(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    assert (await client.ask("GET", "/x", host="a.localhost")).status == 200
    assert (await client.ask("GET", "/x", host="evil.example")).status == 421
    assert len(upstream.requests) == 1


async def test_t_ho_05_on_a_host_route_every_path_is_the_services(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    async with HttpUpstream("other") as other:
        gw = await gateway(a=upstream, b=other)
        client = await connect(gw)
        for target in ("/services/b/x", "/v1/services", "/healthz", "/services/b"):
            assert (await client.ask("GET", target, host="a.localhost")).get("x-upstream") == b"up"
        assert upstream.targets == [b"/services/b/x", b"/v1/services", b"/healthz", b"/services/b"]
        assert other.requests == []
        await client.close()
        await gw.aclose()


@pytest.mark.parametrize(
    "host", ["x.a.localhost", ".localhost", "-a.localhost", "a..localhost", "a_.b.localhost"]
)
async def test_t_ho_06_deeper_or_broken_labels_are_refused(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, host: str
) -> None:
    client = await connect(gw)
    response = await client.ask("GET", "/x", host=host)
    assert response.status in (421, 400), response.status
    await untouched(upstream)


@pytest.mark.parametrize(
    ("policy", "prefix_host", "named_host"),
    [
        ("auto", "{up}", "a.localhost:9"),
        ("upstream", "{up}", "{up}"),
        ("preserve", "localhost:9", "a.localhost:9"),
        ("fixed.example:7", "fixed.example:7", "fixed.example:7"),
    ],
)
async def test_t_ho_07_host_header_policies(
    gateway: MakeGateway,
    upstream: HttpUpstream,
    connect: MakeClient,
    policy: str,
    prefix_host: str,
    named_host: str,
) -> None:
    gw = await gateway(service("a", upstream.url, host_header=policy))
    client = await connect(gw)
    await client.ask("GET", S + "/x", host="localhost:9")
    await client.ask("GET", "/x", host="a.localhost:9")
    wanted = [text.format(up=upstream.authority).encode() for text in (prefix_host, named_host)]
    assert [one.get("host") for one in upstream.requests] == wanted
    assert [one.get("x-forwarded-host") for one in upstream.requests] == [b"localhost:9", b"a.localhost:9"]


async def test_t_ho_09_the_authority_of_an_absolute_form_target_decides(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    async with HttpUpstream("other") as other:
        gw = await gateway(a=upstream, b=other)
        client = await connect(gw)
        await client.send(head("GET http://b.localhost/x HTTP/1.1", [("Host", "a.localhost")]))
        assert (await client.response()).get("x-upstream") == b"other"
        assert other.requests[0].get("host") == b"b.localhost"
        await client.close()
        await gw.aclose()


async def test_configured_hosts_route_to_their_service(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(service("a", upstream.url, hosts=("chat.example",)))
    client = await connect(gw)
    assert (await client.ask("GET", "/x", host="Chat.Example:80")).status == 200
    assert upstream.requests[0].get("host") == b"Chat.Example:80"
    assert (await client.ask("GET", "/x", host="other.example")).status == 421
