"""What may be written as options of the engine `process`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hestia.engines.process_options import ProcessOptions


def read(**values: object) -> ProcessOptions:
    return ProcessOptions.model_validate({"command": ["true"], **values})


def test_a_list_and_a_shell_text_become_words() -> None:
    assert read(command=["a", 1]).words == ["a", "1"]
    assert read(command="a | b").words == ["/bin/sh", "-c", "a | b"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("10MiB", 10 * 2**20), ("1.5 GiB", 3 * 2**29), ("5 MB", 5_000_000), ("64kb", 64_000), ("8192B", 8192)],
)
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert read(log_max=text).log_max == size


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"comand": ["x"]}, "comand"),
        ({"command": []}, "at least 1"),
        ({"command": ""}, "at least 1"),
        ({"command": [" "]}, "write it first"),
        ({"command": ["a\0b"]}, "zero byte"),
        ({"env": {"A=B": "x"}}, "cannot be set"),
        ({"env": {"": "x"}}, "cannot be set"),
        ({"env": {"A": "x\0"}}, "cannot be set"),
        ({"env": {"A": True}}, "valid string"),
        ({"env": {"HESTIA_KEY": "x"}}, "set by the gateway"),
        ({"log_max": "10 parsecs"}, "KiB, MiB"),
        ({"log_max": "1KiB"}, "4096"),
        ({"cwd": ""}, "at least 1"),
    ],
)
def test_a_bad_option_is_refused_by_name(values: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        read(**values)


def test_numbers_in_env_are_what_they_look_like() -> None:
    assert read(env={"PORT": 8080, "RATE": 0.5}).env == {"PORT": "8080", "RATE": "0.5"}


def test_secrets_of_env_are_not_in_the_repr() -> None:
    assert "hunter2" not in repr(read(env={"TOKEN": "hunter2"}))


def test_every_option_says_what_it_is() -> None:
    assert all(field.description for field in ProcessOptions.model_fields.values())


def test_the_port_mark_is_found_in_command_and_env() -> None:
    assert read(command=["serve", "--port={port}"]).uses_port_mark()
    assert read(env={"PORT": "{port}"}).uses_port_mark()
    assert not read().uses_port_mark()
