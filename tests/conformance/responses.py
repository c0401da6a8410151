"""Replays one case as the answer of a service, and says what the client got of it."""

from __future__ import annotations

from dataclasses import replace

from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import request
from tests.integration.harness import MakeGateway

from .cases import Case
from .replay import told

CUT = " cut"  # behind the status of an answer that is visibly not whole


async def answered(make: MakeGateway, cases: list[Case]) -> list[Case]:
    """Each case as an answer that ends with the connection, asked for twice with the same outcome."""
    scripts = [[step.get_request(), step.send(case.data), step.close()] for case in cases]
    found = []
    async with RawUpstream() as upstream:
        gw = await make(a=upstream)
        for case, script in zip(cases, scripts, strict=True):
            upstream.scripts = [script]
            told_twice = [await _ask(gw.address, case) for _ in range(2)]
            assert told_twice[0] == told_twice[1], (case.name, told_twice)
            assert upstream.violations == []
            found.append(replace(case, answers=(told_twice[0][0],), ends=told_twice[0][1]))
        await gw.aclose()
    return found


async def _ask(address: tuple[str, int], case: Case) -> tuple[str, bool]:
    client = await Client.connect(address)
    try:
        await client.send(request("GET", "/services/a/case"))
        response = await client.response()
        text = told(response) if response.complete else f"{response.status}{CUT}"
        if not response.complete or response.get("connection") == b"close":
            await client.gone()
        ended = bool(client.ended)
        assert client.surplus == b"", (case.name, client.surplus[:200])
        return text, ended
    finally:
        await client.close()
