"""What does not move is named (lifecycle OB-10), and who was forgotten is answered (OB-11)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hestia.core.errors import QueueTimeout
from hestia.core.model import InstanceId
from hestia.core.ports import Row, StoredRow
from hestia.runtime.feed import WAITING, Feed
from hestia.store.memory import MemoryStore
from tests.fakes.bare_gateway import A, bare_gateway, fake_service
from tests.fakes.engines import SilentEngine
from tests.fakes.facts import eventually
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.fake_machine import FakeMachine
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import request

from .conftest import MakeClient
from .harness import MakeGateway, cold

S = "/services/a"


async def test_ob_11_a_waiter_whose_timer_was_lost_is_answered_by_the_sweep_and_counted() -> None:
    """The fault: its deadline moved, and the timer of the queue knows nothing of it."""
    async with FakeMachine() as machine, bare_gateway(SilentEngine(machine), fake_service()) as bare:
        waiter = bare.requests.send("one", patience=1000.0)
        assert bare.gateway.health().problems == ()
        waiter.deadline = asyncio.get_running_loop().time() - 6.0
        assert bare.gateway.health().problems == ("a: 1 waiters are past their deadline",)
        assert not bare.gateway.health().ready
        await bare.gateway.sweep.look(note=False, ask=False)
        ((name, outcome),) = bare.requests.outcomes
        assert (name, type(outcome)) == ("one", QueueTimeout)
        assert bare.gateway.progress.released == 1
        assert bare.gateway.health().problems == ()
        assert [row.event for row in bare.story.rows if not row.after] == ["WatchdogReleased"]


async def test_ob_10_a_start_whose_job_is_lost_is_named() -> None:
    """The fault: the job has ended and told nobody."""
    async with FakeMachine() as machine, bare_gateway(SilentEngine(machine), fake_service()) as bare:
        bare.requests.send("one", patience=1000.0)
        slot = bare.gateway.world.slot(A, InstanceId("a"))
        assert bare.gateway.health().problems == ()
        job = bare.gateway.progress.job(slot)
        assert job is not None
        assert job.task is not None
        task, job.task = job.task, None
        before, slot.record = slot.record, replace(slot.record, since=slot.record.since - 60.0)
        assert bare.gateway.health().problems == ("a/a: its start does not move",)
        slot.record, job.task = before, task


class TroubledStore(MemoryStore):
    """A store that cannot be written while `trouble` says why."""


async def test_ob_10_trouble_with_the_store_is_told_and_what_is_hot_is_served() -> None:
    store = TroubledStore()
    async with (
        FakeMachine() as machine,
        bare_gateway(FakeEngine(machine), fake_service(), store=store) as bare,
    ):
        store.trouble = "The disk is full."
        assert bare.gateway.health().problems == ("store: The disk is full.",)
        assert bare.gateway.health().ready
        await bare.gateway.sweep.look(note=False, ask=False)
        store.trouble = ""
        await bare.gateway.sweep.look(note=False, ask=False)
        assert [row.event for row in bare.story.rows] == ["StoreTroubled", "StoreRecovered"]


def test_a_listener_who_does_not_read_is_dropped_and_holds_little() -> None:
    feed = Feed()
    slow, other = feed.listen(), feed.listen("b")
    assert slow is not None
    assert other is not None
    row = Row(
        at=0.0, service="a", instance="a", generation=1, event="x", before="", after="", cause="", actor=""
    )
    for number in range(1, WAITING + 10):
        feed.push(StoredRow(number, row))
    assert (slow.ended, other.ended) == ("slow", "")
    assert repr(slow) == "<Listener all waiting=0 slow>"


async def test_events_are_streamed_and_go_on_behind_the_last_one(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    listening, client = await connect(gw), await connect(gw)
    await listening.send(request("GET", "/v1/events/stream?service=a"))
    live = await listening.head()
    assert live.get("content-type") == b"text/event-stream; charset=utf-8"
    await eventually(lambda: len(gw.hestia.gateway.feed) == 1, "the listener to be there")
    await client.ask("GET", f"{S}/echo")
    await listening.until(lambda: b'"after":"hot"' in live.body, "the events of the start")
    ids = [int(line[4:]) for line in bytes(live.body).decode().splitlines() if line.startswith("id: ")]
    assert ids == sorted(ids)
    again = await connect(gw)
    await again.send(request("GET", "/v1/events/stream?service=a", ("Last-Event-ID", str(ids[0]))))
    missed = await again.head()
    await again.until(lambda: b'"after":"hot"' in missed.body, "what came behind the first")
    assert [f"id: {number}" in bytes(missed.body).decode() for number in ids] == [False, True]
    response = await client.ask("GET", "/v1/events/stream", ("Last-Event-ID", "x1"))
    assert "Last-Event-ID" in response.problem("bad_request", 400)["detail"]
    gw.hestia.gateway.feed.close()
    await listening.until(lambda: b"event: end" in live.body, "the last word")
    await again.until(lambda: b"event: end" in missed.body, "the last word")
    await eventually(lambda: len(gw.hestia.gateway.feed) == 0, "nobody to listen any more")
