"""The dialect of `.env`."""

from __future__ import annotations

import pytest

from hestia.config.dotenv import read_dotenv
from hestia.config.tree import Source


def read(text: str) -> dict[str, object]:
    found = read_dotenv(Source(".env", tuple(text.splitlines())))
    assert not found.problems
    return {name: node.value for name, node in found.values.items()}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A=b", "b"),
        ("  A = b  ", "b"),
        ("A=", ""),
        ("A=b # why", "b"),
        ("A=b#c", "b#c"),
        ("A=#c", ""),
        ("A='b # c'", "b # c"),
        ("A='$HOME'", "$HOME"),
        ('A="b # c" # why', "b # c"),
        (r'A="a\nb\t\"c\"\\\$d"', 'a\nb\t"c"\\$d'),
        ("A=http://a:1/?x=y", "http://a:1/?x=y"),
        ('A=["a", "b"]', '["a", "b"]'),
        ("A=größe", "größe"),
    ],
)
def test_a_line_is_read_as_a_shell_would_mean_it(line: str, value: str) -> None:
    assert read(line) == {"A": value}


def test_comments_blank_lines_and_names_alone_say_nothing() -> None:
    assert read("# A=b\n\n   \n  # c\nFROM_THE_SHELL\n") == {}


def test_the_last_of_two_lines_counts() -> None:
    assert read("A=1\nB=2\nA=3\n") == {"A": "3", "B": "2"}


@pytest.mark.parametrize(
    ("line", "unfilled"),
    [
        ("A=$HOME", True), ("A=${X}", True), ("A=$(cmd)", True), ('A="$X"', True),
        ("A='$X'", False), (r'A="\$X"', False), ("A=5$", False), ("A=$5", False),
    ],
)  # fmt: skip
def test_a_dollar_that_a_shell_would_fill_in_is_noticed(line: str, unfilled: bool) -> None:
    found = read_dotenv(Source(".env", (line,)))
    assert found.unfilled == (frozenset({"A"}) if unfilled else frozenset())


def test_a_later_line_without_dollar_mends_it() -> None:
    assert read_dotenv(Source(".env", ("A=$X", "A=x"))).unfilled == frozenset()


@pytest.mark.parametrize("line", ["1A=b", "=b", "A B=c", "- A=b", 'A="b', "A='b", 'A="b" c'])
def test_another_line_is_a_fault_with_its_place(line: str) -> None:
    found = read_dotenv(Source(".env", ("# first", line)))
    (problem,) = found.problems
    assert (problem.source, problem.line, problem.column, problem.width) == (".env", 2, 1, len(line))
    assert found.values == {}


def test_a_faulty_line_does_not_show_its_secret() -> None:
    (problem,) = read_dotenv(Source(".env", ('API_TOKEN="hunter2',))).problems
    assert "hunter2" not in problem.render()


def test_a_value_has_its_place() -> None:
    node = read_dotenv(Source(".env", ("# x", "export A='b'"))).values["A"]
    assert (node.place.line, node.place.column, node.place.width) == (2, 10, 3)
    assert node.words() == ".env:2"
