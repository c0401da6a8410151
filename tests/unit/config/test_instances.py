"""`instances`, `strategy` and `routing`: what they become, and what is wrong with them."""

from __future__ import annotations

import pytest

from hestia.config import Problem
from hestia.core.model import InstanceSettings, ServiceId, ServiceSettings
from hestia.strategies.model_router import ModelRouterOptions
from tests.unit.config.loading import Loader

TWO = "[{url: 'http://a:1'}, {url: 'http://b:2/base'}]"


def chat(loader: Loader, keys: str) -> ServiceSettings:
    return loader(f"services: {{chat: {{{keys}}}}}\n").services[ServiceId("chat")]


def ids(service: ServiceSettings) -> list[str]:
    return [str(one.id) for one in service.instances]


def problem(loader: Loader, keys: str) -> Problem:
    (found,) = loader.problems(f"services: {{chat: {{{keys}}}}}\n")
    return found


def test_ids_come_from_addresses_so_that_the_order_does_not_matter(loader: Loader) -> None:
    assert ids(chat(loader, f"instances: {TWO}")) == ["a-1", "b-2-base"]
    assert ids(chat(loader, "instances: [{url: 'http://b:2/base'}, {name: x, url: 'http://a:1'}]")) == [
        "b-2-base",
        "x",
    ]
    assert ids(chat(loader, "instances: [{url: 'unix:/run/a.sock'}, {url: 'http://[::1]:8081'}]")) == [
        "run-a.sock",
        "1-8081",
    ]


def test_base_url_beside_them_is_one_more_and_the_last(loader: Loader) -> None:
    service = chat(loader, f"base_url: 'http://c:3', instances: {TWO}")
    assert ids(service) == ["a-1", "b-2-base", "main"]
    assert [one.is_last for one in service.instances] == [False, False, True]


def test_a_plain_service_is_what_it_was(loader: Loader) -> None:
    (one,) = chat(loader, "base_url: 'http://c:3'").instances
    assert (one.id, one.is_last, one.weight) == ("main", False, 1.0)


def test_what_an_item_does_not_say_it_has_from_its_service(loader: Loader) -> None:
    service = chat(
        loader,
        "engine: {type: process, command: [x, '{port}']}, warmup: 5s, health_url: 'http://any/health?x=1', "
        "instances: [{name: one}, {name: two, url: 'http://127.0.0.1:9/v', warmup: 1s, engine: {type: none}, "
        "weight: 2, region: eu, models: [m]}]",
    )
    one, two = service.instances
    assert (one.engine, one.base_url, one.warmup) == ("process", "http://127.0.0.1:{port}", 5.0)
    assert one.health_url == "http://127.0.0.1:{port}/health?x=1"
    assert (two.engine, two.warmup, two.health_url) == ("none", 1.0, "http://127.0.0.1:9/health?x=1")
    assert (two.weight, two.region, two.models) == (2.0, "eu", ("m",))


def test_nobody_waits_long_for_one_of_several_that_somebody_else_starts(loader: Loader) -> None:
    assert chat(loader, f"instances: {TWO}").appear_timeout == 1.0
    assert chat(loader, f"instances: {TWO}, appear_timeout: 20s").appear_timeout == 20.0
    assert chat(loader, "instances: [{url: 'http://a:1'}]").appear_timeout == 10.0


def test_they_may_come_from_the_environment_as_json(loader: Loader) -> None:
    settings = loader(
        env={
            "CHAT_BASE_URL": "http://c:3",
            "CHAT_INSTANCES": '[{"url": "http://a:1"}]',
            "CHAT_STRATEGY": "model_router",
            "CHAT_ROUTING": '{"by_model": {"m": "http://a:1"}}',
        }
    )
    service = settings.services[ServiceId("chat")]
    assert ids(service) == ["a-1", "main"]
    assert service.strategy is not None
    assert isinstance(service.strategy.options, ModelRouterOptions)
    assert service.strategy.written == {"by_model": {"m": "http://a:1"}}


