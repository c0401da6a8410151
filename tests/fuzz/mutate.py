"""Byte streams for the edge: requests, pipelines and other parsers' cases, cut up and put together wrongly.

A stream is made from a seed and nothing else, so that a finding can be made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.conformance.cases import load
from tests.fakes.wire import chunk, head, request

S = "/services/a"
LONG = 4000  # bytes; longer cases are left out, they are slow and show nothing more

PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\x0b", b"\x7f", b"\x80", b":", b";", b",", b"0",
    b"-", b"+", b"_", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content-Length : 5\r\n",
    b"Content-Length: 1, 1\r\n", b"Content_Length: 7\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n", b"transfer-encoding: identity\r\n",
    b"Transfer_Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: content-length\r\n",
    b"Connection: keep-alive, x-a\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n", b"Host: localhost\r\n", b"Host: other\r\n",
    b"X-Forwarded-For: 9.9.9.9\r\n", b"Via: 1.1 x\r\n", b"X: y\r\n z\r\n", b"0\r\n\r\n",
    b"5\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"05\r\nhello\r\n", b"0x5\r\nhello\r\n", b"ZZ\r\n",
    b"GET /services/a/in HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
]  # fmt: skip


class Streams:
    """Makes streams. hosts: every name used, so that the cases are for the service."""

    def __init__(self) -> None:
        self.cases = [
            case for name in ("gunicorn", "llhttp_requests") for case in load(name) if len(case.data) < LONG
        ]
        self._seeds = [case.data for case in self.cases]

    def stream(self, seed: str) -> bytes:
        """The stream of this seed; nearly always one that is wrong somewhere."""
        chance = random.Random(seed)
        parts = [self._part(chance) for _ in range(chance.choice((1, 1, 2, 3, 5)))]
        if chance.random() < 0.2:
            return b"".join(parts)
        data = b"".join(parts)
        data = mutated(chance, data)
        if chance.random() < 0.15:
            data = self._spliced(chance, data)
        return data

    def _part(self, chance: random.Random) -> bytes:
        if chance.random() < 0.25:
            return chance.choice(self._seeds)
        return _message(chance)

    def _spliced(self, chance: random.Random, data: bytes) -> bytes:
        other = chance.choice(self._seeds)
        return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other)) :]


def _message(chance: random.Random) -> bytes:
    """A request that is right, of a kind that frames differently."""
    target = f"{S}/x{chance.randrange(100)}?q"
    body = b"b" * chance.choice((0, 1, 5, 16, 300))
    fields: list[tuple[str, str]] = [("Host", "localhost")]
    match chance.randrange(8):
        case 0 | 1:
            return request(chance.choice(("GET", "DELETE", "OPTIONS", "HEAD")), target)
        case 2 | 3:
            return request(chance.choice(("POST", "PUT", "GET")), target, body=body)
        case 4 | 5:
            fields.append(("Transfer-Encoding", "chunked"))
            pieces = [body[:2], body[2:]]
            coded = b"".join(chunk(piece, chance.choice((b"", b";a=b"))) for piece in pieces if piece)
            trailers = chance.choice((b"", b"X-T: 1\r\n", b"Host: evil\r\n"))
            return head(f"POST {target} HTTP/1.1", fields) + coded + b"0\r\n" + trailers + b"\r\n"
        case 6:
            fields += [("Connection", "Upgrade"), ("Upgrade", "h2c"), ("Content-Length", str(len(body)))]
            return head(f"POST {target} HTTP/1.1", fields) + body
        case _:
            hidden = request("GET", S + "/hidden")
            fields.append(("Content-Length", str(len(hidden))))
            return head(f"POST {target} HTTP/1.{chance.randrange(2)}", fields) + hidden


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(PIECES) + data[at:]


def _insert_line(chance: random.Random, data: bytes) -> bytes:
    """A piece where a line begins: most of them are whole lines."""
    places = [at + 2 for at in range(len(data)) if data.startswith(b"\r\n", at)] or [0]
    at = chance.choice(places)
    return data[:at] + chance.choice(PIECES) + data[at:]


def _delete(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.choice((1, 1, 2, 5, 40)) :]


def _replace(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    end = at + chance.choice((1, 2, 10, 60))
    return data[:end] + data[at:end] + data[end:]


def _swap_lines(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


def _number(chance: random.Random, data: bytes) -> bytes:
    """Another digit: lengths, chunk sizes, versions."""
    places = [at for at, octet in enumerate(data) if 0x30 <= octet <= 0x39]
    if not places:
        return data
    at = chance.choice(places)
    return data[:at] + bytes([chance.choice(b"0123456789aF-+ ")]) + data[at + 1 :]


def _line_ends(chance: random.Random, data: bytes) -> bytes:
    return data.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\r\n", b"\n\r")), chance.randrange(1, 4))


def _case(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    end = at + 20
    return data[:at] + data[at:end].swapcase() + data[end:]


OPERATIONS: list[Callable[[random.Random, bytes], bytes]] = [
    _insert, _insert_line, _insert_line, _delete, _replace, _repeat, _swap_lines, _number, _line_ends, _case,
]  # fmt: skip


def mutated(chance: random.Random, data: bytes) -> bytes:
    """These bytes with one fault, or a few."""
    for _ in range(chance.choice((1, 1, 1, 1, 2, 4))):
        data = chance.choice(OPERATIONS)(chance, data) or b"\r\n"
    return data
