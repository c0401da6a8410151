"""Where bodies end (proxy-semantics BF): lengths, codings and chunks, in both directions."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.http1 import framing
from hestia.http1.framing import CHUNKED, LAST_CHUNK, NO_BODY, Unclear, encode_chunk, read_length

CODINGS = [b"chunked", b"Chunked", b"gzip", b"gzip, chunked", b"identity", b""]
LENGTH_BYTES = st.text(alphabet="0123456789 +-_.,xX\t٣", max_size=25).map(lambda text: text.encode())


class Bodies:
    """Collects the body a parser sees."""

    def __init__(self) -> None:
        self.body = b""
        self.ended = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.ended = True


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b""]])
def test_t_bf_27_no_bytes_are_no_chunk(pieces: list[bytes]) -> None:
    """BF-08: an empty chunk would end the body."""
    assert encode_chunk(pieces) == []


@given(st.lists(st.lists(st.binary(max_size=50), max_size=4), max_size=8))
def test_t_bf_25_chunks_read_back_as_they_were(groups: list[list[bytes]]) -> None:
    coded = b"".join(b"".join(encode_chunk(pieces)) for pieces in groups) + LAST_CHUNK
    seen = Bodies()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    httptools.HttpRequestParser(seen).feed_data(head + coded)
    assert (seen.body, seen.ended) == (b"".join(map(b"".join, groups)), True)


@given(LENGTH_BYTES)
def test_bf_05_a_length_is_digits_and_nothing_else(value: bytes) -> None:
    text = value.strip(b" \t")
    plain = bool(text) and all(0x30 <= octet <= 0x39 for octet in text)
    try:
        length = read_length(value)
    except Unclear:
        assert not plain or len(text) > 19 or int(text) >= 2**63
    else:
        assert plain
        assert length == int(text)


@given(
    st.lists(st.sampled_from([b"1", b"0", b"01", b"1, 1", b""]), max_size=3),
    st.lists(st.sampled_from(CODINGS), max_size=3),
    st.sampled_from([0, 1]),
)
def test_bf_01_only_one_reading_is_ever_taken(lengths: list[bytes], codings: list[bytes], minor: int) -> None:
    try:
        found = framing.declared(lengths, codings, minor=minor)
    except Unclear:
        return
    if codings:
        assert found == CHUNKED
        assert not lengths
        assert minor == 1
        assert [one.lower() for one in codings] == [b"chunked"]
    elif lengths:
        assert [found] == [int(one) for one in lengths]
    else:
        assert found == NO_BODY
