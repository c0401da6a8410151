"""Frame heads read in passing (proxy-semantics WS-16, WS-20): boundaries hold however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hestia.http1.frames import FrameReader, close_frame
from tests.fakes.websocket import BINARY, CLOSE, PING, TEXT, frame, frames

MASKS = st.sampled_from([None, b"abcd"])
SIZES = st.sampled_from([0, 1, 125, 126, 127, 65535, 65536])
ONE = st.tuples(st.sampled_from([TEXT, BINARY, PING]), SIZES, MASKS)


@pytest.mark.parametrize("size", [0, 5, 125, 126, 65535, 65536, 70000])
@pytest.mark.parametrize("mask", [None, b"abcd"])
def test_t_ws_21_every_length_cut_at_every_byte_of_its_head(size: int, mask: bytes | None) -> None:
    data = frame(BINARY, bytes(size), mask=mask)
    for cut in range(1, min(len(data), 16)):
        reader = FrameReader()
        reader.feed(data[:cut])
        assert reader.at_boundary == (cut == len(data))
        reader.feed(data[cut:])
        assert reader.at_boundary
        assert not reader.lost


def test_t_ws_21_an_absurd_length_ends_the_counting_and_not_the_bytes() -> None:
    """WS-16."""
    reader = FrameReader()
    assert reader.feed(b"\x82\x7f" + b"\xff" * 8 + b"anything")
    assert reader.lost
    assert not reader.at_boundary
    assert reader.feed(b"more")


@given(st.lists(ONE, min_size=1, max_size=6), st.data())
def test_t_ws_24_a_drain_at_any_byte_ends_between_two_frames(
    kinds: list[tuple[int, int, bytes | None]], data: st.DataObject
) -> None:
    """What passed until then, and the rest of the frame under way, are whole frames."""
    made = b"".join(frame(opcode, bytes(min(size, 125) if opcode == PING else size), mask=mask)
                    for opcode, size, mask in kinds)  # fmt: skip
    at = data.draw(st.integers(0, len(made)))
    cuts = sorted(data.draw(st.lists(st.integers(0, at), max_size=4)))
    reader = FrameReader()
    for start, stop in zip([0, *cuts], [*cuts, at], strict=True):
        reader.feed(made[start:stop])
    passed = made[:at] + reader.rest_of_frame(made[at:])
    assert reader.at_boundary
    closing = close_frame(1001, masked=True)
    found, rest = frames(passed + closing)
    assert rest == b""
    assert found[-1].opcode == CLOSE
    assert found[-1].close_code == 1001


def test_ws_20_our_close_frames_are_masked_with_a_fresh_key_towards_a_service() -> None:
    made = [close_frame(1001, masked=True) for _ in range(20)]
    assert all(one[1] & 0x80 for one in made)
    assert len({one[2:6] for one in made}) > 1
    assert not close_frame(1012, masked=False)[1] & 0x80
