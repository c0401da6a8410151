"""Heads of dispatched requests: nothing that a call names can become a line of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.core.errors import BadRequest, HeadTooLarge, MethodNotAllowed, PathRejected, TargetTooLong
from hestia.http1.fields import REQUEST
from hestia.inward.head import dispatch_head

CALLER = [
    (b"host", b"gate:8080"),
    (b"x-request-id", b"r1"),
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"gate:8080"),
    (b"x-forwarded-port", b"8080"),
    (b"via", b"1.1 hestia-x"),
    (b"user-agent", b"curl"),
    (b"cookie", b"a=1"),
    (b"content-type", b"application/json"),
    (b"content-length", b"99"),
]


def make(
    *given_fields: tuple[str, str],
    method: str = "GET",
    path: str = "/x",
    kind: str = "",
    length: int = -1,
    caller: list[tuple[bytes, bytes]] = CALLER,
) -> bytes:
    return dispatch_head(
        "a", method, path, given_fields, caller=caller, identity={b"remote-user"}, kind=kind, length=length
    )


def test_who_asks_comes_from_the_call_and_nothing_else_of_it() -> None:
    assert make() == (
        b"GET /services/a/x HTTP/1.1\r\nhost: gate:8080\r\nx-request-id: r1\r\nx-forwarded-for: 10.0.0.1\r\n"
        b"x-forwarded-proto: https\r\nx-forwarded-host: gate:8080\r\n\r\n"
    )


def test_a_call_without_host_is_for_localhost() -> None:
    assert make(caller=[]) == b"GET /services/a/x HTTP/1.1\r\nhost: localhost\r\n\r\n"


def test_body_has_its_length_and_the_type_it_is_given() -> None:
    head = make(kind="application/json", length=0, caller=[])
    assert head.endswith(b"content-type: application/json\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
    own = make(("CONTENT-type", "text/x"), kind="application/json", length=3, caller=[])
    assert own.lower().count(b"content-type") == 1


def test_prefer_of_the_call_gives_way_to_that_of_the_request() -> None:
    caller = [(b"host", b"h"), (b"prefer", b"respond-async")]
    assert b"prefer: respond-async" in make(caller=caller)
    head = make(("Prefer", "wait=5"), caller=caller)
    assert b"Prefer: wait=5" in head
    assert b"respond-async" not in head


def test_identity_is_the_callers() -> None:
    head = make(("Remote_User", "root"), ("remote-user", "root"), caller=[(b"remote-user", b"ann")])
    assert head.count(b"remote-user: ann") == 1
    assert b"root" not in head


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (MethodNotAllowed, {"method": "CONNECT"}),
        (BadRequest, {"method": "GET /y HTTP/1.1\r\nx:"}),
        (BadRequest, {"path": "/x HTTP/1.1\r\nx: y"}),
        (TargetTooLong, {"path": "/" + "x" * 16 * 1024}),
    ],
)
def test_broken_first_lines_are_refused(error: type[Exception], change: dict[str, str]) -> None:
    with pytest.raises(error):
        make(**change)  # type: ignore[arg-type]  # texts only


@given(
    method=st.text(max_size=12),
    path=st.text(max_size=30).map("/".__add__),
    name=st.text(max_size=12),
    value=st.text(max_size=20),
)
def test_ss_03_no_text_breaks_the_head(method: str, path: str, name: str, value: str) -> None:
    """Whatever is written: one request line, as many fields as were meant, one end."""
    for change in ({"method": method}, {"path": path}, {}):
        fields = [] if change else [(name, value)]
        try:
            head = make(*fields, caller=[], **change)  # type: ignore[arg-type]  # texts only
        except (BadRequest, PathRejected, MethodNotAllowed, HeadTooLarge):
            continue
        first, *lines = head.split(b"\r\n")
        assert first.count(b" ") == 2
        assert lines[-2:] == [b"", b""]
        assert head.count(b"\r") == head.count(b"\n") == len(lines)
        names = [line.partition(b":")[0].lower() for line in lines[:-2]]
        assert names.count(b"host") == 1
        assert set(names) <= {b"host", name.lower().encode("latin-1", "replace")}


def test_every_name_that_ends_at_a_hop_is_refused_or_left_out() -> None:
    for name in [b"connection", b"te", b"upgrade", b"trailer", b"keep-alive", b"host", b"expect"]:
        assert REQUEST.meaning(name)
        with pytest.raises(BadRequest):
            make((name.decode(), "x"))
        with pytest.raises(BadRequest):
            make((name.decode().upper().replace("-", "_"), "x"))
