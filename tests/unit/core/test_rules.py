"""Request rules: globs, edits of heads, what may be edited at all."""

from __future__ import annotations

import time

import pytest

from hestia.core import rules
from hestia.core.model import ServiceId, ServiceSettings
from hestia.core.rules import Cors, Edits, Headers, NoWake, Rules, Underscores
from hestia.http1 import fields as f


def made(*no_wake: NoWake) -> Rules:
    found = Rules.of(ServiceSettings(id=ServiceId("a"), instances=(), no_wake=no_wake))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rule", "method", "target", "agent", "quiet"),
    [
        (NoWake(path="/favicon.ico"), b"GET", b"/favicon.ico", None, True),
        (NoWake(path="/favicon.ico"), b"GET", b"/favicon.ico?v=2", None, True),
        (NoWake(path="/favicon.ico"), b"GET", b"/a/favicon.ico", None, False),
        (NoWake(path="*/favicon.ico"), b"GET", b"/a/b/favicon.ico", None, True),
        (NoWake(path="/Metrics"), b"GET", b"/metrics", None, False),
        (NoWake(path="/"), b"GET", b"", None, True),
        (NoWake(path="/"), b"GET", b"?a=1", None, True),
        (NoWake(method="HEAD"), b"HEAD", b"/x", None, True),
        (NoWake(method="head"), b"HEAD", b"/x", None, True),
        (NoWake(method="HEAD"), b"GET", b"/x", None, False),
        (NoWake(user_agent="Prometheus/*"), b"GET", b"/x", b"prometheus/2.1", True),
        (NoWake(user_agent="Prometheus/*"), b"GET", b"/x", None, False),
        (NoWake(user_agent="*"), b"GET", b"/x", None, True),
        (NoWake(path="/m*", method="GET", user_agent="curl*"), b"GET", b"/m", b"curl/8", True),
        (NoWake(path="/m*", method="GET", user_agent="curl*"), b"PUT", b"/m", b"curl/8", False),
        (NoWake(path="/m*", method="GET", user_agent="curl*"), b"GET", b"/m", b"wget", False),
        (NoWake(path="/a[bc]?"), b"GET", b"/abx", None, True),
        (NoWake(path="/a[bc]?"), b"GET", b"/ab", None, False),
    ],
)
def test_cq_11_a_request_is_quiet_when_all_given_globs_match(
    rule: NoWake, method: bytes, target: bytes, agent: bytes | None, quiet: bool
) -> None:
    assert made(rule).is_quiet(method, target, agent) is quiet


def test_cq_11_one_rule_of_several_is_enough() -> None:
    both = made(NoWake(path="/a"), NoWake(path="/b"))
    assert both.is_quiet(b"GET", b"/b", None)
    assert not both.is_quiet(b"GET", b"/c", None)


def test_a_glob_costs_linear_time_whatever_the_path() -> None:
    """Many stars over a path that nearly matches: backtracking would take for ever."""
    rule = made(NoWake(path="/" + "*a" * 40 + "b"))
    begun = time.process_time()
    assert not rule.is_quiet(b"GET", b"/" + b"a" * 16_000, None)
    assert time.process_time() - begun < 60.0  # a hang guard; exponential time would be centuries


def test_nothing_said_is_no_rules() -> None:
    plain = ServiceSettings(id=ServiceId("a"), instances=())
    assert plain.rules is None
    assert ServiceSettings(id=ServiceId("a"), instances=(), headers=Headers(), cors=Cors()).rules is None


def test_what_is_said_is_compiled() -> None:
    headers = Headers(
        request=Edits(set=(("X-A", "1"), ("X-B", "é")), remove=("Cookie",)),
        response=Edits(remove=("Server",)),
    )
    said = ServiceSettings(
        id=ServiceId("a"),
        instances=(),
        headers=headers,
        cors=Cors(origins=("https://app.lan",)),
        max_body=10,
        underscore_headers=Underscores.DROP,
    ).rules
    assert said is not None
    assert said.request is not None
    assert said.request.gone == {b"x-a", b"x-b", b"cookie"}
    assert b"".join(said.request.lines) == "\r\nx-a: 1\r\nx-b: é".encode()
    assert said.response is not None
    assert said.response.gone == {b"server"}
    assert not said.response.lines
    assert said.origins == {b"https://app.lan"}
    assert (said.max_body, said.underscores) == (10, Underscores.DROP)


def test_se_07_every_request_field_that_hestia_manages_is_refused() -> None:
    """Also in underscores, which some servers read as the same name (HQ-09)."""
    managed = [name.decode() for name in [*f._REQUEST, b"x-forwarded-for", b"x-forwarded-anything"]]
    for name in [
        *managed,
        *(name.replace("-", "_") for name in managed),
        *(name.title() for name in managed),
    ]:
        with pytest.raises(ValueError, match="; "):
            rules.check_request_name(name)


READ_ON_THE_WAY = {
    "location", "content-location", "refresh", "set-cookie", "content-type", "x-accel-buffering",
    "www-authenticate", "alt-svc",
}  # fmt: skip


def test_se_07_every_response_field_that_hestia_writes_is_refused() -> None:
    for name in (name.decode() for name in f._RESPONSE):
        if name in READ_ON_THE_WAY:
            assert rules.check_response_name(name) == name
        else:
            with pytest.raises(ValueError, match="; "):
                rules.check_response_name(name)


@pytest.mark.parametrize("name", ["", "X A", "X-A:", "X\r\nY", "X\0", "é", "(x)"])
def test_se_07_what_is_no_token_is_no_name(name: str) -> None:
    for check in (rules.check_request_name, rules.check_response_name):
        with pytest.raises(ValueError, match="no name of a header"):
            check(name)


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\r\n", "\x0b", "\x1b", "\x7f"])
def test_se_07_control_characters_are_refused_in_values(bad: str) -> None:
    """T-SE-05, for fields of the configuration; strategies come later."""
    with pytest.raises(ValueError, match="control character"):
        rules.check_value(f"a{bad}b")


def test_values_lose_the_blanks_around_them() -> None:
    assert rules.check_value(" a\tb \t") == "a\tb"
    assert rules.check_value("") == ""


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("*", "*"),
        ("https://App.LAN", "https://app.lan"),
        ("https://app.lan/", "https://app.lan"),
        ("https://app.lan:443", "https://app.lan"),
        ("http://app.lan:80", "http://app.lan"),
        ("http://app.lan:443", "http://app.lan:443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_origins_are_kept_as_browsers_send_them(text: str, origin: str) -> None:
    assert rules.check_origin(text) == origin


@pytest.mark.parametrize(
    "text", ["", "app.lan", "https://", "https://a/b", "https://u@a", "https://a:b", "**"]
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        rules.check_origin(text)


@pytest.mark.parametrize("text", ["", "a\nb", "x" * 201])
def test_what_is_no_glob(text: str) -> None:
    with pytest.raises(ValueError, match="is no glob"):
        rules.check_glob(text)


def test_a_path_glob_that_matches_nothing_is_refused() -> None:
    assert rules.check_path_glob("*.ico") == "*.ico"
    with pytest.raises(ValueError, match=r"write '/favicon\.ico'"):
        rules.check_path_glob("favicon.ico")
