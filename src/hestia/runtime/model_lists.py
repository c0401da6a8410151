"""Which models the instances of a service have: asked of those that are hot, remembered of those that sleep.

Owns the merged answers to `GET /v1/models` and `GET /api/tags`. Nobody is woken and nothing counts as use: an
instance that is asked for its models is not kept up by it. A list that was asked for with a client's
credentials is shown to that client alone; one that was asked for without any, to everybody.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hestia.core.model import InstanceId, ServiceId
from hestia.core.records import ServiceRecord, Slot
from hestia.runtime.probes import Target, connect

ASK_TIMEOUT: Final = 2.0  # seconds for the list of one instance
LIST_MAX: Final = 4 * 2**20  # bytes of a list
FRESH: Final = 1.0  # seconds for which a list is not asked for again
CLIENTS: Final = 16  # lists of one instance that are kept, each of other credentials; the newest stay
# path → key of the list, and the keys by which an entry is known
PATHS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "/v1/models": ("data", ("id",)),
    "/api/tags": ("models", ("model", "name")),
}
_STATUS: Final = re.compile(rb"HTTP/1\.[01] 200[ \r]")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r", re.IGNORECASE)

NOBODY: Final = b""  # who asks without credentials

Entry = dict[str, Any]  # as the service writes it; its other members are its own, hence Any


@dataclass(slots=True)
class _Seen:
    """What one instance said at one path. url: its address then. lists: by credentials, oldest first."""

    url: str
    lists: dict[bytes, tuple[float, list[Entry]]] = field(default_factory=dict)

    def keep(self, whose: bytes, at: float, listed: list[Entry]) -> None:
        self.lists.pop(whose, None)
        self.lists[whose] = (at, listed)
        if len(self.lists) > CLIENTS:
            del self.lists[next(one for one in self.lists if one != NOBODY)]


class ModelLists:
    """See the module docstring. records: of every service."""

    def __init__(self, records: Mapping[ServiceId, ServiceRecord], clock: Callable[[], float]) -> None:
        self._records = records
        self._clock = clock
        self._known: dict[tuple[ServiceId, InstanceId, str], _Seen] = {}
        self._secret = os.urandom(32)  # credentials themselves are not kept

    async def merged(self, service: ServiceId, path: str, authorization: bytes | None) -> bytes:
        """The answer to `path`, one of `PATHS`. authorization: of the client, for instances that want it."""
        record = self._records.get(service)
        slots = list(record.slots.values()) if record is not None else []
        whose = self._whose(authorization)
        async with asyncio.TaskGroup() as group:
            for slot in slots:
                look = self._look(service, slot, path, authorization, whose)
                group.create_task(look, name=f"models of {service}")
        key, names = PATHS[path]
        found: dict[str, Entry] = {}
        for slot in slots:
            for entry in self._of(service, slot, path, whose):
                name = next((str(entry[one]) for one in names if one in entry), "")
                found.setdefault(name, entry)
        head = {"object": "list"} if key == "data" else {}
        return json.dumps({**head, key: list(found.values())}).encode()

    def forget(self) -> None:
        """Drop what was seen of instances that are not there any more, or elsewhere: after a reload."""
        for place, seen in list(self._known.items()):
            record = self._records.get(place[0])
            slot = record.slots.get(place[1]) if record is not None and not record.retired else None
            if slot is None or seen.url != slot.settings.base_url:
                del self._known[place]

    def _whose(self, authorization: bytes | None) -> bytes:
        if authorization is None:
            return NOBODY
        return hashlib.blake2b(authorization, key=self._secret, digest_size=16).digest()

    def _of(self, service: ServiceId, slot: Slot, path: str, whose: bytes) -> list[Entry]:
        """What an instance has for this client: as last seen, else as configured."""
        seen = self._known.get((service, slot.record.id, path))
        if seen is not None and seen.url == slot.settings.base_url:
            known = seen.lists.get(whose) or seen.lists.get(NOBODY)
            if known is not None:
                return known[1]
        plain = [model for model in slot.settings.models if not any(mark in model for mark in "*?[")]
        if path == "/v1/models":
            return [{"id": model, "object": "model", "created": 0, "owned_by": "hestia"} for model in plain]
        return [dict.fromkeys(PATHS[path][1], model) for model in plain]

    async def _look(
        self, service: ServiceId, slot: Slot, path: str, authorization: bytes | None, whose: bytes
    ) -> None:
        """Ask an instance that is hot, unless this client was just told."""
        use, place, url = slot.use, (service, slot.record.id, path), slot.settings.base_url
        seen = self._known.get(place)
        known = seen.lists.get(whose) if seen is not None and seen.url == url else None
        if use is None or not use.admitting or (known and self._clock() - known[0] < FRESH):
            return
        target = Target(use.endpoint, path, slot.service.settings.tls_verify)
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                document = await _ask(target, authorization)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # as last seen
        entries = document.get(PATHS[path][0]) if isinstance(document, dict) else None
        if not isinstance(entries, list) or slot.settings.base_url != url:
            return
        seen = self._known.get(place)
        if seen is None or seen.url != url:
            seen = self._known[place] = _Seen(url)
        seen.keep(whose, self._clock(), [entry for entry in entries if isinstance(entry, dict)])


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
