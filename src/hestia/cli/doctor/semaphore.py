"""Check of the Semaphore servers that services are started through: what `hestia semaphore check` finds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from hestia.cli.doctor.finding import Finding
from hestia.cli.doctor.world import World
from hestia.cli.semaphore.checks import look
from hestia.cli.semaphore.targets import Wish, wishes

_ANSWER: Final = 4.0  # seconds for one call at most: less than the doctor waits, so that the reason is told


def wanted(world: World) -> Iterator[Wish]:
    """Every project of every server that a service uses."""
    if world.settings is not None:
        yield from (wish for wish in wishes(world.settings) if wish.uses)


def server(wish: Wish) -> list[Finding]:
    """All that is to be said about one of them."""
    return asyncio.run(_look(wish))


async def _look(wish: Wish) -> list[Finding]:
    quick = replace(wish.server, timeout=min(wish.server.timeout, _ANSWER))
    found = [one async for one in look(replace(wish, server=quick))]
    return [replace(one, check="semaphore", text=f"{one.check}: {one.text}") for one in found]
