"""Fixtures of the integration tests: uvloop, upstreams, a gateway per test, and the leak check."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.fakes.client import Client
from tests.fakes.facts import eventually, open_sockets
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import RawUpstream, Script

from .harness import Gateway, MakeGateway, gateways

MakeUpstream = Callable[..., Awaitable[RawUpstream]]
MakeClient = Callable[..., Awaitable[Client]]


def pytest_configure() -> None:
    """A thousand clients, their exchanges and their upstreams are three thousand sockets in one process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop is the loop Hestia runs on, so its tests do too (proxy-semantics P12)."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def leaks() -> AsyncIterator[None]:
    """After the test: no task more than before and no socket more than before."""
    tasks = asyncio.all_tasks()
    sockets = open_sockets()
    yield
    here = asyncio.current_task()
    await eventually(
        lambda: open_sockets() <= sockets, lambda: f"sockets to close: {open_sockets() - sockets}"
    )
    await eventually(
        lambda: asyncio.all_tasks() - tasks <= {here}, lambda: f"tasks to end: {asyncio.all_tasks() - tasks}"
    )


@pytest.fixture
async def raw(leaks: None) -> AsyncIterator[MakeUpstream]:
    """Make a scripted upstream: `await raw(script, script, …)`."""
    made: list[RawUpstream] = []

    async def make(*scripts: Script, keep: bool = True) -> RawUpstream:
        upstream = await RawUpstream(*scripts, keep=keep).start()
        made.append(upstream)
        return upstream

    yield make
    for upstream in made:
        await upstream.aclose()


@pytest.fixture
async def upstream(leaks: None) -> AsyncIterator[HttpUpstream]:
    """A friendly service. Afterwards: nothing it got was refused by h11."""
    async with HttpUpstream() as service:
        yield service
        assert service.violations == []


@pytest.fixture
async def gateway(raw: MakeUpstream, upstream: HttpUpstream, tmp_path: Path) -> AsyncIterator[MakeGateway]:
    """Make a gateway: `await gateway(service("b", …), a=upstream)`; closed after the test.

    It depends on the upstream fixtures so that they outlive it.
    """
    async with gateways(tmp_path) as make:
        yield make


@pytest.fixture
async def gw(gateway: MakeGateway, upstream: HttpUpstream) -> Gateway:
    """The usual gateway: service `a` is the friendly upstream, already hot."""
    return await gateway(a=upstream)


@pytest.fixture
async def connect(gateway: MakeGateway) -> AsyncIterator[MakeClient]:
    """Make raw clients: `await connect(gw)`; those still open after the test are closed first of all."""
    made: list[Client] = []

    async def make(
        target: Gateway | RawUpstream | tuple[str, int],
        *,
        receive_buffer: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> Client:
        address = target if isinstance(target, tuple) else target.address
        client = await Client.connect(address, receive_buffer=receive_buffer, tls=tls)
        made.append(client)
        return client

    yield make
    for client in made:
        await client.close()
