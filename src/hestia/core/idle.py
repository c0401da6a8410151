"""When an instance may stop: a pure look at its use counters. Time is an argument.

There is one idle timer per hot instance and it is always armed at most one idle timeout ahead, so using
the instance never has to move it: when it fires, `next_look` says whether the stop is due, or when to
look again (ID-06).

Before the stop a service may be asked whether it works on something that makes no traffic (`busy_probe`,
ID-07). The question takes time, so its answer carries the use it was asked at (`Sequence`): if that moved,
the answer is worth nothing. `ask_again` says what follows from one that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hestia.core.lease import Use
from hestia.core.model import IdleWebSocket

ASK_AGAIN: Final = 0.25  # of the idle timeout, until a busy service is asked again (ID-07)


class Busy(StrEnum):
    """What a busy probe said. unknown: it failed, or took too long."""

    BUSY = "busy"
    FREE = "free"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sequence:
    """How far the use of a generation had got: leases granted, and loop-clock seconds of the last use."""

    granted: int
    last_used: float

    @classmethod
    def of(cls, use: Use) -> Sequence:
        return cls(use.granted, use.last_used)


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


def ask_again(
    said: Busy, *, unanswered_since: float | None, idle_timeout: float, longest: float, now: float
) -> float:
    """Loop-clock seconds at which to ask again; at or before `now` means that it may stop.

    A probe without an answer means busy, for `longest` seconds at most since the first in a row of them.
    """
    if said is Busy.FREE:
        return now
    again = now + idle_timeout * ASK_AGAIN
    return again if unanswered_since is None else min(again, unanswered_since + longest)
