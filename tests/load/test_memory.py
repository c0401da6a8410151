"""Fast against slow, two hundred times at once: memory stays bounded and the fast side stands still."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.served import Served
from tests.fakes.facts import eventually
from tests.fakes.websocket import BINARY, frame, handshake
from tests.load.clients import MIB, PIECE, Held, Wire, get, many, most_grown, upload_head
from tests.load.conftest import Tell, at_rest
from tests.load.service import Service, read_slowly

pytestmark = [pytest.mark.load, pytest.mark.timeout(600)]

CLIENTS, SIZE, SECONDS = 200, 1 << 30, 20
BOUND = 200 * MIB


async def drain_slowly(wires: list[Wire]) -> None:
    until = asyncio.get_running_loop().time() + SECONDS
    await asyncio.gather(*(read_slowly(one.reader, until, lambda _: None) for one in wires))


async def test_t_sb_04_two_hundred_slow_readers_of_a_gibibyte(
    served: Served, service: Service, tell: Tell
) -> None:
    before = Held(served)
    async with many(served, CLIENTS, get(f"flood?{SIZE}"), receive_buffer=16384) as wires:
        grown, _ = await asyncio.gather(most_grown(before, SECONDS), drain_slowly(wires))
        tell(f"grew by {grown / MIB:.0f} MiB, the service could send {service.sent / MIB:.0f} MiB")
        assert grown < BOUND
        assert service.sent < CLIENTS * 16 * MIB  # what the kernel's own buffers may hold
    await eventually(lambda: service.open == 0, "the service to be let go")


async def test_t_sb_05_two_hundred_uploads_that_are_read_slowly(
    served: Served, service: Service, tell: Tell
) -> None:
    before, took = Held(served), [0]
    async with many(served, CLIENTS, upload_head(SIZE)) as wires:
        pouring = [asyncio.ensure_future(one.pour(PIECE, took)) for one in wires]  # noqa: TID251  # ended below
        grown = await most_grown(before, SECONDS)
        for one in pouring:
            one.cancel()
        await asyncio.gather(*pouring, return_exceptions=True)
        tell(f"grew by {grown / MIB:.0f} MiB, the clients could send {took[0] / MIB:.0f} MiB")
        assert grown < BOUND
        assert took[0] < CLIENTS * 16 * MIB
    await at_rest(served)  # the service goes on reading what the kernel still holds for it


@pytest.mark.parametrize("direction", ["down", "up"])
async def test_t_ws_12_a_gibibyte_over_sockets_that_are_read_slowly(
    served: Served, service: Service, tell: Tell, direction: str
) -> None:
    before, took = Held(served), [0]
    path = f"/services/a/ws-flood?{SIZE}" if direction == "down" else "/services/a/ws-sink"
    async with many(served, 20, handshake(path), receive_buffer=16384) as wires:
        for wire in wires:
            assert b" 101 " in await wire.head()
        if direction == "down":
            grown, _ = await asyncio.gather(most_grown(before, SECONDS), drain_slowly(wires))
        else:
            piece = frame(BINARY, PIECE, mask=bytes(4))
            pouring = [asyncio.ensure_future(one.pour(piece, took)) for one in wires]  # noqa: TID251
            grown = await most_grown(before, SECONDS)
            for one in pouring:
                one.cancel()
            await asyncio.gather(*pouring, return_exceptions=True)
        moved = service.sent + took[0]
        tell(f"grew by {grown / MIB:.0f} MiB, the fast side could send {moved / MIB:.0f} MiB")
        assert grown < 20 * 2 * MIB
        assert moved < 20 * 16 * MIB
    await at_rest(served)


async def test_t_ws_20_two_thousand_idle_sockets_leave_nothing_behind(
    served: Served, service: Service, tell: Tell
) -> None:
    rest, count = Held(served), 2000
    for number, seconds in enumerate((1, 1, 60)):  # what the first rounds leave behind, the last uses again
        before = Held(served)
        async with many(served, count, handshake("/services/a/ws")) as wires:
            for one in wires:
                assert b" 101 " in await one.head()
            grown = await most_grown(rest, seconds)
            assert (await served.status("a"))["inFlight"] == count
        await eventually(lambda: service.open == 0, "the service to be let go")
        await eventually(lambda: Held(served).descriptors <= rest.descriptors + 2, "descriptors to be closed")
        tell(f"{grown / count / 1024:.1f} KiB a socket, {rest.grown() / MIB:.1f} MiB more afterwards")
        if number == 2:
            assert before.grown() < 16 * MIB
