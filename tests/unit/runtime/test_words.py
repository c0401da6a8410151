"""Events as sentences."""

from __future__ import annotations

import pytest

from hestia.core.ports import Row
from hestia.runtime.words import sentence


def row(**fields: object) -> Row:
    values: dict[str, object] = {
        "at": 1.0,
        "service": "a",
        "instance": "main",
        "generation": 1,
        "event": "InstanceGone",
        "before": "",
        "after": "",
        "cause": "",
        "actor": "",
        "episode": "",
        "lasted": 0.0,
        "data": {},
    }
    return Row(**{**values, **fields})  # type: ignore[arg-type]  # a table of keyword arguments


@pytest.mark.parametrize(
    ("before", "cause", "text"),
    [
        ("hot", "refused", "a has gone: nothing answers at http://h any more"),
        ("hot", "exited", "a ended by itself: nothing answers at http://h any more"),
        ("hot", "probe", "a is being stopped: nothing answers at http://h any more"),
        ("starting", "refused", "a did not start: nothing answers at http://h any more"),
    ],
)
def test_what_somebody_else_ended_is_not_said_to_be_stopped(before: str, cause: str, text: str) -> None:
    detail = "Nothing answers at http://h any more."
    assert sentence(row(before=before, after="stopping", cause=cause, data={"detail": detail})) == text


def test_what_a_reload_changed_is_told_in_words() -> None:
    told = {"changed": ["files"], "gateway": ["log_level"], "needs_restart": ["port", "host"]}
    assert sentence(row(event="ConfigReloaded", data=told)) == (
        "the configuration was read again: changed files; changed for the gateway: log_level; "
        "waits for a restart of the gateway: port, host"
    )
