"""Hung programs, found and replaced through the whole gateway (RD-10, RD-11, RD-16)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hestia.core.model import InstanceId, InstanceSettings, ServiceId, ServiceSettings
from hestia.runtime import liveness
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.programs import Programs
from tests.fakes.wire import request

from .conftest import MakeClient
from .harness import Gateway, MakeGateway, cold

S = "/services/a"


@pytest.fixture
async def programs(tmp_path: Path, leaks: None) -> AsyncIterator[Programs]:
    """Services as processes; afterwards not one of them runs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    made = Programs(folder)
    yield made
    await eventually(lambda: made.alive() == [], lambda: f"programs to end: {made.alive()}")


@pytest.fixture
async def wake(
    programs: Programs, gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., object]]:
    """`await wake(settings, …)`: a gateway whose services are stopped at the end; probes fail soon."""
    monkeypatch.setattr(liveness, "LIMIT", 0.25)
    made: list[Gateway] = []

    async def make(*services: ServiceSettings) -> Gateway:
        made.append(await gateway(*services))
        return made[-1]

    yield make
    for running in made:
        for name in running.hestia.gateway.services():
            running.hestia.gateway.stop(name, force=True, actor="test")
            await running.until(lambda seen: seen.phase in ("cold", "failed"), "the end", name)


Wake = Callable[..., "asyncio.Future[Gateway]"]


async def test_rd11_a_hung_program_that_nobody_uses_is_ended_and_the_next_request_starts_another(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    gw = await wake(programs.service(health_interval=0.1, stable_after=0.0, stop_grace=0.2))
    client = await connect(gw)
    assert (await client.ask("GET", S + "/")).status == 200
    (pid,) = programs.started()
    os.kill(pid, signal.SIGSTOP)
    suspect = await gw.until(lambda seen: seen.phase == "suspect", "the suspicion")
    assert suspect.last_error is not None
    assert "does not answer its probe: no answer within 0.25 s" in suspect.last_error.detail
    gone = await gw.until(lambda seen: seen.phase == "cold", "the end of what hangs")
    assert gone.last_error is not None
    assert gone.last_error.cause == "hung"
    assert (await client.ask("GET", S + "/")).status == 200
    assert len(programs.started()) == 2


async def test_rd11_a_program_that_answers_only_its_long_request_is_left_alone(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    """It hangs for every probe, comes back, and its request is answered."""
    gw = await wake(programs.service(health_interval=0.1))
    client = await connect(gw)
    await client.ask("GET", S + "/")
    (pid,) = programs.started()
    os.kill(pid, signal.SIGSTOP)
    await client.send(request("GET", S + "/"))
    await gw.until(lambda seen: seen.phase == "suspect", "the suspicion")
    slot = next(iter(gw.hestia.gateway.world.service(gw.hestia.gateway.services()[0]).slots.values()))
    await eventually(lambda: slot.pulse.failures >= 2, "failed probes")
    os.kill(pid, signal.SIGCONT)
    assert (await client.response()).status == 200
    await gw.until(lambda seen: seen.phase == "hot", "its rehabilitation")
    assert programs.started() == [pid]


async def test_rd11_a_request_that_times_out_brings_about_a_probe_without_any_interval(
    programs: Programs, wake: Wake, connect: MakeClient
) -> None:
    settings = programs.service(
        health_interval=float("inf"), response_timeout=0.3, retry_count=0, stable_after=0.0, stop_grace=0.2
    )
    gw = await wake(settings)
    client = await connect(gw)
    await client.ask("GET", S + "/")
    (pid,) = programs.started()
    os.kill(pid, signal.SIGSTOP)
    assert (await client.ask("GET", S + "/")).status == 504
    await gw.until(lambda seen: seen.phase == "cold", "the end of what hangs")


async def test_rd11_what_somebody_else_ran_and_ended_is_cold_within_an_interval(
    wake: Wake, connect: MakeClient
) -> None:
    async with HttpUpstream() as upstream:
        one = InstanceSettings(id=InstanceId("a"), base_url=upstream.url, health_url=upstream.url)
        gw = await wake(ServiceSettings(id=ServiceId("a"), instances=(one,), health_interval=0.1))
        client = await connect(gw)
        assert (await client.ask("GET", S + "/")).status == 200
    slot = next(iter(gw.hestia.gateway.world.service(gw.hestia.gateway.services()[0]).slots.values()))
    await eventually(lambda: slot.state == "cold", lambda: f"it to be cold: {slot} {slot.pulse}")


async def test_rd10_a_listener_that_goes_away_once_after_the_first_probe_costs_no_request(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    upstream.stop_listening()
    clients = [await connect(gw) for _ in range(3)]
    for client in clients:
        await client.send(request("GET", S + "/x"))
    seen = await gw.until(lambda seen: seen.phase == "suspect", "the suspicion")
    await upstream.start()
    assert [(await client.response()).status for client in clients] == [200] * 3
    await gw.until(lambda seen: seen.phase == "hot", "the end of it")
    assert len(gw.engine.starts) == 1
    assert seen.instances[0].generation == 1


async def _goes_away(upstream: HttpUpstream) -> None:
    upstream.stop_listening()
    for one in upstream.connections:
        one.close()
    await eventually(lambda: upstream.open == 0, "its connections to end")


async def test_rd10_the_third_time_is_a_crash_and_the_request_is_served_by_the_next_generation(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    for _ in range(2):
        await _goes_away(upstream)
        await client.send(request("GET", S + "/x"))
        await gw.until(lambda seen: seen.phase == "suspect", "the suspicion")
        await upstream.start()
        assert (await client.response()).status == 200
        await gw.until(lambda seen: seen.phase == "hot", "the end of it")
    await _goes_away(upstream)
    await client.send(request("GET", S + "/x"))
    await gw.until(lambda seen: seen.instances[0].generation == 2, "another start")
    await upstream.start()
    assert (await client.response()).status == 200
