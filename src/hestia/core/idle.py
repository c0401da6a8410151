"""When an instance may stop: a pure look at its use counters. Time is an argument.

There is one idle timer per hot instance and it is always armed at most one idle timeout ahead, so using
the instance never has to move it: when it fires, `next_look` says whether the stop is due, or when to
look again (ID-06).
"""

from __future__ import annotations

from hestia.core.lease import Use
from hestia.core.model import IdleWebSocket


def next_look(use: Use, *, waiting: int, idle_timeout: float, sockets: IdleWebSocket, now: float) -> float:
    """Loop-clock seconds at which to look again; at or before `now` means that it is idle.

    Plain leases veto (ID-02); silent sockets do not, unless `open` says so (ID-03), and quiet leases never
    (CQ-11); waiters veto.
    """
    all_hold = sockets is IdleWebSocket.OPEN
    held = any(not lease.is_quiet and (all_hold or not lease.is_socket) for lease in use.leases)
    if held or waiting:
        return now + idle_timeout
    return use.last_used + idle_timeout
