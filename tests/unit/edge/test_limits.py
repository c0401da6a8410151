"""How many clients and files there may be (proxy-semantics LI-08, LI-14)."""

from __future__ import annotations

import pytest

from hestia.edge.connection import plain_address
from hestia.edge.limits import CONNECTIONS, PER_PEER, TURNED_AWAY, OpenFiles, Room

PLENTY = 1 << 20


def filled(room: Room, peer: str, count: int) -> list[str]:
    return [room.enter(peer) for _ in range(count)]


def test_t_li_03_the_513th_connection_of_one_address_is_refused() -> None:
    room = Room(PLENTY)
    assert not any(filled(room, "192.0.2.1", PER_PEER))
    assert "192.0.2.1" in room.enter("192.0.2.1")
    assert room.enter("192.0.2.2") == ""


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.1.2.3", "::1", "", "10.1.2.3", "fd00::7"])
def test_t_li_03_this_machine_and_trusted_proxies_are_not_counted_by_address(peer: str) -> None:
    room = Room(PLENTY, trusted=("10.0.0.0/8", "fd00::/8"))
    assert not any(filled(room, peer, 2 * PER_PEER))
    assert not room.is_crowded(peer)


def test_li_08_all_together_are_limited_whoever_they_are() -> None:
    room = Room(PLENTY)
    assert not any(filled(room, "127.0.0.1", CONNECTIONS))
    assert str(CONNECTIONS) in room.enter("127.0.0.1")


def test_li_08_some_beyond_the_limit_get_an_answer_and_the_rest_none() -> None:
    room = Room(PLENTY)
    filled(room, "192.0.2.1", PER_PEER + PER_PEER // TURNED_AWAY - 1)
    assert not room.is_crowded("192.0.2.1")
    room.enter("192.0.2.1")
    assert room.is_crowded("192.0.2.1")
    assert not room.is_crowded("192.0.2.2")


def test_li_08_who_leaves_makes_room() -> None:
    room = Room(PLENTY)
    filled(room, "192.0.2.1", PER_PEER)
    room.leave("192.0.2.1")
    assert room.enter("192.0.2.1") == ""


def test_li_14_few_files_mean_few_clients() -> None:
    assert Room(1000).limit == 400
    assert Room(PLENTY).limit == CONNECTIONS


def test_li_14_four_fifths_of_the_files_are_full() -> None:
    sockets = 79
    files = OpenFiles(lambda: sockets, limit=100)
    assert not files.is_full()
    sockets = 80
    assert files.is_full()


def test_li_14_what_is_open_besides_is_counted_now_and_then() -> None:
    files = OpenFiles(lambda: 0, limit=1)  # this process has more than one file open
    files.look(0.0)
    assert files.is_full()


@pytest.mark.parametrize(
    ("told", "plain"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:c000:201", "::ffff:c000:201"),
        ("", ""),
    ],
)
def test_fw_07_addresses_as_lists_have_them(told: str, plain: str) -> None:
    assert plain_address(told) == plain
