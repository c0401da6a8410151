"""Why the world refuses: the errors it makes, with their facts and remedies. Pure functions."""

from __future__ import annotations

from typing import Final

from hestia.core.errors import (
    BreakerOpen,
    Dormant,
    EngineRefused,
    HestiaError,
    QueueFull,
    QueueTimeout,
    StartError,
    StartFailed,
    StartStopped,
    UpstreamDisconnected,
)
from hestia.core.lifecycle import State
from hestia.core.model import Machine
from hestia.core.queue import Waiter
from hestia.core.records import ServiceRecord, Slot
from hestia.core.room import INSTANCES, amount_text, limits

DEPENDENCY: Final = "dependency"  # the stage at which such a start fails
ROOM: Final = "room"  # likewise
NO_ROOM: Final = "no_room"  # the cause of such an error
DORMANT_AGAIN: Final = 60.0  # seconds after which a scrape of a sleeping service may look again


def queue_full(record: ServiceRecord, now: float) -> QueueFull:
    service = record.settings.id
    return QueueFull(
        f'The queue of "{service}" is full: {len(record.queue)} waiting, '
        f"queue_size is {record.settings.queue_size}.",
        remedy=f"raise services.{service}.queue_size, or try again later",
        service_id=service,
        retry_after=retry_after(record, now),
    )


def queue_timeout(record: ServiceRecord, waiter: Waiter, now: float) -> QueueTimeout:
    """The waiter's time is over; the start goes on (CK-05)."""
    service = record.settings.id
    seeking = next((slot for slot in record.slots.values() if slot.seek is not None), None)
    source = "request_timeout" if record.settings.request_timeout is not None else "request_timeout, default"
    if seeking is not None and seeking.seek is not None:
        return QueueTimeout(
            f'There was no room for "{service}" on {seeking.settings.machine} within '
            f"{waiter.deadline - waiter.arrived:.1f} s ({source}): {seeking.seek.holders}.",
            remedy=_room_remedy(seeking),
            cause=NO_ROOM,
            stage=ROOM,
            service_id=service,
            retry_after=retry_after(record, now),
        )
    return QueueTimeout(
        f'"{service}" was not ready within {waiter.deadline - waiter.arrived:.1f} s ({source}); '
        "the start goes on.",
        remedy=f"try again, or raise services.{service}.request_timeout",
        cause="timeout",
        stage="queue",
        service_id=service,
        retry_after=retry_after(record, now),
    )


def dormant(service: str, *, retry_after: float | None = None) -> Dormant:
    """A request that wakes nothing met a service that is not hot (CQ-11)."""
    return Dormant(
        f'"{service}" sleeps, and no_wake says that a request like this one does not start it.',
        remedy=f"hestia start {service}, or send it a request that no_wake does not match",
        stage="queue",
        service_id=service,
        retry_after=retry_after or DORMANT_AGAIN,
    )


def not_opened(service: str) -> Dormant:
    """A browser asked for a service that is not hot before anybody opened it (WP-01)."""
    return Dormant(
        f'"{service}" sleeps, and a browser that only fetches ahead does not start it.',
        remedy=f"open its address, or: hestia start {service}",
        stage="queue",
        service_id=service,
    )


def not_now(slot: Slot, now: float) -> HestiaError:
    """What to answer while an instance may not be started: the breaker with its reason, or stuck."""
    record, error, bar = slot.record, slot.record.error, slot.barred_by
    if bar is not None and not record.stuck:
        return _barred(record.service, bar)
    if record.stuck and error is not None:
        return error
    reason = error.detail if error else "The last starts failed."
    pause = max(0.0, slot.ready_at(now) - now)
    spent = slot.service.free_at(now) > now
    failures = len(slot.backoff.failures)
    times = "once" if failures == 1 else f"{failures} times"
    if spent:
        times = f"{len(slot.service.spent)} times within an hour (restart_backoff.per_hour)"
    return BreakerOpen(
        f"{reason} It failed {times}, so it is not tried again for {pause:.0f} s.",
        remedy=f"hestia start {record.service} tries now",
        cause="budget_spent" if spent else "breaker_open",
        stage=error.stage if error else "",
        service_id=record.service,
        retry_after=max(1.0, pause),
        tail=error.tail if error else (),
    )


