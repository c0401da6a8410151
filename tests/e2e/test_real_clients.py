"""Real HTTP clients through a cold and a hot service, by prefix and by host name.

Each client wakes a cold process with its first request, is held and answered, then does what its users do:
GET, 1 MiB up and back, an event stream read event by event, a WebSocket; and shows a service that cannot
start in its own words. That events come one by one needs no clock: the service goes on behind its first
event only after the client has said that it saw it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.called import run
from tests.e2e.conftest import NODE_CLIENTS, need_module, node, tiny_llm, tool
from tests.e2e.served import Served, serving
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CLIENTS = Path(__file__).parent / "clients"
SAID = "no such model: tiny"
EVENTS = ["first", "second", "third"]
Seen = dict[str, Any]  # the JSON document of a client program


@dataclass(frozen=True, slots=True)
class Route:
    """How a service is asked for. url: with the gateway's address. host: for the Host field, or ""."""

    service: str
    url: str
    host: str

    @property
    def words(self) -> list[str]:
        return [self.url, self.host]


def by_prefix(served: Served, service: str) -> Route:
    return Route(service, f"{served.url}/services/{service}", "")


def by_host(served: Served, service: str) -> Route:
    return Route(service, served.url, f"{service}.localhost:{served.port}")


ROUTES = [pytest.param(by_prefix, id="prefix"), pytest.param(by_host, id="host")]


def gateway(folder: Path, *command: str) -> AbstractAsyncContextManager[Served]:
    """A gateway with a cold service `app` that is this command, and one that cannot start."""
    health = {"health_url": "http://127.0.0.1:{port}/health", "start_timeout": "60s"}
    ends = small_command("--say", SAID, "--fail", "3")
    services = {
        name: {"engine": {"type": "process", "command": list(words)}, **health}
        for name, words in {"app": command, "broken": ends}.items()
    }
    return serving(folder / "gateway", {"services": services})


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """The service is clients/service.py."""
    async with gateway(tmp_path, sys.executable, str(CLIENTS / "service.py"), "{port}") as running:
        yield running


@pytest.fixture
async def model(tmp_path: Path, real_python: str) -> AsyncIterator[Served]:
    """The service is a real llama.cpp server."""
    for module in ("xllamacpp", "gguf"):
        need_module(real_python, module)
    command = [real_python, str(tiny_llm()), "--port", "{port}", "--model", str(tmp_path / "tiny.gguf")]
    async with gateway(tmp_path, *command) as running:
        yield running


async def is_cold(served: Served) -> None:
    assert (await served.status("app"))["phase"] == "cold"
    assert served.programs() == set()


async def was_woken(served: Served, service: str = "app") -> None:
    """One start, caused by a request that was held meanwhile and then answered."""
    assert served.transitions(service) == ["starting", "hot"]
    cause = served.lines("service_hot", service)[0]["request_id"]

    def lines() -> list[Seen]:
        return [line for line in served.lines("request", service) if line["request_id"] == cause]

    await eventually(lambda: bool(lines()), f"the access line of {cause}")
    answered = lines()
    assert [line["status"] for line in answered] in ([200], [101]), answered
    assert answered[0]["queue_ms"] > 0, answered


def is_right(seen: Seen, route: Route, events: list[str] = EVENTS) -> None:
    """What every client has to have seen of what it tried."""
    host = route.host or "127.0.0.1:"
    for name in ("woke", "again"):
        if name in seen:
            assert (seen[name]["path"], seen[name]["query"]) == ("/who", name), seen
            assert seen[name]["host"].startswith(host), seen
    assert seen.get("echoed", True), seen
    assert seen.get("events", events) == events, seen
    assert seen.get("socket", ["hello", True]) == ["hello", True], seen
    assert seen["status"] == 503, seen
    assert SAID in seen["error"], seen


async def check(served: Served, route: Route, *program: str | Path, events: list[str] = EVENTS) -> Seen:
    """Run a client program against the cold service by this route."""
    await is_cold(served)
    broken = Route("broken", route.url.replace("/services/app", "/services/broken"), "")
    if route.host:
        broken = by_host(served, "broken")
    seen: Seen = json.loads(await run(*program, *route.words, *broken.words))
    is_right(seen, route, events)
    await was_woken(served)
    return seen


# -- Python -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("client", ["requests", "httpx", "aiohttp"])
async def test_python_clients_wake_it_and_do_everything(
    served: Served, real_python: str, client: str, route: Any
) -> None:
    need_module(real_python, client)
    seen = await check(served, route(served, "app"), real_python, CLIENTS / "python_clients.py", client)
    assert {"woke", "again", "echoed", "events"} <= set(seen)
    if client == "aiohttp":
        assert seen["socket"] == ["hello", True]
        assert seen["refused"].startswith("503"), seen


@pytest.mark.parametrize("route", ROUTES)
async def test_a_websocket_handshake_wakes_it(served: Served, real_python: str, route: Any) -> None:
    need_module(real_python, "websockets")
    program = (real_python, CLIENTS / "python_clients.py", "websockets")
    assert "socket" in await check(served, route(served, "app"), *program)


