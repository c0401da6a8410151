"""What every engine that starts something must do, real or fake (engines.md C11).

Bound once per implementation: subclass `EngineContract` and give it a `machine` fixture that yields an
`EngineMachine`. A test gets new engine objects from it, as a gateway before and after its restart is.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol

import pytest

from hestia.core.errors import HandleUnknown
from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId
from hestia.core.ports import Engine, Handle, Observed, Presence, Started, StartSpec

# Keys are looked for on the whole machine: other test processes run there at the same time.
GATEWAY = GatewayId(f"gw-{uuid.uuid4().hex[:12]}")
GRACE = 5.0
NOTICED = 2.0  # seconds within which an exit must be told (C11)


def key(
    generation: int = 1, *, gateway: str = GATEWAY, service: str = "svc", instance: str = "main"
) -> InstanceKey:
    return InstanceKey(GatewayId(gateway), ServiceId(service), InstanceId(instance), generation)


class RecordingReport:
    """What an engine told during one start."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.handles: list[Handle] = []

    def stage(self, name: str, text: str) -> None:
        self.stages.append((name, text))

    def line(self, text: str) -> None:
        self.lines.append(text)

    def made(self, handle: Handle) -> None:
        self.handles.append(handle)


class EngineMachine(Protocol):
    """Where one kind of engine runs things, and what a test can do there behind its back."""

    def engine(self) -> Engine:
        """A new engine object with an empty memory."""

    def spec(self, note: str = "") -> StartSpec:
        """Something that runs until it is stopped and prints `hello` and the note."""

    async def crash(self, handle: Handle) -> None:
        """End it as if by itself."""

    def living(self, instance: InstanceKey) -> int:
        """How many main programs run with this key."""

    def anything_left(self) -> list[str]:
        """Whatever still runs that a test started."""


