"""Where a body ends: the one place that reads lengths and codings and writes chunks, for both directions.

A length is a number of bytes ≥ 0, or one of the three marks below. Source: RFC 9112 §6 and §7.1;
proxy-semantics BF. The parser (llhttp) refuses most of this already; nothing here relies on that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

CHUNKED: Final = -1
NO_BODY: Final = -2
UNTIL_CLOSE: Final = -3  # responses only

LAST_CHUNK: Final = b"0\r\n\r\n"
LARGEST_LENGTH: Final = 2**63 - 1


class Unclear(Exception):
    """It is not certain where the body ends. detail: what was found. coding: a coding nobody here knows."""

    def __init__(self, detail: str, *, coding: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.coding = coding


def read_length(value: bytes) -> int:
    """One Content-Length value: digits and nothing else. Raises Unclear."""
    text = value.strip(b" \t")
    if not text.isdigit() or len(text) > 19 or (length := int(text)) > LARGEST_LENGTH:
        raise Unclear(f"Content-Length is {value[:40].decode('latin-1')!r}; one decimal number is expected.")
    return length


def declared(lengths: Sequence[bytes], codings: Sequence[bytes], *, minor: int) -> int:
    """What the framing fields of a message say: a length, CHUNKED, or NO_BODY for no field at all.

    minor: of the HTTP/1 version. Raises Unclear where the fields can be read in two ways.
    """
    if codings:
        if lengths:
            raise Unclear(
                "The message has Content-Length and Transfer-Encoding; only one of them may be sent."
            )
        if minor == 0:
            raise Unclear("Transfer-Encoding was sent with HTTP/1.0, which does not have it.")
        coding = b",".join(codings).strip(b" \t").lower()
        if coding != b"chunked" or len(codings) > 1:
            members = [member.strip(b" \t") for member in coding.split(b",")]
            known_last = members[-1] == b"chunked" and members.count(b"chunked") == 1
            raise Unclear(
                f"Transfer-Encoding is {coding[:40].decode('latin-1')!r}; only chunked is taken.",
                coding=known_last,
            )
        return CHUNKED
    if not lengths:
        return NO_BODY
    if len(lengths) > 1:
        raise Unclear("The message has more than one Content-Length.")
    return read_length(lengths[0])


def has_no_body(method: bytes, status: int) -> bool:
    """Whether a response ends at its head whatever its fields say (RFC 9112 §6.3)."""
    return status < 200 or status == 204 or status == 304 or method == b"HEAD"


def made_up_head(length: int) -> bytes:
    """A head of the same framing, so that a fresh parser reads the body as a body."""
    framing = b"Transfer-Encoding: chunked" if length == CHUNKED else b"Content-Length: %d" % length
    return b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n"


def encode_chunk(pieces: Sequence[bytes]) -> list[bytes]:
    """The pieces as one chunk; nothing for no bytes, since an empty chunk would end the body (BF-08)."""
    size = sum(map(len, pieces)) if len(pieces) != 1 else len(pieces[0])
    if not size:
        return []
    return [b"%x\r\n" % size, *pieces, b"\r\n"]


def last_chunk(trailers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The end of a chunked body, with trailer fields."""
    if not trailers:
        return LAST_CHUNK
    lines = [b"0\r\n"]
    for name, value in trailers:
        lines += (name.lower(), b": ", value, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)
