"""Sockets that somebody else opened: whose door each is, and what becomes of the others."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from hestia.core.errors import ConfigError
from hestia.edge.given import Given, Heard
from hestia.edge.listener import bind


@pytest.fixture
def heard() -> Iterator[Heard]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield Heard("", sock)


def port_of(one: Heard) -> int:
    return int(one.sock.getsockname()[1])


async def test_a_door_takes_what_is_bound_to_its_address(heard: Heard) -> None:
    given = Given([heard])
    assert await bind("127.0.0.1", port_of(heard), given=given) == [heard.sock]
    assert len(given) == 0


async def test_port_0_is_the_one_the_same_door_had(heard: Heard) -> None:
    assert await bind("127.0.0.1", 0, given=Given([heard])) == [heard.sock]
    given = Given([heard])
    [other] = await bind("127.0.0.1", 0, service="a", given=given)
    assert other is not heard.sock
    other.close()


async def test_what_no_door_took_is_closed(heard: Heard) -> None:
    given = Given([heard])
    given.close()
    assert heard.sock.fileno() == -1


async def test_from_systemd_only_the_port_counts_and_a_wrong_one_is_told(heard: Heard) -> None:
    port = port_of(heard)
    assert await bind("0.0.0.0", port, given=Given([heard], any_address=True)) == [heard.sock]
    with pytest.raises(ConfigError) as raised:
        await bind("127.0.0.1", port + 1, given=Given([heard], any_address=True))
    assert f"127.0.0.1:{port}" in str(raised.value)
    assert str(port) in raised.value.remedy
