"""Which models the instances of a service have: asked of those that are hot, remembered of those that sleep.

Owns the merged answers to `GET /v1/models` and `GET /api/tags`. Nobody is woken and nothing counts as use: an
instance that is asked for its models is not kept up by it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from hestia.core.model import InstanceId, ServiceId
from hestia.core.records import ServiceRecord, Slot
from hestia.runtime.probes import Target, connect

ASK_TIMEOUT: Final = 2.0  # seconds for the list of one instance
LIST_MAX: Final = 4 * 2**20  # bytes of a list
FRESH: Final = 1.0  # seconds for which a list is not asked for again
# path → key of the list, and the keys by which an entry is known
PATHS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "/v1/models": ("data", ("id",)),
    "/api/tags": ("models", ("model", "name")),
}
_STATUS: Final = re.compile(rb"HTTP/1\.[01] 200[ \r]")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r", re.IGNORECASE)

Entry = dict[str, Any]  # as the service writes it; its other members are its own, hence Any


class ModelLists:
    """See the module docstring. records: of every service."""

    def __init__(self, records: Mapping[ServiceId, ServiceRecord], clock: Callable[[], float]) -> None:
        self._records = records
        self._clock = clock
        self._known: dict[tuple[ServiceId, InstanceId, str], tuple[float, list[Entry]]] = {}

    async def merged(self, service: ServiceId, path: str, authorization: bytes | None) -> bytes:
        """The answer to `path`, one of `PATHS`. authorization: of the client, for instances that want it."""
        record = self._records.get(service)
        slots = list(record.slots.values()) if record is not None else []
        async with asyncio.TaskGroup() as group:
            for slot in slots:
                group.create_task(self._look(service, slot, path, authorization), name=f"models of {service}")
        key, names = PATHS[path]
        found: dict[str, Entry] = {}
        for slot in slots:
            for entry in self._of(service, slot, path, names):
                name = next((str(entry[one]) for one in names if one in entry), "")
                found.setdefault(name, entry)
        head = {"object": "list"} if key == "data" else {}
        return json.dumps({**head, key: list(found.values())}).encode()

    def _of(self, service: ServiceId, slot: Slot, path: str, names: tuple[str, ...]) -> list[Entry]:
        """What an instance has: as last seen, else as configured."""
        known = self._known.get((service, slot.record.id, path))
        if known is not None:
            return known[1]
        plain = [model for model in slot.settings.models if not any(mark in model for mark in "*?[")]
        if path == "/v1/models":
            return [{"id": model, "object": "model", "created": 0, "owned_by": "hestia"} for model in plain]
        return [dict.fromkeys(names, model) for model in plain]

    async def _look(self, service: ServiceId, slot: Slot, path: str, authorization: bytes | None) -> None:
        use, place = slot.use, (service, slot.record.id, path)
        known = self._known.get(place)
        if use is None or not use.admitting or (known and self._clock() - known[0] < FRESH):
            return
        target = Target(use.endpoint, path, slot.service.settings.tls_verify)
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                document = await _ask(target, authorization)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # as last seen
        entries = document.get(PATHS[path][0]) if isinstance(document, dict) else None
        if isinstance(entries, list):
            listed = [entry for entry in entries if isinstance(entry, dict)]
            self._known[place] = (self._clock(), listed)


async def _ask(target: Target, authorization: bytes | None) -> object:
    """The JSON at a target. HTTP/1.0, so that nothing is chunked. Raises OSError, ValueError."""
    reader, writer = await connect(target)
    try:
        path = target.endpoint.base_path + target.path
        lines = [f"GET {path} HTTP/1.0", f"Host: {target.endpoint.authority}", "User-Agent: hestia"]
        lines += ["Accept: application/json", "Connection: close"]
        head = "\r\n".join(lines).encode("latin-1")
        if authorization is not None:
            head += b"\r\nAuthorization: " + authorization
        writer.write(head + b"\r\n\r\n")
        start = await reader.readuntil(b"\r\n\r\n")
        if not _STATUS.match(start):
            raise ValueError("it has no such list")
        length = _LENGTH.search(start)
        most = min(LIST_MAX, int(length[1])) if length is not None else LIST_MAX
        body = bytearray()
        while len(body) < most and (data := await reader.read(65536)):
            body += data
        try:
            return json.loads(body)  # one that was cut off is none
        except RecursionError as exc:
            raise ValueError("it is nested too deeply") from exc
    finally:
        writer.transport.abort()
