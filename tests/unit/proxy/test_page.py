"""What a waiting page may ask for, and what is only fetched ahead (experience.md WP-01, WP-04)."""

from __future__ import annotations

import pytest

from hestia.core.errors import BadRequest
from hestia.http1.heads import Request, read_request
from hestia.proxy.page import Ask, is_prefetch, read_wait


def asks(value: str, method: str = "GET", **fields: str) -> Request:
    given = [(b"Host", b"localhost"), (b"Hestia-Wait", value.encode())]
    given += [(name.encode(), text.encode()) for name, text in fields.items()]
    return read_request(method.encode(), b"/", 1, given)


def test_wp04_what_the_page_asks_for() -> None:
    assert read_wait(asks("1")) == (Ask.FOLLOW, "", True)
    assert read_wait(asks("1;visit=aB-_9")) == (Ask.FOLLOW, "aB-_9", True)
    assert read_wait(asks("1;visit=x", accept="application/json")) == (Ask.FOLLOW, "x", False)
    assert read_wait(asks("start;visit=x", "POST")) == (Ask.START, "x", True)
    assert read_wait(asks(" Leave ; visit=x", "POST")) == (Ask.LEAVE, "x", True)


@pytest.mark.parametrize(
    ("value", "method"),
    [
        ("2", "GET"),
        ("1;visit", "GET"),
        ("1;visit=/", "GET"),
        ("1;seat=x", "GET"),
        ("1;visit=" + "x" * 65, "GET"),
        ("1", "POST"),
        ("1", "PUT"),
        ("start", "GET"),
        ("leave", "GET"),
    ],
)
def test_wp04_anything_else_is_refused(value: str, method: str) -> None:
    with pytest.raises(BadRequest):
        read_wait(asks(value, method))


def test_wp04_the_field_goes_no_further() -> None:
    request = asks("1", hestia_wait="2")
    assert request.wait == b"1"
    assert not [one for one in request.passing if b"wait" in one.lower()]


@pytest.mark.parametrize(
    "value", ["prefetch", "prefetch;prerender", "Prefetch; anonymous-client-ip", "prerender"]
)
def test_wp01_what_is_fetched_ahead_is_known(value: str) -> None:
    for name in (b"Sec-Purpose", b"Purpose"):
        assert is_prefetch(read_request(b"GET", b"/", 1, [(name, value.encode())]))
    assert not is_prefetch(read_request(b"GET", b"/", 1, [(b"Sec-Purpose", b"other")]))
