"""Streams beside streams: nothing is lost, nobody waits for a neighbour, who vanishes leaves nothing."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from tests.e2e.served import Served
from tests.fakes.facts import PATIENCE, eventually
from tests.load.clients import Wire, connect, cpu, get, many
from tests.load.conftest import Tell
from tests.load.service import Service, chunk

pytestmark = [pytest.mark.load, pytest.mark.timeout(600)]


async def asked(served: Served) -> float:
    """Ask for a small answer on a connection of its own; seconds that it took."""
    began = time.perf_counter()
    wire = await connect(served, get("small"))
    assert b" 200 " in await wire.head()
    assert await wire.reader.readexactly(6) == b"small\n"
    wire.abort()
    return time.perf_counter() - began


def p99(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99) - 1]


async def test_t_sb_07_small_requests_beside_a_large_stream(served: Served, tell: Tell) -> None:
    """The bound of SB-07 is the benchmarks' business; here they are answered, all of them."""
    large = await connect(served, get(f"flood?{1 << 30}"))
    await large.head()

    async def take() -> None:
        left = 1 << 30
        while left:
            left -= len(await large.reader.read(1 << 20))

    async with asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(take())
        took: list[float] = []
        while not taking.done() and len(took) < 1000:
            took.append(await asked(served))
            await asyncio.sleep(0.02)
    tell(f"{len(took)} small requests meanwhile, p99 {p99(took) * 1000:.0f} ms")
    large.abort()


async def test_t_sb_08_a_hundred_streams_of_a_thousand_tokens(served: Served, tell: Tell) -> None:
    before = cpu(served)
    whole = b"".join(chunk(b"data: token %d\n\n" % number) for number in range(1000))
    whole = b"".join(line for line in whole.split(b"\r\n") if line.startswith(b"data"))
    async with many(served, 100, get("tokens?1000")) as wires:
        bodies = await asyncio.gather(*(body_of(wire) for wire in wires))
    assert all(body == whole for body in bodies)
    tell(f"{(cpu(served) - before) / 100_000 * 1e6:.0f} µs of CPU a token")


async def body_of(wire: Wire) -> bytes:
    """The body of a chunked answer, put together again."""
    assert b" 200 " in await wire.head()
    body = bytearray()
    while size := int(await wire.reader.readuntil(b"\r\n"), 16):
        body += (await wire.reader.readexactly(size + 2))[:-2]
    return bytes(body)


async def test_t_sb_09_a_hundred_thousand_chunks_of_one_byte(served: Served, tell: Tell) -> None:
    for count in (10_000, 100_000):
        began = time.perf_counter()
        wire = await connect(served, get(f"ones?{count}"))
        assert await asyncio.wait_for(body_of(wire), 300) == b"x" * count
        wire.abort()
        tell(f"{count} chunks in {time.perf_counter() - began:.2f} s")


async def test_t_ca_05_a_thousand_streams_whose_clients_vanish(served: Served, service: Service) -> None:
    async with many(served, 1000, get("forever")) as wires:
        await eventually(lambda: service.open >= 1000, "a thousand streams", timeout=PATIENCE * 3)
        random.Random(5).shuffle(wires)
        for number, wire in enumerate(wires):
            if number % 3 == 0:
                wire.abort()
            elif number % 3 == 1:
                wire.writer.close()
            else:
                await wire.head()
                wire.abort()
            if number % 50 == 0:
                assert await asked(served) >= 0
    await eventually(
        lambda: service.open <= 1, lambda: f"{service.open} streams to end", timeout=PATIENCE * 3
    )


async def test_t_sl_02_two_hundred_streams_of_one_byte_a_second(served: Served) -> None:
    async with many(served, 200, get("drip?60")) as wires:
        assert set(await asyncio.gather(*(body_of(wire) for wire in wires))) == {b"." * 60}