@pytest.mark.parametrize("route", ROUTES)
async def test_t_er_05_the_ollama_client_wakes_it_and_shows_why_a_service_cannot_start(
    served: Served, real_python: str, route: Any
) -> None:
    """Its ResponseError is our detail and nothing else: it reads the member `error`."""
    need_module(real_python, "ollama")
    program = (real_python, CLIENTS / "python_clients.py", "ollama")
    seen = await check(served, route(served, "app"), *program, events=["wood ", "burns ", "well", ""])
    assert '"detail"' not in seen["error"], "a sentence, not a document"


# -- Node and Go ------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
async def test_node_fetch_eventsource_and_ws(served: Served, route: Any) -> None:
    seen = await check(served, route(served, "app"), node(), NODE_CLIENTS, "fetch")
    assert {"woke", "again", "echoed", "events", "socket"} <= set(seen)
    assert "503" in seen["refused"], seen


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built once."""
    program = tmp_path_factory.mktemp("go") / "client"
    go, env = tool("go"), {**os.environ, "CGO_ENABLED": "0"}
    # The standard library is compiled once for a machine: install.sh does that beforehand.
    subprocess.run([go, "build", "-o", program, "."], cwd=CLIENTS / "go", env=env, check=True, timeout=110)
    return program


@pytest.mark.parametrize("route", ROUTES)
async def test_go_net_http(served: Served, go_client: Path, route: Any) -> None:
    seen = await check(served, route(served, "app"), go_client)
    assert {"woke", "again", "echoed", "events"} <= set(seen)


# -- openai, of Python and of Node ------------------------------------------------------------------


@pytest.mark.llm
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("language", ["python", "node"])
async def test_t_er_05_openai_clients_wake_it_and_show_why_a_service_cannot_start(
    model: Served, real_python: str, language: str, route: Any
) -> None:
    """They raise InternalServerError; Node's text and the `body` of Python's are our detail."""
    need_module(real_python, "openai")
    program: tuple[str | Path, ...] = (real_python, CLIENTS / "python_clients.py", "openai")
    if language == "node":
        program = (node(), NODE_CLIENTS, "openai")
    seen = await check(model, route(model, "app"), *program)
    assert (seen["kind"], seen["end"], seen["tokens"]) == ("InternalServerError", "length", 40), seen
    assert seen["chunks"] > 10, seen
    assert "Do: hestia logs broken" in seen["error"].replace("\\n", "\n"), seen


# -- curl and wget ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command-line client. quiet: body to stdout, no progress. failing: print the body of an error too."""

    name: str
    quiet: tuple[str, ...]
    failing: tuple[str, ...]

    def words(self, route: Route, path: str, *more: str) -> list[str]:
        """The command for one request. curl knows *.localhost by itself, wget is told the name."""
        start = [tool(self.name), *self.quiet, *more]
        if not route.host:
            return [*start, route.url + path]
        if self.name == "curl":
            return [*start, f"http://{route.host}{path}"]
        return [*start, f"--header=Host: {route.host}", route.url + path]


CURL = CommandLine("curl", ("-sSN", "--noproxy", "*"), ("--fail-with-body",))
WGET = CommandLine("wget", ("-qO-", "--no-proxy", "--tries=1"), ("--content-on-error",))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("client", [CURL, WGET], ids=lambda client: client.name)
async def test_command_line_clients(served: Served, tmp_path: Path, client: CommandLine, route: Any) -> None:
    await is_cold(served)
    app, broken = route(served, "app"), route(served, "broken")
    seen: Seen = {
        name: json.loads(await run(*client.words(app, f"/who?{name}"))) for name in ("woke", "again")
    }
    seen["echoed"] = await echoes(client, app, tmp_path)
    seen["events"] = await read_events(served, client, app)
    # Both end with an error of their own, and with these options print the document too.
    words = client.words(broken, "/x", *client.failing)
    ended = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(100):
        out, err = await ended.communicate()
    assert ended.returncode == (22 if client is CURL else 8), (out, err)
    is_right({**seen, "status": json.loads(out)["status"], "error": out.decode()}, app)
    await was_woken(served)


async def echoes(client: CommandLine, app: Route, folder: Path) -> bool:
    """Whether 1 MiB came back the same. curl asks with `Expect: 100-continue` by itself from 1 MiB on."""
    up, down = folder / "up", folder / "down"
    up.write_bytes(os.urandom(1 << 20))
    body = ["--data-binary", f"@{up}", "-o", str(down)] if client is CURL else [f"--post-file={up}"]
    if client is WGET:
        body += ["-O", str(down)]
    await run(*client.words(app, "/echo", *body))
    return down.read_bytes() == up.read_bytes()


async def read_events(served: Served, client: CommandLine, app: Route) -> list[str]:
    """Events as the program prints them; it is told that each was seen."""
    process = await asyncio.create_subprocess_exec(
        *client.words(app, f"/events?{client.name}"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    found: list[str] = []
    async with asyncio.timeout(100):
        async for line in process.stdout:
            if line.startswith(b"data: "):
                found.append(line.decode().strip().removeprefix("data: "))
                await served.http.get(f"{served.url}/services/app/seen?{client.name}")
        assert await process.wait() == 0
    return found