def test_what_is_shown_is_what_is_used(loader: Loader) -> None:
    rows = loader.rows(f"services: {{chat: {{instances: {TWO}, strategy: load_balancer}}}}\n")
    shown = rows["services.chat.instances"].value
    assert isinstance(shown, list)
    assert [one["name"] for one in shown] == ["a-1", "b-2-base"]
    assert rows["services.chat.strategy"].value == "load_balancer"
    routing = rows["services.chat.routing"].value
    assert isinstance(routing, dict)
    assert routing["method"] == "round_robin"


@pytest.mark.parametrize(
    ("keys", "place", "says"),
    [
        ("instances: []", "instances", "expected a list"),
        ("instances: [a]", "instances[0]", "expected a mapping"),
        ("instances: [{}]", "instances[0]", "has no url"),
        ("instances: [{url: 'http://a:1', wieght: 2}]", "instances[0].wieght", "unknown key"),
        ("instances: [{url: 'http://a:1', base_url: x}]", "instances[0].base_url", "unknown key here"),
        ("instances: [{url: 'ftp://a'}]", "instances[0].url", "http"),
        ("instances: [{url: 'http://a:1', weight: 0}]", "instances[0].weight", "a number"),
        ("instances: [{url: 'http://a:1', name: 'A B'}]", "instances[0].name", "cannot be a name"),
        ("instances: [{url: 'http://a:{port}'}]", "instances[0].url", "needs an engine"),
        ("instances: [{url: 'http://a:1'}, {url: 'http://a:1'}]", "instances[1]", "is called 'a-1', as"),
        (
            "base_url: 'http://c:3', instances: [{name: main, url: 'http://a:1'}]",
            "instances[0]",
            "is called 'main', as base_url",
        ),
        (
            "engine: {type: process, command: [x]}, instances: [{name: a, url: 'http://localhost:1'}, "
            "{name: b, url: 'http://127.0.0.1:1'}]",
            "instances[1].url",
            "starts a program on",
        ),
        ("base_url: 'http://c:3', strategy: load_balanser", "strategy", "no strategy 'load_balanser'"),
        ("base_url: 'http://c:3', routing: {region: eu}", "routing", "no effect without a strategy"),
        (
            "base_url: 'http://c:3', strategy: load_balancer, routing: {regoin: eu}",
            "routing.regoin",
            "unknown key",
        ),
        (
            "base_url: 'http://c:3', strategy: model_router, routing: {by_model: {m: 'http://d:4'}}",
            "routing.by_model.m",
            "neither the address nor the name",
        ),
    ],
)
def test_what_is_wrong_is_named_at_its_place(loader: Loader, keys: str, place: str, says: str) -> None:
    found = problem(loader, keys)
    assert found.key == f"services.chat.{place}"
    assert says in found.text, found


def test_the_nearest_key_and_the_nearest_strategy_are_named(loader: Loader) -> None:
    assert problem(loader, "base_url: 'http://c:3', strategy: load_balanser").nearest == "load_balancer"
    keys = "base_url: 'http://c:3', strategy: load_balancer, routing: {regoin: eu}"
    assert problem(loader, keys).nearest == "region"


def test_a_strategy_whose_file_is_broken_is_a_warning_and_its_service_works(loader: Loader) -> None:
    (loader.folder / "strategies").mkdir()
    (loader.folder / "strategies" / "mine.py").write_text("1 / 0\n", encoding="utf-8")
    settings = loader("services: {chat: {base_url: 'http://c:3', strategy: mine}}\n")
    assert settings.services[ServiceId("chat")].strategy is None
    assert any(
        "there is no strategy 'mine'" in warning and "mine.py" in warning for warning in settings.warnings
    )
    assert settings.strategies is not None
    assert [one.file for one in settings.strategies.failed] == [str(loader.folder / "strategies" / "mine.py")]


def test_the_instance_of_a_plain_service_says_nothing_new() -> None:
    """What is stored of earlier gateways is told by these; they must not change."""
    plain = InstanceSettings(id=ServiceId("main"), base_url="http://c:3")  # type: ignore[arg-type]  # an id is an id
    assert (plain.weight, plain.region, plain.models, plain.is_last) == (1.0, "", (), False)
