"""Every failure of a call as one problem document: ours, FastAPI's and a bug's.

Owns the translation of foreign exceptions into `core.errors`; `hestia.problems` owns status and shape.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from hestia.api import pages
from hestia.api.names import QUOTE_LIMIT, quoted
from hestia.core.errors import BadRequest, ClientGone, HestiaError, InternalError, MethodNotAllowed, NotFound
from hestia.problems import document, to_json

_INSTANT: Final = "an instant with its zone, such as 2026-01-31T12:00:00Z"


def request_id(scope: Scope) -> str:
    """The id that the edge gave the request, or ""."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return bytes(value).decode("latin-1")
    return ""


def problem(error: HestiaError, scope: Scope) -> Response:
    """The answer for one error: a small page for a browser's navigation, else problem+json."""
    status, body, fields = document(error, request_id=request_id(scope))
    if pages.wants_page(scope):
        response: Response = pages.problem_page(status, body)
    else:
        response = Response(to_json(body), status)
    for name, value in fields:
        if name not in {b"content-length", b"content-type"}:
            response.headers[name.decode()] = value.decode("latin-1")
    if not pages.wants_page(scope):
        response.headers["content-type"] = "application/problem+json"
    return response


def install(app: FastAPI) -> None:
    """Make every failure that FastAPI knows come out as a problem."""

    async def on_ours(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HestiaError)
        return problem(exc, request.scope)

    async def on_invalid(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)
        return problem(_invalid(exc.errors(), request), request.scope)

    async def on_http(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        response = problem(_http(exc, request), request.scope)
        for name, value in (exc.headers or {}).items():
            response.headers[name] = value
        if exc.status_code == 405:
            response.headers["allow"] = _allowed(request)
        return response

    async def on_gone(request: Request, exc: Exception) -> Response:
        return problem(ClientGone("The caller left in the middle of its call."), request.scope)

    app.add_exception_handler(HestiaError, on_ours)
    app.add_exception_handler(ClientDisconnect, on_gone)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)


def internal(scope: Scope) -> Response:
    """The answer to a bug of ours; what happened is in the log under the same id (ET-07)."""
    error = InternalError("Hestia failed to answer this call; this is a fault of Hestia, not of the request.")
    return problem(error, scope)


def _http(exc: HTTPException, request: Request) -> HestiaError:
    """What the router found: no such path, no such method, or an unreadable request."""
    path = quoted(request.scope["path"])
    if exc.status_code == 405:
        allowed = _allowed(request)
        return MethodNotAllowed(
            f"{path} takes {allowed}, not {quoted(request.method)}.",
            remedy=f"Send the same call with {allowed}.",
        )
    if exc.status_code == 404:
        paths = list(request.app.openapi()["paths"])
        return NotFound(f"There is nothing at {path}.", remedy=_way(request.scope["path"], paths))
    return BadRequest(f"{request.method} {path} could not be read: {quoted(str(exc.detail))}.")


def _allowed(request: Request) -> str:
    """The methods of every route of this path; the router names those of the first alone."""
    routes: list[Route] = request.app.state.routes
    partial = (route for route in routes if route.matches(request.scope)[0] is Match.PARTIAL)
    return ", ".join(sorted({method for route in partial for method in route.methods or ()}))


def _way(path: str, paths: Sequence[str]) -> str:
    """The path that was probably meant, else the list of all."""
    close = difflib.get_close_matches(path[:QUOTE_LIMIT], paths, n=1, cutoff=0.75)
    way = "GET /v1 lists what is here; a service answers under /services/{serviceId}/."
    return f"The nearest path is {close[0]}. {way}" if close else way


def _invalid(found: Sequence[Any], request: Request) -> BadRequest:
    """One sentence per wrong value: where, what was found, what was expected."""
    sentences = [_sentence(item) for item in found]
    return BadRequest(" ".join(sentences), remedy=_expected(found, request))


def _sentence(item: Any) -> str:
    place, *rest = item["loc"]
    name = ".".join(str(part) for part in rest)
    what = {"query": "The query parameter", "path": "The path parameter"}.get(place, f"The {place} field")
    if item["type"] == "extra_forbidden":
        return f"{what} {quoted(name)} is not known here."
    if item["type"] == "missing":
        return f"{what} {quoted(name)} is missing."
    if item["type"].startswith(("datetime_", "timezone_")):
        return f"{what} {quoted(name)} is {quoted(str(item['input']))}; expected {_INSTANT}."
    message = str(item["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{what} {quoted(name)} is {quoted(str(item['input']))}; expected {message}."


def _expected(found: Sequence[Any], request: Request) -> str:
    """How the call is written correctly."""
    if any(item["type"] == "extra_forbidden" for item in found):
        names = _query_names(request)
        return f"It takes {', '.join(names)}." if names else "It takes no query parameters."
    return "Correct the value or leave it out; /openapi.json describes every call."


def _query_names(request: Request) -> list[str]:
    """The query parameters of the call, from our own document."""
    path = getattr(request.scope.get("route"), "path", "")
    call = request.app.openapi()["paths"].get(path, {}).get(request.method.lower(), {})
    return sorted(item["name"] for item in call.get("parameters", ()) if item["in"] == "query")
