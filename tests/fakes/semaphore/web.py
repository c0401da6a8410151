"""One call of the API: who asks, what was sent, what may be answered.

A route is a method, a pattern and a handler; what the caller must be is said in the route, so that a handler
reads only its own business. Whatever refuses raises `Refused`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection
from starlette.responses import Response

from .records import Document, Project, User
from .versions import Version
from .world import World

if TYPE_CHECKING:
    from .queue import Queue

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
COOKIE = "semaphore"

Fields = Mapping[str, type]  # the keys of a body that are looked at, with their JSON types


class Refused(Exception):
    """The call is answered with this status and, maybe, a document."""

    def __init__(self, status: int, document: Document | None = None, location: str = "") -> None:
        super().__init__(status)
        self.status = status
        self.document = document
        self.location = location


class Need(Enum):
    """What a caller must be. MEMBER: of the project in the path, with the route's permission bits."""

    NOTHING = 0
    USER = 1
    ADMIN = 2
    MEMBER = 3


@dataclass(slots=True)
class Settings:
    """How far the lists of tasks reach, and what the server says of itself."""

    longest: int = 1000
    last: int = 200
    web_root: str = ""
    lost_lines: int = 0  # so many last lines of a task never reach the store


@dataclass(slots=True)
class Call:
    """One request that found its route. ids: the numbers in its path by name."""

    world: World
    queue: Queue
    settings: Settings
    connection: HTTPConnection
    body: bytes
    caller: User | None = None
    within: Project | None = None
    ids: dict[str, int] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        return self.world.version

    @property
    def user(self) -> User:
        """Who asks. Only for routes that need one."""
        if self.caller is None:
            raise Refused(401)
        return self.caller

    @property
    def project(self) -> Project:
        """The project in the path. Only for routes that need a member."""
        if self.within is None:
            raise Refused(404)
        return self.within

    def decode(self, fields: Fields) -> Document:
        """The body's object, without null values and with the right types. Raises Refused(400)."""
        try:
            sent = json.loads(self.body)
        except ValueError:
            raise Refused(400) from None
        if sent is None:
            return {}
        if not isinstance(sent, dict):
            raise Refused(400)
        found = {name: sent[name] for name in fields if sent.get(name) is not None}
        for name, value in found.items():
            if not isinstance(value, fields[name]) or (fields[name] is int and isinstance(value, bool)):
                raise Refused(400)
        return found

    def thing(self, kind: str, name: str) -> Document:
        """The resource whose id the path names. Raises Refused(404)."""
        found = self.project.of(kind).get(self.ids[name])
        if found is None:
            raise Refused(404)
        return found


Handler = Callable[[Call], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """pattern: `{name}` is a number, `{name:word}` any piece. since: only newer servers know it."""

    method: str
    pattern: str
    handler: Handler
    need: Need = Need.MEMBER
    may: int = 0
    modern: bool = False

    def match(self, path: str) -> dict[str, str] | None:
        """The pieces of the path by name, or None."""
        shape = re.sub(r"\{(\w+)(?::word)?\}", r"(?P<\1>[^/]+)", self.pattern)
        found = re.fullmatch(shape, path)
        return None if found is None else found.groupdict()


def find(routes: Sequence[Route], method: str, path: str, version: Version) -> tuple[Route, dict[str, str]]:
    """The first route for a call. Raises Refused(404) with the server's text for a path or method unknown."""
    for route in routes:
        if route.modern and not version.modern:
            continue
        if (
            route.method in (method, "GET" if method == "HEAD" else method)
            and (pieces := route.match(path)) is not None
        ):
            return route, pieces
    raise Refused(404, {"text": "Not Found\n"})


def admit(call: Call, route: Route, pieces: dict[str, str]) -> None:
    """Check who asks and read the ids of the path, in the server's order. Raises Refused."""
    if route.need is not Need.NOTHING:
        call.caller = identify(call.world, call.connection)
        if call.caller is None:
            raise Refused(401)
        if route.need is Need.ADMIN and not call.caller.admin:
            raise Refused(403)
    if route.need is Need.MEMBER:
        call.within = _project(call, pieces.pop("project_id"))
        bits = call.world.permissions(call.user, call.within)
        if bits is None:
            raise Refused(404)
        if route.may & ~bits:
            raise Refused(403)
    for name, piece in pieces.items():
        if f"{{{name}:word}}" in route.pattern:
            call.words[name] = piece
        elif (number := _number(piece)) is None:
            raise Refused(400)
        else:
            call.ids[name] = number


def _number(piece: str) -> int | None:
    """An integer of 64 bits, or None."""
    if not re.fullmatch(r"[+-]?\d+", piece) or not -(2**63) <= int(piece) < 2**63:
        return None
    return int(piece)


def _project(call: Call, piece: str) -> Project:
    number = _number(piece)
    if number is None:
        refusal: Document = {"error": "Invalid project ID"}
        if "text/html" in call.connection.headers.get("accept", ""):
            raise Refused(302, refusal, "/404")
        raise Refused(400, refusal)
    found = call.world.projects.get(number)
    if found is None:
        raise Refused(404)
    return found


def identify(world: World, connection: HTTPConnection) -> User | None:
    """Who speaks: by token, else by session. A header with a token hides the cookie, good or bad."""
    header = connection.headers.get("authorization", "")
    if "bearer" in header.lower():
        return world.bearer(header)
    user_id = world.sessions.get(connection.cookies.get(COOKIE, ""))
    return None if user_id is None else world.users.get(user_id)


def told(document: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(json.dumps(document), status, media_type=JSON)


def done(status: int = 204) -> Response:
    """An answer without a body; the server names JSON all the same."""
    return Response(b"", status, headers={"Content-Type": JSON})


def plain(text: str, status: int = 200) -> Response:
    """Text; where it refuses, as Go's standard library does it."""
    fields = {"X-Content-Type-Options": "nosniff"} if status != 200 else {}
    return Response(text, status, headers={"Content-Type": TEXT, **fields})


def refusal(refused: Refused) -> Response:
    """The answer that a refusal asks for."""
    if refused.document is None:
        return done(refused.status)
    if "text" in refused.document:
        return plain(refused.document["text"], refused.status)
    answer = told(refused.document, refused.status)
    if refused.location:
        answer.headers["Location"] = refused.location
    return answer
