"""Five hundred requests wait for one start; then they are let in, and nobody gets a 502 (T-CQ-12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.client import Client
from tests.fakes.upstream import Connection, RawUpstream
from tests.fakes.wire import answer, request
from tests.integration.harness import MakeGateway, cold, gateways

pytestmark = [pytest.mark.load, pytest.mark.timeout(300)]

WAITERS, FIRST = 500, 0.5  # seconds that the first answer takes
WARM = 2


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[MakeGateway]:
    async with gateways(tmp_path) as make:
        yield make


class JustStarted:
    """Slow until it has answered once. most: requests at a time before that."""

    def __init__(self) -> None:
        self.now = self.most = self.answered = 0

    async def serve(self, connection: Connection) -> None:
        while (one := await connection.next_or_end()) is not None and await connection.whole(one):
            self.now += 1
            if not self.answered:
                self.most = max(self.most, self.now)
                await asyncio.sleep(FIRST)
            self.answered += 1
            self.now -= 1
            await connection.send(answer(b"served"))
        connection.close()


async def test_t_cq_12_five_hundred_waiters_enter_behind_the_first_answer(gateway: MakeGateway) -> None:
    service = JustStarted()
    async with RawUpstream([service.serve], keep=False) as upstream:
        gw = await gateway(cold("a", warm_concurrency=WARM), wakes={"a": upstream}, ready=False)
        clients = [await Client.connect(gw.address) for _ in range(WAITERS)]
        for client in clients:
            await client.send(request("GET", "/services/a/x", host="localhost"))
        await gw.until_waiting(WAITERS)
        gw.probe.ready = True
        for client in clients:
            served = await client.response()
            assert (served.status, bytes(served.body)) == (200, b"served")
        assert service.most == WARM
        assert service.answered == WAITERS
        for client in clients:
            await client.close()
        await gw.at_rest()
