"""Those who have room on a machine: how firmly, why, and in which words.

Pure looks at slots; nothing is changed. `core.reservations` asks and acts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hestia.core import dependencies, warm
from hestia.core.idle import Sequence
from hestia.core.lease import Use
from hestia.core.lifecycle import State
from hestia.core.model import IdleWebSocket
from hestia.core.queue import Waiter
from hestia.core.records import Slot
from hestia.core.room import Stay

if TYPE_CHECKING:
    from hestia.core.steps import Steps

MIN_HOT: Final = 30.0  # seconds a fresh instance stays at least while others have not waited long (QF-07)
ASKED: Final = ("api", "restart")  # causes of starts that a person asked for
STANDING: Final = ("keep_warm",)  # causes of starts that nobody waits for and that are never given up
UNASKED: Final = "unasked"  # it looks idle, and its busy probe has not said so yet


# -- who waits for a start -----------------------------------------------------------------------


def waiters(slot: Slot) -> Iterator[Waiter]:
    """Requests that this instance may serve."""
    name = slot.record.id
    for waiter in slot.service.queue:
        if not waiter.quiet and name in waiter.candidates and name not in waiter.failed:
            yield waiter


def wanted(steps: Steps, slot: Slot) -> bool:
    """Whether a request waits for this start, its own or one of a service that needs it."""
    if next(waiters(slot), None) is not None:
        return True
    return dependencies.misses(steps, slot.service) or any(
        wanted(steps, other) for other in dependencies.waiting(steps, slot.service)
    )


def urgent(steps: Steps, slot: Slot) -> bool:
    """Whether others make room for this start."""
    return slot.record.cause in ASKED or wanted(steps, slot)


def waits_since(steps: Steps, slot: Slot) -> float:
    """Of a start that others wait for: since when. Nobody who came later cuts it short (EV-12)."""
    if slot.state is not State.STARTING:
        return math.inf
    first = next(waiters(slot), None)
    came = slot.record.since if first is None else max(first.arrived, slot.gave_way_at)
    return min(slot.record.since, came)


# -- how firmly a holder stays ---------------------------------------------------------------------


def stay(steps: Steps, slot: Slot, now: float) -> tuple[Stay, str]:
    """How firmly, and a word for why."""
    record, settings = slot.record, slot.service.settings
    if record.state in (State.DRAINING, State.STOPPING):
        return Stay.LEAVING, record.state
    if record.stuck:
        return Stay.FIXED, "unknown" if record.unknown else "stuck"
    if settings.pin:
        return Stay.FIXED, "pinned"
    if record.external:
        return Stay.FIXED, "external"
    if dependencies.in_use(steps, slot.service):
        return Stay.FIXED, "needed"
    if record.state is State.STARTING:
        if record.cause == "adopted":
            return Stay.FIXED, "adopted"
        idle = record.cause == "demand" and not wanted(steps, slot)
        return Stay.IDLE if idle else Stay.USED, "starting"
    return _stay_of_hot(steps, slot, now)


def _stay_of_hot(steps: Steps, slot: Slot, now: float) -> tuple[Stay, str]:
    use = slot.use
    if use is None or busy_leases(slot, now):
        return Stay.USED, "busy"
    if next(waiters(slot), None) is not None:
        return Stay.USED, "waited for"
    if dependencies.holds(steps, slot.service):
        return Stay.USED, "needed"
    if warm.holds(slot):
        return Stay.USED, "warm"
    if is_unasked(slot, now):
        return Stay.USED, UNASKED
    return Stay.IDLE, "fresh" if now < free_from(slot) else "idle"


def is_unasked(slot: Slot, now: float) -> bool:
    """Whether it has a busy probe that has not said of its present use that it is free."""
    use = slot.use
    asks = slot.service.settings.busy_probe is not None and use is not None
    return asks and use is not None and slot.said_free != Sequence.of(use)


def busy_leases(slot: Slot, now: float) -> int:
    """Open leases that count as use: not quiet ones, and not sockets on which nothing moves (ID-03)."""
    use = slot.use
    if use is None:
        return 0
    silent = sockets_are_silent(slot, use, now)
    return sum(not lease.is_quiet and not (lease.is_socket and silent) for lease in use.leases)


def sockets_are_silent(slot: Slot, use: Use, now: float) -> bool:
    """Whether open sockets count as none, as for an idle stop."""
    match slot.service.settings.idle_websocket:
        case IdleWebSocket.NEVER:
            return True
        case IdleWebSocket.FRAMES:
            return now >= use.last_used + slot.idle_timeout
        case _:
            return False


def only_silent_sockets(slot: Slot, now: float) -> bool:
    return slot.use is not None and slot.use.open > 0 and not busy_leases(slot, now)


def free_from(slot: Slot) -> float:
    """End of `min_hot`, loop-clock seconds. What was adopted had its time with an earlier gateway."""
    if slot.state is not State.HOT or slot.use is None or slot.record.cause == "adopted":
        return -math.inf
    least = slot.service.settings.min_hot
    return slot.use.hot_since + (max(MIN_HOT, slot.took) if least is None else least)


def turn_until(slot: Slot) -> float:
    """Until when it serves those who had waited for its start, whoever else waits; loop-clock seconds."""
    first = next(waiters(slot), None)
    if slot.use is None or first is None or first.arrived > slot.use.hot_since:
        return -math.inf
    return free_from(slot)


# -- words -----------------------------------------------------------------------------------------

_WORDS: Final = {
    "draining": "finishes what is open",
    "stopping": "is stopping",
    "stuck": "could not be stopped",
    "unknown": "may still run; nobody can say",
    "pinned": "is pinned",
    "external": "was started by somebody else",
    "needed": "is needed by a service that runs",
    "adopted": "is being looked for",
    "starting": "is starting",
    "warm": "is kept warm",
    UNASKED: "is asked whether it is busy",
    "fresh": "has become hot just now (min_hot)",
    "idle": "is idle",
}


def words(slot: Slot, word: str) -> str:
    """One sentence about a holder: `comfyui is busy (2 requests)`."""
    return f"{slot.record.service} {_count(slot, word) or _WORDS[word]}"


def past(slot: Slot, word: str) -> str:
    """The same, told afterwards: `comfyui was busy`."""
    text = "is busy" if word == "busy" else "has requests waiting" if word == "waited for" else _WORDS[word]
    for now, then in (("is ", "was "), ("has ", "had "), ("finishes ", "finished ")):
        if text.startswith(now):
            text = then + text.removeprefix(now)
    return f"{slot.record.service} {text}"


def _count(slot: Slot, word: str) -> str:
    if word == "busy":
        count = slot.use.open if slot.use is not None else 0
        return f"is busy ({count} request{'s' if count != 1 else ''})"
    if word == "waited for":
        count = sum(1 for _ in waiters(slot))
        return f"has {count} request{'s' if count != 1 else ''} waiting"
    return ""


def going(steps: Steps, slot: Slot, now: float) -> str:
    """How a victim goes, without its name: `evicted after 3.1 s idle`."""
    kind, word = stay(steps, slot, now)
    if slot.state is State.STARTING:
        return "its start was ended"
    if kind is Stay.IDLE and slot.use is not None:
        return f"evicted after {now - slot.use.last_used:.1f} s idle"
    return f"drained while it {past(slot, word).removeprefix(slot.record.service).strip()}"


def evicted(steps: Steps, slot: Slot, now: float) -> str:
    """The same with its name."""
    return f"{slot.record.service} {going(steps, slot, now)}"
