"""The gateway is killed at every point of a service's life; the next one comes to the truth by itself.

Each case: at the named point `kill -9`, then a new gateway on the same state. Exactly one copy runs or none,
the status says which, a request is served, and in the end nothing runs and no row is open (AD-01, AD-13).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.lives import Lives, lives
from tests.fakes.facts import eventually

pytestmark = pytest.mark.e2e


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Lives]:
    async with lives(tmp_path / "gateway") as one:
        yield one


async def until_it_runs(gateway: Lives) -> int:
    await eventually(lambda: len(gateway.programs()) == 1, "one program")
    return gateway.program()


async def test_ad_01_killed_between_intent_and_engine_call(gateway: Lives) -> None:
    await gateway.boot(at="intent")
    await gateway.send("/services/one/first")
    await gateway.reaches_the_point()
    gateway.kill()
    assert gateway.rows() == [("one", "starting", None)]
    await gateway.boot()
    await gateway.is_true("cold")
    assert len(gateway.starts()) == 1
    await gateway.end()


async def test_ad_01_killed_between_engine_call_and_handle(gateway: Lives) -> None:
    await gateway.boot(at="made")
    await gateway.send("/services/one/first")
    await gateway.reaches_the_point()
    pid = await until_it_runs(gateway)
    gateway.kill()
    assert gateway.rows() == [("one", "starting", None)]
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    await gateway.end()


async def test_ad_01_killed_while_the_handle_is_written(gateway: Lives) -> None:
    """The disk hangs in the commit: the file knows the intent alone."""
    await gateway.boot(at="commit")
    await gateway.send("/services/one/first")
    await gateway.reaches_the_point()
    pid = await until_it_runs(gateway)
    gateway.kill()
    assert gateway.rows() == [("one", "starting", None)]
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    await gateway.end()


async def test_ad_01_and_11_killed_before_the_service_is_ready(gateway: Lives) -> None:
    """While it loads on, it is `starting`, and a request waits for it."""
    gateway.set(one=gateway.service(gated=True))
    await gateway.boot()
    await gateway.send("/services/one/first")
    pid = await until_it_runs(gateway)
    await eventually(lambda: gateway.rows()[0][2] is not None, "the handle in the file")
    gateway.kill()
    await gateway.boot()
    await gateway.now.until_phase("starting", "one")
    early = asyncio.get_running_loop().create_task(gateway.now.get("/services/one/early"))
    gateway.gate.touch()
    assert (await early).json()["pid"] == pid
    await gateway.is_true("hot", pid=pid)
    await gateway.end()


async def test_ad_01_killed_while_idle(gateway: Lives) -> None:
    await gateway.boot()
    await gateway.now.get("/services/one/x")
    pid, before = gateway.program(), await gateway.now.status("one")
    gateway.kill()
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    after = await gateway.now.status("one")
    assert after["instances"][0]["generation"] == before["instances"][0]["generation"]
    await gateway.end()


async def test_ad_01_killed_with_a_stream_open(gateway: Lives) -> None:
    await gateway.boot()
    await gateway.stream()
    pid = gateway.program()
    gateway.kill()
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    await gateway.end()


async def test_ad_13_killed_while_draining(gateway: Lives) -> None:
    """The stop was decided: nothing is open any more, so it is finished."""
    await gateway.boot()
    await gateway.stream()
    await gateway.now.http.post(f"{gateway.now.url}/v1/services/one/stop")
    await eventually(lambda: gateway.rows()[0][1] == "draining", lambda: str(gateway.rows()))
    gateway.kill()
    await gateway.boot()
    await gateway.until_gone()
    await gateway.is_true("cold")
    await gateway.end()


async def test_ad_13_killed_while_stopping(gateway: Lives) -> None:
    """A service that ignores TERM: the stop goes on, to its end."""
    stubborn = gateway.service("--linger", "600")
    gateway.set(one={**stubborn, "stop_grace": "600s"})
    await gateway.boot()
    await gateway.now.get("/services/one/x")
    await gateway.now.http.post(f"{gateway.now.url}/v1/services/one/stop")
    await eventually(lambda: gateway.rows()[0][1] == "stopping", lambda: str(gateway.rows()))
    gateway.kill()
    assert gateway.programs()
    gateway.set(one={**stubborn, "stop_grace": "100ms"})
    await gateway.boot()
    await gateway.until_gone()
    await gateway.is_true("cold")
    await gateway.end()


async def test_ad_13_breaker_survives(gateway: Lives) -> None:
    """It is open, says why, and nothing is started; a person may try."""
    patience = {"intensity": 1, "cool_down": "10m"}
    gateway.set(one=gateway.service("--say", "no GPU here", "--fail", "3", restart_backoff=patience))
    await gateway.boot()
    await gateway.now.http.get(f"{gateway.now.url}/services/one/x")
    failed = await gateway.now.until_phase("failed", "one")
    began = len(gateway.starts())
    await eventually(
        lambda: bool(gateway.now.lines("transition", "one")) or gateway.rows() == [], "the row to be closed"
    )
    gateway.kill()
    await gateway.boot()
    status = await gateway.now.status("one")
    assert status["phase"] == "failed"
    assert "no GPU here" in str(status["lastError"])
    assert status["lastError"]["code"] == failed["lastError"]["code"]
    answer = await gateway.now.http.get(f"{gateway.now.url}/services/one/x")
    assert answer.status_code == 503
    assert answer.json()["cause"] == "breaker_open"
    assert len(gateway.starts()) == began
    await gateway.now.http.post(f"{gateway.now.url}/v1/services/one/start")
    await eventually(lambda: len(gateway.starts()) > began, "a person's start")
    await gateway.end()


async def test_ad_01_killed_twice_while_looking_for_what_runs(gateway: Lives) -> None:
    await gateway.boot()
    await gateway.now.get("/services/one/x")
    pid = gateway.program()
    gateway.kill()
    for _ in range(2):
        await gateway.boot(at="discover")
        await gateway.reaches_the_point()
        assert (await gateway.now.status("one"))["phase"] == "starting"
        gateway.kill()
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    await gateway.end()


async def test_ad_13_a_stop_survives_a_kill_while_looking_for_what_runs(gateway: Lives) -> None:
    """Between two kills the service is only looked for; that it was to stop is not forgotten."""
    stubborn = gateway.service("--linger", "600")
    gateway.set(one={**stubborn, "stop_grace": "600s"})
    await gateway.boot()
    await gateway.now.get("/services/one/x")
    await gateway.now.http.post(f"{gateway.now.url}/v1/services/one/stop")
    await eventually(lambda: gateway.rows()[0][1] == "stopping", lambda: str(gateway.rows()))
    gateway.kill()
    await gateway.boot(at="discover")
    await gateway.reaches_the_point()
    gateway.kill()
    gateway.set(one={**stubborn, "stop_grace": "100ms"})
    await gateway.boot()
    await gateway.until_gone()
    await gateway.is_true("cold")
    await gateway.end()


# -- ends in order -----------------------------------------------------------------------------


async def test_id_17_term_leaves_what_on_exit_keeps(gateway: Lives) -> None:
    await gateway.boot()
    await gateway.now.get("/services/one/x")
    pid = gateway.program()
    assert await gateway.now.stop() == 0
    (said,) = gateway.now.lines("left_for_next")
    assert said["instances"] == ["one/one"] or len(said["instances"]) == 1
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    await gateway.end()


async def test_id_17_term_stops_what_on_exit_stops(gateway: Lives) -> None:
    gateway.set(one=gateway.service(on_exit="stop"))
    await gateway.boot()
    await gateway.now.get("/services/one/x")
    assert await gateway.now.stop() == 0
    assert not gateway.programs()
    assert gateway.rows() == []
    await gateway.boot()
    await gateway.is_true("cold")
    await gateway.end()


async def test_id_17_second_term_leaves_what_on_exit_keeps(gateway: Lives) -> None:
    """Whoever is impatient ends streams, not services."""
    await gateway.boot()
    await gateway.stream()
    pid = gateway.program()
    gateway.now.process.send_signal(signal.SIGTERM)
    await gateway.now.until_line("gateway_draining")
    assert await gateway.now.stop() == 0
    assert gateway.program() == pid
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    await gateway.end()


async def test_id_17_term_while_looking_leaves_what_on_exit_keeps(gateway: Lives) -> None:
    await gateway.boot()
    await gateway.now.get("/services/one/x")
    pid = gateway.program()
    gateway.kill()
    await gateway.boot(at="discover")
    await gateway.reaches_the_point()
    assert await gateway.now.stop() == 0
    assert gateway.program() == pid
    await gateway.boot()
    await gateway.is_true("hot", pid=pid)
    await gateway.end()
