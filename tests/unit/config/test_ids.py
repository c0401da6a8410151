"""What a service may be called."""

from __future__ import annotations

import pytest

from hestia.config.ids import ID, prefix_of
from tests.unit.config.loading import Loader


@pytest.mark.parametrize("name", ["a", "7", "a-b", "a_b", "a" * 63, "0-_"])
def test_small_letters_digits_and_two_marks_are_an_id(loader: Loader, name: str) -> None:
    assert list(loader(f"services: {{'{name}': {{base_url: 'http://a:1'}}}}\n").services) == [name]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Chat", "chat"),
        ("my chat", "my-chat"),
        ("chat.lan", "chat-lan"),
        ("-a", "a"),
        ("größe", "gr--e"),
        ("a/b", "a-b"),
        ("é", ""),
        ("", ""),
        ("a" * 64, "a" * 63),
    ],
)
def test_another_name_is_refused_with_the_nearest_id(loader: Loader, name: str, near: str) -> None:
    (problem,) = loader.problems(f"services: {{'{name}': {{base_url: 'http://a:1'}}}}\n")
    assert problem.text.startswith("expected an id of small letters")
    assert problem.nearest == near
    assert not near or ID.fullmatch(near)


@pytest.mark.parametrize("pair", [("a-b", "a_b"), ("a_b-c", "a-b_c")])
def test_ids_that_share_their_variables_are_a_fault(loader: Loader, pair: tuple[str, str]) -> None:
    assert prefix_of(pair[0]) == prefix_of(pair[1])
    text = "".join(f"  {name}: {{base_url: 'http://a:1'}}\n" for name in pair)
    (problem,) = loader.problems(f"services:\n{text}")
    assert (problem.line, problem.key) == (3, f"services.{pair[1]}")
    assert f"services.{pair[0]}" in problem.text
    assert prefix_of(pair[0]) in problem.text


def test_the_gateways_own_name_is_taken(loader: Loader) -> None:
    (problem,) = loader.problems("services: {hestia: {base_url: 'http://a:1'}}\n")
    assert "hestia.localhost is the gateway" in problem.text
