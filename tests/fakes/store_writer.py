"""A program that writes a store until it is killed: `python -m tests.fakes.store_writer FILE FIRST`.

Says each generation whose intent was committed on a line of its own, and hands events over all the while.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.contract.store_contract import intent, key, row
from tests.fakes.stores import opened


async def main(path: Path, first: int) -> None:
    async with opened(path) as store:
        for number in range(first, first + 1_000_000):
            for _ in range(3):
                store.append(row(number))
            await store.intend(intent(number))
            print(number, flush=True)
            store.handle_made(key(number), {"pid": number})
            store.closed(key(number - 50), "stopped")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
