"""Owns the reading of addresses that people write: `base_url` text → Endpoint, and the `{port}` mark.

Pure text work; whether anything answers there is for probes and connections to find out. Configuration
and engines both read addresses here, so that one address means one thing. Source: proxy-semantics PR-02,
PR-03, PR-05.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from hestia.core.model import Endpoint

PORT_MARK: Final = "{port}"
_EXAMPLE: Final = "write it like http://localhost:8000 or unix:/run/app.sock"
_HOST_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_UNIX_PATH_MAX: Final = 107  # bytes: sun_path of sockaddr_un is 108 with its final zero (unix(7))
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def uses_port_mark(*texts: str) -> bool:
    """Whether one of the texts holds `{port}`: then the address is a new one for each generation."""
    return any(PORT_MARK in text for text in texts)


def fill_port(text: str, port: int) -> str:
    """Put a port in the place of each `{port}`. Nothing else in braces is touched."""
    return text.replace(PORT_MARK, str(port))


def parse_base_url(text: str) -> Endpoint:
    """Read `http://host[:port][/path]`, `https://…` or `unix:/path` as an Endpoint.

    The path is kept as it is written, without its final slash. `{port}` must be filled in before; to
    check a text that still holds it, fill in any port. Raises ValueError: one sentence that names what
    is wrong and what to write instead, without repeating a password.
    """
    if not text:
        raise ValueError(f"the address is empty; {_EXAMPLE}")
    if any(ch <= " " or ch in "\x7f\\" for ch in text):
        raise ValueError("the address holds a space, a control character or a backslash; remove it")
    if not text.isascii():
        raise ValueError("the address holds a character beyond ASCII; write it percent-encoded")
    if PORT_MARK in text:
        raise ValueError(
            f"{text!r} still holds {PORT_MARK}; only an engine that starts a program fills it in"
        )
    if text[:5].lower() == "unix:":
        return _unix(text)
    return _network(text)


def _unix(text: str) -> Endpoint:
    path = text[5:]
    if path.startswith("///"):
        path = path[2:]
    if not path.startswith("/") or path.startswith("//") or path.endswith("/"):
        raise ValueError(f"{text!r} names no socket; write unix: and an absolute path, unix:/run/app.sock")
    if "?" in path or "#" in path:
        raise ValueError(f"{text!r} holds a query or a fragment; write only unix: and the socket's path")
    if len(path) > _UNIX_PATH_MAX:
        raise ValueError(
            f"the socket path is {len(path)} bytes long, the system takes {_UNIX_PATH_MAX}; use a shorter one"
        )
    return Endpoint("http", "", 0, unix_path=path)


def _network(text: str) -> Endpoint:
    scheme, mark, rest = text.partition("://")
    if not mark:
        raise ValueError(f"{text!r} has no scheme; write http://{text.removeprefix('//')}")
    if scheme.lower() not in _DEFAULT_PORTS:
        raise ValueError(f"the scheme {scheme!r} is not known; use http, https or unix:/path")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise ValueError(
            "the address holds a user name or password before '@'; remove it: "
            "credentials are sent by the client or set with `headers`"
        )
    if "?" in rest:
        raise ValueError(f"{text!r} holds a query; remove '?' and what follows")
    if "#" in rest:
        raise ValueError(f"{text!r} holds a fragment; remove '#' and what follows")
    parts = _split(text)
    return Endpoint(parts.scheme, _host(parts, text), _port(parts, text), base_path=parts.path.rstrip("/"))


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not a URL ({exc}); {_EXAMPLE}") from exc


def _host(parts: SplitResult, text: str) -> str:
    host = parts.hostname or ""
    if not host:
        raise ValueError(f"{text!r} has no host; {_EXAMPLE}")
    if parts.netloc.startswith("["):
        try:
            IPv6Address(host)
        except ValueError as exc:
            raise ValueError(
                f"{host!r} is not an IPv6 address; write one in brackets, http://[::1]:8000"
            ) from exc
        return host
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ValueError(f"{host!r} is not a host name; {_EXAMPLE}")
    return host


def _port(parts: SplitResult, text: str) -> int:
    written = parts.netloc.rpartition("]")[2].partition(":")[2]
    if not written:
        return _DEFAULT_PORTS[parts.scheme]
    if PORT_MARK in text:
        raise ValueError(
            f"{text!r} still holds {PORT_MARK}, which only an engine that starts a program fills in"
        )
    if not written.isdigit() or len(written) > 5 or not 1 <= int(written) <= 65535:
        raise ValueError(f"{written!r} is not a port; use a number from 1 to 65535")
    return int(written)
