"""Reading tasks as servers of different versions write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hestia.engines.semaphore.tasks import plain_line, task_of


def read(**row: object) -> object:
    return task_of({"id": 3, "status": "running", **row})


def test_fields_that_are_null_or_not_there_are_the_same() -> None:
    assert read(template_id=1, message=None, start=None, end=None, environment=None) == read(template_id=1)


def test_instants_have_zone_and_up_to_nine_digits() -> None:
    task = task_of(
        {
            "id": 1,
            "status": "success",
            "created": "2022-01-22T18:26:55.548924193Z",
            "start": "2022-01-22T18:26:55+03:00",
            "end": "0001-01-01T00:00:00Z",
        }
    )
    assert task is not None
    assert task.created == datetime(2022, 1, 22, 18, 26, 55, 548924, UTC)
    assert task.start is not None
    assert task.start.utcoffset() == timedelta(hours=3)
    assert task.end is None


@pytest.mark.parametrize("row", [{}, {"id": "3", "status": "running"}, {"id": 3}])
def test_what_is_no_task_is_none(row: dict[str, object]) -> None:
    assert task_of(row) is None


@pytest.mark.parametrize(
    ("status", "more", "over", "never"),
    [
        ("waiting", {}, False, False),
        ("running", {"start": "2022-01-22T18:26:55Z"}, False, False),
        ("stopping", {"start": "2022-01-22T18:26:55Z"}, False, False),
        ("stopping", {"start": "2022-01-22T18:26:55Z", "end": "2022-01-22T18:26:56Z"}, True, False),
        ("stopping", {}, False, True),
        ("stopped", {}, True, True),
        ("error", {}, True, True),
        ("error", {"start": "2022-01-22T18:26:55Z"}, True, False),
        ("success", {}, True, False),
        ("waiting_confirmation", {"start": "2022-01-22T18:26:55Z"}, False, False),
    ],
)
def test_when_a_task_is_over_and_when_it_never_ran(
    status: str, more: dict[str, object], over: bool, never: bool
) -> None:
    task = task_of({"id": 1, "status": status, **more})
    assert task is not None
    assert (task.is_over, task.never_ran) == (over, never)


def test_variables_are_texts_and_rubbish_is_none() -> None:
    task = task_of({"id": 1, "status": "waiting", "environment": '{"a":1,"b":"x"}'})
    assert task is not None
    assert task.variables == {"a": "1", "b": "x"}
    for rubbish in ("", "[]", "{"):
        other = task_of({"id": 1, "status": "waiting", "environment": rubbish})
        assert other is not None
        assert other.variables == {}


def test_lines_lose_colours_and_control_characters() -> None:
    assert plain_line("\x1b[0;32mok: [localhost]\x1b[0m\r\n") == "ok: [localhost]"
    assert plain_line("\ttab stays") == "\ttab stays"
