"""Stopping as the runtime does it: idle, drain, force, crash, restart. Engines are named fakes.

Ids are those of the life-cycle reference (SF, ID, FB, INV).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hestia.core.errors import GatewayDraining, HestiaError, StartStopped
from hestia.core.lease import Lease
from hestia.core.model import Backoff, ServiceId
from tests.fakes.bare_gateway import A, BareGateway, bare_gateway, fake_service
from tests.fakes.engines import FakeEngine, LeavesHandleEngine, SlowStopEngine, StuckStopEngine


class Exchange:
    """Holds a lease as an exchange does, and notes how it ended."""

    def __init__(self, bare: BareGateway, lease: Lease) -> None:
        self.bare = bare
        self.lease = lease
        self.aborted: HestiaError | None = None
        self.sockets_closed = 0
        lease.holder = self

    def abort(self, reason: HestiaError) -> None:
        self.aborted = reason
        self.bare.gateway.release(self.lease)

    def close_socket(self) -> None:
        self.sockets_closed += 1
        self.bare.gateway.release(self.lease)


async def lease_of(bare: BareGateway) -> Exchange:
    """A request that is being answered."""
    before = len(bare.requests.outcomes)
    bare.requests.send("held", keep=True)
    outcome = (await bare.requests.answered(before + 1))[before][1]
    assert isinstance(outcome, Lease)
    bare.gateway.succeeded(outcome)
    return Exchange(bare, outcome)


async def test_id01_a_service_nobody_uses_is_stopped_and_the_next_request_starts_it_again() -> None:
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine, fake_service(idle_timeout=0.05)) as bare:
        for turn in (1, 2):
            bare.requests.send(f"r{turn}")
            await bare.requests.answered(turn)
            await bare.until_state("cold")
        assert bare.story.states() == ["starting", "hot", "stopping", "cold"] * 2
        assert [row.cause for row in bare.story.rows if row.after == "stopping"] == ["idle", "idle"]
        assert engine.live_keys == []
        assert engine.machine.most_live_at_once == {("a", "a"): 1}


async def test_id02_an_open_exchange_vetoes_the_idle_stop() -> None:
    engine = FakeEngine(listening=True)
    services = [fake_service(name, idle_timeout=0.03) for name in ("a", "b")]
    async with bare_gateway(engine, *services) as bare:
        exchange = await lease_of(bare)
        for turn in (2, 3, 4):  # the other one goes idle three times meanwhile
            bare.requests.send("other", ServiceId("b"))
            await bare.requests.answered(turn)
            await bare.until_state("cold", "b")
        assert bare.story.states() == ["starting", "hot"]
        bare.gateway.release(exchange.lease)
        await bare.until_state("cold")
        assert exchange.aborted is None


async def test_id03_silent_sockets_are_closed_first_and_the_stop_follows_the_last_release() -> None:
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine, fake_service(idle_timeout=0.05)) as bare:
        exchange = await lease_of(bare)
        exchange.lease.became_socket()
        await bare.until_state("cold")
        assert exchange.sockets_closed == 1
        assert exchange.aborted is None
        assert bare.story.states()[-3:] == ["draining", "stopping", "cold"]
        assert engine.stopped_with_leases_open == []


async def test_sf07_a_stop_while_starting_answers_the_waiters_and_leaves_nothing() -> None:
    for point in ("start.call", "start.made"):
        engine = FakeEngine(listening=True)
        engine.hold(point)
        async with bare_gateway(engine) as bare:
            bare.requests.send("r")
            await engine.until(lambda engine=engine: bool(engine.starts))  # type: ignore[misc]  # default argument of a lambda
            bare.gateway.stop(A, force=False, actor="me")
            (_, outcome), *_ = await bare.requests.answered(1)
            assert isinstance(outcome, StartStopped)
            await bare.until_state("cold")
            assert engine.live_keys == []
            engine.let_go(point)
            bare.requests.send("later")
            await bare.requests.answered(2)
            assert isinstance(bare.requests.outcomes[1][1], Lease)


async def test_sf07_what_a_cancelled_start_left_behind_is_stopped_by_its_handle() -> None:
    engine = LeavesHandleEngine(listening=True)
    engine.hold("start.made")
    async with bare_gateway(engine) as bare:
        bare.requests.send("r")
        await engine.until(lambda: bool(engine.live_keys))
        bare.gateway.stop(A, force=False, actor="me")
        await bare.until_state("cold")
        assert engine.live_keys == []
        assert len(engine.stops) == 1


async def test_sf05_a_request_during_the_stop_is_served_by_the_next_generation() -> None:
    engine = SlowStopEngine(listening=True)
    async with bare_gateway(engine) as bare:
        bare.requests.send("first")
        await bare.requests.answered(1)
        bare.gateway.stop(A, force=False, actor="me")
        assert bare.story.states()[-1] == "stopping"
        bare.requests.send("second")
        engine.let_go("stop")
        outcome = (await bare.requests.answered(2))[1][1]
        assert isinstance(outcome, Lease)
        assert outcome.use.key.generation == 2
        assert engine.machine.most_live_at_once == {("a", "a"): 1}


async def test_id10_a_stop_waits_for_what_is_open_and_force_cuts_it() -> None:
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine) as bare:
        exchange = await lease_of(bare)
        bare.gateway.stop(A, force=False, actor="me")
        assert bare.story.states()[-1] == "draining"
        assert bare.gateway.acquire_nowait(A) is None
        bare.gateway.stop(A, force=True, actor="me")
        assert exchange.aborted is not None
        await bare.until_state("cold")
        assert [row.data["forced"] for row in bare.story.rows][-2] is True


async def test_id10_a_drain_that_never_ends_is_given_up() -> None:
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine, fake_service(drain_timeout=0.03)) as bare:
        exchange = await lease_of(bare)
        bare.gateway.stop(A, force=False, actor="me")
        await bare.until_state("hot")
        assert bare.story.rows[-1].cause == "drain_given_up"
        assert exchange.aborted is None
        bare.gateway.release(exchange.lease)


async def test_fb11_a_crash_while_idle_is_noticed_and_starts_nothing() -> None:
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine, fake_service(stable_after=0.0)) as bare:
        bare.requests.send("r")
        await bare.requests.answered(1)
        engine.crash(exit_status=7)
        await bare.until_state("cold")
        status = await bare.gateway.status(A, probe=False)
        assert status.last_error is not None
        assert "status 7" in status.last_error.detail
        assert len(engine.starts) == 1


async def test_fb12_a_crash_keeps_the_queue_and_restarts_once() -> None:
    engine = FakeEngine(listening=True)
    service = fake_service(max_in_flight=1, stable_after=0.0)
    async with bare_gateway(engine, service) as bare:
        exchange = await lease_of(bare)
        bare.requests.send("second")
        bare.requests.send("third")
        engine.crash()
        await bare.requests.answered(3)
        assert bare.requests.names[1:] == ["second", "third"]
        assert len(engine.starts) == 2
        bare.gateway.release(exchange.lease)


async def test_fb06_dying_soon_after_hot_counts_as_a_failed_start() -> None:
    engine = FakeEngine(listening=True)
    service = fake_service(restart_backoff=Backoff(intensity=1, cool_down=3600.0))
    async with bare_gateway(engine, service) as bare:
        bare.requests.send("r")
        await bare.requests.answered(1)
        engine.crash()
        await bare.until_state("failed")
        with pytest.raises(HestiaError, match="not tried again"):
            bare.requests.send("next")


async def test_fb15_what_survives_the_stop_is_stuck_and_not_started_again() -> None:
    engine = StuckStopEngine(listening=True)
    async with bare_gateway(engine) as bare:
        bare.requests.send("r")
        await bare.requests.answered(1)
        bare.gateway.stop(A, force=False, actor="me")
        await bare.until_state("failed")
        with pytest.raises(HestiaError, match="still there"):
            bare.requests.send("next")
        assert len(engine.starts) == 1
        engine.stuck = False
        bare.gateway.stop(A, force=False, actor="me")
        await bare.until_state("cold")


async def test_restart_keeps_the_waiters_and_comes_back() -> None:
    engine = FakeEngine(listening=True)
    engine.hold("start.made")
    async with bare_gateway(engine) as bare:
        bare.requests.send("r")
        await engine.until(lambda: bool(engine.live_keys))
        bare.gateway.restart(A, force=False, actor="me")
        engine.let_go("start.made")
        (_, outcome), *_ = await bare.requests.answered(1)
        assert isinstance(outcome, Lease)
        assert outcome.use.key.generation == 2


async def test_id13_pooled_connections_of_a_generation_are_closed_with_it() -> None:
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine) as bare:
        bare.requests.send("r")
        await bare.requests.answered(1)
        bare.gateway.stop(A, force=False, actor="me")
        await bare.until_state("cold")
        assert [key.generation for key in bare.closed_endpoints] == [1]


async def test_dr03_shutdown_answers_the_queue_and_stops_what_was_started() -> None:
    engine = FakeEngine(listening=True)
    engine.hold("start.made")
    async with bare_gateway(engine) as bare:
        bare.requests.send("r")
        await engine.until(lambda: bool(engine.live_keys))
        bare.gateway.drain()
        (_, outcome), *_ = await bare.requests.answered(1)
        assert isinstance(outcome, GatewayDraining)
        with pytest.raises(GatewayDraining):
            bare.requests.send("late")
    assert engine.live_keys == []


async def test_wait_hot_returns_when_hot_and_raises_what_a_request_would_get() -> None:
    engine = FakeEngine(listening=True)
    service = replace(fake_service(), start_timeout=0.2)
    async with bare_gateway(engine, service) as bare:
        await bare.gateway.wait_hot(A, timeout=20.0)
        await bare.gateway.wait_hot(A, timeout=20.0)
        assert len(engine.starts) == 1
