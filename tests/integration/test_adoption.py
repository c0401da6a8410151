"""Gateways one after the other on one machine: what an engine says, keeps silent about, or gets wrong.

The engines are named fakes on one `FakeMachine`; the store is the one of the gateway before.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from hestia.core import steps, world
from hestia.core.difference import difference
from hestia.core.errors import HestiaError
from hestia.core.lease import Lease
from hestia.core.lifecycle import State
from hestia.core.model import GatewayId, InstanceId, InstanceKey, OnExit, ServiceId, ServiceSettings
from hestia.core.ports import Discovered, Handle, Intent, Observed
from hestia.runtime import adoption
from hestia.store.memory import MemoryStore
from tests.fakes.bare_gateway import A, BareGateway, bare_gateway, fake_service
from tests.fakes.engines import BlindEngine, DeafWatchEngine, FakeEngine, FakeMachine, StuckStopEngine
from tests.fakes.facts import eventually

KEY = InstanceKey(GatewayId("test"), A, InstanceId("a"), 1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute takes a tenth of a second."""
    monkeypatch.setattr(steps, "STOP_RETRY", 0.1)
    monkeypatch.setattr(adoption, "ASK_LIMIT", 0.1)
    monkeypatch.setattr(adoption, "ASK_TIMEOUT", 0.05)
    monkeypatch.setattr(adoption, "ASK_AGAIN", (0.01, 0.02))


async def left_hot(machine: FakeMachine, **settings: Any) -> MemoryStore:
    """A gateway made the service hot and was killed. What it knew."""
    store = MemoryStore()
    async with bare_gateway(
        FakeEngine(machine, listening=True), fake_service(**settings), store=store, killed=True
    ) as bare:
        bare.requests.send("first")
        await bare.requests.answered(1)
    assert machine.live_keys == [KEY]
    return store


def refusal(bare: BareGateway) -> HestiaError:
    outcome = bare.requests.outcomes[-1][1]
    assert isinstance(outcome, HestiaError)
    return outcome


def reload_to(bare: BareGateway, *services: ServiceSettings) -> None:
    """What a reload does: only what differs is touched."""
    new = replace(bare.gateway.settings, services={one.id: one for one in services})
    bare.gateway.reconfigure(new, difference(bare.gateway.settings, new))


async def left_alone(bare: BareGateway) -> None:
    """Wait until it was said that something is left alone."""
    await eventually(lambda: any(row.event == "OrphanKept" for row in bare.story.rows), "left alone")


# -- cannot ask ------------------------------------------------------------------------------------


async def test_ad_04_and_10_silent_engine_proves_nothing(quick: None) -> None:
    """Unknown after a while: requests get the reason, nothing starts; adopted when the engine speaks."""
    async with FakeMachine() as machine:
        store = await left_hot(machine)
        engine = BlindEngine(machine, listening=True)
        async with bare_gateway(engine, store=store) as bare:
            bare.requests.send("early")  # waits while it is looked for
            await bare.requests.answered(1)
            assert "nobody can say whether it still runs" in refusal(bare).detail
            assert "--force" in refusal(bare).remedy
            await bare.until_state("failed")
            with pytest.raises(HestiaError, match="nobody can say"):
                bare.requests.send("later")
            status = await bare.gateway.status(A)
            assert status.last_error is not None
            assert "nobody can say" in status.last_error.detail
            assert engine.starts == []
            assert machine.live_keys == [KEY]
            assert store.kept[KEY].state == "hot", "what it was is not forgotten"
            engine.blind = False
            await bare.until_state("hot")
            assert bare.gateway.world.slot(A, InstanceId("a")).record.generation == 1
        assert machine.most_live_at_once == {("a", "a"): 1}


async def test_ad_10_a_person_gives_up_what_is_unknown(quick: None) -> None:
    """`stop --force` makes it cold; found later, it is ended."""
    async with FakeMachine() as machine:
        store = await left_hot(machine)
        engine = BlindEngine(machine, listening=True)
        async with bare_gateway(engine, store=store) as bare:
            await bare.until_state("failed")
            bare.gateway.stop(A, force=True, actor="me")
            await bare.until_state("cold")
            assert KEY not in store.kept
            engine.blind = False
            for _ in range(3):
                await bare.gateway.sweep.ask()
            await engine.until(lambda: not machine.live())


