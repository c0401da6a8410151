"""`python -m benchmarks.store`: what the durable store does in a second, and whether a slow disk is felt.

Owns the figures of the store: commits of intents, events handed over and written, and how late the event loop
is while each commit takes 200 ms. The disk is that of `--folder`; a slow one is a pause before each COMMIT in
the thread that writes, which is what an fsync is to everybody else.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop
from tests.contract.store_contract import OWNER, intent, key, row
from tests.fakes.stores import SlowDisk

from hestia.core.model import Retention
from hestia.store.sqlite import SqliteStore

SLOW: Final = 0.2  # seconds for each commit
TICK: Final = 0.001
KEEP: Final = Retention(days=36500, size=2**34)  # what is measured here is not pruned


@asynccontextmanager
async def store_in(folder: Path, *, delay: float = 0.0) -> AsyncIterator[SqliteStore]:
    """A fresh store in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        store = SqliteStore(SlowDisk(Path(name) / "hestia.db", delay=delay), keep=KEEP)
        await store.open(OWNER)
        yield store
        await store.aclose()


async def intents(folder: Path, seconds: float, together: int) -> tuple[float, list[float]]:
    """Commits a second, and how long each took, with so many starts at the same time."""
    took: list[float] = []
    async with store_in(folder) as store:
        end = time.perf_counter() + seconds

        async def starts(service: str) -> None:
            number = 0
            while (begun := time.perf_counter()) < end:
                number += 1
                await store.intend(intent(number, service))
                took.append(time.perf_counter() - begun)
                store.closed(key(number, service), "measured")

        await asyncio.gather(*(starts(f"s{one}") for one in range(together)))
    return len(took) / seconds, took


async def events(folder: Path, total: int) -> tuple[float, float]:
    """Seconds to hand over an event, and events a second until all are in the file."""
    handing = 0.0
    begun = time.perf_counter()
    async with store_in(folder) as store:
        for first in range(0, total, 1000):
            rows = [row(number) for number in range(first, first + 1000)]
            since = time.perf_counter()
            for one in rows:
                store.append(one)
            handing += time.perf_counter() - since
            while len(store._pending.rows()) > 4000:  # no faster than it is written: none may be lost
                await asyncio.sleep(0.001)
    return handing / total, total / (time.perf_counter() - begun)


async def lateness(seconds: float, work: Callable[[], None] | None = None) -> list[float]:
    """How late the loop comes back to a timer of 1 ms, with some work at each tick."""
    late: list[float] = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        if work is not None:
            work()
        await asyncio.sleep(TICK)
        late.append(time.perf_counter() - begun - TICK)
    return late


async def felt(folder: Path, seconds: float, delay: float) -> tuple[list[float], int]:
    """Lateness of the loop while an event comes each millisecond and 8 starts wait; how many went."""
    async with store_in(folder, delay=delay) as store:
        done = 0

        async def starts(service: str) -> None:
            nonlocal done
            number = 0
            while time.perf_counter() < end:
                number += 1
                await store.intend(intent(number, service))
                done += 1

        def work() -> None:
            store.append(row(1))
            store.noted(key(1, "s1"), last_used=time.time())

        end = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for one in range(8):
                group.create_task(starts(f"s{one}"))
            late = await lateness(seconds, work)
    return late, done


def spread(values: Sequence[float]) -> str:
    """p50, p99 and the longest, in milliseconds."""
    cuts = statistics.quantiles(values, n=100)
    return f"p50 {cuts[49] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms, max {max(values) * 1e3:.1f} ms"


async def measure(folder: Path, seconds: float) -> None:
    """Print the table."""
    print("| measured | found |\n|---|---|")
    for together in (1, 16):
        rate, took = await intents(folder, seconds, together)
        print(f"| intents committed and synced, {together} at a time | {rate:,.0f}/s; {spread(took)} |")
    each, rate = await events(folder, 50_000)
    print(f"| event handed over by the loop | {each * 1e6:.1f} µs |\n| events written | {rate:,.0f}/s |")
    gc.collect()
    print(f"| loop lateness, nothing to do | {spread(await lateness(seconds))} |")
    for delay in (0.0, SLOW):
        late, done = await felt(folder, seconds, delay)
        disk = f"each commit takes {delay * 1e3:.0f} ms more" if delay else "this disk"
        print(f"| loop lateness, 1 event a ms and 8 starts, {disk} | {spread(late)}; {done:,} intents |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure")
    options = parser.parse_args()
    uvloop.run(measure(options.folder, options.seconds))


if __name__ == "__main__":
    main()
