"""Who may connect how often, what is kept of an address, who has left (proxy-semantics LI-08, FW-07, P13)."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from hestia.core.errors import HestiaError
from hestia.edge.connection import ClientConnection
from hestia.edge.limits import PER_PEER
from hestia.edge.pending import Exchange
from hestia.edge.server import Door, EdgeServer
from hestia.http1.heads import Request
from hestia.http1.sockets import hung_up
from hestia.runtime.tasks import Tasks
from tests.fakes.facts import eventually


class Wire(asyncio.Transport):
    """A transport of a peer from far away: no test machine has many addresses."""

    def __init__(self, *peer: object) -> None:
        super().__init__({"peername": peer, "sockname": ("192.0.2.1", 80)})
        self.aborted = False
        self.written = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def is_reading(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def abort(self) -> None:
        self.aborted = True


def _handle(_: Request, __: ClientConnection) -> Exchange:
    raise NotImplementedError


def _refuse(error: HestiaError, _: ClientConnection) -> bytes:
    return error.code.encode()


@pytest.fixture
def server() -> EdgeServer:
    return EdgeServer([Door(handler=_handle)], refuse=_refuse, clock=lambda: 0.0, spawn=Tasks().spawn)


def _arrive(server: EdgeServer, *peer: object) -> tuple[ClientConnection, Wire]:
    connection, wire = server._make(), Wire(*peer)
    connection.connection_made(wire)
    return connection, wire


async def test_t_li_03_one_far_peer_gets_so_many_connections_and_no_more(server: EdgeServer) -> None:
    made = [_arrive(server, "192.0.2.7", port) for port in range(PER_PEER)]
    assert not any(wire.written for _, wire in made)
    turned_away, wire = _arrive(server, "192.0.2.7", 9999)
    assert wire.written == b"upstream_busy"
    assert not _arrive(server, "192.0.2.8", 1)[1].written
    turned_away.connection_lost(None)
    made[0][0].connection_lost(None)
    assert not _arrive(server, "192.0.2.7", 9999)[1].written


async def test_li_08_who_comes_in_crowds_beyond_that_gets_no_answer(server: EdgeServer) -> None:
    made = [_arrive(server, "192.0.2.7", port) for port in range(2 * PER_PEER)]
    assert made[-1][1].aborted
    assert not made[-1][1].written
    for connection, _ in made:
        connection.connection_lost(None)
    assert not _arrive(server, "192.0.2.7", 9999)[1].written


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.0.9", "::1"])
async def test_t_li_03_this_machine_is_not_counted(server: EdgeServer, peer: str) -> None:
    assert not any(_arrive(server, peer, port)[1].written for port in range(PER_PEER + 1))


async def test_fw_07_a_zone_is_no_part_of_an_address(server: EdgeServer) -> None:
    connection, _ = _arrive(server, "fe80::1%eth0", 1, 0, 2)
    assert connection.peer == "fe80::1"


async def test_to_18_a_look_that_breaks_leaves_the_others_theirs(caplog: pytest.LogCaptureFixture) -> None:
    """Every deadline hangs on the sweep: nothing that goes wrong in it may end it."""

    class Stuck(Wire):
        def abort(self) -> None:
            raise RuntimeError("stuck")

    def breaks(_: float) -> None:
        raise FileNotFoundError("gone")

    seen: list[float] = []
    server = EdgeServer(
        [Door(handler=_handle)],
        refuse=_refuse,
        clock=lambda: 7.0,
        spawn=Tasks().spawn,
        swept=(breaks, seen.append),
    )
    wires = [Stuck("192.0.2.1", 1), Wire("192.0.2.1", 2), Stuck("192.0.2.1", 3), Wire("192.0.2.1", 4)]
    for wire in wires:
        connection = server._make()
        connection.connection_made(wire)
        connection.write_deadline = 6.0
    server._sweep()
    timer = server._sweep_timer
    assert timer is not None
    assert timer.when() > asyncio.get_running_loop().time()
    timer.cancel()
    assert seen == [7.0]
    assert [wire.aborted for wire in wires] == [False, True, False, True]
    told = [getattr(one, "event_type", "") for one in caplog.records if one.exc_info]
    assert told == ["sweep_broke"] * 3


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_t_uv_13_a_hang_up_is_seen_on_a_transport_that_is_paused(how: str) -> None:
    """P13: the transport itself tells nothing."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        peer = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    told: list[str] = []

    class Silent(asyncio.Protocol):
        def eof_received(self) -> None:
            told.append("eof")

        def connection_lost(self, exc: Exception | None) -> None:
            told.append("lost")

    transport, _ = await loop.create_connection(Silent, sock=accepted)
    transport.pause_reading()
    fd = transport.get_extra_info("socket").fileno()
    assert not hung_up(fd)
    if how == "rst":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    await eventually(lambda: hung_up(fd), "the hang-up to be seen")
    assert told == []
    transport.abort()
    await eventually(lambda: "lost" in told, "the socket to be closed")
