"""Whether an instance goes to rest: its idle timer fired, or its busy probe was answered.

Works through `core.steps`, of which it is a part that stands apart; what may stop is judged in `core.idle`.
"""

from __future__ import annotations

from hestia.core import dependencies, reservations, warm
from hestia.core import lifecycle as lc
from hestia.core.effects import RunBusyProbe, Timer
from hestia.core.idle import Busy, Sequence, ask_again, next_look
from hestia.core.lease import Use
from hestia.core.lifecycle import State
from hestia.core.records import Slot
from hestia.core.steps import Steps


def look_idle(steps: Steps, slot: Slot, now: float) -> None:
    """The idle timer fired: stop, or look again later (ID-05: decide and move in one step)."""
    settings, use = slot.service.settings, slot.use
    if slot.state is not State.HOT or use is None:
        return
    waiting = sum(slot.record.id in waiter.candidates for waiter in slot.service.queue if not waiter.quiet)
    at = next_look(
        use,
        waiting=waiting,
        idle_timeout=slot.idle_timeout,
        sockets=settings.idle_websocket,
        now=now,
    )
    if at > now:
        steps.timer(slot, Timer.IDLE, at)
    elif warm.holds(slot) or dependencies.holds(steps, slot.service):
        steps.timer(slot, Timer.IDLE, now + slot.idle_timeout)
    elif settings.busy_probe is None:
        _idle_elapsed(steps, slot, use, now)
    elif not slot.asking:
        slot.asking = True
        steps.effects.append(RunBusyProbe(use.key, use.endpoint, Sequence.of(use)))


def answered(steps: Steps, slot: Slot, said: Busy, sequence: Sequence, now: float) -> None:
    """A busy probe ended. If the instance was used meanwhile, the answer says nothing (ID-07)."""
    use = slot.use
    slot.asking = False
    if use is None or slot.state is not State.HOT:
        return
    if sequence != Sequence.of(use):
        look_idle(steps, slot, now)
        reservations.released(steps, slot, now)
        return
    if reservations.answered(steps, slot, said, sequence, now):
        return
    if said is not Busy.UNKNOWN:
        slot.unanswered_since = None
    elif slot.unanswered_since is None or slot.unanswered_since < use.last_used:
        slot.unanswered_since = now
    at = ask_again(
        said,
        unanswered_since=slot.unanswered_since,
        idle_timeout=slot.idle_timeout,
        longest=slot.service.settings.busy_probe_max,
        now=now,
    )
    if at > now:
        steps.timer(slot, Timer.IDLE, at)
    else:
        _idle_elapsed(steps, slot, use, now, cause="" if said is Busy.FREE else "busy_unknown")


def _idle_elapsed(steps: Steps, slot: Slot, use: Use, now: float, *, cause: str = "") -> None:
    event = lc.IdleElapsed(
        service=slot.record.service,
        instance=slot.record.id,
        sockets=use.open > 0,
        cause=cause or ("outdated" if slot.outdated else "idle"),
    )
    steps.step(slot, event, now)
