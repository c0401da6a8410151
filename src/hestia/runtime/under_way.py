"""A request that has not ended: what it does now, since when, and what it waits for.

Nothing is kept for it. Its exchange is found and looked at when somebody asks, so requests pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from hestia.core.lifecycle import State
from hestia.core.model import ServiceId
from hestia.core.ports import RequestEntry
from hestia.core.records import ServiceRecord
from hestia.core.requests import RequestRecord
from hestia.runtime import journeys
from hestia.runtime.timeline import Mark, Timeline

NAMED: Final = 10  # of those before it in the queue

_STATES: Final = {
    "route": "routing",
    "queue": "waiting",
    "connect": "connecting",
    "first_byte": "sent",
    "answer": "streaming",
    "pause": "pausing",
}


class UnderWay:
    """find: the record so far of the open exchange of that id, or None. services: the world's records."""

    def __init__(
        self,
        find: Callable[[bytes], RequestRecord | None],
        services: Mapping[ServiceId, ServiceRecord],
        timeline: Timeline,
    ) -> None:
        self._find = find
        self._services = services
        self._timeline = timeline

    def request(self, request_id: str) -> RequestEntry | None:
        """A request to a service that is open; its document says so (`finished`, `now`)."""
        record = self._find(request_id.encode("latin-1", "replace"))
        if record is None:
            return None
        document = journeys.tell(record, self._timeline)
        now = self._now(record, request_id, document)
        document |= {"finished": False, "now": now, "end": f"not ended: {now['text']}"}
        return RequestEntry(
            request_id=request_id,
            at=record.at - record.total_ms / 1000,
            service=record.service,
            document=document,
        )

    def _now(self, record: RequestRecord, request_id: str, told: Mapping[str, object]) -> dict[str, object]:
        name, start = _last_part(told["parts"])
        # a head that came in the same tick as its connection leaves no time between them to tell by
        state = "streaming" if record.status else _STATES[name]
        since = record.at - (record.total_ms - start) / 1000
        ahead = self._ahead(record.service, request_id) if state == "waiting" else None
        return {
            "state": state,
            "since": datetime.fromtimestamp(since, UTC).isoformat(),
            "text": self._text(state, record, ahead),
            "position": None if ahead is None else len(ahead) + 1,
            "behind": [] if ahead is None else ahead[-NAMED:],
        }

    def _ahead(self, service: str, request_id: str) -> list[str] | None:
        """Ids of those that wait before it, in order; None when it does not wait in the queue."""
        ahead: list[str] = []
        record = self._services.get(ServiceId(service))
        for waiter in record.queue if record is not None else ():
            if waiter.request_id == request_id:
                return ahead
            ahead.append(waiter.request_id)
        return None

    def _text(self, state: str, record: RequestRecord, ahead: list[str] | None) -> str:
        where = record.instance or record.service
        match state:
            case "waiting":
                moments = self._timeline.between(record.service, record.at, float("inf"))
                mark = moments[-1][2] if moments else None
                place = f", {len(ahead)} before it" if ahead else ", nobody before it"
                return f"waits for {record.service}, which {_doing(mark)}{place}"
            case "connecting":
                return f"connects to {where}"
            case "sent":
                return f"sent to {where}, which has not answered yet"
            case "streaming" if record.status == 101:
                return f"its WebSocket with {where} is open"
            case "streaming":
                return f"passes on the answer of {where}: {record.status}, {record.bytes_out} bytes so far"
            case "pausing":
                return "pauses before its next attempt"
            case _:
                return "is looked at"


def _last_part(parts: object) -> tuple[str, float]:
    """Name of the part that goes on, and milliseconds from the arrival to its begin."""
    if not isinstance(parts, list) or not parts:
        return "route", 0.0
    return str(parts[-1]["name"]), float(parts[-1]["startMs"])


def _doing(mark: Mark | None) -> str:
    """What a service does now, behind its name."""
    if mark is None:
        return "is not running"
    why = f": {mark.text}" if mark.text else ""
    match mark.state:
        case State.STARTING:
            return f"starts ({mark.stage}{why})" if mark.stage else "starts"
        case State.HOT:
            return "is hot, and serves others first"
        case State.FAILED:
            return f"is not tried again yet{why}"
        case State.DRAINING | State.STOPPING:
            return f"is being stopped ({mark.cause or 'no cause'})"
        case _:
            return "is not running"
