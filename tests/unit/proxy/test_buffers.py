"""The count of buffered bytes goes back to zero (RF-03, SB-12)."""

from __future__ import annotations

import sys

from hestia.edge.pending import cost
from hestia.proxy.buffers import Buffers, Copy


def test_a_copy_is_counted_and_freed() -> None:
    all_of_them = Buffers()
    one, other = Copy(all_of_them), Copy(all_of_them)
    one.add(b"abc")
    other.add(b"de")
    assert (all_of_them.held, all_of_them.copies) == (cost(b"abc") + cost(b"de"),) * 2
    one.free()
    one.free()
    assert (all_of_them.held, all_of_them.copies) == (cost(b"de"),) * 2
    other.free()
    assert (all_of_them.held, all_of_them.copies) == (0, 0)


def test_rf_03_a_copy_that_grows_too_large_is_given_up_and_stays_so() -> None:
    all_of_them = Buffers()
    copy = Copy(all_of_them)
    copy.add(bytes(1024 * 1024))
    assert copy.good
    copy.add(b"x")
    assert not copy.good
    copy.add(b"y")
    assert (copy.parts, all_of_them.held) == ([], 0)


def test_rf_03_all_copies_together_have_a_limit() -> None:
    all_of_them = Buffers(copies_most=100)
    one, other = Copy(all_of_them), Copy(all_of_them)
    one.add(bytes(8))
    other.add(bytes(30))
    assert (one.good, other.good, all_of_them.copies) == (True, False, cost(bytes(8)))


def test_sb_12_tiny_pieces_count_with_what_is_around_them() -> None:
    all_of_them = Buffers()
    copy = Copy(all_of_them)
    for _ in range(1000):
        copy.add(b"ab")
    assert all_of_them.held > 1000 * sys.getsizeof(b"ab")


def test_sb_12_at_the_limit_there_is_no_room_for_a_new_body() -> None:
    all_of_them = Buffers(most=4)
    assert not all_of_them.full
    all_of_them.held += 4
    assert all_of_them.full