async def test_ad_10_engine_that_hangs_or_breaks_holds_nobody_for_ever(quick: None) -> None:
    class Broken(FakeEngine):
        async def discover(self, owner: GatewayId) -> Discovered:
            raise RuntimeError("a bug")

        async def inspect(self, handle: Handle) -> Observed:
            await asyncio.Event().wait()
            raise AssertionError

    async with FakeMachine() as machine:
        store = await left_hot(machine)
        async with bare_gateway(Broken(machine, listening=True), store=store, killed=True) as bare:
            bare.requests.send("early")
            await bare.requests.answered(1)
            assert "nobody can say" in refusal(bare).detail


async def test_ad_01_nothing_starts_while_nobody_can_say_what_runs(quick: None) -> None:
    """The store is lost and the engine does not say: a start would be the second of its kind."""
    async with FakeMachine() as machine:
        await left_hot(machine)
        engine = BlindEngine(machine, listening=True)
        async with bare_gateway(engine) as bare:
            bare.requests.send("early")
            await eventually(
                lambda: bare.story.states()[:2] == ["starting", "failed"], "the start to be refused"
            )
            assert engine.starts == []
            engine.blind = False
            await bare.requests.answered(1)
            assert isinstance(bare.requests.outcomes[0][1], Lease)
        assert machine.most_live_at_once == {("a", "a"): 1}


async def test_ad_01_stopped_before_it_was_found_it_does_not_run_on() -> None:
    """Of what was killed between call and handle nobody knows the handle: the stop looks for it first."""
    async with FakeMachine() as machine:
        store = await left_hot(machine)
        intent = store.kept[KEY].intent
        await store.open(KEY.gateway)
        store.closed(KEY, "")
        await store.intend(intent)  # nobody wrote its handle down
        engine = FakeEngine(machine, listening=True)
        engine.hold("discover")
        async with bare_gateway(engine, store=store) as bare:
            await bare.until_state("starting")
            bare.gateway.stop(A, force=True, actor="me")
            await bare.until_state("stopping")
            engine.let_go("discover")
            await bare.until_state("cold")
            assert machine.live() == []
            assert store.kept == {}


async def test_id_17_what_is_looked_for_stays_when_the_gateway_ends() -> None:
    async with FakeMachine() as machine:
        service = fake_service(on_exit=OnExit.KEEP)
        store = await left_hot(machine)
        engine = FakeEngine(machine, listening=True)
        engine.hold("discover")
        async with bare_gateway(engine, service, store=store, killed=True) as bare:
            await bare.until_state("starting")
            bare.gateway.drain()
            assert await bare.gateway.stop_all(timeout=5.0) == []
            bare.gateway.hurry()
            assert bare.gateway.staying() == ["a/a"]
        assert machine.live_keys == [KEY]


async def test_id_17_what_a_kept_service_needs_is_kept() -> None:
    """SF-12: whoever depends on it runs on, so it is not stopped under them, whatever its on_exit says."""
    services = [
        fake_service(on_exit=OnExit.STOP),
        fake_service("b", on_exit=OnExit.KEEP, depends_on=(A,)),
        fake_service("c", on_exit=OnExit.STOP, depends_on=(A,)),
    ]
    async with FakeMachine() as machine:
        engine = FakeEngine(machine, listening=True)
        async with bare_gateway(engine, *services, killed=True) as bare:
            for name in ("b", "c"):
                bare.requests.send(name, ServiceId(name))
            await bare.requests.answered(2)
            bare.gateway.drain()
            assert await bare.gateway.stop_all(timeout=5.0) == []
            assert sorted(bare.gateway.staying()) == ["a/a", "b/b"]
            assert sorted(key.service for key in machine.live_keys) == ["a", "b"]


