"""Nodes: values that know where they came from."""

from __future__ import annotations

from hestia.config.tree import Node, Place, Source, problem_at

FILE = Source("h.yml", ("a:", "  password: hunter2", "  b: 1"))


def test_a_place_is_told_by_line_or_by_name() -> None:
    assert Place(FILE, 2, 3).words() == "h.yml:2"
    assert Place(Source("environment"), variable="A").words() == "environment A"
    assert Place(Source(".env"), 3, variable="A").words() == ".env:3"
    assert Place(Source("default")).words() == "default"


def test_a_secret_item_makes_the_source_of_its_list_secret() -> None:
    item = Node("x", Place(FILE, 2), secret="environment A")
    assert Node([Node("y", Place(FILE, 1)), item], Place(FILE, 1)).words() == (
        "h.yml:1 (secret: environment A)"
    )
    assert item.words() == "h.yml:2 (secret: environment A)"


def test_a_secret_is_not_quoted() -> None:
    assert Node("x", Place(FILE, 2)).quoted("'x'") == "'x'"
    assert Node("x", Place(FILE, 2), secret="file s").quoted("'x'") == "the secret from file s"


def test_a_node_becomes_plain_with_its_unit() -> None:
    inner = Node(5, Place(FILE, 1), unit="ms")
    assert Node({"a": Node([inner], Place(FILE, 1))}, Place(FILE, 1)).plain() == {"a": ["5ms"]}
    assert Node("never", Place(FILE, 1), unit="s").plain() == "never"


def test_walking_meets_every_node() -> None:
    tree = Node({"a": Node([Node(1, Place(FILE)), Node(2, Place(FILE))], Place(FILE))}, Place(FILE))
    assert [node.value for node in tree.walk() if isinstance(node.value, int)] == [1, 2]


def test_a_problem_points_at_the_value_or_at_the_key() -> None:
    node = Node(1, Place(FILE, 3, 6, 1), Place(FILE, 3, 3, 1), "b")
    assert problem_at(node, "a.b", "x").column == 6
    assert problem_at(node, "a.b", "x", at_key=True).column == 3


def test_a_hidden_value_is_starred_where_it_stands() -> None:
    node = Node("hunter2", Place(FILE, 2, 13, 7), Place(FILE, 2, 3, 8), "password")
    problem = problem_at(node, "a.password", "x", hide=True)
    assert problem.found == "***"
    assert problem.excerpt == "  password: *******"


def test_a_variable_is_told_as_it_would_be_typed() -> None:
    place = Place(Source("environment"), variable="CHAT_BASE_URL")
    assert problem_at(Node("x", place), "", "y").key == "CHAT_BASE_URL=x"
    assert problem_at(Node("http://me:hunter2@a", place), "", "y").key == "CHAT_BASE_URL=http://**********@a"
    option = Place(Source("command line"), variable="--port")
    assert problem_at(Node("x", option), "", "y").key == "--port x"
    secret = Place(Source("environment"), variable="A_TOKEN")
    assert problem_at(Node("hunter2", secret), "", "y").key == "A_TOKEN=***"
