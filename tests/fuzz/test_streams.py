"""Fuzzed byte streams: nothing reaches the service that the client did not mean, and no answer is another's.

Quick by default; `HESTIA_FUZZ_STREAMS=200000 ./scripts/dev.sh test fuzz` searches long, and with another
`HESTIA_FUZZ_SEED` elsewhere.
"""

from __future__ import annotations

import logging
import os

import pytest

from tests.conformance.replay import hosts_of
from tests.integration.harness import MakeGateway, service

from .lanes import Recorder, fuzz
from .mutate import Streams

QUICK = 3000
SEED = os.environ.get("HESTIA_FUZZ_SEED", "hestia")


async def _run(gateway: MakeGateway, caplog: pytest.LogCaptureFixture, seed: str, streams: int) -> None:
    async with Recorder() as upstream:
        gw = await gateway(service("a", upstream.url, hosts=hosts_of(Streams().cases)))
        found = await fuzz(gw.address, upstream, seed=seed, streams=streams)
        await gw.at_rest()
        await gw.aclose()
        print(found)
        assert not found.violations, "\n".join(found.violations[:5])
        assert upstream.violations == []
        assert found.streams == streams
        broken = [one for one in caplog.records if one.levelno >= logging.ERROR]
        assert not broken, caplog.text[-3000:]


async def test_t_bf_26_fuzzed_streams(gateway: MakeGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Also SE-05: one message in is at most one message out."""
    await _run(gateway, caplog, SEED, QUICK)


@pytest.mark.fuzz
@pytest.mark.timeout(3 * 3600)
async def test_t_bf_26_many_fuzzed_streams(gateway: MakeGateway, caplog: pytest.LogCaptureFixture) -> None:
    streams = int(os.environ.get("HESTIA_FUZZ_STREAMS", "20000"))
    await _run(gateway, caplog, f"{SEED} long", streams)