async def test_ad_10_what_nobody_can_find_is_named_when_the_gateway_ends(quick: None) -> None:
    async with FakeMachine() as machine:
        store = await left_hot(machine)
        service = fake_service(on_exit=OnExit.STOP)
        async with bare_gateway(BlindEngine(machine), service, store=store, killed=True) as bare:
            await bare.until_state("failed")
            bare.gateway.drain()
            assert await bare.gateway.stop_all(timeout=5.0) == ["a/a"]
            assert KEY in store.kept, "the next gateway looks again"


async def test_fb_15_what_could_not_be_stopped_is_named_when_the_gateway_ends() -> None:
    async with FakeMachine() as machine:
        engine = StuckStopEngine(machine, listening=True)
        async with bare_gateway(engine, fake_service(on_exit=OnExit.STOP), killed=True) as bare:
            bare.requests.send("first")
            await bare.requests.answered(1)
            bare.gateway.drain()
            assert await bare.gateway.stop_all(timeout=5.0) == ["a/a"]
            assert KEY in bare.store.kept


# -- orphans ---------------------------------------------------------------------------------------


async def test_ad_03_and_fb_15_start_waits_for_an_orphan_that_does_not_end() -> None:
    """The reason is told; once somebody has ended it by hand, the next start goes on."""
    async with FakeMachine() as machine:
        store = await left_hot(machine)
        foreign = replace(store.kept[KEY].intent, key=replace(KEY, generation=2))
        await store.open(KEY.gateway)
        await store.intend(foreign)  # a newer generation was begun: the first is in its way
        engine = StuckStopEngine(machine, listening=True)
        async with bare_gateway(engine, store=store) as bare:
            bare.requests.send("early")
            await eventually(
                lambda: any("cannot be ended" in str(row.data) for row in bare.story.rows), "the reason"
            )
            assert machine.live_keys == [KEY]
            engine.stuck = False
            await bare.requests.answered(1)
            assert isinstance(bare.requests.outcomes[0][1], Lease)
            assert KEY not in machine.live_keys
        assert machine.most_live_at_once == {("a", "a"): 1}


async def test_ad_03_left_alone_by_policy_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeMachine() as machine:
        store = await left_hot(machine)
        async with bare_gateway(
            FakeEngine(machine), fake_service("b"), store=store, orphan_policy=OnExit.KEEP
        ) as bare:
            for _ in range(3):
                await bare.gateway.sweep.ask()
            assert machine.live_keys == [KEY]
        told = [one for one in caplog.records if getattr(one, "event_type", "") == "orphan_kept"]
        assert len(told) == 1


@pytest.mark.parametrize("store_lost", [False, True])
async def test_ad_03_left_alone_is_taken_back_when_a_reload_names_it_again(store_lost: bool) -> None:
    """Nothing is started beside it: it is the one that serves."""
    async with FakeMachine() as machine:
        left = await left_hot(machine)
        store = MemoryStore() if store_lost else left
        engine, other = FakeEngine(machine, listening=True), fake_service("b")
        async with bare_gateway(engine, other, store=store, orphan_policy=OnExit.KEEP) as bare:
            await left_alone(bare)
            reload_to(bare, other, fake_service())
            bare.requests.send("again")
            await bare.requests.answered(1)
            assert isinstance(bare.requests.outcomes[0][1], Lease)
            assert engine.starts == []
            assert machine.live_keys == [KEY]
        assert machine.most_live_at_once == {("a", "a"): 1}


async def test_ad_03_left_alone_that_ended_meanwhile_is_started_anew() -> None:
    async with FakeMachine() as machine:
        store = await left_hot(machine)
        engine, other = FakeEngine(machine, listening=True), fake_service("b")
        async with bare_gateway(engine, other, store=store, orphan_policy=OnExit.KEEP) as bare:
            await left_alone(bare)
            machine.end(machine.last("a"))
            reload_to(bare, other, fake_service())
            bare.requests.send("again")
            await bare.requests.answered(1)
            assert isinstance(bare.requests.outcomes[0][1], Lease)
            assert KEY not in machine.live_keys
            assert len(machine.live_keys) == 1


