"""Asks whether anybody accepts at an endpoint, by one connection. Whether it can serve is for probes."""

from __future__ import annotations

import asyncio
import errno
from typing import Final

from hestia.core.model import Endpoint
from hestia.core.ports import Presence

_CONNECT_TIMEOUT: Final = 0.5  # seconds; the status API may wait as long as this for one probe (SPEC 3)
_NOBODY_THERE: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT})  # ENOENT: the unix socket is not there


async def knock(endpoint: Endpoint) -> tuple[Presence, str]:
    """Connect once: accepted is running, refused is gone, anything else within 0.5 s is unknown.

    Returns the answer and, unless it is running, the reason in words. Sends nothing.
    """
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            if endpoint.unix_path:
                _, writer = await asyncio.open_unix_connection(endpoint.unix_path)
            else:
                _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except TimeoutError:
        return Presence.UNKNOWN, f"{endpoint} did not answer within {_CONNECT_TIMEOUT} s"
    except OSError as exc:
        gone = exc.errno in _NOBODY_THERE or _all_refused(exc)
        why = exc.strerror or str(exc)
        return (Presence.GONE if gone else Presence.UNKNOWN), f"{endpoint}: {why}"
    writer.transport.abort()
    await asyncio.sleep(0)  # the loop closes the socket in its next round
    return Presence.RUNNING, ""


def _all_refused(exc: OSError) -> bool:
    """Several addresses of one name: asyncio joins their errors into one text without an errno."""
    text = str(exc)
    return text.startswith("Multiple exceptions:") and text.count("[Errno") == text.count(
        f"[Errno {errno.ECONNREFUSED}]"
    )
