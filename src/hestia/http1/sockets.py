"""Options of a connection's socket that both sides set, by way of its transport."""

from __future__ import annotations

import asyncio
import select
import socket
import struct

_AT_ONCE = struct.pack("ii", 1, 0)


def keep_alive(transport: asyncio.Transport | None) -> None:
    """Have the kernel find out about a peer that is gone without a word (WS-15)."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def reset_on_close(transport: asyncio.Transport | None) -> None:
    """Have the close be a reset: the peer sees that something is missing, and what waits is thrown away."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)


def hung_up(fd: int) -> bool:
    """Whether the peer has closed or reset, on a descriptor that the loop does not read now, or not yet."""
    if fd < 0:
        return False
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    return bool(poll.poll(0))
