"""A drain at a random byte of random frames: both ends read whole frames up to the close (T-WS-24)."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.upstream import Connection, RawUpstream
from tests.fakes.websocket import BINARY, CLOSE, TEXT, Frame, frame, frames, handshake, switching

from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway

S = "/services/a"
MASK = b"\x0a\x0b\x0c\x0d"


class Ends:
    """Both ends of one socket: what each has sent in part, and what each gets."""

    def __init__(self, client: Client, upstream: RawUpstream, go_on: asyncio.Event) -> None:
        self.client, self.upstream, self.go_on = client, upstream, go_on

    @property
    def connection(self) -> Connection:
        return self.upstream.connections[0]

    def closed(self, data: bytes) -> bool:
        return any(one.opcode == CLOSE for one in frames(data)[0])

    async def until_closed(self) -> None:
        """Both ends have got a close frame."""
        await self.client.until(lambda: self.closed(self.client.surplus), "a close frame")
        await self.connection.until(lambda: self.closed(self.connection.after_upgrade), "a close frame")


@contextlib.asynccontextmanager
async def draining(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, *, up: bytes, down: bytes, rest: bytes
) -> AsyncIterator[Ends]:
    """A socket whose ends have sent `up` and `down` when a drain begins; the upstream sends `rest` later."""
    go_on = asyncio.Event()
    upstream = await raw(
        [
            step.get_request(),
            step.send(switching() + down),
            step.wait_for(go_on),
            step.send(rest),
            step.until_gone(),
            step.close(),
        ],
        [step.get_request(), step.send(switching()), step.until_gone(), step.close()],
    )
    gw = await gateway(a=upstream)
    client = await _open(gw, connect)
    await client.send(up)
    ends = Ends(client, upstream, go_on)
    await client.until(lambda: client.surplus == down, "what the upstream has sent")
    await ends.connection.until(lambda: ends.connection.after_upgrade == up, "what the client has sent")
    other = await _open(gw, connect)
    closing = asyncio.get_running_loop().create_task(gw.aclose(drain=10.0))
    await other.until(lambda: ends.closed(other.surplus), "the drain to begin")
    try:
        yield ends
    finally:
        go_on.set()
        client.reset()
        other.reset()
        await closing


async def _open(gw: Gateway, connect: MakeClient) -> Client:
    client = await connect(gw)
    await client.send(handshake(S + "/ws"))
    assert (await client.head(upgrade=True)).status == 101
    return client


def is_close(one: Frame, code: int, *, masked: bool) -> bool:
    return (one.opcode, one.close_code, one.was_masked) == (CLOSE, code, masked)


def some_frames(chance: random.Random, mask: bytes | None) -> list[bytes]:
    """A few frames of all kinds of lengths."""
    sizes = (0, 1, 125, 126, 300, 65535, 65536)
    return [
        frame(chance.choice((TEXT, BINARY)), chance.randbytes(chance.choice(sizes)), mask=mask)
        for _ in range(chance.randrange(1, 6))
    ]


def frames_until(sent: list[bytes], cut: int) -> bytes:
    """The frames that had begun when so many bytes had been sent."""
    begun = b""
    for one in sent:
        if len(begun) >= cut:
            break
        begun += one
    return begun


@pytest.mark.parametrize("seed", range(8))
async def test_t_ws_24_whatever_was_sent_when_a_drain_began_both_ends_read_whole_frames(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient, seed: int
) -> None:
    """What an end gets: every frame that had begun, one close frame, nothing behind it."""
    chance = random.Random(seed)
    up, down = some_frames(chance, MASK), some_frames(chance, None)
    sent_up, sent_down = b"".join(up), b"".join(down)
    cut_up, cut_down = chance.randrange(len(sent_up) + 1), chance.randrange(len(sent_down) + 1)
    async with draining(
        raw, gateway, connect, up=sent_up[:cut_up], down=sent_down[:cut_down], rest=sent_down[cut_down:]
    ) as ends:
        ends.go_on.set()
        await ends.client.send(sent_up[cut_up:])
        await ends.until_closed()
        begun = frames_until(down, cut_down)
        assert ends.client.surplus.startswith(begun)
        [closing], behind = frames(ends.client.surplus[len(begun) :])
        assert is_close(closing, 1012, masked=False)
        assert behind == b""
        begun = frames_until(up, cut_up)
        assert ends.connection.after_upgrade.startswith(begun)
        [closing], behind = frames(ends.connection.after_upgrade[len(begun) :])
        assert is_close(closing, 1001, masked=True)
        assert behind == b""
