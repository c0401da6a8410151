"""The recorder that writes log lines: one per transition, stages at DEBUG.

Owns the event names of the life cycle as the seeds spell them.
"""

from __future__ import annotations

import logging
from typing import Final

from hestia.core.ports import Recorder, Row

log = logging.getLogger("hestia.lifecycle")

# state entered → event_type, message, level
EVENTS: Final[dict[str, tuple[str, str, int]]] = {
    "starting": ("service_start", "Starting service: %s", logging.INFO),
    "hot": ("service_hot", "Service is hot: %s", logging.INFO),
    "draining": ("service_drain", "Draining service: %s", logging.INFO),
    "stopping": ("service_stop", "Stopping service: %s", logging.INFO),
    "cold": ("service_cold", "Service is cold: %s", logging.INFO),
    "failed": ("service_failed", "Service failed: %s", logging.WARNING),
}
_ADOPTED: Final = ("service_start", "Taking over service: %s", logging.INFO)  # it runs: nothing is started
_UNKNOWN: Final = ("service_event", "Service changed: %s", logging.INFO)
_RESERVED: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class LogRecorder:
    """Fits `core.ports.Recorder`."""

    def transition(self, row: Row) -> None:
        """One line per change of state; an event that changed nothing is DEBUG."""
        is_adoption = row.after == "starting" and row.cause == "adopted"
        event_type, message, level = _ADOPTED if is_adoption else EVENTS.get(row.after, _UNKNOWN)
        if row.before == row.after:
            level = logging.DEBUG
        if not log.isEnabledFor(level):
            return
        fields: dict[str, object] = {
            "event_type": event_type,
            "service_id": row.service,
            "request_id": request_of(row),
            "instance": row.instance,
            "generation": row.generation,
            "from": row.before,
            "to": row.after,
            "cause": row.cause,
            "actor": row.actor,
            "episode": row.episode,
            "lasted_ms": round(row.lasted * 1000),
        }
        for name, value in row.data.items():
            fields.setdefault(f"data_{name}" if name in _RESERVED else name, value)
        log.log(level, message, _place(row.service, row.instance), extra=fields)

    def stage(self, service: str, instance: str, name: str, text: str, episode: str) -> None:
        """A part of a start began, or the instance said something while starting."""
        log.debug(
            "%s: %s: %s",
            _place(service, instance),
            name,
            text,
            extra={
                "event_type": "service_stage",
                "service_id": service,
                "instance": instance,
                "stage": name,
                "episode": episode,
            },
        )


class Recorders:
    """Tells several recorders, in their order."""

    def __init__(self, *recorders: Recorder) -> None:
        self._recorders = recorders

    def transition(self, row: Row) -> None:
        for recorder in self._recorders:
            recorder.transition(row)

    def stage(self, service: str, instance: str, name: str, text: str, episode: str) -> None:
        for recorder in self._recorders:
            recorder.stage(service, instance, name, text, episode)


def request_of(row: Row) -> str:
    """Id of the request that caused it, or "": demand names it as actor, the API behind `api:`."""
    if row.cause in ("demand", "spill_over"):
        return row.actor
    who, _, request_id = row.actor.partition(":")
    return request_id if who == "api" else ""


def _place(service: str, instance: str) -> str:
    return service if instance in {"", service} else f"{service} ({instance})"
