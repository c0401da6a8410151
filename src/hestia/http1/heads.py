"""Heads of messages, read in one pass: what passes on is collected as it will be written, the rest is noted.

Received head bytes are never copied through (SE-02): what leaves is put together from these parts by
`proxy.rewrite`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from hestia.core.errors import BadFraming, BadRequest, ExpectationFailed, HeadTooLarge, UnsupportedCoding
from hestia.core.errors import HestiaError as Error
from hestia.http1 import fields as f
from hestia.http1 import framing
from hestia.http1.framing import NO_BODY

HEAD_MAX: Final = 64 * 1024
FIELD_MAX: Final = 16 * 1024
FIELDS_MAX: Final = 200

Field = tuple[bytes, bytes]

# Connection values that nominate nothing; everything else is looked at member by member.
_PLAIN_CONNECTION: Final = frozenset(
    spelled
    for value in (b"keep-alive", b"close", b"upgrade", b"keep-alive, upgrade", b"te", b"te, close")
    for spelled in (value, value.title(), value.capitalize())
)
_KEEP_ALIVE: Final = frozenset({b"keep-alive", b"Keep-Alive"})
_NOT_NOMINATED: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"te"})
_NEVER_NOMINATED: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})


class Request:
    """Head of one request as it was sent.

    target: raw; origin-form once `authority` was split off. fields: as written, in order. passing: prefix and
    value alternately, for the upstream head. length: of the body, or a mark of `framing`. refusal: what is
    wrong with a request whose framing is certain, so that its connection stays in step; None when fine.
    authority: of an absolute-form target, else b"". wait: what a waiting page asks for, else b"".
    """

    __slots__ = (
        "authority",
        "connection",
        "expects",
        "fields",
        "forwarded",
        "hosts",
        "keep_alive",
        "length",
        "method",
        "minor",
        "passing",
        "refusal",
        "request_id",
        "target",
        "te",
        "upgrade",
        "via",
        "wait",
    )

    def __init__(self, method: bytes, target: bytes, minor: int, fields: list[Field]) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.fields = fields
        self.passing: list[bytes] = []
        self.length = NO_BODY
        self.hosts: list[bytes] = []
        self.authority = b""
        self.connection: list[bytes] = []
        self.keep_alive = True
        self.expects = False
        self.upgrade: list[bytes] = []
        self.te: list[bytes] = []
        self.request_id = b""
        self.via: list[bytes] = []
        self.forwarded: list[Field] = []
        self.wait = b""
        self.refusal: Error | None = None

    def get(self, name: bytes) -> bytes | None:
        """Value of the first field of this lower-case name. A scan: not for the hot path."""
        for written, value in self.fields:
            if written.lower() == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """Values of all fields of this lower-case name, in order."""
        return [value for written, value in self.fields if written.lower() == name]

    def drop(self, names: Collection[bytes]) -> None:
        """Take fields of these lower-case names, `_` read as `-`, out of what passes."""
        passing, kept = self.passing, []
        for at in range(0, len(passing), 2):
            name = passing[at][2:-2].lower()
            if name not in names and name.replace(b"_", b"-") not in names:
                kept += passing[at : at + 2]
        self.passing = kept

    @property
    def offers_websocket(self) -> bool:
        """Whether this is a WebSocket handshake (RFC 6455 §4.1)."""
        return self.method == b"GET" and self.minor == 1 and self.wants_websocket

    @property
    def wants_websocket(self) -> bool:
        """Whether the fields ask for a WebSocket, whatever the method."""
        return b"websocket" in f.tokens(self.upgrade) and b"upgrade" in f.tokens(self.connection)

    @property
    def takes_trailers(self) -> bool:
        return bool(self.te) and b"trailers" in f.tokens(self.te)

    def __repr__(self) -> str:
        return f"<Request {self.method!r} {self.target[:60]!r} length={self.length}>"


def read_request(method: bytes, target: bytes, minor: int, fields: list[Field]) -> Request:
    """Read a head. The connection must close after what it raises.

    Raises BadFraming, BadRequest, UnsupportedCoding, HeadTooLarge.
    """
    request = Request(method, target, minor, fields)
    known, learn, passing = f.REQUEST.known, f.REQUEST.learn, request.passing
    lengths: list[bytes] = []
    codings: list[bytes] = []
    for name, value in fields:
        entry = known.get(name) or learn(name)
        if type(entry) is bytes:
            passing += (entry, value)
        elif entry == f.HOST:
            request.hosts.append(value)
        elif entry == f.LENGTH:
            lengths.append(value)
        elif entry == f.CODING:
            codings.append(value)
        else:
            _note(request, entry, name, value)
    if len(fields) > FIELDS_MAX:
        raise too_many_fields(len(fields))
    if lengths or codings:
        request.length = _request_length(lengths, codings, minor)
    if request.connection:
        _obey_connection(request)
    return request


def _note(request: Request, entry: f.Entry, name: bytes, value: bytes) -> None:
    """A field that is neither passed on nor framing."""
    if entry == f.CONNECTION:
        request.connection.append(value)
    elif entry == f.FORWARDED:
        request.forwarded.append((name.lower(), value))
    elif entry == f.VIA:
        request.via.append(value)
    elif entry == f.REQUEST_ID:
        request.request_id = value if not request.request_id and f.is_sane_id(value) else b""
    elif entry == f.WAIT:
        request.wait = value
    elif entry == f.UPGRADE:
        request.upgrade.append(value)
    elif entry == f.TE:
        request.te.append(value)
    elif entry == f.EXPECT and request.minor:
        request.expects = value.strip(b" \t").lower() == b"100-continue"
        if not request.expects:
            request.refusal = ExpectationFailed(
                f"Expect is {value[:40].decode('latin-1')!r}; only 100-continue is known.",
                remedy="leave the Expect field out",
            )


def _request_length(lengths: list[bytes], codings: list[bytes], minor: int) -> int:
    try:
        return framing.declared(lengths, codings, minor=minor)
    except framing.Unclear as unclear:
        kind = UnsupportedCoding if unclear.coding else BadFraming
        raise kind(
            unclear.detail, remedy="send one Content-Length or Transfer-Encoding: chunked"
        ) from unclear


def _obey_connection(request: Request) -> None:
    """Take out what Connection nominates (HQ-02, HQ-03)."""
    if all(value in _PLAIN_CONNECTION for value in request.connection):
        return
    nominated = set(f.tokens(request.connection)) - _NOT_NOMINATED
    if not nominated:
        return
    if wrong := nominated & _NEVER_NOMINATED:
        raise BadRequest(
            f"Connection nominates {min(wrong).decode()}, which belongs to the request itself.",
            remedy="leave it out of the Connection field",
        )
    request.drop(nominated)


def head_size(first_line: int, fields: list[Field]) -> int:
    """Bytes of a head on the wire, when nobody wrote needless blanks. first_line: its bytes with CRLF."""
    return first_line + 2 + sum(len(name) + len(value) + 4 for name, value in fields)


def check_size(first_line: int, fields: list[Field]) -> None:
    """Raises HeadTooLarge (LI-01, LI-02). first_line: its bytes with CRLF."""
    for name, value in fields:
        if len(name) + len(value) + 4 > FIELD_MAX:
            raise HeadTooLarge(
                f"One header field is longer than {FIELD_MAX} bytes: {name[:40].decode('latin-1')!r}.",
                remedy="send a shorter one; in a browser, delete the cookies of this address",
            )
    if head_size(first_line, fields) > HEAD_MAX:
        raise head_too_large()


def head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"The head is larger than {HEAD_MAX} bytes.",
        remedy="send fewer or shorter fields; in a browser, delete the cookies of this address",
    )


def too_many_fields(count: int) -> HeadTooLarge:
    return HeadTooLarge(
        f"The head has {count} fields; {FIELDS_MAX} are taken.", remedy="send fewer header fields"
    )


class Response:
    """Head of one response of an upstream.

    passing: prefix and value alternately. marked: (index of the value in `passing`, meaning) of fields that
    may be rewritten. length: of the body or a mark of `framing`, before the request's method is considered.
    lasting: the connection may serve another request as far as the head says. idle_limit: what the peer's
    Keep-Alive promises in seconds, or None. bound: the connection's authentication belongs to this client.
    """

    __slots__ = (
        "bound",
        "connection",
        "dated",
        "idle_limit",
        "lasting",
        "length",
        "marked",
        "minor",
        "passing",
        "reason",
        "request_id",
        "status",
        "stream",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, minor: int) -> None:
        self.status = status
        self.reason = reason
        self.minor = minor
        self.passing: list[bytes] = []
        self.marked: list[tuple[int, int]] = []
        self.length = NO_BODY
        self.connection: list[bytes] = []
        self.upgrade: list[bytes] = []
        self.lasting = minor == 1
        self.idle_limit: float | None = None
        self.dated = False
        self.stream = False  # an event stream without X-Accel-Buffering of its own
        self.bound = False
        self.request_id = b""  # of an answer of our own edge; what a service says is dropped

    def get_all(self, name: bytes) -> list[bytes]:
        """Values of all passing fields of this lower-case name."""
        passing = self.passing
        return [passing[at + 1] for at in range(0, len(passing), 2) if passing[at][2:-2].lower() == name]

    def __repr__(self) -> str:
        return f"<Response {self.status} length={self.length}>"


def read_response(status: int, reason: bytes, minor: int, fields: list[Field]) -> Response:
    """Read a head. Raises framing.Unclear where it is not certain what belongs to the response."""
    response = Response(status, reason, minor)
    known, learn, passing = f.RESPONSE.known, f.RESPONSE.learn, response.passing
    lengths: list[bytes] = []
    codings: list[bytes] = []
    for name, value in fields:
        entry = known.get(name) or learn(name)
        if type(entry) is bytes:
            passing += (entry, value)
        elif entry == f.DATE:
            if not response.dated:
                response.dated = True
                passing += (b"\r\ndate: ", value)
        elif entry == f.LENGTH:
            lengths.append(value)
        elif entry == f.CODING:
            codings.append(value)
        elif entry == f.CONTENT_TYPE:
            response.stream = response.stream or value[:17].lower() == b"text/event-stream"
            passing += (b"\r\ncontent-type: ", value)
        elif entry == f.CONNECTION:
            response.connection.append(value)
        else:
            _note_response(response, entry, name, value)
    if len(lengths) == 1 and not codings:
        response.length = framing.read_length(lengths[0])
    elif lengths or codings:
        response.length = framing.declared(lengths, codings, minor=minor)
    elif not framing.has_no_body(b"", status):
        response.length = framing.UNTIL_CLOSE
    if response.connection:
        _obey_response_connection(response)
    if response.stream and response.get_all(b"x-accel-buffering"):
        response.stream = False
    return response


def _note_response(response: Response, entry: f.Entry, name: bytes, value: bytes) -> None:
    passing = response.passing
    if entry in (f.LOCATION, f.REFRESH, f.COOKIE):
        passing += (f.prefix(name.lower()), value)
        response.marked.append((len(passing) - 1, int(entry)))
    elif entry == f.BUFFERING:
        passing += (b"\r\nx-accel-buffering: ", value)
    elif entry == f.AUTHENTICATE:
        passing += (b"\r\nwww-authenticate: ", value)
        response.bound = response.bound or value[:9].lower().startswith((b"ntlm", b"negotiate"))
    elif entry == f.UPGRADE:
        response.upgrade.append(value)
    elif entry == f.REQUEST_ID:
        response.request_id = value
    elif entry == f.KEEP_ALIVE:
        response.idle_limit = _promised(value)


def _promised(value: bytes) -> float | None:
    """Seconds of `Keep-Alive: timeout=n`."""
    for member in f.tokens((value,)):
        name, _, number = member.partition(b"=")
        if name.strip() == b"timeout" and number.strip().isdigit() and len(number) < 10:
            return float(number)
    return None


def _obey_response_connection(response: Response) -> None:
    if len(response.connection) == 1 and response.connection[0] in _KEEP_ALIVE:
        return
    members = set(f.tokens(response.connection))
    if b"close" in members:
        response.lasting = False
    nominated = members - _NOT_NOMINATED - _NEVER_NOMINATED
    if nominated:
        passing = response.passing
        gone = [at for at in range(0, len(passing), 2) if passing[at][2:-2].lower() in nominated]
        for at in reversed(gone):
            del passing[at : at + 2]
        if gone and response.marked:  # places moved: find what may be rewritten again
            response.marked = [
                (at + 1, meaning)
                for at in range(0, len(passing), 2)
                if (meaning := f.RESPONSE.meaning(passing[at][2:-2].lower()))
                in (f.LOCATION, f.REFRESH, f.COOKIE)
            ]
