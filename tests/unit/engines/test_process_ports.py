"""Whose port it is: both ways of asking the kernel say the same."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from hestia.core.model import Endpoint
from hestia.core.ports import Presence
from hestia.engines import process_ports
from hestia.engines.knock import knock_now


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, host = request.param
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        sock.listen()
        yield sock


def test_en11_the_kernel_and_its_table_name_the_same_sockets(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    told = process_ports._listening_inodes(port)
    assert told == process_ports._listening_inodes_by_table(port)
    assert told == {str(os.fstat(listener.fileno()).st_ino)}
    assert process_ports.listens(port, [os.getpid()]) is True
    assert process_ports.listens(port, [1]) is False


def test_en11_nobody_listens_on_a_free_port() -> None:
    port = process_ports.Ports().pick()
    assert process_ports.listens(port, [os.getpid()]) is None
    assert knock_now(Endpoint("http", "127.0.0.1", port)) is Presence.GONE


def test_en11_a_knock_that_does_not_wait(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    assert knock_now(Endpoint("http", host, port)) is Presence.RUNNING
    assert knock_now(Endpoint("http", "another.host", port)) is Presence.UNKNOWN
