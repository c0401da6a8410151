"""Why the world refuses: the errors it makes, with their facts and remedies. Pure functions."""

from __future__ import annotations

from typing import Final

from hestia.core.errors import (
    BreakerOpen,
    Dormant,
    HestiaError,
    QueueFull,
    QueueTimeout,
    StartError,
    StartFailed,
    StartStopped,
    UpstreamDisconnected,
)
from hestia.core.lifecycle import State
from hestia.core.queue import Waiter
from hestia.core.records import ServiceRecord, Slot

DEPENDENCY: Final = "dependency"  # the stage at which such a start fails
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
    source = "request_timeout" if record.settings.request_timeout is not None else "request_timeout, default"
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


def not_now(slot: Slot, now: float) -> HestiaError:
    """What to answer while an instance may not be started: the breaker with its reason, or stuck."""
    record, error = slot.record, slot.record.error
    if record.stuck and error is not None:
        return error
    reason = error.detail if error else "The last starts failed."
    pause = max(0.0, slot.ready_at(now) - now)
    spent = slot.service.free_at(now) > now
    times = f"{len(slot.backoff.failures)} times"
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