async def test_ad_03_left_alone_in_the_place_of_a_newer_start_ends_first() -> None:
    """A service that is kept warm begins its start with the reload itself."""
    async with FakeMachine() as machine:
        store = await left_hot(machine)
        engine, other = FakeEngine(machine, listening=True), fake_service("b")
        async with bare_gateway(engine, other, store=store, orphan_policy=OnExit.KEEP) as bare:
            await left_alone(bare)
            reload_to(bare, other, replace(fake_service(), keep_warm=True))
            await bare.until_state("hot")
            assert len(machine.live_keys) == 1
        assert machine.most_live_at_once == {("a", "a"): 1}


async def test_ad_19_one_question_for_any_number_of_services() -> None:
    """Each of them is then probed, and looked at once before it is hot."""
    services = [fake_service(f"s{number}") for number in range(40)]
    store = MemoryStore()
    async with FakeMachine() as machine:
        engine = FakeEngine(machine, listening=True)
        async with bare_gateway(engine, *services, store=store, killed=True) as bare:
            for one in services:
                bare.requests.send(str(one.id), one.id)
            await bare.requests.answered(40)
        engine = FakeEngine(machine, listening=True)
        async with bare_gateway(engine, *services, store=store) as bare:
            for one in services:
                await bare.until_state("hot", str(one.id))
            assert engine.calls.count("discover") == 1
            assert sum(call.startswith("inspect") for call in engine.calls) <= 40
            assert engine.starts == []


async def test_id_04_looking_at_it_is_no_use() -> None:
    async with FakeMachine() as machine, bare_gateway(FakeEngine(machine, listening=True)) as bare:
        bare.requests.send("first")
        await bare.requests.answered(1)
        use = bare.gateway.world.slot(A, InstanceId("a")).use
        assert use is not None
        before = use.last_used
        await bare.gateway.status(A)
        await bare.gateway.statuses()
        await bare.gateway.sweep.look(note=True, ask=True)
        assert use.last_used == before


# -- the sweep ---------------------------------------------------------------------------------


async def test_ad_20_sweep_finds_an_exit_that_nobody_told() -> None:
    async with FakeMachine() as machine:
        engine = DeafWatchEngine(machine, listening=True)
        async with bare_gateway(engine) as bare:
            bare.requests.send("first")
            await bare.requests.answered(1)
            engine.crash()
            assert bare.story.states() == ["starting", "hot"]
            await bare.gateway.sweep.ask()
            await eventually(lambda: bare.story.states()[2:3] == ["stopping"], "the crash to be seen")


async def test_ad_20_sweep_ends_a_stray_and_nothing_else() -> None:
    """It runs though its record is cold: seen twice, because a stop may just be ending, it is ended."""
    async with FakeMachine() as machine:
        engine = FakeEngine(machine, listening=True)
        async with bare_gateway(engine) as bare:
            bare.requests.send("first")
            await bare.requests.answered(1)
            bare.gateway.stop(A, force=False, actor="me")
            await bare.until_state("cold")
            machine.make(KEY, "")
            await bare.gateway.sweep.ask()
            assert machine.live_keys == [KEY]
            await bare.gateway.sweep.ask()
            await engine.until(lambda: not machine.live())


async def test_ad_20_sweep_adopts_what_an_engine_found_late() -> None:
    """Nothing was known and nothing was found at the start; then it is there, and has a place."""
    async with FakeMachine() as machine:
        await left_hot(machine)
        engine = FakeEngine(machine, listening=True)
        hidden, machine.instances = machine.instances, []
        async with bare_gateway(engine) as bare:
            await eventually(lambda: "discover" in engine.calls, "the question")
            machine.instances = hidden
            await bare.gateway.sweep.ask()
            await bare.until_state("hot")
            assert engine.starts == []


