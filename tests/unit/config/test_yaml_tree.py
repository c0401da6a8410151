"""The YAML dialect: places of everything, the core schema, and no way to fill the memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.config.errors import Problem
from hestia.config.tree import Node, Source
from hestia.config.yaml_tree import Unreadable, read_yaml


def tree(text: str) -> Node:
    root, problems = read_yaml(text, Source("h.yml", tuple(text.splitlines())))
    assert not problems
    assert root is not None
    return root


def refusal(text: str) -> Problem | None:
    """Why the text cannot be read; None when it can."""
    try:
        read_yaml(text, Source("h.yml", tuple(text.splitlines())))
    except Unreadable as exc:
        return exc.problem
    return None


def plain(text: str) -> object:
    return tree(text).plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", 1), ("a: -7", -7), ("a: 0x1F", 31), ("a: 0o17", 15), ("a: 017", 17), ("a: 1.5", 1.5),
        ("a: 1e3", 1000.0), ("a: .5", 0.5), ("a: true", True), ("a: FALSE", False), ("a: ~", None),
        ("a: null", None), ("a:", None), ("a: yes", "yes"), ("a: off", "off"), ("a: 12:30", "12:30"),
        ("a: 1_000", "1_000"), ("a: 2026-11-24", "2026-11-24"), ("a: '1'", "1"), ('a: "true"', "true"),
        ("a: !  5", "5"), ("a: .inf", ".inf"), ("a: 5m", "5m"), ("a: |\n  x\n  y\n", "x\ny\n"), ("a: ''", ""),
        ("a: [1, [b]]", [1, ["b"]]), ("a: {b: {c: 1}}", {"b": {"c": 1}}), ("a: []", []), ("a: {}", {}),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    assert plain(text) == {"a": value}


def test_a_number_with_very_many_digits_stays_a_text() -> None:
    assert plain("a: " + "9" * 5000) == {"a": "9" * 5000}


def test_every_key_and_value_knows_its_place() -> None:
    root = tree("services:\n  chat:   # x\n    base_url: 'http://a:1'\n    hosts: [a, größe]\n")
    chat = root.mapping["services"].mapping["chat"]  # type: ignore[index]  # both are there
    base = chat.mapping["base_url"]  # type: ignore[index]  # it is there
    assert base.key is not None
    assert (base.key.line, base.key.column, base.key.width) == (3, 5, 8)
    assert (base.place.line, base.place.column, base.place.width) == (3, 15, 12)
    hosts = chat.mapping["hosts"].value  # type: ignore[index]  # it is there
    assert isinstance(hosts, list)
    assert (hosts[1].place.line, hosts[1].place.column, hosts[1].place.width) == (4, 16, 5)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_text_has_no_tree(text: str) -> None:
    root, problems = read_yaml(text, Source("h.yml"))
    assert (root is None or root.value is None, problems) == (True, [])


def test_aliases_and_merges_work_and_what_a_mapping_says_itself_wins() -> None:
    text = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: {y: 4, <<: *b}\nthree: {<<: [*b, {z: 5}]}\n"
    assert plain(text) == {
        "base": {"x": 1, "y": 2},
        "one": {"x": 1, "y": 3},
        "two": {"x": 1, "y": 4},
        "three": {"x": 1, "y": 2, "z": 5},
    }


def test_a_key_that_stands_twice_is_told_and_reading_goes_on() -> None:
    text = "a: 1\nb: 2\na: 3\nc: {d: 1, d: 2}\n"
    root, problems = read_yaml(text, Source("h.yml", tuple(text.splitlines())))
    assert root is not None
    assert [(one.line, one.column) for one in problems] == [(3, 1), (4, 11)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [*a]", "nothing is named"),
        ("a: [" * 50, "levels stand inside each other"),
        ("- " * 50_000, "levels stand inside each other"),
        ("a: !!binary aGk=", "the tag"),
        ("a: !include x", "the tag"),
        ("%TAG ! tag:x,2026:\n--- !y z", "the tag"),
        ("a: 1\n---\nb: 2", "a second YAML document"),
        ("? {a: b}\n: c", "a key must be a text"),
        ("a: b: c", "a second ':'"),
        ("a: 'x", "a quote is not closed"),
        ("a: 1\x00", "control character"),
        ("a: \x07", "control character"),
        ("a: 1\n\tb: 2", "tab"),
        ("&a", ""),
        ("*", ""),
        ("a: |\n\tx\n y", ""),
    ],
)
def test_what_cannot_be_read_is_told_in_our_words_with_a_place(text: str, said: str) -> None:
    problem = refusal(text)
    if not said:
        return
    assert problem is not None
    assert said in problem.text
    assert problem.line >= 1
    assert problem.column >= 1


def test_a_bomb_of_aliases_is_stopped_while_it_is_small() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    text = "\n".join(lines)
    with pytest.raises(Unreadable, match="aliases of this file multiply"):
        read_yaml(text, Source("h.yml", tuple(lines)))


def test_many_aliases_of_a_large_value_are_a_bomb_too() -> None:
    text = "a: &a [" + "x, " * 5000 + "]\nb: [" + "*a, " * 5000 + "]"
    with pytest.raises(Unreadable, match="multiply"):
        read_yaml(text, Source("h.yml", tuple(text.splitlines())))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    problem = refusal(text)
    assert problem is None or (problem.line >= 1 and problem.text)


@given(st.text(alphabet="ab:-[]{}'\"#&*!|>%@`,? \n\t0", max_size=40))
def test_any_text_of_yamls_own_marks_is_read_or_refused_with_a_place(text: str) -> None:
    problem = refusal(text)
    assert problem is None or (problem.column >= 1 and problem.render())
