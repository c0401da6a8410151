"""Whose pages may wake a service and open WebSockets to it (SE-14, WS-08)."""

from __future__ import annotations

import pytest

from hestia.access.origin import check_socket, is_cross_site_subresource, is_welcome
from hestia.core.errors import Forbidden
from hestia.http1.heads import Field, Request

HOST = b"chat.lan:8080"
BROWSER = (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0")
IMAGE = (b"Accept", b"image/avif,image/webp,*/*;q=0.8")
PAGE = (b"Accept", b"text/html,application/xhtml+xml,*/*;q=0.8")


def asks(*fields: Field, method: bytes = b"GET") -> Request:
    return Request(method, b"/x", 1, list(fields))


def site(value: bytes, mode: bytes) -> tuple[Field, Field]:
    return (b"Sec-Fetch-Site", value), (b"Sec-Fetch-Mode", mode)


FOREIGN = {
    "img": asks(*site(b"cross-site", b"no-cors"), IMAGE),
    "fetch": asks(*site(b"cross-site", b"cors"), (b"Origin", b"https://evil.example")),
    "script": asks(*site(b"cross-site", b"no-cors"), (b"Accept", b"*/*")),
    "lan fetch": asks((b"Origin", b"http://evil.example"), BROWSER),
    "lan sandbox": asks((b"Origin", b"null"), BROWSER),
    "lan img": asks((b"Referer", b"http://evil.example/page"), IMAGE, BROWSER),
    "lan script": asks((b"Referer", b"http://evil.example/"), (b"Accept", b"*/*"), BROWSER),
    "lan img that hides": asks(IMAGE, BROWSER),
    "lan style that hides": asks((b"Accept", b"text/css,*/*;q=0.1"), BROWSER),
}
FINE = {
    "curl": asks((b"Accept", b"*/*"), (b"User-Agent", b"curl/8.1")),
    "a program that wants an image": asks((b"Accept", b"image/png"), (b"User-Agent", b"python-requests")),
    "nothing said": asks(),
    "link": asks(*site(b"cross-site", b"navigate"), PAGE),
    "lan link": asks((b"Referer", b"http://portal.lan/"), PAGE, BROWSER),
    "lan typed": asks(PAGE, BROWSER),
    "same origin": asks(*site(b"same-origin", b"cors"), (b"Origin", b"http://chat.lan:8080")),
    "same site": asks(*site(b"same-site", b"no-cors"), IMAGE),
    "lan same host": asks((b"Origin", b"http://chat.lan:3000"), BROWSER),
    "lan own img": asks((b"Referer", b"http://chat.lan:8080/page"), IMAGE, BROWSER),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_se_14_a_foreign_pages_subresource(name: str) -> None:
    assert is_cross_site_subresource(FOREIGN[name], HOST)
    assert not is_cross_site_subresource(FOREIGN[name], HOST, {b"*"})


@pytest.mark.parametrize("name", FINE)
def test_se_14_navigations_own_pages_and_programs_are_not_meant(name: str) -> None:
    assert not is_cross_site_subresource(FINE[name], HOST)


@pytest.mark.parametrize(
    "fields",
    [
        (*site(b"cross-site", b"cors"), (b"Origin", b"https://app.lan:3000")),
        (*site(b"cross-site", b"no-cors"), (b"Referer", b"https://app.lan:3000/"), IMAGE),
        ((b"Origin", b"https://APP.lan:3000"), BROWSER),
        ((b"Referer", b"https://app.lan:3000/page?x=https://evil.example"), IMAGE, BROWSER),
    ],
)
def test_se_14_a_listed_origin_may(fields: tuple[Field, ...]) -> None:
    assert is_cross_site_subresource(asks(*fields), HOST)
    assert not is_cross_site_subresource(asks(*fields), HOST, {b"https://app.lan:3000"})
    assert is_cross_site_subresource(asks(*fields), HOST, {b"https://app.lan", b"http://app.lan:3000"})


@pytest.mark.parametrize(
    "url",
    [
        b"https://app.lan.evil.example",
        b"https://evil.example/https://app.lan",
        b"https://app.lan@evil.example/",
        b"https://evil.example?https://app.lan",
        b"null",
        b"",
    ],
)
def test_se_14_what_only_looks_like_a_listed_origin(url: bytes) -> None:
    assert not is_welcome(url, {b"https://app.lan"})


def test_t_ws_08_an_origin_is_absent_ours_or_listed() -> None:
    check_socket(asks(), HOST)
    check_socket(asks((b"Origin", b"http://chat.lan:8080")), HOST)
    foreign = asks((b"Origin", b"https://app.lan"))
    check_socket(foreign, HOST, {b"https://app.lan"})
    check_socket(foreign, HOST, {b"*"})
    for welcome in (set(), {b"https://other.lan"}):
        with pytest.raises(Forbidden, match=r"another site"):
            check_socket(foreign, HOST, welcome)