async def test_ck_02_time_asleep_counts_as_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's clock stood still for an hour: what nobody used since stops, what is used stays."""
    monkeypatch.setattr(world, "SPREAD", 0.01)
    asleep = 0.0
    async with FakeMachine() as machine:
        engine = FakeEngine(machine, listening=True)
        services = [fake_service(idle_timeout=600.0), fake_service("b", idle_timeout=600.0)]
        clock = asyncio.get_running_loop().time
        async with bare_gateway(engine, *services, boot_clock=lambda: clock() + asleep) as bare:
            for name in ("a", "b"):
                bare.requests.send(name, ServiceId(name), keep=name == "b")
            await bare.requests.answered(2)
            await bare.gateway.sweep.look(note=False, ask=False)
            asleep = 5.0
            await bare.gateway.sweep.look(note=False, ask=False)
            assert bare.story.states("a") == ["starting", "hot"], "clocks differ a little, and nobody slept"
            asleep = 3600.0
            await bare.gateway.sweep.look(note=False, ask=False)
            await bare.until_state("cold")
            assert bare.story.states("b") == ["starting", "hot"]
            held = dict(bare.requests.outcomes)["b"]
            assert isinstance(held, Lease)
            bare.gateway.release(held)


# -- what is remembered --------------------------------------------------------------------------


async def test_qf_16_an_adoption_is_no_start_in_the_history() -> None:
    async with FakeMachine() as machine:
        store = await left_hot(machine)
        async with bare_gateway(FakeEngine(machine, listening=True), store=store) as bare:
            await bare.until_state("hot")
            assert len(bare.gateway.history.rows(A, InstanceId("a"))) == 1


async def test_ad_12_a_note_of_last_use_does_not_make_it_younger() -> None:
    """An adopted service that nobody used keeps the instant that was stored."""
    async with FakeMachine() as machine:
        store = await left_hot(machine, idle_timeout=7200.0)
        used = time.time() - 3600
        await store.open(KEY.gateway)
        store.noted(KEY, last_used=used)
        for _ in range(3):
            async with bare_gateway(
                FakeEngine(machine, listening=True),
                fake_service(idle_timeout=7200.0),
                store=store,
                killed=True,
            ) as bare:
                await bare.until_state("hot")
                await bare.gateway.sweep.look(note=True, ask=False)
            assert store.kept[KEY].last_used == used


async def test_ad_03_a_person_gives_up_what_no_engine_here_can_end() -> None:
    """Its plug-in was uninstalled: nothing starts beside it until somebody says that it may."""
    store = MemoryStore()
    await store.open(KEY.gateway)
    await store.intend(Intent(key=KEY, engine="gone", options_hash="", episode="", at=time.time()))
    async with FakeMachine() as machine:
        engine = FakeEngine(machine, listening=True)
        async with bare_gateway(engine, store=store) as bare:
            bare.requests.send("early")
            await bare.requests.answered(1)
            assert "hestia stop --force a" in refusal(bare).remedy
            assert engine.starts == []
            assert "OrphanStays" in [row.event for row in bare.story.rows]
            bare.gateway.stop(A, force=False, actor="me")
            assert KEY in store.kept, "a stop that is not forced gives nothing up"
            bare.gateway.stop(A, force=True, actor="me")
            assert KEY not in store.kept
            assert "OrphanGivenUp" in [row.event for row in bare.story.rows]
            bare.requests.send("later")
            await bare.requests.answered(2)
            assert isinstance(bare.requests.outcomes[-1][1], Lease)
        assert [one.generation for one in machine.live_keys] == []


async def test_ad_13_a_stop_that_was_decided_and_can_never_be_found_again_needs_force(quick: None) -> None:
    """No handle was written and the engine's list is cut short, as Semaphore's is: absence proves nothing."""

    class ShortList(FakeEngine):
        async def discover(self, owner: GatewayId) -> Discovered:
            return Discovered((), complete=False)

    async with FakeMachine() as machine:
        store = await left_hot(machine)
        intent = store.kept[KEY].intent
        await store.open(KEY.gateway)
        store.closed(KEY, "")
        await store.intend(intent)
        store.noted(KEY, state=State.STOPPING)
        machine.end(machine.last())
        engine = ShortList(machine, listening=True)
        async with bare_gateway(engine, store=store) as bare:
            bare.requests.send("early")
            await bare.requests.answered(1)
            assert "--force" in refusal(bare).remedy
            bare.gateway.stop(A, force=True, actor="me")
            await bare.until_state("cold")
            assert KEY not in store.kept
            bare.requests.send("later")
            await bare.requests.answered(2)
            assert isinstance(bare.requests.outcomes[1][1], Lease)
            assert engine.starts == [replace(KEY, generation=2)]