def impossible(slot: Slot, machine: Machine) -> HestiaError:
    """It needs more than its machine has, so that no eviction helps (EV-06)."""
    record, needs = slot.record, slot.service.settings.needs
    told = [
        f"{amount_text(machine, name, needs.get(name, 1))} of {amount_text(machine, name, limit)} {name}"
        for name, limit in limits(machine).items()
        if needs.get(name, 1 if name == INSTANCES else 0) > limit
    ]
    error = EngineRefused(
        f'"{record.service}" does not fit on {machine.id}: it needs {", ".join(told)}.',
        permanent=True,
        resource="room",
        remedy=f"lower services.{record.service}.needs, or raise machines.{machine.id}",
        cause=NO_ROOM,
        stage=ROOM,
    )
    error.service_id = record.service
    return error


def no_room(slot: Slot, now: float) -> HestiaError:
    """A start that nobody waits for has looked for room for as long as it may."""
    record, seek = slot.record, slot.seek
    waited = now - seek.at if seek is not None else 0.0
    return StartFailed(
        f'"{record.service}" found no room on {slot.settings.machine} within {waited:.0f} s: '
        f"{seek.holders if seek is not None else ''}.",
        remedy=_room_remedy(slot),
        cause=NO_ROOM,
        stage=ROOM,
        service_id=record.service,
    )


def _room_remedy(slot: Slot) -> str:
    names = slot.seek.names if slot.seek is not None else ()
    stops = " or ".join(f"hestia stop {name}" for name in names[:2])
    return f"{stops or 'hestia machines'}; pin, needs and max_room_wait say who gives way"


def _barred(service: str, bar: Slot) -> HestiaError:
    """A second copy may never run beside one that may (FB-09)."""
    why = f": {bar.record.error.detail}" if bar.record.error is not None else "."
    return StartFailed(
        f'"{service}" is exclusive, and its instance "{bar.record.id}" may still run on '
        f"{bar.settings.machine}{why}",
        remedy=f"see that it is gone, then: hestia stop {service} --force",
        cause="exclusive",
        service_id=service,
    )


def stopped_while_starting(service: str) -> StartStopped:
    return StartStopped(
        f'"{service}" was stopped while it started.',
        remedy="send the request again to start it",
        cause="stopped",
        service_id=service,
    )


def dependency_failed(service: str, needed: str, error: HestiaError) -> StartFailed:
    """What a service needs cannot be started, so it cannot either (SF-12)."""
    return StartFailed(
        f'"{service}" needs "{needed}" (depends_on), which is not to be had: {error.detail}',
        remedy=error.remedy or f"hestia logs {needed}",
        cause=error.cause,
        stage=DEPENDENCY,
        service_id=service,
        retry_after=error.retry_after,
        tail=error.tail,
    )


def cut(slot: Slot) -> HestiaError:
    """Why open exchanges of this instance are ended."""
    error = slot.record.error
    if isinstance(error, StartError):
        return error
    return UpstreamDisconnected(
        f'"{slot.record.service}" was stopped while it answered ({slot.record.cause}).',
        cause="stopped",
        service_id=slot.record.service,
    )


def retry_after(record: ServiceRecord, now: float) -> float:
    """Seconds, at least 1: the soonest retry of what failed; while hot, as long as who is first has waited,
    since that is how fast the queue moves. Of a start the runtime knows more, from history."""
    slots = record.slots.values()
    first = record.queue.first
    if first is not None and any(slot.state is State.HOT for slot in slots):
        return max(1.0, now - first.arrived)
    pauses = [slot.ready_at(now) - now for slot in slots if slot.state is State.FAILED]
    return max(1.0, min(pauses, default=1.0))
