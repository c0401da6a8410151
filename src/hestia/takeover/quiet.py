"""The moments before the change: at the old gateway nobody is left waiting, at the new one all is ready.

Owns how long that may take and in which order; what a door or a waiter is, others own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from hestia.core.model import Settings
from hestia.edge.certificate import Certificate
from hestia.edge.given import Given
from hestia.edge.listener import bind
from hestia.edge.server import EdgeServer, door_errors
from hestia.runtime.gateway import Gateway
from hestia.runtime.held import InUse

FAREWELL: Final = 1.0  # seconds in which the old gateway serves as ever and asks each client to come again
SETTLE: Final = 0.5  # seconds for those who came, and have not asked yet
LOOK_EVERY: Final = 0.01  # seconds between looks whether all waiters have been served


async def ask_to_leave(edge: EdgeServer, gateway: Gateway, limit: float) -> None:
    """Serve as ever, and end each connection with its next answer; cancelled, it is as if it had not been.

    A client that keeps its connection must not meet its end with a request on the way. Whoever waits for a
    start that is under way gets up to `limit` seconds: new ones are still served meanwhile.
    """
    edge.retire()
    try:
        await asyncio.sleep(FAREWELL)
        await _until(lambda: not gateway.is_waking(), limit)
    except BaseException:  # CancelledError: the other gateway went away
        edge.retire(on=False)
        raise


async def leave(edge: EdgeServer, gateway: Gateway, limit: float) -> list[InUse]:
    """Accept nobody, serve for up to `limit` seconds those who wait, and decide nothing any more.

    Returns what is still open.
    """
    await edge.settle(SETTLE)
    await _until(lambda: not gateway.waiting(), limit)
    return gateway.freeze()


async def _until(fact: Callable[[], bool], limit: float) -> None:
    """Wait for a fact, at most `limit` seconds. Only here is it of interest, so it is looked for."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit):
            while not fact():  # noqa: ASYNC110 - see above
                await asyncio.sleep(LOOK_EVERY)


async def open_doors(settings: Settings, given: Given) -> None:
    """Open what a gateway with these settings listens on and was not given. Raises ConfigError, OSError."""
    gateway = settings.gateway
    doors = {"": gateway.port}
    doors |= {one.id: one.port for one in settings.services.values() if one.port is not None}
    try:
        if gateway.tls is not None:
            Certificate(gateway.tls)
        for service, port in doors.items():
            with door_errors(service, gateway.host, port):
                socks = await bind(gateway.host, port, service=service, given=given)
            given.add(service, socks)
    except BaseException:
        given.close()
        raise
