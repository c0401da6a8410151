"""`load_balancer`: who is next, and who comes last."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from hestia.strategies.load_balancer import LoadBalancer, LoadBalancerOptions
from tests.fakes.candidates import FakeAsked, Fleet, instance


def balancer(fleet: Fleet, **options: Any) -> LoadBalancer:
    """options: as in the file, hence Any."""
    return LoadBalancer(LoadBalancerOptions.model_validate(options), fleet.settings.instances)


def firsts(fleet: Fleet, strategy: LoadBalancer, count: int, asked: FakeAsked | None = None) -> list[str]:
    return [strategy.rank(asked or FakeAsked(), fleet.candidates).order[0] for _ in range(count)]


def fleet(*hot: str) -> Fleet:
    return Fleet(instance("a"), instance("b"), instance("c"), hot=hot or ("a", "b", "c"))


def test_round_robin_is_the_default_and_gives_each_its_turn() -> None:
    three = fleet()
    assert Counter(firsts(three, balancer(three), 9)) == {"a": 3, "b": 3, "c": 3}
    assert len(set(firsts(three, balancer(three), 3))) == 3


def test_weights_are_kept_and_mixed_evenly() -> None:
    three = Fleet(instance("a", weight=5), instance("b"), instance("c"), hot=("a", "b", "c"))
    served = firsts(three, balancer(three, method="weighted"), 7)
    assert Counter(served) == {"a": 5, "b": 1, "c": 1}
    assert "aaaaa" not in "".join(served), "not all of one in a row"


def test_least_in_flight_looks_at_the_weight_too() -> None:
    three = Fleet(instance("a", weight=4), instance("b"), instance("c"), hot=("a", "b", "c"))
    three.busy("a", 4)
    three.busy("b", 2)
    three.busy("c", 3)
    assert firsts(three, balancer(three, method="least_in_flight"), 1) == ["a"]


def test_random_two_never_takes_the_busiest() -> None:
    three = fleet()
    three.busy("a", 9)
    assert "a" not in firsts(three, balancer(three, method="random_two"), 50)


def test_hot_ones_come_before_cold_ones() -> None:
    three = fleet("b")
    assert balancer(three).rank(FakeAsked(), three.candidates).order == ("b", "a", "c")


def test_who_is_left_out_comes_last_and_serves_when_there_is_nobody_else() -> None:
    three = fleet("a", "b")
    three.eject("a")
    assert balancer(three).rank(FakeAsked(), three.candidates).order == ("b", "c", "a")


def test_base_url_is_used_when_all_others_failed() -> None:
    two = Fleet(instance("a"), instance("main", is_last=True), hot=("a", "main"))
    ranking = balancer(two).rank(FakeAsked(), two.candidates)
    assert (ranking.order, ranking.then) == (("a",), ("main",))


def test_a_region_comes_first_and_a_header_decides_over_the_configuration() -> None:
    three = Fleet(instance("a", region="eu"), instance("b", region="us"), hot=("a", "b"))
    strategy = balancer(three, region="eu", region_header="X-Region")
    assert set(firsts(three, strategy, 4)) == {"a"}
    assert set(firsts(three, strategy, 4, FakeAsked(headers={"x-region": "us"}))) == {"b"}
    assert set(firsts(three, strategy, 4, FakeAsked(headers={"x-region": "mars"}))) == {"a", "b"}


def test_a_client_keeps_its_instance_by_cookie_as_long_as_that_is_hot() -> None:
    three = fleet("a", "b")
    strategy = balancer(three, sticky={"cookie": "at"})
    ranking = strategy.rank(FakeAsked(), three.candidates)
    assert ranking.sticky is not None
    asked = FakeAsked(cookies={"at": ranking.sticky.values[ranking.order[0]]})
    assert set(firsts(three, strategy, 5, asked)) == {ranking.order[0]}
    use = three.record.slots[ranking.order[0]].use
    assert use is not None
    use.admitting = False
    assert set(firsts(three, strategy, 5, asked)) == {"a", "b"} - {ranking.order[0]}


def test_most_clients_keep_their_instance_when_one_comes() -> None:
    strategy = balancer(fleet(), sticky={"header": "X-User"})
    two, three = fleet("a", "b"), fleet()
    users = [FakeAsked(headers={"X-User": f"user {number}"}) for number in range(300)]
    before = [firsts(two, strategy, 1, one)[0] for one in users]
    after = [firsts(three, strategy, 1, one)[0] for one in users]
    assert all(then in (now, "c") for now, then in zip(before, after, strict=True))
    assert Counter(after).keys() == {"a", "b", "c"}


def test_one_more_is_started_when_all_are_busy() -> None:
    three = fleet("a", "b")
    strategy = balancer(three, spill_over=2)
    three.busy("a", 2)
    three.busy("b", 1)
    assert strategy.rank(FakeAsked(), three.candidates).wake is None
    three.busy("b", 1)
    assert strategy.rank(FakeAsked(), three.candidates).wake == "c"


@pytest.mark.parametrize(
    "wrong", [{"method": "fair"}, {"sticky": {}}, {"eject": {"after": 0}}, {"spill_over": 0}]
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoadBalancerOptions.model_validate(wrong)
