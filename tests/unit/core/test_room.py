"""The decision about one machine: who gets room, who gives way, who waits. Tables and properties."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.core.model import InstanceId, Machine, MachineId, ServiceId
from hestia.core.room import (
    INSTANCES,
    Decision,
    Holder,
    Place,
    Start,
    Stay,
    amount_text,
    choose,
    decide,
    fits,
    limits,
    ranked,
    short,
    total,
)

NOW = 1000.0


def place(name: str) -> Place:
    return ServiceId(name), InstanceId("a")


def holder(name: str, stay: Stay = Stay.IDLE, *, takes: int = 1, **more: Any) -> Holder:
    """A holder of so much of `x`. more: fields of Holder, hence Any."""
    return Holder(place=place(name), takes={"x": takes}, stay=stay, **more)


def start(name: str, *, needs: int = 1, since: float = NOW, **more: Any) -> Start:
    return Start(place=place(name), needs={"x": needs}, since=since, **{"patience": 60.0, **more})


def victims(decision: Decision) -> list[list[str]]:
    return [[service for service, _ in eviction.victims] for eviction in decision.evictions]


def granted(decision: Decision) -> list[str]:
    return [service for service, _ in decision.granted]


# -- who gives way: EV-05 as a table ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("holders", "needs", "expected"),
    [
        ([holder("a", last_used=2.0), holder("b", last_used=1.0)], 1, ["b"]),
        ([holder("a", last_used=2.0, priority=0), holder("b", last_used=1.0, priority=1)], 1, ["a"]),
        ([holder("b"), holder("a")], 1, ["a"]),
        ([holder("a"), holder("b", last_used=1.0), holder("c", takes=3, last_used=9.0)], 3, ["c"]),
        ([holder("a", takes=1), holder("b", takes=2, last_used=9.0), holder("c", takes=1)], 2, ["b"]),
        ([holder("a"), holder("b", last_used=1.0), holder("c", last_used=2.0)], 2, ["a", "b"]),
        ([holder("a", Stay.USED, last_used=1.0), holder("b", last_used=5.0)], 1, ["b"]),
        ([holder("a", takes=1)], 2, []),
    ],
    ids=[
        "least recently used",
        "lower priority",
        "by name where all is equal",
        "the fewest",
        "the fewest, though used last",
        "as many as it takes",
        "the idle before the used",
        "nobody where all are not enough",
    ],
)  # fmt: skip
def test_ev05_who_gives_way(holders: list[Holder], needs: int, expected: list[str]) -> None:
    assert [one.place[0] for one in choose(holders, {"x": needs})] == expected


def test_ev05_a_large_set_holds_nobody_whose_going_is_needless() -> None:
    many = [holder(f"h{number:02}", takes=1, last_used=number) for number in range(10)]
    large = holder("large", takes=6, last_used=99.0)
    chosen = choose([*many, large], {"x": 10})
    assert sum(one.takes["x"] for one in chosen) >= 10
    for one in chosen:
        assert sum(other.takes["x"] for other in chosen if other is not one) < 10


@pytest.mark.parametrize("stay", [Stay.FIXED, Stay.LEAVING, Stay.USED])
def test_ev05_only_idle_ones_go_for_who_has_not_waited_long(stay: Stay) -> None:
    decision = decide({"x": 1}, [holder("a", stay)], [start("w")], NOW)
    assert (victims(decision), granted(decision)) == ([], [])


def test_qf07_min_hot_is_looked_at_when_it_is_over() -> None:
    decision = decide({"x": 1}, [holder("a", free_from=NOW + 7)], [start("w")], NOW)
    assert victims(decision) == []
    assert decision.look_at == {place("w"): NOW + 7}
    assert victims(decide({"x": 1}, [holder("a", free_from=NOW + 7)], [start("w")], NOW + 7)) == [["a"]]


def test_qf06_who_has_waited_long_enough_gets_what_is_in_use() -> None:
    waited = start("w", since=NOW - 60)
    assert victims(decide({"x": 1}, [holder("a", Stay.USED)], [waited], NOW)) == [["a"]]
    assert victims(decide({"x": 1}, [holder("a", Stay.FIXED)], [waited], NOW)) == []


def test_ev12_a_start_that_waits_for_longer_is_not_cut_short() -> None:
    waited = start("w", since=NOW - 60)
    older, younger = (holder("a", Stay.USED, since=NOW - age) for age in (90.0, 30.0))
    assert victims(decide({"x": 1}, [older], [waited], NOW)) == []
    assert victims(decide({"x": 1}, [younger], [waited], NOW)) == [["a"]]


# -- who gets it -----------------------------------------------------------------------------------


def test_ev01_room_for_three_is_given_three_times() -> None:
    starts = [start(f"w{number}", since=NOW - number) for number in range(5)]
    assert granted(decide({"x": 3}, [], starts, NOW)) == ["w4", "w3", "w2"]


def test_ev02_room_that_is_being_freed_is_kept_for_who_came_first() -> None:
    leaving = [holder("a", Stay.LEAVING)]
    decision = decide({"x": 1}, leaving, [start("w"), start("v", since=NOW - 1)], NOW)
    assert (victims(decision), granted(decision)) == ([], [])
    assert granted(decide({"x": 2}, leaving, [start("w"), start("v", since=NOW - 1)], NOW)) == ["v"]


def test_qf05_a_small_one_passes_a_large_one_that_waits_for_somebody_busy() -> None:
    busy = [holder("a", Stay.USED, takes=3)]
    decision = decide({"x": 4}, busy, [start("large", needs=4, since=NOW - 9), start("small")], NOW)
    assert granted(decision) == ["small"]


def test_ev06_nobody_goes_in_vain() -> None:
    both = [holder("a", takes=1), holder("b", Stay.FIXED, takes=2)]
    assert victims(decide({"x": 3}, both, [start("w", needs=2)], NOW)) == []


def test_ev13_ev14_more_than_fits_is_shed_as_far_as_somebody_needs_it() -> None:
    there = [holder(name, takes=1, last_used=float(at)) for at, name in enumerate("abc")]
    assert decide({"x": 1}, there, [], NOW) == Decision()
    assert victims(decide({"x": 1}, there, [start("w")], NOW)) == [["a", "b", "c"]]


def test_nobody_goes_for_what_nobody_waits_for() -> None:
    decision = decide({"x": 1}, [holder("a")], [start("w", urgent=False)], NOW)
    assert (victims(decision), granted(decision)) == ([], [])
    assert granted(decide({"x": 1}, [], [start("w", urgent=False), start("v")], NOW)) == ["v"]


@pytest.mark.parametrize(
    ("waited", "first"), [(0.0, "high"), (30.0, "high"), (59.0, "high"), (60.0, "low"), (600.0, "low")]
)
def test_qf08_waiting_raises_priority_up_to_the_highest(waited: float, first: str) -> None:
    low, high = start("low", since=NOW - waited), start("high", priority=9)
    assert next(one.place[0] for one in ranked([high, low], NOW)) == first


def test_qf08_no_patience_at_all_is_the_highest_at_once() -> None:
    low, high = start("low", patience=0.0, since=NOW - 1), start("high", priority=9)
    assert ranked([high, low], NOW)[0] is low


def test_limits_and_amounts_in_words() -> None:
    machine = Machine(
        id=MachineId("m"),
        resources={"vram": 24 * 2**30, "gpus": 2},
        sizes=frozenset({"vram"}),
        max_instances=3,
    )
    assert limits(machine) == {"vram": 24 * 2**30, "gpus": 2, INSTANCES: 3}
    told = [amount_text(machine, "vram", size) for size in (14 * 2**30, 3 * 2**29, 5 * 2**20, 2048, 7)]
    assert told == ["14 GiB", "1.5 GiB", "5 MiB", "2 KiB", "7 B"]
    assert amount_text(machine, "gpus", 2) == "2"


# -- properties ------------------------------------------------------------------------------------

amounts = st.fixed_dictionaries({}, optional={"x": st.integers(1, 4), "y": st.integers(1, 4)})
holders = st.lists(
    st.builds(
        Holder,
        place=st.builds(place, st.text("abcdef", min_size=1, max_size=2)),
        takes=amounts,
        stay=st.sampled_from(list(Stay)),
        priority=st.integers(0, 1),
        last_used=st.sampled_from([1.0, 2.0]),
        free_from=st.sampled_from([-math.inf, NOW + 5]),
        since=st.sampled_from([math.inf, NOW - 5, NOW - 500]),
    ),
    max_size=6,
    unique_by=lambda one: one.place,
)
starts = st.lists(
    st.builds(
        Start,
        place=st.builds(place, st.text("uvwxyz", min_size=1, max_size=2)),
        needs=amounts,
        since=st.sampled_from([NOW, NOW - 10, NOW - 100]),
        patience=st.sampled_from([0.0, 60.0]),
        priority=st.integers(0, 1),
        order=st.integers(0, 3),
        urgent=st.booleans(),
    ),
    max_size=5,
    unique_by=lambda one: one.place,
)
capacities = st.fixed_dictionaries({}, optional={"x": st.integers(1, 6), "y": st.integers(1, 6)})


@given(capacity=capacities, there=holders, wanting=starts)
def test_ev09_ev10_a_decision_never_gives_more_than_there_is_and_evicts_nobody_in_vain(
    capacity: dict[str, int], there: list[Holder], wanting: list[Start]
) -> None:
    decision = decide(capacity, there, wanting, NOW)
    assert decision == decide(capacity, there, wanting, NOW), "equal input, equal output"
    by_place = {one.place: one for one in wanting}
    given_room = [by_place[one].needs for one in decision.granted]
    held = [one.takes for one in there]
    if given_room and not short(total(held), capacity):
        assert fits(total([*held, *given_room]), capacity), "INV-5"
    gone = {one for eviction in decision.evictions for one in eviction.victims}
    assert len(gone) == sum(len(eviction.victims) for eviction in decision.evictions), "nobody goes twice"
    for one in there:
        assert one.place not in gone or one.stay in (Stay.IDLE, Stay.USED)
    staying = [one.takes for one in there if one.stay is not Stay.LEAVING and one.place not in gone]
    for eviction in decision.evictions:
        assert eviction.start not in decision.granted, "room is free when they are gone, not before"
        assert by_place[eviction.start].urgent
        assert fits(total([*staying, by_place[eviction.start].needs]), capacity), "in vain"


@given(capacity=capacities, there=holders, wanting=starts)
def test_ev10_whoever_waits_is_served_when_everybody_who_can_go_has_gone(
    capacity: dict[str, int], there: list[Holder], wanting: list[Start]
) -> None:
    """No stall: what is decided is carried out, and what runs ends; in the end all that fits had its turn."""
    now, left = NOW, [one for one in wanting if one.urgent and fits(one.needs, capacity)]
    holding = {one.place: one for one in there if one.stay is not Stay.FIXED}
    for _ in range(200):
        decision = decide(capacity, list(holding.values()), left, now)
        for eviction in decision.evictions:
            for victim in eviction.victims:
                del holding[victim]
        for one in decision.granted:
            needs = next(each.needs for each in left if each.place == one)
            left = [each for each in left if each.place != one]
            holding[one] = Holder(place=one, takes=needs, stay=Stay.USED, since=math.inf)
        for gone in [one for one in holding.values() if one.stay is Stay.LEAVING or one.since < math.inf]:
            del holding[gone.place]  # a stop, or a start that others waited for, ends
        if not left:
            return
        now += 10.0
    raise AssertionError(f"{left} was never served")