class EngineContract:
    """Inherit and provide the fixture `machine`."""

    @pytest.fixture
    async def machine(self) -> EngineMachine:
        raise NotImplementedError("the bound class provides it")

    @pytest.fixture(autouse=True)
    async def _nothing_is_left(self, machine: EngineMachine) -> AsyncIterator[None]:
        """Each test stops what it started; nothing that bears a key outlives it."""
        yield
        assert machine.anything_left() == []

    @pytest.fixture
    async def engine(self, machine: EngineMachine) -> AsyncIterator[Engine]:
        engine = machine.engine()
        yield engine
        for found in (await engine.discover(GATEWAY)).found:
            await engine.stop(found.handle, grace=GRACE)
        await engine.aclose()

    @pytest.fixture
    async def other(self, machine: EngineMachine) -> AsyncIterator[Engine]:
        """A second engine object on the same machine."""
        other = machine.engine()
        yield other
        await other.aclose()

    async def start(self, engine: Engine, machine: EngineMachine, instance: InstanceKey) -> Started:
        return await engine.start(machine.spec(), instance, RecordingReport())

    # -- start, inspect, stop ----------------------------------------------------------------------

    async def test_a_started_instance_runs_and_a_stopped_one_is_gone(
        self, engine: Engine, machine: EngineMachine
    ) -> None:
        started = await self.start(engine, machine, key())
        observed = await engine.inspect(started.handle)
        assert observed.presence is Presence.RUNNING
        assert observed.key == key()
        assert observed.endpoint == started.endpoint
        assert machine.living(key()) == 1
        await engine.stop(started.handle, grace=GRACE)
        assert (await engine.inspect(started.handle)).presence is Presence.GONE
        assert machine.living(key()) == 0

    async def test_a_handle_is_small_json_and_reported_before_start_returns(
        self, engine: Engine, machine: EngineMachine
    ) -> None:
        report = RecordingReport()
        started = await engine.start(machine.spec(), key(), report)
        assert report.handles[0] == started.handle
        text = json.dumps(dict(started.handle))
        assert len(text) <= 4096
        assert (await engine.inspect(json.loads(text))).presence is Presence.RUNNING
        assert report.stages

    async def test_en01_a_second_start_follows_the_first(
        self, engine: Engine, machine: EngineMachine
    ) -> None:
        first = await self.start(engine, machine, key())
        second = await self.start(engine, machine, key())
        assert second == first
        assert machine.living(key()) == 1

    async def test_en01_parallel_starts_make_one(
        self, engine: Engine, other: Engine, machine: EngineMachine
    ) -> None:
        """Also over two engine objects: the key decides, not the memory of one of them."""
        calls = [self.start(one, machine, key()) for one in (engine, other, engine, other, engine)]
        started = await asyncio.gather(*calls)
        assert len({json.dumps(dict(one.handle)) for one in started}) == 1
        assert machine.living(key()) == 1

    async def test_en01_other_options_follow_what_runs(self, engine: Engine, machine: EngineMachine) -> None:
        """It is outdated, which others decide about (AD-17); the engine starts no second one."""
        first = await self.start(engine, machine, key())
        spec = machine.spec("changed")
        assert spec.options_hash != machine.spec().options_hash
        assert await engine.start(spec, key(), RecordingReport()) == first
        found = (await engine.discover(GATEWAY)).found
        assert [one.options_hash for one in found] == [machine.spec().options_hash]

    async def test_en01_an_engine_with_an_empty_memory_follows_what_runs(
        self, engine: Engine, other: Engine, machine: EngineMachine
    ) -> None:
        """This is also a start that is repeated because its answer was lost (FB-02)."""
        first = await self.start(engine, machine, key())
        assert await self.start(other, machine, key()) == first
        assert machine.living(key()) == 1

    async def test_generations_and_instances_are_kept_apart(
        self, engine: Engine, machine: EngineMachine
    ) -> None:
        first = await self.start(engine, machine, key(1))
        second = await self.start(engine, machine, key(1, instance="b"))
        assert first.handle != second.handle
        await engine.stop(first.handle, grace=GRACE)
        assert machine.living(key(1, instance="b")) == 1
        third = await self.start(engine, machine, key(2))
        assert third.handle != first.handle
        assert (await engine.inspect(first.handle)).presence is Presence.GONE

    async def test_en02_stop_of_what_is_gone_or_never_was_succeeds(
        self, engine: Engine, machine: EngineMachine
    ) -> None:
        started = await self.start(engine, machine, key())
        await engine.stop(started.handle, grace=GRACE)
        await engine.stop(started.handle, grace=GRACE)
        await engine.stop({}, grace=GRACE)
        await engine.stop({"from": "another engine"}, grace=0)

    async def test_en02_two_stops_at_once_both_succeed(self, engine: Engine, machine: EngineMachine) -> None:
        started = await self.start(engine, machine, key())
        await asyncio.gather(engine.stop(started.handle, grace=GRACE), engine.stop(started.handle, grace=0.0))
        assert machine.living(key()) == 0

    async def test_en03_inspect_of_an_unknown_handle_is_gone(self, engine: Engine) -> None:
        assert (await engine.inspect({"from": "another engine"})).presence is Presence.GONE

    async def test_en04_a_start_cancelled_at_any_await_leaves_nothing_or_a_handle(
        self, engine: Engine, machine: EngineMachine
    ) -> None:
        for rounds in range(60):
            report = RecordingReport()
            instance = key(100 + rounds)
            async with asyncio.TaskGroup() as group:
                start = group.create_task(engine.start(machine.spec(), instance, report))
                for _ in range(rounds):
                    await asyncio.sleep(0)
                start.cancel()
            if machine.living(instance):
                assert report.handles, f"after {rounds} rounds it runs and nobody has its handle"
            for handle in report.handles:
                await engine.stop(handle, grace=GRACE)
            assert machine.living(instance) == 0

    # -- discover and adoption ---------------------------------------------------------------------

    async def test_ad02_discover_finds_what_bears_the_gateway_s_id_and_nothing_else(
        self, engine: Engine, other: Engine, machine: EngineMachine
    ) -> None:
        mine = await self.start(engine, machine, key())
        theirs = await self.start(engine, machine, key(gateway=GATEWAY + "2"))
        discovered = await other.discover(GATEWAY)
        assert discovered.complete
        assert [(one.key, one.handle) for one in discovered.found] == [(key(), mine.handle)]
        assert discovered.found[0].observed.presence is Presence.RUNNING
        assert (await other.discover(GatewayId("nobody"))).found == ()
        await engine.stop(theirs.handle, grace=GRACE)

    async def test_ad01_instances_outlive_the_engine_and_are_adopted(
        self, engine: Engine, other: Engine, machine: EngineMachine
    ) -> None:
        first = machine.engine()
        started = await self.start(first, machine, key())
        await first.aclose()
        assert machine.living(key()) == 1
        observed = await other.inspect(started.handle)
        assert (observed.presence, observed.endpoint) == (Presence.RUNNING, started.endpoint)
        await other.stop(started.handle, grace=GRACE)
        assert machine.living(key()) == 0

    # -- watch -------------------------------------------------------------------------------------

    async def test_watch_tells_of_an_exit(self, engine: Engine, machine: EngineMachine) -> None:
        async with aclosing(_generator(engine.watch())) as changes:
            first = asyncio.ensure_future(_next(changes))  # noqa: TID251  # awaited below
            await asyncio.sleep(0)
            started = await self.start(engine, machine, key())
            await machine.crash(started.handle)
            observed = await asyncio.wait_for(first, NOTICED)
        assert (observed.presence, observed.key) == (Presence.GONE, key())
        assert (await engine.inspect(started.handle)).presence is Presence.GONE

    async def test_ad07_watch_tells_of_the_exit_of_an_adopted_instance(
        self, engine: Engine, other: Engine, machine: EngineMachine
    ) -> None:
        started = await self.start(engine, machine, key())
        await other.discover(GATEWAY)
        async with aclosing(_generator(other.watch())) as changes:
            first = asyncio.ensure_future(_next(changes))  # noqa: TID251  # awaited below
            await asyncio.sleep(0)
            await machine.crash(started.handle)
            observed = await asyncio.wait_for(first, NOTICED)
        assert (observed.presence, observed.key) == (Presence.GONE, key())

    # -- logs --------------------------------------------------------------------------------------

    async def test_logs_hold_the_output_also_after_the_end(
        self, engine: Engine, machine: EngineMachine
    ) -> None:
        started = await engine.start(machine.spec("one"), key(), RecordingReport())
        await _until_said(engine, started.handle, b"hello one")
        await engine.stop(started.handle, grace=GRACE)
        assert b"hello one" in await _read(engine, started.handle)

    async def test_logs_with_follow_end_with_the_instance(
        self, engine: Engine, machine: EngineMachine
    ) -> None:
        started = await self.start(engine, machine, key())
        seen = asyncio.Event()

        async def read() -> bytes:
            text = b""
            async for piece in engine.logs(started.handle, follow=True):
                text += piece
                seen.set()
            return text

        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            reading = group.create_task(read())
            await seen.wait()
            await engine.stop(started.handle, grace=GRACE)
        assert b"hello" in reading.result()

    async def test_logs_of_an_unknown_handle_are_refused(self, engine: Engine) -> None:
        with pytest.raises(HandleUnknown):
            await _read(engine, {"from": "another engine"})

    # -- aclose ------------------------------------------------------------------------------------

    async def test_aclose_ends_streams_and_leaves_instances(
        self, engine: Engine, machine: EngineMachine
    ) -> None:
        started = await self.start(engine, machine, key())
        second = machine.engine()
        await second.inspect(started.handle)

        async def watch() -> list[Observed]:
            return [observed async for observed in second.watch()]

        async def read() -> bytes:
            return b"".join([piece async for piece in second.logs(started.handle, follow=True)])

        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(watch())
            group.create_task(read())
            await asyncio.sleep(0.05)  # both are waiting by now; if not, they end at once all the same
            await second.aclose()
        assert machine.living(key()) == 1


async def _next(changes: AsyncIterator[Observed]) -> Observed:
    return await anext(changes)


async def _generator(changes: AsyncIterator[Observed]) -> AsyncGenerator[Observed, None]:
    async for observed in changes:
        yield observed


async def _read(engine: Engine, handle: Handle) -> bytes:
    return b"".join([piece async for piece in engine.logs(handle, follow=False)])


async def _until_said(engine: Engine, handle: Handle, text: bytes) -> None:
    said = b""
    async with asyncio.timeout(10):
        async for piece in engine.logs(handle, follow=True):
            said += piece
            if text in said:
                return
