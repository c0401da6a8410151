"""The same exchanges in front of ten real servers, by prefix and by host name (SE-13).

One gateway starts every server as a process on its first request, so this is also how each of them is
started and stopped. What a server did not get is read from its own journal.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import psutil
import pytest
import pytest_asyncio

from tests.e2e.conftest import missing
from tests.e2e.served import Served, serving
from tests.e2e.zoo.servers import HERE, SERVERS, Server
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.wire import Response, chunk, head, request

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),  # the first build of the Go server compiles its library
]

MIB = random.Random(13).randbytes(1 << 20)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def zoo(real_python: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A gateway with every server that is here, all asleep."""
    folder = tmp_path_factory.mktemp("zoo")
    services = {}
    for server in SERVERS:
        if not server.missing(real_python):
            command = server.command(real_python, folder)
            services[server.name] = {
                "engine": {"type": "process", "command": command, "cwd": str(HERE)},
                "health_url": "http://127.0.0.1:{port}/health",
                "start_timeout": "60s",
            }
    async with serving(folder / "gateway", {"services": services}) as served:
        yield served


@dataclass(frozen=True)
class Route:
    """One server as clients reach it."""

    server: Server
    by_host: bool
    served: Served

    @property
    def host(self) -> str:
        name = f"{self.server.name}.localhost" if self.by_host else "localhost"
        return f"{name}:{self.served.port}"

    def path(self, name: str) -> str:
        return f"/{name}" if self.by_host else f"/services/{self.server.name}/{name}"

    async def connect(self) -> Client:
        return await Client.connect(("127.0.0.1", self.served.port))

    async def ask(self, client: Client, method: str, name: str, *fields: tuple[str, str]) -> Response:
        """One exchange without a body; its answer is complete."""
        answer = await client.ask(method, self.path(name), *fields, host=self.host)
        assert answer.complete, answer
        return answer

    async def journal(self) -> list[str]:
        """What the server has been asked so far."""
        async with self.served.client() as client:
            answer = await self.ask(client, "GET", "journal")
        assert answer.status == 200, answer
        return bytes(answer.body).decode().splitlines()

    async def untouched(self) -> None:
        """The server never saw what was hidden in a body."""
        assert not [line for line in await self.journal() if "hidden" in line]


@pytest.fixture(params=["prefix", "host"])
def by_host(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "host")


@pytest_asyncio.fixture(params=SERVERS, ids=lambda one: str(one.name), loop_scope="module")
async def route(request: pytest.FixtureRequest, by_host: bool, zoo: Served, real_python: str) -> Route:
    """A server by one of the two routes."""
    server: Server = request.param
    if reason := server.missing(real_python):
        missing(reason)
    return Route(server, by_host, zoo)


async def test_se_13_get_head_304_and_fifty_requests_on_one_connection(route: Route) -> None:
    async with route.served.client() as client:
        hello = await route.ask(client, "GET", "hello")
        assert (hello.status, bytes(hello.body)) == (200, b"hello\n")
        headed = await route.ask(client, "HEAD", "hello")
        assert (headed.status, bytes(headed.body)) == (200, b"")
        assert headed.get("content-length") in (b"6", None)
        tag = (hello.get("etag") or b"").decode()
        fresh = await route.ask(client, "GET", "hello", ("If-None-Match", tag))
        assert (fresh.status, bytes(fresh.body)) == (304, b"")
        for number in range(50):
            answer = await route.ask(client, "GET", f"hello-{number}")
            assert (answer.status, bytes(answer.body)) == (200, b"hello\n")


async def test_se_13_a_mebibyte_comes_back_by_length_and_in_chunks(route: Route) -> None:
    pieces = [MIB[at : at + 65_000] for at in range(0, len(MIB), 65_000)]
    chunked = head(
        f"POST {route.path('echo')} HTTP/1.1", [("Host", route.host), ("Transfer-Encoding", "chunked")]
    )
    async with route.served.client() as client:
        for message in (
            request("POST", route.path("echo"), host=route.host, body=MIB),
            chunked + b"".join(chunk(piece) for piece in pieces) + b"0\r\n\r\n",
        ):
            await client.send(message)
            answer = await client.response("POST")
            assert answer.status == 200, answer
            assert hashlib.sha256(answer.body).digest() == hashlib.sha256(MIB).digest()


