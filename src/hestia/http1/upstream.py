"""One connection to an upstream: writes one request, parses one response at a time, tells its exchange.

The parser is new for each response and never lenient. What llhttp accepts although it is dangerous is
refused here (P8); a message with no request outstanding destroys the connection (CP-03). Owns the socket,
not the decision to retry. Source: RFC 9112 §6, proxy-semantics P1…P13, BF-11…21, CP, NB.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from hestia.core.errors import (
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidStatus,
    UpstreamProtocolError,
)
from hestia.http1 import framing
from hestia.http1.framing import UNTIL_CLOSE
from hestia.http1.heads import FIELDS_MAX, HEAD_MAX, Field, Response, head_size, read_response
from hestia.http1.sockets import keep_alive, reset_on_close

if TYPE_CHECKING:
    from hestia.http1.pool import Shelf

TRAILERS_MAX: Final = 8 * 1024  # bytes
INTERIM_LIMIT: Final = 16  # 1xx answers per exchange (UP-01)
IDLE_TIMEOUT: Final = 4.0  # seconds an idle connection is kept (TO-15)
MAX_AGE: Final = 300.0  # seconds (CP-02)
MAX_USES: Final = 1000
HIGH_WATER: Final = 64 * 1024


class Exchange(Protocol):
    """Who sent the request: told everything, in order, in the call of the read that brought it."""

    def response_head(self, head: Response) -> None: ...
    def response_body(self, data: bytes) -> None: ...
    def response_end(self, trailers: list[Field]) -> None: ...
    def response_flush(self) -> None: ...
    def response_failed(self, error: UpstreamError, *, clean: bool) -> None: ...
    def upstream_writable(self, writable: bool) -> None: ...


class Owner(Protocol):
    """The pool, as a connection sees it."""

    def done(self, connection: UpstreamConnection, head: Response, *, reusable: bool) -> None: ...
    def lost(self, connection: UpstreamConnection) -> None: ...


_SPENT: Final = httptools.HttpResponseParser(object())  # a parser of nobody
_REASON: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # RFC 9112 §4 (HR-05)


def _nowhere(data: bytes) -> None:
    """Where bytes go before there is a transport."""


class _Stop(Exception):
    """Ends the parsing behind a HEAD answer; the parser itself cannot be told (P1)."""


class _Interim(Exception):
    """Ends the parsing behind an interim answer, so that the next head begins a read of its own."""


class UpstreamConnection(asyncio.Protocol):
    """A connection to one upstream. At most one exchange at a time; never pipelined (CP-11).

    Fields by lifetime: the connection's, then those of the running response (set anew by `begin`).
    """

    __slots__ = (
        "_blank",
        "_bodyless",
        "_count",
        "_done",
        "_eof",
        "_fields",
        "_got",
        "_head",
        "_interim",
        "_left",
        "_no_body",
        "_parser",
        "_reason",
        "_splicing",
        "_surplus",
        "_tail",
        "_trailers",
        "_trailing",
        "exchange",
        "fd",
        "idle_since",
        "made_at",
        "owner",
        "request_done",
        "shelf",
        "transport",
        "usable_until",
        "uses",
        "where",
        "writable",
        "write",
    )

    def __init__(self, owner: Owner, where: str) -> None:
        self.owner = owner
        self.where = where  # the endpoint, for error texts
        self.shelf: Shelf | None = None
        self.transport: asyncio.Transport | None = None
        self.write: Callable[[bytes], None] = _nowhere  # the transport's own, without a call in between
        self.exchange: Exchange | None = None
        self.fd = -1
        self.made_at = 0.0
        self.idle_since = 0.0
        self.usable_until = 0.0
        self.uses = 0
        self.writable = True
        self._eof = False
        self._splicing = False
        self._head: Response | None = None

    # -- what the exchange calls ---------------------------------------------------------------

    def begin(self, exchange: Exchange, *, no_body: bool) -> None:
        """Take this connection for one exchange. no_body: the request is HEAD (NB-01)."""
        self.exchange = exchange
        self.uses += 1
        self.request_done = False
        self._parser = httptools.HttpResponseParser(self)
        self._fields: list[Field] = []
        self._trailers: list[Field] = []
        self._reason = b""
        self._head = None
        self._count = 0
        self._interim = 0
        self._blank = False  # it sent line ends before its answer (P10)
        self._tail = b""  # the last bytes of a head that is in pieces
        self._no_body = no_body
        self._bodyless = no_body
        self._done = False
        self._surplus = False
        self._got = 0  # bytes of the body
        self._trailing = 0  # bytes of the trailers
        self._left = 0  # bytes of a body with a length that the parser does not get to see

    def pause(self) -> None:
        if self.transport is not None and self.transport.is_reading():
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.transport is not None and not self.transport.is_reading() and not self.transport.is_closing():
            self.transport.resume_reading()

    @property
    def unsent(self) -> int:
        """Bytes that were written and are not out yet."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def splice(self) -> None:
        """From here on bytes go to the exchange as they come."""
        self._splicing = True
        keep_alive(self.transport)

    def abort(self) -> None:
        """Close at once; the exchange, if any, is not told. A body that was cut is a reset for the service:
        behind an orderly end it would go on reading the megabytes that the kernel has taken."""
        exchange, self.exchange = self.exchange, None
        if self.transport is not None:
            if exchange is not None and not self.request_done:
                reset_on_close(self.transport)
            self.transport.abort()

    def finish(self, limit: float) -> None:
        """Close when what was written is out, at the latest after `limit` seconds; nobody is told."""
        self.exchange = None
        transport = self.transport
        if transport is None:
            return
        transport.close()
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(limit, transport.abort)

    # -- what the loop calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        self.transport = transport
        self.write = transport.write
        transport.set_write_buffer_limits(high=HIGH_WATER, low=HIGH_WATER // 4)
        sock = transport.get_extra_info("socket")
        self.fd = sock.fileno() if sock is not None else -1

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:  # bytes that nobody asked for (CP-03)
            self.abort()
            self.owner.lost(self)
            return
        if self._splicing:
            exchange.response_body(data)
            exchange.response_flush()
            return
        if self._left:
            self._rest_of_body(exchange, data)
            return
        if self._head is None:
            if not self._count and data[:1] != b"H":
                data = data.lstrip(b"\r\n")
                if data[:1] != b"H":
                    self._no_answer(data)
                    return
            self._count += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgraded:
            self._upgraded(data[upgraded.args[0] :])
            return
        except httptools.HttpParserCallbackError as exc:
            data = self._stopped(exc, data)
        except httptools.HttpParserError as exc:
            if not self._done:
                self._fail(
                    UpstreamProtocolError(f"The answer of {self.where} is not valid HTTP/1.1 ({exc}).")
                )
                return
            self._surplus = True
        exchange = self.exchange  # another one, where the answer is kept for later
        if exchange is None:
            return
        if self._head is None:
            self._between_heads(exchange, data)
        elif self._done:
            self._finish()
        else:
            if self._head.length > 0 and not self._bodyless:
                self._left = self._head.length - self._got
            exchange.response_flush()

    def _between_heads(self, exchange: Exchange, data: bytes) -> None:
        """A read is over in which no final head ended. data: what is left of it."""
        if not self._count and data:  # behind an interim answer: a read of its own
            self.data_received(data)
            return
        self._tail = (self._tail + data)[-3:]
        if self._count > HEAD_MAX:
            self._fail(self._too_large())
        else:
            exchange.response_flush()

    def _rest_of_body(self, exchange: Exchange, data: bytes) -> None:
        """A read behind the first of a body with a length: it is counted, and passed on as it is, which saves
        the parser's look and copy. Each response has a parser of its own, so this one is not missed."""
        left = self._left - len(data)
        self._left = max(left, 0)
        if left < 0:
            self._surplus = True
            data = data[:left]
        exchange.response_body(data)
        if self.exchange is not exchange:
            return
        if left > 0:
            exchange.response_flush()
        else:
            self._done = True
            self._finish()

    def eof_received(self) -> bool:
        self._eof = True
        exchange, head = self.exchange, self._head
        if (
            exchange is not None
            and head is not None
            and head.length == UNTIL_CLOSE
            and not self._bodyless
            and not self._splicing
        ):
            self._finish()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self.exchange = self.exchange, None
        self.owner.lost(self)
        self._parser = _SPENT  # ours holds this object, and nothing of it waits for the collector
        if exchange is not None:
            self._tell_lost(exchange, exc)
        self._head = None
        self.transport = None
        self.write = _nowhere

    def _tell_lost(self, exchange: Exchange, exc: Exception | None) -> None:
        if self._splicing:
            exchange.response_end([])
            return
        why = "reset the connection" if exc is not None else "closed the connection"
        when = "before it answered" if self._head is None else "in the middle of its answer"
        started = self._head is not None or self._count > 0 or self._interim > 0 or self._blank
        exchange.response_failed(
            UpstreamDisconnected(f"The service at {self.where} {why} {when}."), clean=not started
        )

    def pause_writing(self) -> None:
        self.writable = False
        if self.exchange is not None:
            self.exchange.upstream_writable(False)

    def resume_writing(self) -> None:
        self.writable = True
        if self.exchange is not None:
            self.exchange.upstream_writable(True)

    # -- what the parser calls -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._done:
            self._surplus = True

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:
            self._fields.append((name, value))
        else:
            self._trailers.append((name, value))
            self._trailing += len(name) + len(value) + 4
            if self._trailing > TRAILERS_MAX:
                raise UpstreamProtocolError(
                    f"The trailers of the answer of {self.where} are longer than {TRAILERS_MAX} bytes."
                )

    def on_headers_complete(self) -> None:
        if self._done:
            raise _Stop
        head = self._read_head()
        status = head.status
        assert self.exchange is not None
        if status < 200 and status != 101:
            self._interim += 1
            if self._interim > INTERIM_LIMIT:
                raise UpstreamProtocolError(
                    f"The service at {self.where} sent more than {INTERIM_LIMIT} interim answers."
                )
            if status != 100:
                self.exchange.response_head(head)
            raise _Interim
        self._head = head
        if status == 204 or self._no_body or status == 304:
            self._bodyless = True
        self.exchange.response_head(head)
        if self._no_body:
            self._done = True
            raise _Stop

    def _read_head(self) -> Response:
        """The head the parser has just completed, with what it lets pass although it is dangerous (P8)."""
        parser = self._parser
        status, version = parser.get_status_code(), parser.get_http_version()
        if not 100 <= status <= 599:
            raise UpstreamInvalidStatus(
                f"The service at {self.where} answered with status {status}, which does not exist."
            )
        if version not in ("1.1", "1.0"):
            raise UpstreamProtocolError(f"The service at {self.where} answered with HTTP/{version}.")
        if self._reason != b"OK" and _REASON.fullmatch(self._reason) is None:
            raise UpstreamProtocolError(
                f"The reason phrase of the answer of {self.where} has a control character."
            )
        if self._count > HEAD_MAX and head_size(0, self._fields) > HEAD_MAX:  # the count has body bytes too
            raise self._too_large()
        if len(self._fields) > FIELDS_MAX:
            raise UpstreamProtocolError(
                f"The answer of {self.where} has more than {FIELDS_MAX} fields.", cause="head_too_large"
            )
        try:
            return read_response(status, self._reason, 1 if version == "1.1" else 0, self._fields)
        except framing.Unclear as unclear:
            raise UpstreamProtocolError(
                f"The answer of {self.where} cannot be framed. {unclear.detail}"
            ) from unclear

    def _too_large(self) -> UpstreamProtocolError:
        return UpstreamProtocolError(
            f"The head of the answer of {self.where} is longer than {HEAD_MAX} bytes.", cause="head_too_large"
        )

    def on_body(self, data: bytes) -> None:
        if self._done or self._head is None:
            self._surplus = True
        elif self.exchange is not None:
            self._got += len(data)
            self.exchange.response_body(data)

    def on_message_complete(self) -> None:
        if self._head is not None:
            self._done = True

    # -- ends ----------------------------------------------------------------------------------

    def _stopped(self, exc: BaseException, data: bytes) -> bytes:
        """A callback raised: our own stop behind a head, or a refusal. Returns what is to be parsed anew."""
        cause = exc.__cause__ or exc.__context__
        if isinstance(cause, UpstreamError):
            self._fail(cause)
            return b""
        if not isinstance(cause, (_Stop, _Interim)):
            raise exc
        tail = self._tail  # the head begins with its first line, so its end is the first empty one
        rest = data[(tail + data).index(b"\r\n\r\n") + 4 - len(tail) :]
        if isinstance(cause, _Stop):
            self._surplus = self._surplus or bool(rest)
            return b""
        self._parser = httptools.HttpResponseParser(self)
        self._fields, self._reason, self._count, self._tail = [], b"", 0, b""
        return rest

    def _no_answer(self, data: bytes) -> None:
        """What came does not begin like HTTP. The parser would take RTSP and ICE, too (RT-01)."""
        if not data:
            self._blank = True
            if self.exchange is not None:  # what came before them in this read
                self.exchange.response_flush()
        elif data.startswith(b"\x15\x03"):  # an alert of TLS, which does not understand our request
            self._fail(
                UpstreamProtocolError(
                    f"The service at {self.where} speaks TLS.", remedy="write https:// in base_url"
                )
            )
        else:
            self._fail(UpstreamProtocolError(f"The answer of {self.where} is not HTTP."))

    def _finish(self) -> None:
        head, exchange = self._head, self.exchange
        assert head is not None
        assert exchange is not None
        self.exchange = None
        good = (
            head.lasting
            and (head.length != UNTIL_CLOSE or self._bodyless)
            and not (self._surplus or self._eof or head.bound)
            and self.request_done
        )
        self.owner.done(self, head, reusable=good)
        exchange.response_end(self._trailers)

    def _fail(self, error: UpstreamError) -> None:
        exchange = self.exchange
        self.abort()
        self.owner.lost(self)
        if exchange is not None:
            exchange.response_failed(error, clean=False)

    def _upgraded(self, rest: bytes) -> None:
        """A 101 ended the HTTP part; `rest` is the upstream's first bytes of the other protocol (WS-09)."""
        exchange = self.exchange
        if exchange is None:
            return
        self._splicing = True
        if rest:
            exchange.response_body(rest)
        exchange.response_flush()

    def __repr__(self) -> str:
        return f"<UpstreamConnection uses={self.uses} busy={self.exchange is not None}>"
