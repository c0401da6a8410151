"""Server-sent events: first what the listener missed, then what comes, a ping when nothing does.

Owns the form on the wire and the resuming. Who is too slow gets a last word and is let go: memory for one
listener is bounded by `runtime.feed`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from hestia.api.past_models import Event
from hestia.core.ports import StoredRow, StoreReader
from hestia.runtime.feed import Feed, Listener

PING_EVERY = 15.0  # seconds without an event
AGAIN = 5000  # events that are sent again at most
PAGE = 500
RETRY = b"retry: 2000\n\n"  # milliseconds until a browser comes back
_LAST_WORDS = {
    "slow": "More events came than were read. Connect again with Last-Event-ID to get the rest.",
    "closing": "The gateway ends. Connect again with Last-Event-ID when it is back.",
}


class EventStream(StreamingResponse):
    """One listener's stream; leaves the feed when it ends, however that happens.

    after: number of the last event that the listener has; None: it wants only what comes.
    """

    def __init__(
        self,
        store: StoreReader,
        feed: Feed,
        listener: Listener,
        document: Callable[[StoredRow], Event],
        *,
        after: int | None,
    ) -> None:
        self._store = store
        self._feed = feed
        self._listener = listener
        self._document = document
        self._after = after
        fields = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(self._pieces(), 200, fields, "text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client leaves or the feed ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._listener)

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield RETRY
        last = -1
        if self._after is not None:
            rows, complete = await self._missed(self._after)
            if not complete:
                yield _message("missed", {"text": f"Only the last {AGAIN} events are sent again."})
            for row in rows:
                yield self._change(row)
                last = row.id
        while True:
            try:
                async with asyncio.timeout(PING_EVERY):
                    news = await self._listener.next()
            except TimeoutError:
                yield _message("ping", {})
                continue
            if news is None:
                why = self._listener.ended
                yield _message("end", {"why": why, "text": _LAST_WORDS.get(why, "")})
                return
            if news.id > last:  # what was stored while we asked is in both
                yield self._change(news)

    async def _missed(self, after: int) -> tuple[list[StoredRow], bool]:
        """Events behind `after`, oldest first, and whether these are all. Raises StoreUnavailable."""
        rows: list[StoredRow] = []
        before: int | None = None
        while len(rows) < AGAIN:
            page = await self._store.events(service=self._listener.service, before=before, limit=PAGE)
            rows += [row for row in page if row.id > after]
            if len(page) < PAGE or page[-1].id <= after:
                return rows[::-1], True
            before = page[-1].id
        return rows[::-1], False

    def _change(self, row: StoredRow) -> bytes:
        text = self._document(row).model_dump_json(by_alias=True)
        return f"id: {row.id}\nevent: change\ndata: {text}\n\n".encode()


def _message(kind: str, data: dict[str, str]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
