"""`model_router`: which instances a model is for."""

from __future__ import annotations

from typing import Any

import pytest

from hestia.core.strategy import Ranking, Unfit
from hestia.strategies.model_router import ModelRouter, ModelRouterOptions
from tests.fakes.candidates import FakeAsked, Fleet, instance

FLEET = (
    instance("a", models=("qwen*",)),
    instance("b"),
    instance("c"),
    instance("main", is_last=True),
)
ROUTING = {
    "by_model": {"llama3": "http://b:8000", "mistral*": ["b", "a"], "*": "a"},
    "aliases": {"gpt-4": "llama3"},
}


def rank(model: str | None, *hot: str, routing: dict[str, Any] = ROUTING) -> Ranking:
    """routing: as in the file, hence Any."""
    fleet = Fleet(*FLEET, hot=hot)
    router = ModelRouter(ModelRouterOptions.model_validate(routing), FLEET)
    return router.rank(FakeAsked(key=model), fleet.candidates)


def test_the_exact_name_wins_over_a_glob() -> None:
    assert rank("llama3").order == ("b",)


def test_an_alias_stands_for_its_model() -> None:
    assert rank("gpt-4").order == ("b",)


def test_the_most_precise_glob_wins_and_its_order_is_kept() -> None:
    assert rank("mistral:7b").order == ("b", "a")
    assert rank("qwen2").order == ("a",)


def test_a_hot_one_of_those_that_are_fit_comes_first() -> None:
    assert rank("mistral:7b", "a").order == ("a", "b")


def test_a_model_of_nobody_goes_to_who_is_open_to_any_then_to_base_url() -> None:
    routing = {"by_model": {"llama3": "b"}}
    ranking = rank("phi", routing=routing)
    assert (ranking.order, ranking.then) == (("c",), ("main",))


def test_where_all_are_meant_for_something_base_url_gets_the_rest() -> None:
    routing = {"by_model": {"llama3": "b", "phi": "c"}}
    assert rank("other", routing=routing).order == ("main",)


def test_without_anybody_else_any_gets_it() -> None:
    two = (instance("a", models=("x",)), instance("b", models=("y",)))
    router = ModelRouter(ModelRouterOptions(), two)
    assert set(router.rank(FakeAsked(key="z"), Fleet(*two).candidates).order) == {"a", "b"}


def test_when_the_one_for_a_model_fails_those_open_to_any_follow_and_no_others() -> None:
    routing = {"by_model": {"llama3": "b"}}
    ranking = rank("llama3", routing=routing)
    assert (ranking.order, ranking.then) == (("b",), ("c", "main"))
    assert "a" not in ranking.then, "it is meant for another model"


def test_a_request_without_a_model_may_go_to_any() -> None:
    ranking = rank(None)
    assert (set(ranking.order), ranking.then) == ({"a", "b", "c"}, ("main",))


def test_a_target_that_is_no_instance_is_named_with_the_nearest() -> None:
    options = ModelRouterOptions.model_validate({"by_model": {"llama3": ["a", "http://c:800"]}})
    with pytest.raises(Unfit) as caught:
        ModelRouter(options, FLEET)
    assert caught.value.way == ("by_model", "llama3", 1)
    assert caught.value.near == "http://c:8000"


def test_an_alias_that_is_a_model_is_refused() -> None:
    options = ModelRouterOptions.model_validate({"by_model": {"a": "b"}, "aliases": {"a": "c"}})
    with pytest.raises(Unfit, match="is a model"):
        ModelRouter(options, FLEET)
