"""Ended connections are freed at their end: the collector looks seldom, so it must not be needed for them."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.websocket import handshake

from .conftest import MakeClient
from .harness import Gateway

S = "/services/a"


@pytest.mark.parametrize("kind", ["request", "websocket"])
async def test_nothing_of_ours_is_left_to_the_collector(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, kind: str
) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            client = await connect(gw)
            if kind == "request":
                assert (await client.ask("GET", S + "/echo")).status == 200
            else:
                await client.send(handshake(S + "/ws"))
                assert (await client.head(upgrade=True)).status == 101
            client.reset()
            await gw.at_rest()
        await upstream.until(lambda: upstream.open <= 1, "the upstream's connections to end")
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        left = Counter(
            type(one).__qualname__ for one in gc.garbage if type(one).__module__.startswith("hestia")
        )
        assert left == Counter()
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
