"""Kinds of value: what each reads, what it refuses, and that its JSON Schema says the same."""

from __future__ import annotations

import contextlib
import math

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.config.values import (
    LONGEST,
    Address,
    Duration,
    FieldName,
    Flag,
    HostHeaderText,
    HostName,
    Kind,
    ListenHost,
    Many,
    Network,
    Real,
    Text,
    Whole,
    Word,
    duration_text,
)

ENDLESS = Duration(endless=True)
READS: list[tuple[Kind, object, object]] = [
    (Duration(), "500ms", 0.5),
    (Duration(), "30s", 30.0),
    (Duration(), "5m", 300.0),
    (Duration(), "2h", 7200.0),
    (Duration(), "1d", 86400.0),
    (Duration(), "1h30m", 5400.0),
    (Duration(), "1h 30m", 5400.0),
    (Duration(), " 1.5s ", 1.5),
    (ENDLESS, "never", math.inf),
    (ENDLESS, "Never", math.inf),
    (ENDLESS, 0, math.inf),
    (ENDLESS, "0", math.inf),
    (ENDLESS, "0s", math.inf),
    (Duration(least=0.0), 0, 0.0),
    (Duration(least=0.0), "0ms", 0.0),
    (Whole(), 0, 0),
    (Whole(), " 7 ", 7),
    (Whole(0, 65535), 65535, 65535),
    (Real(), 2, 2.0),
    (Real(), "2.5", 2.5),
    (Flag(), True, True),
    (Flag(), "YES", True),
    (Flag(), 1, True),
    (Flag(), "off", False),
    (Flag(), "0", False),
    (Word(("auto", "json")), "JSON", "json"),
    (Word(("DEBUG",), upper=True), "debug", "DEBUG"),
    (Word(("on", "off")), True, "on"),
    (Word(("auto",), plus=HostName()), "App.Lan", "app.lan"),
    (Text(), "a b", "a b"),
    (Address(), "http://localhost:8000/", "http://localhost:8000/"),
    (Address(), "unix:/run/app.sock", "unix:/run/app.sock"),
    (Address(), "http://127.0.0.1:{port}", "http://127.0.0.1:{port}"),
    (Address(query=True), "http://a/health?deep=1", "http://a/health?deep=1"),
    (HostName(), "Chat.LAN.", "chat.lan"),
    (HostHeaderText(), "App.lan:8443", "app.lan:8443"),
    (ListenHost(), "0.0.0.0", "0.0.0.0"),
    (ListenHost(), "[::1]", "::1"),
    (ListenHost(), "Box", "box"),
    (Network(), "10.1.2.3", "10.1.2.3/32"),
    (Network(), "10.1.2.3/8", "10.0.0.0/8"),
    (FieldName(), "Remote-User", "remote-user"),
    (Many(HostName(), "[a]"), ["b.lan", "a.lan", "B.lan"], ("b.lan", "a.lan")),
]
_REFUSES: list[tuple[Kind, tuple[object, ...]]] = [
    (Duration(), (30, "30", 1.5, "1.5", "", "s", "5 parsecs", "-5m", "5m-", True, None, [1], {}, "never", 0)),
    (Duration(), ("1e3s", "٣s", "3651d", "99999999999999999999d")),
    (Duration(least=0.0), ("never", 5, "5M")),
    (Whole(1, 9), (0, 10, 1.0, "x", True, None, "1" * 30, "1_0")),
    (Real(1.0, 100.0), (0.5, 101, "x", True, math.inf, math.nan, "1" * 400)),
    (Flag(), (2, "maybe", None, [], "", 1.0)),
    (Word(("auto", "json")), ("xml", "", None, True, 1)),
    (Word(("auto",), plus=HostName()), ("http://x",)),
    (Text(), ("", " ", "a\nb", "a\0", 7, None)),
    (Address(), ("localhost:1", "/run", "ftp://a", "http://", "http://a b", 7, "http://a?x")),
    (Address(query=True), ("unix:/run/app.sock", "/health", "http://a#f")),
    (HostName(), ("http://a", "a:80", "a b", "größe.lan", "-a", "a..b", "", 7, "a" * 254)),
    (HostHeaderText(), ("a:0", "a:99999", "a:", "a:x", "http://a/")),
    (ListenHost(), ("", "1.2.3", "http://a", "a b", 7, "[a]")),
    (Network(), ("10.0.0.300", "x", "10.0.0.0/33", "")),
    (FieldName(), ("Remote User", "", 7, "a:")),
    (Many(Whole(), "[1]"), ("1", 1, {"a": 1}, ["x"], None)),
]
REFUSES = [(kind, value) for kind, values in _REFUSES for value in values]


@pytest.mark.parametrize(("kind", "value", "result"), READS, ids=str)
def test_a_kind_reads_what_it_promises(kind: Kind, value: object, result: object) -> None:
    assert kind.read(value) == result


@pytest.mark.parametrize(("kind", "value"), REFUSES, ids=str)
def test_a_kind_refuses_with_what_it_expects(kind: Kind, value: object) -> None:
    with pytest.raises(ValueError) as refused:
        kind.read(value)
    assert str(refused.value)


@pytest.mark.parametrize(("kind", "value", "result"), READS, ids=str)
def test_the_schema_takes_what_is_written_as_the_reference_says(
    kind: Kind, value: object, result: object
) -> None:
    """Forms that only the environment needs (a number as text, capitals) are left to the loader."""
    written = [
        Duration, Address, Text, HostName, Network, FieldName, ListenHost, HostHeaderText, Many,
    ]  # fmt: skip
    if type(kind) in written and value == (value.strip().lower() if isinstance(value, str) else value):
        jsonschema.validate(value, kind.schema())


@pytest.mark.parametrize("text", ["300", "1.5"])
def test_a_bare_number_is_told_its_units(text: str) -> None:
    with pytest.raises(ValueError, match=f"{text}s, {text}m or {text}ms"):
        Duration().read(text)


@given(st.floats(min_value=0.001, max_value=LONGEST))
def test_ck11_a_duration_reads_back_as_it_is_shown(seconds: float) -> None:
    seconds = round(seconds, 3)
    text = duration_text(seconds)
    if "e" not in text:
        assert Duration().read(text) == pytest.approx(seconds, rel=1e-5)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.binary()))
def test_ck11_any_value_is_read_or_refused(value: object) -> None:
    for kind, _, _ in READS:
        with contextlib.suppress(ValueError):
            kind.read(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(math.inf, "never"), (0, "0s"), (0.5, "500ms"), (90, "90s"), (300, "5m"), (7200, "2h"), (86400, "1d")],
)
def test_a_duration_is_shown_in_its_shortest_form(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
