"""Numbers of machines: who gave way, what is reserved, who waits."""

from __future__ import annotations

from hestia.core.model import ServiceId
from hestia.core.ports import Row
from hestia.telemetry.metrics import Metrics
from tests.fakes.machines import shared, sharing
from tests.fakes.runtime import A

ONE, TWO = ServiceId("one"), ServiceId("two")


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], object]:
    return dict({family.name: points for family, points in metrics.families()}[name])


def test_what_machines_hold_and_who_waits_and_nothing_when_they_are_gone() -> None:
    runtime, metrics = (
        sharing(shared(ONE, needs={"vram": 3}), shared(TWO), instances=1, vram=4),
        Metrics(version="1"),
    )
    metrics.watch(lambda: runtime.world.services, {})
    metrics.lives.seen.update({ONE: None, TWO: None})
    runtime.join(service=ONE)
    guest = runtime.join(service=TWO)
    assert values(metrics, "hestia_machine_reserved") == {("gpu-1", "instances"): 1.0, ("gpu-1", "vram"): 3.0}
    assert values(metrics, "hestia_room_waiting") == {("gpu-1",): 1.0}
    runtime.leave(guest)
    runtime.fails(runtime.start_of(A, ONE))
    assert values(metrics, "hestia_machine_reserved") == {("gpu-1", "instances"): 0.0, ("gpu-1", "vram"): 0.0}
    assert values(metrics, "hestia_room_waiting") == {("gpu-1",): 0.0}


def test_evictions_are_counted_for_those_who_gave_way() -> None:
    metrics = Metrics(version="1")
    metrics.lives.transition(
        Row(
            at=1.0,
            service="two",
            instance="main",
            generation=1,
            event="MadeRoom",
            before="",
            after="",
            cause="evicted_for:two",
            actor="",
            data={"victims": ["one/main", "three/main"]},
        )
    )
    assert {name: counter.value for name, counter in metrics.lives.evictions.items()} == {
        "one": 1,
        "three": 1,
    }
