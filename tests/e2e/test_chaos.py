"""A short chaos in the suite, a long one with `./scripts/dev.sh test load -- -k chaos`: `tests.e2e.chaos`.

HESTIA_CHAOS_SEED and HESTIA_CHAOS_EVENTS choose another one; the seed is in what is printed on failure.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path

import pytest

from tests.e2e.chaos import Chaos
from tests.e2e.lives import lives
from tests.fakes.disk import small_disk

SEED = os.environ.get("HESTIA_CHAOS_SEED", "hestia")


async def chaos(folder: Path, events: int) -> Chaos:
    """A run; fails with its seed."""
    print(f"HESTIA_CHAOS_SEED={SEED}, {events} events")
    with contextlib.ExitStack() as stack:
        disk = None
        with contextlib.suppress(pytest.skip.Exception):  # no right to mount: without the full disk
            disk = stack.enter_context(small_disk(folder / "disk", size="4m"))
        async with lives(folder / "gateway") as gateway:
            run = Chaos(gateway, zlib.crc32(SEED.encode()), disk)
            try:
                await run.run(events)
            finally:
                print(
                    f"events {dict(run.events)}; outcomes {dict(run.outcomes)}; slowest {run.slowest:.1f} s"
                )
    return run


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_short_chaos_loses_nothing(tmp_path: Path) -> None:
    run = await chaos(tmp_path, 80)
    assert run.outcomes["200"] > 5


@pytest.mark.load
@pytest.mark.timeout(3600)
async def test_long_chaos_loses_nothing(tmp_path: Path) -> None:
    run = await chaos(tmp_path, int(os.environ.get("HESTIA_CHAOS_EVENTS", "500")))
    assert all(run.events.values())
