"""What a client meant by its bytes, as h11 reads them: a second opinion on all that the gateway lets pass."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.fakes.wire import Reader, Request, request_reader

BLANKS = re.compile(rb"^([A-Z-]+) +([^ \r\n]+) +(HTTP/)")


@dataclass(frozen=True, slots=True)
class Meant:
    """One whole message."""

    method: bytes
    target: bytes
    body: bytes


def meant(data: bytes) -> list[Meant]:
    """The whole messages at the start of these bytes, until one that h11 refuses or that does not end.

    Empty lines in front of a message are skipped (RFC 9112 §2.2), which h11 does not do. A message whose only
    fault is its Host counts too: the gateway answers it with 400 and goes on behind it, h11 stops. Further
    blanks in the request line are taken by the gateway's parser (RFC 9112 §3 lets it), not by h11.
    """
    found = []
    while data := data.lstrip(b"\r\n"):
        data = BLANKS.sub(rb"\1 \2 \3", data)
        request, reader = _read(data)
        if "Host:" in reader.error:
            request, reader = _read(_with_one_host(data))
        if not reader.done:
            break
        found.append(Meant(request.method, request.target, bytes(request.body)))
        data = reader.rest
    return found


def _read(data: bytes) -> tuple[Request, Reader]:
    request = Request([])
    reader = request_reader(request)
    reader.feed(data)
    return request, reader


def _with_one_host(data: bytes) -> bytes:
    head, mark, rest = data.partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(b"host:")]
    return b"\r\n".join([start, b"Host: one", *kept]) + mark + rest


def explains(wanted: list[Meant], seen: list[Meant]) -> bool:
    """Whether what was seen are some of the wanted messages, in order, each at most once."""
    rest = iter(wanted)
    return all(any(one == candidate for candidate in rest) for one in seen)
