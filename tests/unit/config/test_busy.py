"""`busy_probe`: an address or a command, in the file and in the environment."""

from __future__ import annotations

import pytest

from hestia.core.model import BusyProbe
from tests.unit.config.loading import Loader


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("http://localhost:9000/busy?all=1", BusyProbe(url="http://localhost:9000/busy?all=1")),
        ('"http://127.0.0.1:{port}/busy"', BusyProbe(url="http://127.0.0.1:{port}/busy")),
        ("'! pgrep -f job'", BusyProbe(command="! pgrep -f job")),
        ("[check, --port, 9000]", BusyProbe(command=("check", "--port", "9000"))),
    ],
)
def test_id07_an_address_or_a_command(loader: Loader, text: str, probe: BusyProbe) -> None:
    assert loader.chat(f"idle_timeout: 5m, busy_probe: {text}").busy_probe == probe


def test_id07_from_the_environment(loader: Loader) -> None:
    settings = loader.chat("idle_timeout: 5m", CHAT_BUSY_PROBE="check me", CHAT_BUSY_PROBE_MAX="2h")
    assert settings.busy_probe == BusyProbe(command="check me")
    assert settings.busy_probe_max == 7200.0


@pytest.mark.parametrize("text", ["true", "''", "[]", "[['a']]", "{url: x}", "7", "[' ']", r'"a\0b"'])
def test_what_is_neither_is_an_error_that_says_what_to_write(loader: Loader, text: str) -> None:
    problem = loader.chat_problem(f"busy_probe: {text}")
    assert problem.key == "services.chat.busy_probe"
    assert "an address such as http://localhost:8000/busy, or a command" in problem.text


def test_an_address_that_is_none_says_why(loader: Loader) -> None:
    assert "99999" in loader.chat_problem("busy_probe: 'http://localhost:99999/busy'").text


def test_id08_what_has_no_effect_is_said(loader: Loader) -> None:
    text = "services: {chat: {base_url: 'http://localhost:9000', %s}}\n"
    assert "busy_probe has no effect without idle_timeout" in loader(text % "busy_probe: check").warnings[0]
    assert "busy_probe_max has no effect" in loader(text % "busy_probe_max: 1h").warnings[0]


def test_it_is_shown_as_it_is_written(loader: Loader) -> None:
    text = "services: {chat: {base_url: 'http://localhost:9000', idle_timeout: 1m, busy_probe: %s}}\n"
    for written in ("check me", ["check", "me"], "http://localhost:1/x"):
        assert loader.rows(text % written)["services.chat.busy_probe"].value == written