async def test_se_13_a_stream_arrives_while_it_is_made(route: Route) -> None:
    """The second piece is made only after the first has been seen."""
    gate = f"stream?{'host' if route.by_host else 'prefix'}"
    async with route.served.client() as client, route.served.client() as other:
        await client.send(request("GET", route.path(gate), host=route.host))
        answer = await client.head()
        await client.until(lambda: bytes(answer.body) == b"first\n", "the first piece")
        assert (await route.ask(other, "GET", gate.replace("stream", "open"))).status == 200
        whole = await client.body()
        assert (whole.complete, bytes(whole.body)) == (True, b"first\nsecond\n")


async def test_ca_06_an_answer_of_a_server_that_read_nothing_reaches_the_client(
    zoo: Served, real_python: str
) -> None:
    """gunicorn's application answers without the body, and the close behind it is a reset. What was said is
    there to be read; the kernel may still be quicker now and then, so not every time."""
    server = next(one for one in SERVERS if one.name == "gunicorn")
    if reason := server.missing(real_python):
        missing(reason)
    route = Route(server, False, zoo)
    upload = request("POST", route.path("hello"), host=route.host, body=MIB * 8)
    statuses = []
    for _ in range(20):
        async with zoo.client() as client, asyncio.TaskGroup() as sending:
            sending.create_task(client.send(upload))
            statuses.append((await client.response("POST")).status)
            await client.close()
    assert statuses.count(200) >= 18, statuses


async def test_se_13_connections_that_a_server_closed_are_not_used_again(
    zoo: Served, real_python: str
) -> None:
    """All servers at once: asked, closed by the server as idle, asked again, now with a body."""
    here = [one for one in SERVERS if one.closes_idle and not one.missing(real_python)]
    async with asyncio.TaskGroup() as asking:
        for server in here:
            asking.create_task(ask_after_idling(Route(server, False, zoo)), name=server.name)


async def ask_after_idling(route: Route) -> None:
    async with route.served.client() as client:
        for number in range(3):
            await client.send(request("POST", route.path("echo"), host=route.host, body=b"again"))
            answer = await client.response("POST")
            assert (answer.status, bytes(answer.body)) == (200, b"again"), (route.server, number)
            await until_unconnected(route)


async def until_unconnected(route: Route) -> None:
    """Wait until the server has closed the connections that it was asked on."""
    [instance] = (await route.served.status(route.server.name))["instances"]
    address = instance["address"]
    await eventually(lambda: not connections(route.served, address), f"{route.server.name} to close them")


def connections(served: Served, address: str) -> list[object]:
    """Connections from the gateway to a server."""
    port = int(address.rpartition(":")[2])
    gateway = psutil.Process(served.process.pid)
    return [one for one in gateway.net_connections("tcp") if one.raddr and one.raddr.port == port]


HIDDEN = b"GET /services/x/hidden HTTP/1.1\r\nHost: x.localhost\r\n\r\n"
PROBES = {
    "length and chunked": (("Content-Length", "6"), ("Transfer-Encoding", "chunked")),
    "chunked spelled wrong": (("Content-Length", str(len(HIDDEN))), ("Transfer-Encoding", "xchunked")),
    "chunked twice": (("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")),
    "two lengths": (("Content-Length", "0"), ("Content-Length", str(len(HIDDEN)))),
    "length of a space": (("Content-Length ", str(len(HIDDEN))),),
}


@pytest.mark.parametrize("kind", list(PROBES))
async def test_se_13_a_request_of_doubtful_length_never_gets_there(route: Route, kind: str) -> None:
    """Refused, and nothing of what is behind it is taken for a request."""
    async with route.served.client() as client:
        fields = [("Host", route.host), *PROBES[kind]]
        await client.send(head(f"POST {route.path('echo')} HTTP/1.1", fields) + b"0\r\n\r\n" + HIDDEN)
        refused = await client.response("POST")
        assert refused.status in (400, 501), refused
        await client.gone()
        assert client.surplus == b""
    await route.untouched()


@pytest.mark.parametrize("upgrade", [False, True], ids=["plain", "foreign upgrade"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_se_13_a_request_as_body_stays_a_body(route: Route, method: str, upgrade: bool) -> None:
    """Even where the server does not read it, or may mistake it for another protocol."""
    fields = [("Connection", "Upgrade"), ("Upgrade", "foo")] if upgrade else []
    async with route.served.client() as client:
        message = request(method, route.path("hello"), *fields, host=route.host, body=HIDDEN)
        await client.send(message + request("GET", route.path("next"), host=route.host))
        for _ in range(2):
            answer = await client.response(method)
            assert (answer.status, bytes(answer.body)) == (200, b"hello\n")
        assert client.surplus == b""
    await route.untouched()
