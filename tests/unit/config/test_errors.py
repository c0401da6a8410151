"""How a fault is told: place, key, sentence, line, caret, nearest, remedy; never a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.config.errors import (
    ConfigProblems,
    Problem,
    blot,
    excerpt,
    is_secret_name,
    nearest,
    one_of,
    printable,
    show,
)

FULL = Problem(
    source="h.yml",
    line=12,
    column=3,
    width=4,
    key="services.a",
    text="is wrong",
    nearest="b",
    excerpt="  name: x",
    caret=3,
    remedy="mend it",
)


def test_cl20_a_problem_of_a_file_is_told_in_four_lines() -> None:
    assert FULL.render().splitlines() == [
        "h.yml:12:3: services.a: is wrong",
        "   12 |   name: x",
        "      |   ^^^^ nearest: b",
        "      do: mend it",
    ]


def test_a_problem_without_a_line_is_told_in_one() -> None:
    problem = Problem(source="environment", key="A=b", text="is wrong", nearest="C")
    assert problem.render() == "environment: A=b: is wrong; nearest: C"


def test_problems_stand_in_the_order_of_their_places() -> None:
    late = Problem(source="h.yml", line=20, text="late")
    nowhere = Problem(source="environment", text="nowhere")
    found = ConfigProblems([nowhere, late, FULL])
    assert [problem.text for problem in found.problems] == ["is wrong", "late", "nowhere"]
    assert "(and 2 more)" in str(found)
    assert found.render().count("\n") == 5


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("password: hunter2", "password: *******"),
        ('  "API_TOKEN" : "hun ter"  # x', '  "API_TOKEN" : *********  # x'),
        ("env: {SECRET: hunter2, A: b}", "env: {SECRET: *******, A: b}"),
        ("api-key=hunter2", "api-key=*******"),
        ("http://me:hunter2@host/", "http://**********@host/"),
        ("[x, --api-key, hunter2]", "[x, --api-key, *******]"),
        ("x --password hunter2 --y z", "x --password ******* --y z"),
        ("-H 'Authorization: Bearer hunter2'", "-H 'Authorization: Bearer *******'"),
        ("password: {env: NAME}", "password: {env: NAME}"),
        ("token: {file: /run/x}", "token: {file: /run/x}"),
        ("max_tokens: 512", "max_tokens: 512"),
        ("passwort: hunter2", "passwort: hunter2"),
        ("idle_timeout: 5m", "idle_timeout: 5m"),
    ],
)
def test_secrets_of_a_line_are_blotted_and_the_columns_stay(line: str, shown: str) -> None:
    assert blot(line) == shown
    assert len(blot(line)) == len(line)


@given(st.text(max_size=300))
def test_blotting_keeps_every_column(line: str) -> None:
    assert len(blot(line)) == len(line)


@pytest.mark.parametrize("name", ["PASSWORD", "db_password", "api_key", "API-KEYS", "token", "privateKey"])
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["base_url", "max_tokens", "key", "keyboard", "pass", "model"])
def test_other_names_are_not(name: str) -> None:
    assert not is_secret_name(name)


def test_the_caret_stands_under_the_value_of_a_very_long_line() -> None:
    line = "a: [" + "x, " * 5000 + "HERE, " + "y, " * 5000 + "]"
    column = line.index("HERE") + 1
    shown, caret = excerpt([line], 1, column)
    assert len(shown) <= 160
    assert shown[caret - 1 :].startswith("HERE")


@given(st.text(min_size=1, max_size=12_000), st.data())
def test_an_excerpt_shows_the_column_it_was_asked_for(line: str, data: st.DataObject) -> None:
    column = data.draw(st.integers(1, len(line)))
    shown, caret = excerpt([line], 1, column)
    assert len(shown) <= 160
    assert 1 <= caret <= len(shown)


def test_a_wide_letter_takes_two_columns_of_the_terminal() -> None:
    problem = Problem(source="h.yml", line=1, column=6, width=2, text="x", excerpt='名前: "語"', caret=5)
    caret = problem.render().splitlines()[2]
    assert caret == "      | " + " " * 6 + "^^^"


@pytest.mark.parametrize(("line", "column"), [(0, 1), (2, 1), (-1, 1)])
def test_there_is_no_excerpt_of_a_line_that_is_not_there(line: int, column: int) -> None:
    assert excerpt(["x"], line, column) == ("", 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"), (True, "true"), ("", "an empty text"), ("a", "'a'"), ({}, "a mapping"),
        ([], "a list"), (7, "7"), ("x" * 100, repr("x" * 59 + "…")),
    ],
)  # fmt: skip
def test_a_found_value_is_told_in_few_words(value: object, text: str) -> None:
    assert show(value) == text


def test_cl26_control_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b[31m\nb") == "a\\x1b[31m\\nb"
    assert "\x1b" not in Problem(source="h", key="\x1b[31m", text="x").render()


def test_the_nearest_name_is_near() -> None:
    assert nearest("prot", ["port", "host"]) == "port"
    assert nearest("xyz", ["port", "host"]) == ""
    assert nearest("p" * 1_000_000, ["p" * 1_000_001]) == ""


def test_words_are_joined() -> None:
    assert one_of(["a"]) == "a"
    assert one_of(["a", "b", "c"]) == "a, b or c"


def test_a_choice_among_none_has_words_too() -> None:
    assert [one_of([]), one_of(["a"]), one_of(["a", "b", "c"])] == ["nothing", "a", "a, b or c"]
