"""Options of the engine semaphore: what is taken, what is refused, what does not count as another start."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hestia.engines.semaphore.options import SemaphoreOptions


def test_numbers_and_names_as_the_environment_gives_them() -> None:
    options = SemaphoreOptions.model_validate(
        {"start_template": "3", "stop_template": "stop app", "task_timeout": "2m", "poll_interval": 1}
    )
    assert (options.start_template, options.stop_template) == (3, "stop app")
    assert (options.task_timeout, options.poll_interval) == (120, 1)


def test_en62_the_wait_in_the_queue_has_a_limit_of_its_own() -> None:
    assert SemaphoreOptions(task_timeout=50).waiting_limit == 50
    assert SemaphoreOptions(task_timeout=50, queue_timeout=7).waiting_limit == 7


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"variables": {"hestia_port": "1"}}, "is not free"),
        ({"variables": {"semaphore_vars": "1"}}, "is not free"),
        ({"variables": {"a-b": "1"}}, "no name of a variable"),
        ({"variables": {"a": "x" * 2000}}, "longer than 1024 bytes"),
        ({"base_url": "semaphore.lan:3000"}, "http://localhost:3000"),
        ({"base_url": "http://semaphore.lan/?a"}, "no address"),
        ({"task_timeout": 0}, "greater than 0"),
        ({"template": 3}, "not permitted"),
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SemaphoreOptions.model_validate(wrong)


def test_a_variable_is_text_for_the_playbook() -> None:
    options = SemaphoreOptions.model_validate({"variables": {"count": 3, "fast": True}})
    assert options.variables == {"count": "3", "fast": "true"}


def test_secrets_are_not_in_the_repr() -> None:
    options = SemaphoreOptions(api_key="hunter2-token", password="hunter2-word")
    assert "hunter2" not in repr(options)
    assert {"api_key", "password"} <= options.not_started_with
