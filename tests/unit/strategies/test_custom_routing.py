"""`custom_routing`: rules in order, windows of time, shares that stay with their clients."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from hestia.core.strategy import Ranking, Unfit
from hestia.strategies.custom_routing import CustomRouting, CustomRoutingOptions
from hestia.strategies.load_balancer import LoadBalancer
from tests.fakes.candidates import FakeAsked, Fleet, instance

FLEET = (instance("a"), instance("b"), instance("c"), instance("main", is_last=True))


def routing(*rules: dict[str, Any], **more: Any) -> CustomRouting:
    """rules, more: as in the file, hence Any."""
    return CustomRouting(CustomRoutingOptions.model_validate({"rules": list(rules), **more}), FLEET)


def rank(strategy: CustomRouting, asked: FakeAsked, *hot: str) -> Ranking:
    return strategy.rank(asked, Fleet(*FLEET, hot=hot).candidates)


def test_the_first_rule_that_matches_decides() -> None:
    strategy = routing({"path": "/v2/*", "to": "b"}, {"path": "/*", "to": "http://a:8000"})
    assert rank(strategy, FakeAsked(target="/v2/x?y=1")).order == ("b",)
    assert rank(strategy, FakeAsked(target="/v1/x")).order == ("a",)


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ({"method": "post"}, FakeAsked(method="POST"), FakeAsked()),
        ({"headers": {"X-Team": "lab*"}}, FakeAsked(headers={"x-team": "lab-2"}), FakeAsked()),
        ({"query": {"v": "2"}}, FakeAsked(queries={"v": "2"}), FakeAsked(queries={"v": "1"})),
        ({"key": "gpt*"}, FakeAsked(key="gpt-4"), FakeAsked()),
        ({"path": "/a", "method": "GET"}, FakeAsked(target="/a"), FakeAsked(target="/a", method="PUT")),
    ],
)
def test_all_conditions_of_a_rule_must_hold(rule: dict[str, Any], yes: FakeAsked, no: FakeAsked) -> None:
    strategy = routing({**rule, "to": "c"}, key="model")
    assert rank(strategy, yes, "a", "b", "c").order == ("c",)
    assert set(rank(strategy, no, "a", "b", "c").order) == {"a", "b", "c"}, "by the load balancer"


def test_a_window_holds_over_midnight_on_the_day_on_which_it_begins() -> None:
    strategy = routing({"when": {"days": ["fri"], "from": "22:00", "to": "06:00"}, "to": "b"})
    for day, hour, held in ((27, 21, False), (27, 23, True), (28, 5, True), (28, 6, False), (28, 23, False)):
        at = datetime(2026, 11, day, hour, 30, tzinfo=UTC).timestamp()  # the 27th is a Friday
        assert (rank(strategy, FakeAsked(at=at)).why == "rule 1") == held, (day, hour)


def test_a_zone_counts() -> None:
    strategy = routing({"when": {"from": "08:00", "to": "09:00", "timezone": "Asia/Tokyo"}, "to": "b"})
    at = datetime(2026, 11, 25, 23, 30, tzinfo=UTC).timestamp()
    assert rank(strategy, FakeAsked(at=at)).order == ("b",)


def test_shares_are_kept_and_stay_with_their_client() -> None:
    strategy = routing({"split": {"a": 90, "b": 10}, "split_by": "header:X-User", "name": "trial"})
    asked = [FakeAsked(headers={"X-User": f"user {number}"}) for number in range(2000)]
    first = [",".join(rank(strategy, one).order) for one in asked]
    assert first == [",".join(rank(strategy, one).order) for one in asked]
    counted = Counter(first)
    assert counted.keys() == {"a", "b"}
    assert 140 <= counted["b"] <= 260
    assert rank(strategy, asked[0]).why == "rule trial"


def test_who_has_no_cookie_is_known_by_address() -> None:
    strategy = routing({"split": {"a": 50, "b": 50}, "split_by": "cookie:id"})
    served = {rank(strategy, FakeAsked(client=f"10.0.0.{number}")).order for number in range(50)}
    assert served == {("a",), ("b",)}


def test_what_a_rule_names_is_followed_by_the_others_when_it_fails() -> None:
    assert set(rank(routing({"to": "b"}), FakeAsked()).then) == {"a", "c", "main"}
    assert set(rank(routing({"split": {"a": 100, "b": 0}}), FakeAsked()).then) == {"b", "c", "main"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "either `to` or `split`"),
        ({"to": "a", "split": {"b": 100}}, "either `to` or `split`"),
        ({"split": {"a": 50, "b": 40}}, "add up to 90"),
        ({"to": "a", "when": {"from": "25:00"}}, "no time of day"),
        ({"to": "a", "when": {"timezone": "Mars/Base"}}, "no time zone"),
        ({"split": {"a": 100}, "split_by": "moon"}, "none of client"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CustomRoutingOptions.model_validate({"rules": [wrong]})


def test_a_rule_over_a_key_that_is_not_named_is_refused_at_its_place() -> None:
    with pytest.raises(Unfit) as caught:
        routing({"to": "a"}, {"key": "x", "to": "b"})
    assert caught.value.way == ("rules", 1, "key")


def test_one_that_is_ejected_or_whose_probes_fail_comes_after_the_others_of_its_rule() -> None:
    """As in `load_balancer`; `base_url` stays behind all instances."""
    strategy = routing({"path": "/all", "to": ["a", "b", "c"]}, {"to": "c"})
    fleet = Fleet(*FLEET, hot=("b", "c", "main"))
    fleet.warm("a").suspect = True
    assert strategy.rank(FakeAsked(target="/all"), fleet.candidates).order == ("b", "c", "a")
    assert strategy.rank(FakeAsked(), fleet.candidates)[:2] == (("c",), ("b", "a", "main"))
    fleet.eject("b")
    assert strategy.rank(FakeAsked(target="/all"), fleet.candidates).order == ("c", "a", "b")
    assert LoadBalancer(CustomRoutingOptions.model_validate({"rules": [{"to": "a"}]}), FLEET).rank(
        FakeAsked(), fleet.candidates
    ).order == ("c", "a", "b")
