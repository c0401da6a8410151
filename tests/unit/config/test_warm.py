"""`keep_warm`: true, or windows; every mistake at its own place."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from hestia.core.calendar import Window
from hestia.core.model import ServiceSettings
from tests.unit.config.loading import Loader

ENGINE = "engine: {type: process, command: [a, '{port}']}"


def warm(loader: Loader, text: str, **env: str) -> ServiceSettings:
    loaded = loader(f"services: {{chat: {{{ENGINE}, {text}}}}}\n", env=env)
    (settings,) = loaded.services.values()
    return settings


@pytest.mark.parametrize(("text", "kept"), [("true", True), ("yes", True), ("false", False), ("[]", ())])
def test_id16_a_flag(loader: Loader, text: str, kept: object) -> None:
    assert warm(loader, f"keep_warm: {text}").keep_warm == kept


def test_id16_windows(loader: Loader) -> None:
    text = "keep_warm: [{days: [mon, Friday], from: 08:30, to: '24:00', timezone: Europe/Berlin}, "
    text += "{from: '22:00', to: '2:00'}]"
    assert warm(loader, text).keep_warm == (
        Window((0, 4), 510, 1440, ZoneInfo("Europe/Berlin"), "Europe/Berlin"),
        Window(tuple(range(7)), 1320, 120),
    )


def test_id16_from_the_environment(loader: Loader) -> None:
    for text in ("true", "on"):
        assert warm(loader, "idle_timeout: 1m", CHAT_KEEP_WARM=text).keep_warm is True
    windows = warm(loader, "idle_timeout: 1m", CHAT_KEEP_WARM='[{"from": "08:00", "to": "09:00"}]').keep_warm
    assert windows == (Window(tuple(range(7)), 480, 540),)


@pytest.mark.parametrize(
    ("window", "place", "words"),
    [
        ("{from: '08:00'}", "[0].to", "is missing"),
        (
            "{from: '8', to: '9:00'}",
            "[0].from",
            "'8' is no time of day; write hours and minutes such as 08:00",
        ),
        ("{from: '24:30', to: '9:00'}", "[0].from", "is no time of day"),
        ("{from: 8, to: '9:00'}", "[0].from", "expected a text"),
        ("{from: '08:00', to: '08:00'}", "[0]", "for whole days write from: 00:00 and to: 24:00"),
        ("{from: '08:00', to: '09:00', days: [mo]}", "[0].days[0]", "'mo' is no day; write mon, tue"),
        ("{from: '08:00', to: '09:00', days: []}", "[0].days", "something that is not empty"),
        (
            "{from: '08:00', to: '09:00', timezone: Europe/Berlim}",
            "[0].timezone",
            "did you mean 'Europe/Berlin'",
        ),
        ("{from: '08:00', to: '09:00', zone: x}", "[0].zone", "unknown key"),
    ],
)
def test_a_mistake_is_shown_at_its_place(loader: Loader, window: str, place: str, words: str) -> None:
    (problem,) = loader.problems(f"services: {{chat: {{{ENGINE}, keep_warm: [{window}]}}}}\n")
    assert problem.key == f"services.chat.keep_warm{place}"
    assert words in problem.text


def test_what_is_no_window_at_all_says_what_to_write(loader: Loader) -> None:
    (problem,) = loader.problems(f"services: {{chat: {{{ENGINE}, keep_warm: soon}}}}\n")
    assert 'expected true, or a list of mappings such as [{"from"' in problem.text


def test_engine_none_cannot_be_kept_warm(loader: Loader) -> None:
    problem = loader.chat_problem("keep_warm: true")
    assert problem.key == "services.chat.keep_warm"
    assert "needs an engine that starts the service" in problem.text
    assert "add an `engine`" in problem.remedy


def test_it_is_shown_as_it_is_written(loader: Loader) -> None:
    text = f"services: {{chat: {{{ENGINE}, keep_warm: %s}}}}\n"
    key = "services.chat.keep_warm"
    assert loader.rows(text % "true")[key].value is True
    window = {"days": ["sat"], "from": "08:00", "to": "24:00", "timezone": "Asia/Tokyo"}
    rows = loader.rows(text % "[{days: [sat], from: '8:00', to: '24:00', timezone: Asia/Tokyo}]")
    assert rows[key].value == [window]
