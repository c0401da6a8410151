"""A `runtime.Gateway` without a network front: engines, store and recorder are given by the test.

Records every transition, so that tests read the story of an instance instead of guessing at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from hestia.core.lease import Lease
from hestia.core.model import (
    GatewayId,
    GatewaySettings,
    InstanceId,
    InstanceKey,
    InstanceSettings,
    OnExit,
    ServiceId,
    ServiceSettings,
    Settings,
)
from hestia.core.ports import Engine, Row
from hestia.core.queue import Outcome, Waiter
from hestia.runtime.gateway import Gateway
from hestia.runtime.tasks import Tasks
from hestia.store.memory import MemoryStore
from tests.fakes.facts import Bell

A = ServiceId("a")


def fake_service(name: str = "a", *, instances: int = 1, **settings: Any) -> ServiceSettings:
    """A service of fake-engine instances with a health probe. settings: fields of ServiceSettings."""
    made = tuple(
        InstanceSettings(
            id=InstanceId(name if instances == 1 else f"{name}-{number}"),
            base_url="http://127.0.0.1:{port}",
            health_url="http://127.0.0.1:{port}/",
            engine="fake",
        )
        for number in range(1, instances + 1)
    )
    return ServiceSettings(id=ServiceId(name), instances=made, **settings)


class Story:
    """Recorder of every transition. `stages`: (instance, stage name)."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.stages: list[tuple[str, str]] = []
        self.bell = Bell()

    def transition(self, row: Row) -> None:
        self.rows.append(row)
        self.bell.ring()

    def stage(self, service: str, instance: str, name: str, text: str, episode: str) -> None:
        self.stages.append((instance, name))
        self.bell.ring()

    def states(self, instance: str = "a") -> list[str]:
        """The states an instance went through, in order."""
        return [row.after for row in self.rows if row.instance == instance]


class Requests:
    """Requests that wait for a lease, and what became of them, in order of their outcome."""

    def __init__(self, gateway: Gateway, bell: Bell) -> None:
        self.gateway = gateway
        self.bell = bell
        self.outcomes: list[tuple[str, Outcome]] = []
        self.waiters: dict[str, Waiter] = {}

    def send(
        self, name: str, service: ServiceId = A, *, keep: bool = False, patience: float = 20.0
    ) -> Waiter:
        """One request. keep: hold its lease until the test gives it back."""

        def settle(outcome: Outcome) -> None:
            self.outcomes.append((name, outcome))
            if isinstance(outcome, Lease) and not keep:
                self.gateway.succeeded(outcome)
                self.gateway.release(outcome)
            self.bell.ring()

        deadline = asyncio.get_running_loop().time() + patience
        waiter = self.gateway.wait(service, settle, deadline=deadline, request_id=name)
        self.waiters[name] = waiter
        return waiter

    async def answered(self, count: int) -> list[tuple[str, Outcome]]:
        await self.bell.until(lambda: len(self.outcomes) >= count, f"{count} outcomes, got {self.outcomes}")
        return self.outcomes

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.outcomes]


class BareGateway:
    """The gateway of one test with its story, its store and its requests."""

    def __init__(self, gateway: Gateway, story: Story, store: MemoryStore, tasks: Tasks) -> None:
        self.gateway = gateway
        self.story = story
        self.store = store
        self.tasks = tasks
        self.requests = Requests(gateway, story.bell)
        self.closed_endpoints: list[InstanceKey] = []

    async def until_state(self, state: str, instance: str = "a") -> None:
        """Wait until an instance is in a state now."""
        services = self.gateway.world.services.values()
        slots = {slot.record.id: slot for record in services for slot in record.slots.values()}
        slot = slots[InstanceId(instance)]
        await self.story.bell.until(
            lambda: slot.state == state, f"{instance} {state}; {self.story.states(instance)}"
        )


@asynccontextmanager
async def bare_gateway(
    engine: Engine,
    *services: ServiceSettings,
    store: MemoryStore | None = None,
    orphan_policy: OnExit = OnExit.STOP,
    killed: bool = False,
    boot_clock: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
) -> AsyncIterator[BareGateway]:
    """Compose, run, and afterwards stop everything and check that nothing is left (INV-10).

    store: what an earlier gateway knew. killed: in the end nothing is stopped, and nothing more is stored.
    """
    story, store, tasks = Story(), store or MemoryStore(), Tasks()
    memory = await store.open(GatewayId("test"))
    configured = {one.id: one for one in services or (fake_service(),)}
    holder: list[BareGateway] = []
    gateway = Gateway(
        Settings(gateway=GatewaySettings(orphan_policy=orphan_policy), services=configured),
        gateway=GatewayId("test"),
        engines={"fake": engine},
        store=store,
        recorder=story,
        tasks=tasks,
        version="0",
        closed=lambda key: holder[0].closed_endpoints.append(key),
        boot_clock=boot_clock,
    )
    bare = BareGateway(gateway, story, store, tasks)
    holder.append(bare)
    gateway.restore(memory)
    gateway.watch_engines()
    await asyncio.sleep(0)  # lets the watchers subscribe
    left: list[str] = []
    try:
        yield bare
    finally:
        if killed:
            await store.aclose()
        else:
            gateway.drain()
            left = await gateway.stop_all(timeout=20.0, everything=True)
        await engine.aclose()
        await tasks.aclose()
    assert not left
    assert not len(tasks)
    statistics = gateway.world.statistics()
    assert killed or statistics.queued == statistics.in_flight == 0
