"""Asks whether anybody accepts at an endpoint, by one connection. Whether it can serve is for probes."""

from __future__ import annotations

import asyncio
import errno
import select
import socket
from typing import Final

from hestia.core.model import Endpoint
from hestia.core.ports import Presence

_CONNECT_TIMEOUT: Final = 0.5  # seconds; the status API may wait as long as this for one probe (SPEC 3)
_LOOPBACK: Final = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
_NOBODY_THERE: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT})  # ENOENT: the unix socket is not there


def knock_now(endpoint: Endpoint) -> Presence:
    """The same of an address of this machine, without waiting; UNKNOWN for any other, and where it is not
    decided at once. Costs a fiftieth of `knock`, so that it may be asked every few milliseconds."""
    family = _LOOPBACK.get(endpoint.host)
    if family is None or endpoint.unix_path:
        return Presence.UNKNOWN
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        error = sock.connect_ex((endpoint.host, endpoint.port))
        if error == errno.EINPROGRESS:
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            if not poll.poll(0):
                return Presence.UNKNOWN
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error == 0 and sock.getsockname() == sock.getpeername():
            return Presence.GONE  # the kernel picked the same port on our side: we met ourselves
    if error in _NOBODY_THERE:
        return Presence.GONE
    return Presence.RUNNING if error == 0 else Presence.UNKNOWN


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
