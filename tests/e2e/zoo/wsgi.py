"""The zoo's application for WSGI servers. See `servers.py` for what every application does."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]  # as WSGI has it
Start = Callable[[str, list[tuple[str, str]]], object]

journal: list[str] = []
gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def app(environ: Environ, start: Start) -> Iterable[bytes]:
    """Answer one request."""
    journal.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
    name = environ["PATH_INFO"].rpartition("/")[2]
    query = environ.get("QUERY_STRING", "")
    if name == "stream":
        start("200 OK", [])
        return two_pieces(query)
    body = b"hello\n"
    if name == "open":
        gates[query].set()
    elif name == "journal":
        body = "\n".join(journal).encode()
    elif name == "echo":
        body = whole(environ)
    elif environ.get("HTTP_IF_NONE_MATCH") == '"1"':
        start("304 Not Modified", [("ETag", '"1"')])
        return []
    start("200 OK", [("ETag", '"1"'), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def two_pieces(gate: str) -> Iterator[bytes]:
    """The second when its gate has been opened."""
    yield b"first\n"
    gates[gate].wait(60)
    yield b"second\n"


def whole(environ: Environ) -> bytes:
    """The body of the request: as long as it says, else (chunked) as long as the server gives more."""
    length = environ.get("CONTENT_LENGTH")
    found: bytes = environ["wsgi.input"].read(int(length)) if length else environ["wsgi.input"].read()
    return found
