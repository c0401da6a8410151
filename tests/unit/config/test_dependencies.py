"""`depends_on`: names of services, no circles, and what the waits add up to (SF-12)."""

from __future__ import annotations

import pytest

from hestia.core.model import ServiceId
from tests.unit.config.loading import Loader

NEEDS_A = "depends_on: [a]"


def services(**needs: str) -> str:
    """A file of these services; the value is the list of what each needs."""
    rows = [
        f"  {name}: {{base_url: 'http://a:{9000 + at}', start_timeout: 10s, stop_grace: 1s, {keys}}}\n"
        for at, (name, keys) in enumerate(needs.items())
    ]
    return "services:\n" + "".join(rows)


def test_sf12_services_that_need_others(loader: Loader) -> None:
    text = services(a="depends_on: [b, c]", b="depends_on: [c]", c="idle_timeout: 1m")
    loaded = loader(text).services
    assert loaded[ServiceId("a")].depends_on == ("b", "c")
    waits = [one.dependency_wait for one in loaded.values()]
    assert waits == [22.0, 11.0, 0.0]


def test_sf12_from_the_environment(loader: Loader) -> None:
    loaded = loader(services(a="idle_timeout: 1m", b="idle_timeout: 1m"), env={"A_DEPENDS_ON": '["b"]'})
    assert loaded.services[ServiceId("a")].depends_on == ("b",)


def test_an_unknown_service_is_an_error_with_the_nearest(loader: Loader) -> None:
    (problem,) = loader.problems(services(chat="depends_on: [database, reddis]", database="", redis=""))
    assert problem.key == "services.chat.depends_on[1]"
    assert "there is no service 'reddis'" in problem.text
    assert "redis" in problem.render()


@pytest.mark.parametrize(
    ("needs", "circle"),
    [
        ({"a": "depends_on: [a]"}, "a → a"),
        ({"a": "depends_on: [b]", "b": "depends_on: [a]"}, "a → b → a"),
        (
            {"x": "depends_on: [a]", "a": "depends_on: [b]", "b": "depends_on: [c]", "c": "depends_on: [a]"},
            "a → b → c → a",
        ),
    ],
)
def test_sf12_a_circle_is_an_error_that_shows_it(loader: Loader, needs: dict[str, str], circle: str) -> None:
    (problem,) = loader.problems(services(**needs))
    assert problem.key == "services.a.depends_on"
    assert f"needs itself in the end: {circle}" in problem.text
    assert "take one of these out" in problem.remedy


def test_sf12_a_diamond_is_no_circle(loader: Loader) -> None:
    text = services(top="depends_on: [l, r]", l="depends_on: [db]", r="depends_on: [db]", db="")
    assert len(loader(text).services) == 4


@pytest.mark.parametrize("text", ["b", "[1]", "[[b]]", "{b: 1}"])
def test_what_is_no_list_of_names_is_an_error(loader: Loader, text: str) -> None:
    assert "depends_on" in loader.chat_problem(f"depends_on: {text}").key


def test_a_service_that_is_skipped_cannot_be_needed(loader: Loader) -> None:
    text = "services: {a: {base_url: 'http://a:1', depends_on: [b]}, b: {idle_timeout: 1m}}\n"
    (problem,) = loader.problems(text)
    assert "the service 'b' has no base_url" in problem.text


def test_a_mistake_in_what_is_needed_is_told_once(loader: Loader) -> None:
    text = "services: {a: {base_url: 'http://a:1', depends_on: [b]}, b: {base_url: nowhere}}\n"
    (problem,) = loader.problems(text)
    assert problem.key == "services.b.base_url"
