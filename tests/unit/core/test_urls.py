"""What people may write as `base_url`, and what each bad form is told."""

from __future__ import annotations

import pytest

from hestia.core.model import Endpoint
from hestia.core.urls import fill_port, parse_base_url, uses_port_mark


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("http://localhost:11434", Endpoint("http", "localhost", 11434)),
        ("HTTP://LocalHost", Endpoint("http", "localhost", 80)),
        ("https://api.example/", Endpoint("https", "api.example", 443)),
        ("https://api.example:8443/a/b/", Endpoint("https", "api.example", 8443, base_path="/a/b")),
        ("http://10.0.0.1:80/x%2Fy//z", Endpoint("http", "10.0.0.1", 80, base_path="/x%2Fy//z")),
        ("http://[::1]:8000", Endpoint("http", "::1", 8000)),
        ("http://[::1]", Endpoint("http", "::1", 80)),
        ("http://my_host:5", Endpoint("http", "my_host", 5)),
        ("unix:/run/app.sock", Endpoint("http", "", 0, unix_path="/run/app.sock")),
        ("unix:///run/app.sock", Endpoint("http", "", 0, unix_path="/run/app.sock")),
    ],
)
def test_an_address_is_read_as_it_is_written(text: str, endpoint: Endpoint) -> None:
    assert parse_base_url(text) == endpoint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("localhost:11434", "write http://localhost:11434"),
        ("//localhost", "write http://localhost"),
        ("ftp://x", "use http, https or unix:/path"),
        ("http://h/?", "query"),
        ("http://h/a?b=c", "query"),
        ("http://h?b", "query"),
        ("http://h/#", "fragment"),
        ("http://h#a", "fragment"),
        ("http://u:secret@h/", "user name"),
        ("http://h/a b", "space"),
        ("http://h/a\n", "control"),
        ("http:\\\\h", "backslash"),
        ("http://h/é", "percent-encoded"),
        ("http://", "no host"),
        ("http:///x", "no host"),
        ("http://:80", "no host"),
        ("http://-h", "not a host name"),
        ("http://h,i", "not a host name"),
        ("http://" + "a" * 64, "not a host name"),
        ("http://a:1:2", "not a port"),
        ("http://h:0", "from 1 to 65535"),
        ("http://h:65536", "from 1 to 65535"),
        ("http://h:+1", "from 1 to 65535"),
        ("http://h:x", "from 1 to 65535"),
        ("http://[zz]:1", "URL"),
        ("http://[::1", "URL"),
        ("http://[v1.x]:1", "IPv6"),
        ("http://h:{port}", "still holds {port}"),
        ("unix:app.sock", "absolute path"),
        ("unix://host/app.sock", "absolute path"),
        ("unix:/", "absolute path"),
        ("unix:/run/app.sock?x", "query"),
        ("unix:/" + "a" * 107, "shorter"),
    ],
)
def test_t_pr_07_a_bad_address_is_refused_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_base_url(text)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_every_port_mark_is_filled_and_other_braces_stay() -> None:
    assert uses_port_mark("http://h/", "http://h:{port}/")
    assert not uses_port_mark("http://h:80/{x}")
    assert fill_port("{x} {port} {port}", 8) == "{x} 8 8"
