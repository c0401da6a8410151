"""Starting as the runtime does it: single flight, queue, readiness, failure. Engines are named fakes.

Ids are those of the life-cycle reference (SF, QF, RD, FB).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hestia.core.errors import (
    AlreadyRunning,
    BreakerOpen,
    EngineRefused,
    EngineUnavailable,
    InternalError,
    QueueFull,
    QueueTimeout,
    StartError,
    StartFailed,
    StartTimeout,
)
from hestia.core.lease import Lease
from hestia.core.model import Backoff, External, InstanceKey, InstanceSettings
from hestia.core.ports import Intent, Report, Started, StartSpec
from tests.fakes.bare_gateway import A, bare_gateway, fake_service
from tests.fakes.engines import (
    DiesBeforeReadyEngine,
    DiesWhileStartingEngine,
    FakeEngine,
    LateSuccessEngine,
    NeverReadyEngine,
    RefusingEngine,
    TinyUpstream,
)

QUICK = Backoff(base=0.01, cap=0.02)


async def test_sf01_qf01_a_herd_causes_one_start_and_is_answered_in_order() -> None:
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine) as bare:
        names = [f"r{number}" for number in range(1000)]
        for name in names:
            bare.requests.send(name)
        await bare.requests.answered(1000)
        assert bare.requests.names == names
        assert len(engine.starts) == 1
        assert all(isinstance(outcome, Lease) for _, outcome in bare.requests.outcomes)


async def test_sf03_the_first_of_three_waiters_leaves_and_the_others_are_served_by_one_start() -> None:
    engine = FakeEngine(listening=True)
    engine.hold("start.made")
    async with bare_gateway(engine) as bare:
        first = bare.requests.send("first")
        bare.requests.send("second")
        bare.requests.send("third")
        await engine.until(lambda: bool(engine.live_keys))
        bare.gateway.leave(A, first)
        engine.let_go("start.made")
        await bare.requests.answered(2)
        assert bare.requests.names == ["second", "third"]
        assert len(engine.starts) == 1


async def test_sf14_the_start_goes_on_when_the_last_waiter_leaves() -> None:
    engine = FakeEngine(listening=True)
    engine.hold("start.made")
    async with bare_gateway(engine) as bare:
        waiter = bare.requests.send("only")
        await engine.until(lambda: bool(engine.live_keys))
        bare.gateway.leave(A, waiter)
        engine.let_go("start.made")
        await bare.until_state("hot")
        assert bare.requests.outcomes == []


async def test_sf04_a_waiter_that_raises_does_not_keep_the_others_from_their_lease() -> None:
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine) as bare:

        def broken(outcome: object) -> None:
            raise RuntimeError("an exchange with a bug")

        bare.gateway.wait(A, broken, deadline=1e12)
        bare.requests.send("healthy")
        await bare.requests.answered(1)
        assert bare.requests.names == ["healthy"]
        assert bare.gateway.world.statistics().in_flight == 0


async def test_sf13_a_start_by_the_api_and_a_request_share_one_start() -> None:
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine) as bare:
        bare.gateway.start(A, actor="test")
        bare.requests.send("r")
        with pytest.raises(AlreadyRunning):
            bare.gateway.start(A, actor="test")
        await bare.requests.answered(1)
        assert len(engine.starts) == 1


async def test_sf08_a_success_after_the_limit_is_torn_down_and_never_served() -> None:
    engine = LateSuccessEngine(listening=True)
    service = replace(fake_service(), restart_backoff=QUICK)
    async with bare_gateway(engine, service) as bare:
        bare.requests.send("r")
        (_, outcome), *_ = await bare.requests.answered(1)
        assert isinstance(outcome, EngineUnavailable)
        assert outcome.sent
        assert bare.story.states()[-1] == "failed"


async def test_sf15_an_engine_with_a_bug_answers_the_waiters() -> None:
    class BuggyEngine(FakeEngine):
        async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
            raise ZeroDivisionError("a bug")

    async with bare_gateway(BuggyEngine()) as bare:
        bare.requests.send("r")
        (_, outcome), *_ = await bare.requests.answered(1)
        assert isinstance(outcome, InternalError)
        assert "ZeroDivisionError" in outcome.detail


async def test_sf10_fb17_a_failed_start_tells_everybody_the_same_reason_with_the_last_lines() -> None:
    engine = DiesWhileStartingEngine()
    async with bare_gateway(engine) as bare:
        for name in ("one", "two", "three"):
            bare.requests.send(name)
        outcomes = [outcome for _, outcome in await bare.requests.answered(3)]
        error = outcomes[0]
        assert isinstance(error, StartFailed)
        assert outcomes == [error] * 3
        assert error.exit_status == 3
        assert error.tail == ("cannot read model.gguf",)
        assert len(engine.starts) == 1


async def test_rd04_the_exit_ends_the_wait_not_the_limit() -> None:
    engine = DiesBeforeReadyEngine()
    async with bare_gateway(engine) as bare:
        bare.requests.send("r")
        (_, outcome), *_ = await bare.requests.answered(1)
        assert isinstance(outcome, StartFailed)
        assert outcome.exit_status == 4
        assert outcome.tail == ("out of memory",)
        status = await bare.gateway.status(A, probe=False)
        assert status.last_error is not None
        assert status.last_error.tail == ("out of memory",)


async def test_rd04_not_now_is_tried_again_within_the_episode() -> None:
    engine = FakeEngine(listening=True)
    for _ in range(2):
        engine.fail_next_start(EngineRefused("port taken", permanent=False, resource="port"))
    service = replace(fake_service(), restart_backoff=QUICK)
    async with bare_gateway(engine, service) as bare:
        bare.requests.send("r")
        (_, outcome), *_ = await bare.requests.answered(1)
        assert isinstance(outcome, Lease)
        assert len({row.episode for row in bare.story.rows if row.after == "starting"}) == 1
        assert len(engine.starts) == 3


async def test_fb05_after_three_failures_the_breaker_answers_at_once_and_a_person_may_still_start() -> None:
    engine = RefusingEngine()
    service = replace(fake_service(), restart_backoff=replace(QUICK, cool_down=3600.0))
    async with bare_gateway(engine, service) as bare:
        for number in range(1, 4):
            bare.requests.send(f"r{number}")
            await bare.requests.answered(number)
        with pytest.raises(BreakerOpen) as refused:
            bare.requests.send("r4")
        assert "olama" in refused.value.detail
        assert refused.value.retry_after is not None
        assert refused.value.retry_after > 3000
        assert len(engine.starts) == 3
        bare.gateway.start(A, actor="test")
        await bare.story.bell.until(lambda: len(engine.starts) == 4, "a start by hand")


async def test_rd_a_service_that_is_never_ready_fails_with_the_last_probe_in_words() -> None:
    engine = NeverReadyEngine()
    service = replace(fake_service(), start_timeout=0.3)
    async with bare_gateway(engine, service) as bare:
        bare.requests.send("r")
        (_, outcome), *_ = await bare.requests.answered(1)
        assert isinstance(outcome, StartTimeout)
        assert "HTTP 503" in outcome.detail
        assert "start_timeout" in outcome.detail
        await bare.until_state("failed")
        assert engine.live_keys == []


async def test_ck05_a_request_that_gives_up_waiting_is_told_so_and_the_start_goes_on() -> None:
    engine = FakeEngine(listening=True, ready=False)
    async with bare_gateway(engine) as bare:
        bare.requests.send("hurried", patience=0.05)
        bare.requests.send("patient")
        (name, outcome), *_ = await bare.requests.answered(1)
        assert name == "hurried"
        assert isinstance(outcome, QueueTimeout)
        engine.set_ready(ready=True)
        outcomes = await bare.requests.answered(2)
        assert isinstance(outcomes[1][1], Lease)
        assert len(engine.starts) == 1


async def test_cq02_the_queue_is_bounded() -> None:
    engine = FakeEngine(listening=True)
    engine.hold("start.made")
    async with bare_gateway(engine, replace(fake_service(), queue_size=2)) as bare:
        bare.requests.send("one")
        bare.requests.send("two")
        with pytest.raises(QueueFull, match="queue_size is 2"):
            bare.requests.send("three")
        engine.let_go("start.made")
        await bare.requests.answered(2)


async def test_inv6_the_intent_is_stored_before_the_engine_is_called() -> None:
    order: list[str] = []

    class WatchingEngine(FakeEngine):
        async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
            order.append("start")
            return await super().start(spec, key, report)

    async with bare_gateway(WatchingEngine(listening=True)) as bare:
        intend = bare.store.intend

        async def noted(intent: Intent) -> None:
            order.append("intend")
            await intend(intent)

        bare.store.intend = noted  # type: ignore[method-assign]  # a wrapper around the real one
        bare.requests.send("r")
        await bare.requests.answered(1)
    assert order == ["intend", "start"]


async def test_sf16_fifty_requests_over_two_cold_instances_start_one() -> None:
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine, fake_service(instances=2)) as bare:
        for number in range(50):
            bare.requests.send(f"r{number}")
        await bare.requests.answered(50)
        assert len(engine.starts) == 1


async def test_fb07_when_one_instance_fails_the_next_is_started_in_the_same_episode() -> None:
    engine = DiesWhileStartingEngine(listening=True, times=1)
    async with bare_gateway(engine, fake_service(instances=2)) as bare:
        bare.requests.send("r")
        (_, outcome), *_ = await bare.requests.answered(1)
        assert isinstance(outcome, Lease)
        assert outcome.use.key.instance == "a-2"
        assert len({row.episode for row in bare.story.rows if row.after == "starting"}) == 1


async def test_rd03_what_already_serves_on_a_fixed_address_is_served_and_never_stopped() -> None:
    upstream = TinyUpstream(b"someone else's\n")
    port = await upstream.listen(port=0)
    url = f"http://127.0.0.1:{port}"
    engine = FakeEngine(listening=True)
    base = fake_service()
    instance: InstanceSettings = replace(base.instances[0], base_url=url, health_url=f"{url}/")
    async with bare_gateway(engine, replace(base, instances=(instance,))) as bare:
        bare.requests.send("r")
        await bare.requests.answered(1)
        status = await bare.gateway.status(A, probe=False)
        assert status.phase == "hot"
        assert status.instances[0].external
        assert engine.starts == []
        bare.gateway.stop(A, force=False, actor="test")
        await bare.until_state("cold")
        assert engine.stops == []
        assert (await bare.gateway.status(A)).phase == "hot"  # RD-15: the answer is true
    upstream.abort()


async def test_id09_what_somebody_else_runs_is_ignored_where_that_was_asked_for() -> None:
    upstream = TinyUpstream(b"someone else's\n")
    port = await upstream.listen(port=0)
    url = f"http://127.0.0.1:{port}"
    engine = FakeEngine(listening=True)
    base = fake_service(external=External.IGNORE)
    instance: InstanceSettings = replace(base.instances[0], base_url=url, health_url=f"{url}/")
    async with bare_gateway(engine, replace(base, instances=(instance,))) as bare:
        assert (await bare.gateway.status(A)).phase == "cold"
        bare.requests.send("r")
        (_, outcome), *_ = await bare.requests.answered(1)
        assert isinstance(outcome, EngineRefused)
        assert outcome.cause == "endpoint_taken"
        assert engine.starts == []
    upstream.abort()


async def test_rd03_what_listens_there_but_is_not_ready_refuses_the_start_with_what_was_seen() -> None:
    upstream = TinyUpstream(b"loading\n")
    port = await upstream.listen(port=0)
    upstream.ready = False
    url = f"http://127.0.0.1:{port}"
    base = fake_service(restart_backoff=replace(QUICK, intensity=1))
    instance = replace(base.instances[0], base_url=url, health_url=f"{url}/")
    async with bare_gateway(FakeEngine(), replace(base, instances=(instance,))) as bare:
        bare.requests.send("r")
        (_, outcome), *_ = await bare.requests.answered(1)
        assert isinstance(outcome, (EngineRefused, StartError))
        assert "already listens" in outcome.detail
    upstream.abort()
