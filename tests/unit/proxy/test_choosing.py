"""The strategy of a service at work: what it may say, and what is remembered of failures."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from hestia.core.errors import StrategyRefused
from hestia.core.lease import Use
from hestia.core.model import GatewaySettings, InstanceId, InstanceSettings, ServiceId, Settings
from hestia.core.records import ServiceRecord
from hestia.core.strategy import Asked, Candidate, Ejection, Ranking, StrategySettings
from hestia.proxy.choosing import LOOK_PAUSE, Chooser, Choosers, Failures
from tests.fakes.candidates import FakeAsked, Fleet, instance

A = ServiceId("a")


class Empty(BaseModel):
    pass


class Says:
    """A strategy that says what the test wants. answer: that, or an exception."""

    name: ClassVar[str] = "says"
    version: ClassVar[str] = "1"
    features: ClassVar[tuple[str, ...]] = ()
    Options: ClassVar[type[Empty]] = Empty
    answer: ClassVar[Any] = ()  # whatever somebody's strategy may return

    def __init__(self, options: Empty, instances: Sequence[InstanceSettings]) -> None:
        self.ejection = Ejection(after=2, cool_down=30.0)

    def rank(self, asked: Asked, candidates: Sequence[Candidate]) -> Ranking | Iterable[str]:
        if isinstance(self.answer, Exception):
            raise self.answer
        found: Ranking | Iterable[str] = self.answer
        return found


class Bench:
    """A chooser over a fleet; its instances answer probes as `answering` says."""

    def __init__(self, fleet: Fleet, answer: object) -> None:
        Says.answer = answer
        self.now = 100.0
        self.fleet = fleet
        self.answering = False
        self.probed = self.looked = 0
        self.errors: list[tuple[str, str]] = []
        self.jobs: list[Coroutine[Any, Any, None]] = []
        self.choosers = Choosers(
            self,
            clock=lambda: self.now,
            spawn=lambda job, _name: self.jobs.append(job),
            failed=lambda service, strategy: self.errors.append((service, strategy)),
        )
        plugin: Any = Says  # mypy does not see that a class fits the port
        one = replace(fleet.settings, strategy=StrategySettings("says", plugin, Empty()))
        self.choosers.update(Settings(gateway=GatewaySettings(), services={A: one}))

    def record(self, service: ServiceId) -> ServiceRecord:
        return self.fleet.record

    def spill_over(self, service: ServiceId, instance: InstanceId, *, actor: str) -> None: ...

    async def answers(self, service: ServiceId, instance: InstanceId) -> bool:
        self.probed += 1
        return self.answering

    async def look(self, service: ServiceId) -> None:
        self.looked += 1

    async def models(self, service: ServiceId, path: str, authorization: bytes | None) -> bytes:
        return b""

    @property
    def chooser(self) -> Chooser:
        found = self.choosers.of(A)
        assert found is not None
        return found

    def rank(self) -> Ranking:
        return self.chooser.rank(FakeAsked())

    async def run(self) -> None:
        """Do what was begun in the background."""
        while self.jobs:
            await self.jobs.pop()

    def use(self, name: str) -> Use:
        use = self.fleet.record.slots[InstanceId(name)].use
        assert use is not None
        return use


def fleet() -> Fleet:
    managed = {"engine": "process"}
    return Fleet(instance("x", **managed), instance("y", **managed), hot=("x", "y"))


def test_ids_and_addresses_of_candidates_may_be_named() -> None:
    assert Bench(fleet(), ["y", "http://x:8000"]).rank().order == ("y", "x")
    assert Bench(fleet(), reversed(fleet().candidates)).rank().order == ("y", "x")


@pytest.mark.parametrize(
    "foreign", [["http://169.254.169.254/"], Ranking((InstanceId("x"), InstanceId("z")))]
)
def test_t_ss_06_a_foreign_target_is_an_error_and_nothing_else_is_used(foreign: object) -> None:
    with pytest.raises(StrategyRefused, match="no instance"):
        Bench(fleet(), foreign).rank()


def test_one_that_raises_costs_the_request_nothing_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(fleet(), ValueError("oh"))
    assert bench.rank().order == ("x", "y")
    assert bench.errors == [("a", "says")]
    assert 'The strategy "says" of "a" failed (ValueError: oh)' in caplog.text


@pytest.mark.parametrize("nothing", [(), Ranking(()), None])
def test_one_that_names_nobody_leaves_the_configured_order(nothing: object) -> None:
    assert Bench(fleet(), nothing).rank().order == ("x", "y")


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_ranking_may_hold_candidates_and_addresses_in_any_sequence(kind: type) -> None:
    there = fleet()
    said: Any = Ranking(kind([there.candidates[1]]), kind(["http://x:8000"]), wake="http://x:8000")  # type: ignore[arg-type]
    assert Bench(there, said).rank() == Ranking((InstanceId("y"),), (InstanceId("x"),), "", InstanceId("x"))


@pytest.mark.parametrize(
    "odd",
    [{"order": ([],)}, {"order": 7}, {"then": None}, {"wake": []}, {"sticky": "x"}, {"order": ("x", [])}],
)
def test_a_ranking_of_wrong_types_costs_the_request_nothing(odd: dict[str, Any]) -> None:
    said: Any = {"order": ("x",), **odd}
    bench = Bench(fleet(), Ranking(**said))
    assert bench.rank().order == ("x", "y")
    assert bench.errors == [("a", "says")]


def test_one_more_is_started_only_if_it_is_an_instance() -> None:
    for name, wake in (("y", "y"), ("z", None)):
        assert Bench(fleet(), Ranking((InstanceId("x"),), wake=InstanceId(name))).rank().wake == wake


async def test_failures_in_a_row_leave_an_instance_out_until_a_probe_succeeds() -> None:
    bench = Bench(fleet(), ["x", "y"])
    bench.rank()
    (first, _) = bench.chooser._candidates
    bench.choosers.failed(A, bench.use("x"), 500)
    bench.choosers.failed(A, bench.use("x"), 503)
    assert not first.ejected, "500 is no failure here, so that was one"
    bench.choosers.failed(A, bench.use("x"), 0)
    assert first.ejected
    bench.now += 29.0
    bench.rank()
    await bench.run()
    assert bench.probed == 0, "not before its time"
    for at, answering in ((2.0, False), (LOOK_PAUSE - 0.1, True), (0.2, True)):
        bench.now += at
        bench.answering = answering
        for _ in range(3):
            bench.rank()
        await bench.run()
    assert bench.probed == 2, "at most one in ten seconds, however many requests come"
    assert not first.ejected


async def test_one_that_was_left_out_and_then_ended_may_be_started_after_its_time() -> None:
    bench = Bench(fleet(), ["x", "y"])
    bench.rank()
    (first, _) = bench.chooser._candidates
    for _ in range(2):
        bench.choosers.failed(A, bench.use("x"), 0)
    slot = bench.fleet.record.slots[InstanceId("x")]
    slot.use = None
    bench.rank()
    assert first.ejected, "not before its time"
    bench.now += 31.0
    bench.rank()
    assert not first.ejected
    assert not bench.jobs, "there is nothing to probe"


async def test_what_somebody_else_starts_is_looked_for_while_requests_come() -> None:
    bench = Bench(Fleet(instance("x"), instance("y"), hot=("x",)), ["x", "y"])
    for _ in range(5):
        bench.rank()
    await bench.run()
    assert bench.looked == 1
    bench.now += LOOK_PAUSE + 0.1
    bench.rank()
    await bench.run()
    assert bench.looked == 2


def test_a_success_in_between_begins_the_row_anew() -> None:
    bench = Bench(fleet(), ["x", "y"])
    use = bench.use("x")
    failures = Failures(use)

    def ended() -> None:
        lease = use.grant()
        use.leases.discard(lease)

    rows = []
    for failed in (True, True, False, True, True, True):
        if failed:
            failures.note()
            rows.append(failures.in_row)
        ended()
    assert rows == [1, 2, 1, 2, 3]


def test_one_that_cannot_be_made_is_told_and_its_service_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(fleet(), ["x"])

    class Broken(Says):
        def __init__(self, options: Empty, instances: Sequence[InstanceSettings]) -> None:
            raise RuntimeError("no")

    plugin: Any = Broken
    one = replace(bench.fleet.settings, strategy=StrategySettings("broken", plugin, Empty()))
    bench.choosers.update(Settings(gateway=GatewaySettings(), services={A: one}))
    assert bench.choosers.of(A) is None
    assert bench.choosers.errors == {A: "RuntimeError: no"}
    assert "cannot be made" in caplog.text


def test_what_is_remembered_survives_a_reload_that_does_not_concern_it() -> None:
    bench = Bench(fleet(), ["x"])
    before = bench.chooser
    settings = Settings(
        gateway=GatewaySettings(), services={A: replace(bench.fleet.settings, strategy=before.settings)}
    )
    bench.choosers.update(settings)
    assert bench.chooser is before
