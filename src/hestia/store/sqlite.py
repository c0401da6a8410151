"""The durable store: one SQLite file, one thread that writes it, one that reads it.

Owns the promises of `core.ports.Store` towards the loop; nothing here touches the file. `writer` says how
durable a commit is, `pending` what happens to what cannot be written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from hestia.core.errors import StoreUnavailable
from hestia.core.model import GatewayId, InstanceKey, Retention
from hestia.core.ports import Handle, Intent, Memory, RequestEntry, Row, StoredRow
from hestia.store.choice import Choice
from hestia.store.database import Database
from hestia.store.pending import Pending
from hestia.store.reader import EPISODE_LIMIT, Reader
from hestia.store.trouble import Trouble, slow
from hestia.store.writer import Writer

log = logging.getLogger(__name__)

PATIENCE: Final = 10.0  # seconds: a disk that takes longer than that for one commit hangs


class SqliteStore:
    """Fits `core.ports.Store`.

    keep: how long events and requests are kept. required: whether an intent that cannot be stored is
    refused; otherwise it is kept in memory, and written when that can be. patience: seconds that opening, an
    intent and closing may take; then it goes on without.
    """

    def __init__(
        self,
        database: Database,
        *,
        keep: Retention | None = None,
        required: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        self._database = database
        self._path = path = database.path
        self._keep = keep or Retention()
        self._required = required
        self._patience = patience
        self._pending = Pending()
        self._writer: Writer | None = None
        self._reader = Reader(path, self._pending, self._connections)
        self._trouble: Trouble | None = None
        self._open = False

    @property
    def trouble(self) -> str:
        """What is the matter, with its remedy; "" when all is well."""
        trouble = self._trouble
        if trouble is None and self._open and self._writer is not None and not self._writer.alive:
            return "The thread that writes the database has ended. To do: restart the gateway."
        return "" if trouble is None else str(trouble)

    async def open(self, owner: GatewayId) -> Memory:
        """Take the file and tell what it knows of this gateway. Raises ConfigError."""
        self._writer = Writer(
            self._database,
            self._pending,
            owner=owner,
            keep=self._keep,
            outcome=self._note,
        )
        self._writer.start()
        try:
            async with asyncio.timeout(self._patience):
                memory = await asyncio.wrap_future(self._writer.opened)
        except TimeoutError:
            self._note(slow(self._path, self._patience))
            memory = Memory()
        self._open = True
        return memory

    async def intend(self, intent: Intent) -> None:
        """Commit an intent. Raises StoreUnavailable, and then it is as if it had never been."""
        if not self._open:
            raise StoreUnavailable("The store is closed.", remedy="start the gateway again: hestia serve")
        wish = self._pending.intend(intent)
        try:
            async with asyncio.timeout(self._patience):
                await asyncio.wrap_future(wish)
        except TimeoutError as exc:
            hangs = slow(self._path, self._patience)
            self._note(hangs)
            if self._required:
                self._pending.closed(intent.key)
                raise hangs.error() from exc
        except StoreUnavailable:
            if self._required:
                self._pending.closed(intent.key)
                raise
        except BaseException:  # CancelledError: the start was given up before anything was asked for
            self._pending.closed(intent.key)
            raise

    def handle_made(self, key: InstanceKey, handle: Handle) -> None:
        """Remember how to find what was made for an intent."""
        if self._open:
            self._pending.handle_made(key, handle)

    def noted(
        self,
        key: InstanceKey,
        *,
        state: str | None = None,
        endpoint: str | None = None,
        health_url: str | None = None,
        last_used: float | None = None,
        external: bool | None = None,
    ) -> None:
        """Remember what is known of a generation."""
        if self._open:
            fields: dict[str, object] = {
                "state": state,
                "endpoint": endpoint,
                "health_url": health_url,
                "last_used": last_used,
                "external": external,
            }
            self._pending.noted(key, fields)

    def closed(self, key: InstanceKey, reason: str) -> None:
        """The generation is over: nothing of it is left to look for."""
        if self._open:
            self._pending.closed(key)

    def fact(self, kind: str, name: str, value: Mapping[str, object] | None) -> None:
        """Remember a fact, or forget it."""
        if self._open:
            self._pending.fact(kind, name, value)

    def append(self, row: Row) -> int:
        """Add one event to the timeline; its number."""
        return self._pending.append(row) if self._open else 0

    def record(self, entry: RequestEntry) -> None:
        """Keep what is known of a request."""
        if self._open:
            self._pending.record(entry)

    async def events(
        self,
        *,
        service: str = "",
        instance: str = "",
        event: str = "",
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[StoredRow]:
        """The newest events first. Raises StoreUnavailable."""
        choice = Choice(
            service=service,
            instance=instance,
            event=event,
            since=since,
            until=until,
            before=before,
            limit=limit,
        )
        return await self._reader.events(choice)

    async def episode(self, episode: str) -> list[StoredRow]:
        """All events of one episode, the first one first. Raises StoreUnavailable."""
        if not episode:
            return []
        return (await self._reader.events(Choice(episode=episode, limit=EPISODE_LIMIT)))[::-1]

    async def request(self, request_id: str) -> RequestEntry | None:
        """The newest request of that id. Raises StoreUnavailable."""
        if not request_id:
            return None
        found = await self._reader.requests(Choice(request_id=request_id, limit=1))
        return found[0] if found else None

    async def requests(
        self,
        *,
        service: str = "",
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[RequestEntry]:
        """The newest requests first. Raises StoreUnavailable."""
        choice = Choice(service=service, since=since, until=until, before=before, limit=limit)
        return await self._reader.requests(choice)

    async def aclose(self) -> None:
        """Write everything that was handed over. Twice is fine."""
        self._open = False
        writer, self._writer = self._writer, None
        if writer is None:
            return
        await self._reader.aclose()
        self._pending.end()
        try:
            async with asyncio.timeout(self._patience):
                await asyncio.wrap_future(writer.ended)
        except TimeoutError:
            self._note(slow(self._path, self._patience))
        if left := len(self._pending.rows()) + len(self._pending.entries()):
            log.error(
                "%d events and requests were not written: %s",
                left,
                self._trouble,
                extra={"event_type": "store_lost"},
            )

    def _connections(self) -> int:
        return self._writer.connections if self._writer is not None else 0

    def _note(self, trouble: Trouble | None) -> None:
        """How a writing ended; said once for each kind of trouble (OB-18). Called in both threads."""
        before, self._trouble = self._trouble, trouble
        if trouble is not None and (before is None or before.kind != trouble.kind):
            meanwhile = (
                "Until then no service is started, unless start_without_store is set."
                if self._required
                else "Services are started all the same, because start_without_store is set."
            )
            log.error(
                "%s %s", trouble, meanwhile, extra={"event_type": "store_trouble", "code": trouble.kind}
            )
        elif trouble is None and before is not None:
            log.info(
                "The database is written again; %d events and requests were lost meanwhile",
                self._pending.take_lost(),
                extra={"event_type": "store_recovered"},
            )

    def __repr__(self) -> str:
        return f"<SqliteStore {self._path} {self._pending!r}>"
