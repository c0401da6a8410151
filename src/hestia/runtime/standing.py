"""Where an instance stands: why no request goes to it now, and what keeps it up. Sentences and facts to show.

Reads the records; nothing is decided from what is said here.
"""

from __future__ import annotations

from hestia.core.lifecycle import State
from hestia.core.records import ServiceRecord, Slot
from hestia.core.steps import EPISODE_STARTS
from hestia.runtime.status import Budget
from hestia.runtime.words import CAUSES


def unused(slot: Slot, now: float) -> str:
    """Why a request is not sent to this instance now; "" where one may be."""
    record, use = slot.record, slot.use
    match record.state:
        case State.HOT if use is not None and use.suspect:
            return f"it does not answer its liveness probe: {slot.pulse.said or 'no answer'}"
        case State.HOT:
            return ""
        case State.STARTING:
            return _starting(slot)
        case State.DRAINING:
            return f"it takes no new requests: {_cause(record.cause)}"
        case State.STOPPING:
            return f"it is being stopped: {_cause(record.cause)}"
        case _:
            return _resting(slot, now)


def _starting(slot: Slot) -> str:
    if slot.awaiting:
        return f"its start waits for {', '.join(slot.service.settings.depends_on)}"
    if slot.seek is not None:
        return f"its start waits for room on {slot.settings.machine}: {slot.seek.holders}".removesuffix(": ")
    return "it is not ready yet"


def _resting(slot: Slot, now: float) -> str:
    """Of what is cold or failed."""
    service, backoff = slot.service, slot.backoff
    if slot.record.stuck:
        return "it could not be stopped, and may still run"
    if (bar := slot.barred_by) is not None:
        return f"{bar.record.id} may still run, and there may be only one (exclusive)"
    if service.free_at(now) > now:
        return f"the service has spent its {service.settings.restart_backoff.per_hour} failed starts an hour"
    if slot.state is State.COLD:
        return "nothing of it runs"
    times, error = len(backoff.failures), slot.record.error
    failed = "its last start failed" if error is None or error.stage else "it ended by itself"
    if times > 1:
        failed = f"it failed {times} times lately"
    if backoff.open:
        return f"{failed}, so it is left alone for a while"
    return failed if backoff.may_start(now) else f"{failed}, so it pauses before the next try"


def _cause(cause: str) -> str:
    word, _, more = cause.partition(":")
    return CAUSES.get(word, word) + (f" ({more})" if more and word in CAUSES else "")


def retries_at(slot: Slot, now: float) -> float | None:
    """Loop-clock seconds from which on a request may start what has failed; None: nobody can say."""
    if slot.state is not State.FAILED or slot.record.stuck or slot.barred_by is not None:
        return None
    return slot.ready_at(now)


def budget(record: ServiceRecord, now: float) -> Budget:
    """How many failed starts the service has had, and may have (FB-04)."""
    policy = record.settings.restart_backoff
    free_at = record.free_at(now)
    return Budget(
        failures=record.failures(now),
        per_hour=policy.per_hour,
        free_in=free_at - now if free_at > now else None,
        episode_starts=record.episode_starts,
        per_episode=max(EPISODE_STARTS, len(record.slots)),
    )
