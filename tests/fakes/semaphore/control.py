"""The stand-in with a door for tests in another process: `/stand-in/...`, beside the API and in no log."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from .faults import Fault, Kind
from .server import Semaphore

DOOR: Final = "/stand-in/"


class Controlled(Semaphore):
    """Answers `calls` (GET), `fault` and `lift` (POST) itself. A fault is its fields as JSON."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(DOOR):
            await super().__call__(scope, receive, send)
            return
        answer = await self._do(scope["path"].removeprefix(DOOR), Request(scope, receive))
        await answer(scope, receive, send)

    async def _do(self, order: str, request: Request) -> Response:
        if order == "calls":
            return JSONResponse([asdict(seen) for seen in self.calls])
        if order == "fault":
            asked = await request.json()
            self.faults.add(Fault(**{**asked, "kind": Kind(asked["kind"])}))
        elif order == "lift":
            self.faults.lift()
        else:
            return Response(status_code=404)
        return Response(status_code=204)
