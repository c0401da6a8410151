"""Keeps services warm: starts them when their calendar says so, again after a crash, and vetoes idle stops.

One timer per service, set to the next edge of its calendar. A service that a person stopped stays down until
somebody starts it, a request wakes it, or its next window begins. Works through `core.steps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hestia.core import calendar, dependencies
from hestia.core.effects import SetTimer, Timer
from hestia.core.lifecycle import State
from hestia.core.model import NEVER
from hestia.core.records import ServiceRecord, Slot

if TYPE_CHECKING:
    from hestia.core.steps import Steps

PAUSE: Final = 5.0  # seconds until it is tried again what failed through no fault of its own


def look(steps: Steps, record: ServiceRecord, now: float) -> None:
    """Look at the calendar and set the timer for its next edge."""
    windows, slot = record.settings.keep_warm, kept(record)
    if steps.closing or slot is None:
        record.warm = False
        return
    if windows is True:
        record.warm = True
        keep(steps, record, now)
        return
    wall = steps.wall()
    lead = steps.usual(slot.record.service, slot.record.id) or 0.0
    if record.warm:
        lead = max(lead, record.lead)  # a start that was faster than usual does not end a window again
    looked = calendar.look(windows or (), wall, lead=lead)
    begins, ends = looked.warm and not record.warm, record.warm and not looked.warm
    record.warm, record.lead = looked.warm, lead
    if begins:
        record.let_down = False
    at = None if looked.until is None else now + looked.until - wall
    steps.effects.append(SetTimer(record.settings.id, None, Timer.CALENDAR, at))
    keep(steps, record, now)
    if ends and slot.use is not None and slot.state is State.HOT and slot.idle_timeout != NEVER:
        steps.timer(slot, Timer.IDLE, max(now, slot.use.last_used + slot.idle_timeout))


def keep(steps: Steps, record: ServiceRecord, now: float) -> None:
    """See to it that a service that should be warm, or that others need which run, is hot or will be.

    Its back-off holds (FB-03, FB-05).
    """
    held = not record.warm and dependencies.misses(steps, record)
    if not (record.warm or held) or record.let_down or steps.closing:
        return
    slot = next((slot for slot in record.slots.values() if slot.settings.managed), None)
    if slot is None:
        return
    if any(other.under_way for other in record.slots.values()):
        return
    if dependencies.hopeless(steps, record, now):
        steps.timer(slot, Timer.RETRY, now + PAUSE)  # no start that fails, with its events, each time
    elif slot.may_begin(now) and now >= slot.again_at:
        steps.begin(slot, now, cause="dependency" if held else "keep_warm", actor="")
    elif not slot.record.stuck:
        steps.timer(slot, Timer.RETRY, max(slot.ready_at(now), slot.again_at))


def kept(record: ServiceRecord) -> Slot | None:
    """The instance that is kept warm: the first that can be started."""
    if not record.settings.keep_warm:
        return None
    return next((slot for slot in record.slots.values() if slot.settings.managed), None)


def holds(slot: Slot) -> bool:
    """Whether this instance is kept warm now, so that idleness does not stop it."""
    record = slot.service
    return record.warm and not slot.outdated and kept(record) is slot
