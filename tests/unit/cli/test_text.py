"""Words for people: escaping, durations, instants, cutting, guesses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hestia.cli.text import (
    ago,
    countdown,
    cut_end,
    cut_middle,
    duration,
    instant,
    nearest,
    plain,
    within,
)

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ("plain text, \tÄ, 日本", "plain text, \tÄ, 日本"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb\nc\x07", "a\\x0db\\x0ac\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\x7f", "\\x7f"),
        ("evil\u202etxt", "evil\\u202etxt"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_cl26_control_characters_are_escaped(found: str, shown: str) -> None:
    assert plain(found) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0.0 s"), (0, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "9 s"), (10, "10 s"),
        (59.9, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (599, "9 min 59 s"), (601, "10 min"),
        (3599, "59 min"), (3600, "1 h"), (3660, "1 h 1 min"), (86399, "23 h 59 min"), (86400, "1 d"),
        (90000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_cl15_durations_have_at_most_two_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0 s"), (41.2, "41 s"), (119, "119 s"), (120, "2 min"), (3599, "59 min"), (3600, "1 h"),
     (86400, "1 d")],
)  # fmt: skip
def test_cl15_a_countdown_has_one_unit_and_is_never_negative(seconds: float, shown: str) -> None:
    assert countdown(seconds) == shown


def test_cl15_instants_are_told_relative_to_now() -> None:
    assert ago(NOW - timedelta(minutes=4), NOW) == "4 min ago"
    assert within(NOW + timedelta(seconds=41), NOW) == "in 41 s"
    assert within(NOW + timedelta(seconds=0.2), NOW) == "in 1 s"
    assert within(NOW - timedelta(seconds=1), NOW) == "now"


def test_an_instant_that_is_none_is_none() -> None:
    assert instant("2026-01-31T12:03:04.120Z") == datetime(2026, 1, 31, 12, 3, 4, 120000, tzinfo=UTC)
    assert instant(None) is None
    assert instant("soon") is None


def test_cl14_names_lose_their_middle_and_notes_their_end() -> None:
    assert cut_middle("gpu-server-number-01", 11) == "gpu-s…er-01"
    assert cut_middle("short", 11) == "short"
    assert cut_middle("abcdefgh", 5, ellipsis="..") == "ab..h"
    assert cut_end("engine, 12 s", 8) == "engine,…"
    assert cut_end("engine", 1) == "e"


@pytest.mark.parametrize(
    ("typed", "best"),
    [
        ("stauts", "status"), ("statu", "status"), ("st", "start"), ("strat", "start"), ("stopp", "stop"),
        ("lgos", "logs"), ("logz", "logs"), ("restrat", "restart"), ("conf", "config"), ("STATUS", "status"),
        ("demmo", "demo"), ("srve", "serve"), ("hepl", "help"), ("verison", "version"),
        ("complet", "completion"),
    ],
)  # fmt: skip
def test_cl09_a_typo_finds_its_word(typed: str, best: str) -> None:
    words = ["serve", "demo", "status", "logs", "start", "stop", "restart", "config", "help", "completion",
             "version"]  # fmt: skip
    assert nearest(typed, words)[0] == best


@pytest.mark.parametrize("typed", ["bananas", "x", "", "zzzz"])
def test_cl09_nothing_is_guessed_from_far_away(typed: str) -> None:
    assert nearest(typed, ["serve", "demo", "status", "logs"]) == []
