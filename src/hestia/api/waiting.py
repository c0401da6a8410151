"""The waiting page's calls: the page itself, its stream of news, and what its buttons ask for.

Owns the path that only the data path knows (requests come here through `proxy.paged`, never from a client
directly), the fields of the answers and when something is told. What is shown is `waiting_view`'s.
Source: experience.md WP-02, WP-04, WP-10.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import HTMLResponse, StreamingResponse

from hestia.api.control import Control
from hestia.api.waiting_theme import Themes
from hestia.api.waiting_view import Shown, shown
from hestia.core.model import ServiceId
from hestia.runtime.visits import Phase, Visit, Visits

PACE: Final = 1.0  # seconds between two looks at a start
SILENCE: Final = 2.0  # seconds without a change after which the stream says that it is still there
ASK_AGAIN: Final = 5  # seconds, for who cannot be told how long a start takes
_STREAM: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_JSON: Final = {"cache-control": "no-store"}
_VARY: Final = "Accept, Sec-Fetch-Mode, Sec-Fetch-Dest"
Service = Annotated[str, Query()]
Name = Annotated[str, Query()]
Detail = Annotated[bool, Query()]


class WaitingPages:
    """Answers for every visit. inside: the path that nobody but the data path knows. template: path of one
    of the owner's own, "" for none."""

    def __init__(
        self, control: Control, visits: Visits, inside: str, *, template: Callable[[], str] = lambda: ""
    ) -> None:
        self._themes = Themes(template)
        self._control = control
        self._visits = visits
        self._inside = inside

    def router(self) -> APIRouter:
        """Its routes; none is in the document of the API."""
        router = APIRouter(prefix=self._inside, include_in_schema=False)
        router.add_api_route("/page", self._page, methods=["GET"], response_model=None)
        router.add_api_route("/follow", self._follow, methods=["GET"], response_model=None)
        router.add_api_route("/look", self._look, methods=["GET"], response_model=None)
        router.add_api_route("/start", self._start, methods=["POST"], response_model=None)
        router.add_api_route("/leave", self._leave, methods=["POST"], response_model=None)
        return router

    async def _page(
        self, request: Request, service: Service, visit: Name = "", detail: Detail = False
    ) -> Response:
        """The whole page: 503, since the service did not answer."""
        found = self._visits.find(ServiceId(service), visit)
        now = await self._shown(found, detail, request)
        nonce = secrets.token_urlsafe(12)
        html = self._themes.page(now, nonce)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        )
        fields = {
            "cache-control": "no-store",
            "content-security-policy": policy,
            "referrer-policy": "same-origin",
            "retry-after": str(max(1, math.ceil(now.left)) if now.left is not None else ASK_AGAIN),
            "vary": _VARY,
            "x-robots-tag": "noindex",
        }
        return HTMLResponse(html, 503, fields)

    async def _follow(
        self, request: Request, service: Service, visit: Name = "", detail: Detail = False
    ) -> Response:
        """News as they come, until the wait is over."""
        found = self._visits.look(ServiceId(service), visit)
        return StreamingResponse(self._news(found, detail, request), 200, _STREAM, "text/event-stream")

    async def _look(
        self, request: Request, service: Service, visit: Name = "", detail: Detail = False
    ) -> Response:
        """What is true now, for who cannot have a stream."""
        return await self._answer(self._visits.look(ServiceId(service), visit), detail, request)

    async def _start(
        self, request: Request, service: Service, visit: Name = "", detail: Detail = False
    ) -> Response:
        """A person wants another try."""
        del visit
        actor = request.headers.get("x-request-id", "")
        return await self._answer(self._visits.start(ServiceId(service), actor=actor), detail, request)

    async def _leave(
        self, request: Request, service: Service, visit: Name = "", detail: Detail = False
    ) -> Response:
        """A person waits no more. What was started goes on."""
        return await self._answer(self._visits.leave(ServiceId(service), visit), detail, request)

    async def _news(self, visit: Visit, detail: bool, request: Request) -> AsyncIterator[bytes]:
        told, silent = "", 0.0
        with ExitStack() as stack:
            stack.enter_context(self._visits.listening(visit))
            while True:
                visit.news.clear()
                self._visits.attend(visit)
                now = await self._shown(visit, detail, request)
                if now.facts != told:
                    told, silent = now.facts, 0.0
                    yield b"data: " + self._document(now) + b"\n\n"
                elif silent >= SILENCE:
                    silent = 0.0
                    yield b":\n\n"
                if visit.phase is not Phase.WAITING:
                    return
                try:
                    async with asyncio.timeout(PACE):
                        await visit.news.wait()
                except TimeoutError:
                    silent += PACE

    async def _answer(self, visit: Visit, detail: bool, request: Request) -> Response:
        now = await self._shown(visit, detail, request)
        return Response(self._document(now), 200, _JSON, "application/json")

    async def _shown(self, visit: Visit, detail: bool, request: Request) -> Shown:
        status = await self._control.status(visit.service, probe=False)
        request_id = request.headers.get("x-request-id", "")
        return shown(visit, status, self._visits, detail=detail, request_id=request_id)

    def _document(self, now: Shown) -> bytes:
        """What the page's script takes."""
        document = {
            "state": now.phase,
            "visit": now.visit,
            "title": now.title,
            "said": now.said,
            "html": self._themes.part(now),
        }
        return json.dumps(document).encode()
