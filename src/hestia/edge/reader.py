"""Bytes of one client to messages: drives the parser, counts what it does not, refuses what it lets pass.

Counts head bytes while a head is open (the parser joins the fragments of a field before it calls back) and
what a chunked body costs beside its data. Owns nothing of what becomes of a message: that is `connection`.
Source: proxy-semantics 0.4, U3…U28, LI-01…06.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from typing import Final

import httptools

from hestia.core.errors import (
    BadFraming,
    BadRequest,
    HeadTooLarge,
    HestiaError,
    MethodNotAllowed,
    VersionNotSupported,
)
from hestia.http1 import target as targets
from hestia.http1.framing import CHUNKED, NO_BODY, made_up_head
from hestia.http1.heads import FIELD_MAX, HEAD_MAX, Field, Request, check_size, head_size, read_request

OVERHEAD_MAX: Final = 16 * 1024  # bytes of chunk framing beyond 8 for each byte of data (LI-06)
GAP_MAX: Final = 24 * 1024  # bytes of a chunked body in a row without data: one extension or the trailers
TRAILERS_MAX: Final = 8 * 1024  # bytes (LI-05)
START_MAX: Final = targets.TARGET_MAX + FIELD_MAX + 1024  # bytes of a head up to the end of its first field
_OF_VERSION: Final = re.compile(r"Invalid \w+ version|Expected dot|for (?:RTSP|ICE)/")  # as below
_FRAMING_WORDS: Final = ("Content-Length", "Transfer-Encoding", "chunk")  # in what llhttp says of framing


_SPENT: Final = httptools.HttpRequestParser(object())  # a parser of nobody


class RequestReader(asyncio.Protocol, ABC):
    """The parsing half of a client connection. Fields by lifetime: the connection's, a head's, a body's."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._last = False  # the message being parsed is the last one
        self._ended = False  # nothing that follows is parsed
        # the open head
        self._count = 0
        self._in_head = False
        self._counted = True  # the count has every byte of it
        self._url = b""
        self._fields: list[Field] = []
        self._opening = b""  # the read under way, and before it what the open first line began in
        self._line_at = 0  # where in it the next request line is: -1 at its start, else somewhere behind
        self._read_at = 0  # where in it the read under way begins
        self._is_http = False  # the open head's line was looked at, in an earlier read
        # the open body
        self._reading = NO_BODY  # framing of the message being parsed, once its head is read
        self._got = 0  # bytes of it
        self._left = 0  # bytes of a body with a length that the parser does not get to see
        self._trailers = 0  # bytes
        self._suspect = False  # it ended, with too much overhead so far as is known
        self._overhead = 0  # bytes of a chunked body that are not its data
        self._gap = 0  # bytes since the last data
        self._foreign = False  # an upgrade offer that is not a WebSocket: the parser stops behind the head
        self._resuming = False  # a made-up head is being fed

    # -- what the connection makes of it -------------------------------------------------------

    @abstractmethod
    def _message_began(self, request: Request, *, raw: bool) -> None:
        """A head was read. raw: what follows are the bytes of a WebSocket."""

    @abstractmethod
    def _message_data(self, data: bytes) -> None:
        """A piece of the body of the message that began last."""

    @abstractmethod
    def _message_complete(self) -> None:
        """The message that began last has ended."""

    @abstractmethod
    def _upgraded(self, rest: bytes) -> None:
        """The parser has stopped behind a WebSocket handshake; rest: what came with it."""

    @abstractmethod
    def _refuse(self, error: HestiaError) -> None:
        """What came cannot be served; nothing that follows is parsed (SE-03)."""

    def _forget(self) -> None:
        """The connection has ended; its parser holds this object, and nothing waits for the collector."""
        self._parser = _SPENT

    # -- driving the parser --------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        """Parse one read."""
        if self._left:
            data = self._rest_of_body(data)
        size = len(data)
        self._count += size
        if self._reading == CHUNKED:
            self._overhead += size
            self._gap += size
        while data:
            data = self._feed(data)
        if self._reading > 0 and not self._foreign:
            self._left = self._reading - self._got

    def _rest_of_body(self, data: bytes) -> bytes:
        """A read behind the first of a body with a length: it is counted, and passed on as it is, which saves
        the parser's look and copy. What is behind the body is for a new parser."""
        rest = b""
        left = self._left - len(data)
        if left < 0:
            data, rest = data[:left], data[left:]
        self._left = max(left, 0)
        self._message_data(data)
        if left <= 0:
            self._parser = httptools.HttpRequestParser(self)
            self._ended_here()
        else:
            self._got += len(data)
        return b"" if self._ended else rest

    def _feed(self, data: bytes) -> bytes:
        """Parse, and return what is to be parsed anew."""
        stopped = -1
        if self._opening:
            self._read_at = len(self._opening)
            self._opening += data
        else:
            self._opening = data
            self._read_at = 0
            self._line_at = 0 if self._in_head or self._reading != NO_BODY else -1
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgraded:
            stopped = upgraded.args[0]
        except httptools.HttpParserCallbackError as exc:
            cause = exc.__cause__ or exc.__context__
            if not isinstance(cause, HestiaError):
                raise
            self._refuse(cause)
            return b""
        except httptools.HttpParserError as exc:
            if self._suspect and self._last:  # the rest is behind the last message (SE-01)
                self._suspect = False
                self._ended_here()
            else:
                self._refuse(_garbage(exc))
            return b""
        if stopped >= 0:
            self._opening = b""
            return self._stopped(data[stopped:])
        if self._in_head:
            self._look_at_open_head()
            return b""
        self._opening = b""
        if self._reading == CHUNKED and (self._overhead > OVERHEAD_MAX or self._gap > GAP_MAX):
            self._refuse(
                BadFraming("Almost nothing of the chunked body is data.", remedy="send larger chunks")
            )
        return b""

    def _look_at_open_head(self) -> None:
        """The read is over, the head is not: what can be said of it now is not left for later."""
        if self._count > HEAD_MAX:
            self._refuse(HeadTooLarge(f"The request head is longer than {HEAD_MAX} bytes."))
            return
        try:
            if self._fields:  # so its first line has ended
                if not self._is_http:
                    self._check_protocol(self._parser.get_method(), self._url)
                    self._is_http = True
                self._opening = b""
            elif self._count > START_MAX:
                targets.check_length(self._url)
                raise HeadTooLarge(
                    f"The request head has more than {START_MAX} bytes before the end of its first field.",
                    remedy="send it without needless blanks",
                )
        except HestiaError as error:
            self._refuse(error)

    def _stopped(self, rest: bytes) -> bytes:
        """The parser stops behind an upgrade offer. A WebSocket takes the rest as its first bytes; any other
        offer is dropped, and parsing goes on with a fresh parser (0.4 point 2, UP-06)."""
        if not self._foreign:
            self._upgraded(rest)
            return b""
        self._foreign = False
        self._parser = httptools.HttpRequestParser(self)
        if self._reading == NO_BODY:
            self._ended_here()
        else:
            self._resuming = True
            self._parser.feed_data(made_up_head(self._reading))
        return b"" if self._ended else rest

    # -- what the parser calls -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._suspect:
            self._suspect = False
            self._ended_here()
        if not self._resuming:
            self._in_head = True
            self._counted = self._count > 0
            self._url, self._fields = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # later ones are trailers and are ignored (HQ-10)
            self._fields.append((name, value))
        elif not self._resuming:
            self._trailers += len(name) + len(value) + 4
            if self._trailers > TRAILERS_MAX:
                raise BadFraming(
                    f"The trailers are longer than {TRAILERS_MAX} bytes.", remedy="leave them out"
                )

    def on_headers_complete(self) -> None:
        if self._resuming:
            self._resuming = False
            return
        self._in_head = False
        if self._ended:
            return
        request = self._read_head()
        socket = bool(request.upgrade) and request.offers_websocket
        self._foreign = not socket and self._parser.should_upgrade()
        self._reading = request.length
        self._got = 0
        if request.length == CHUNKED:
            first = len(request.method) + len(request.target) + 12
            self._overhead = self._gap = max(0, self._count - head_size(first, self._fields))
            self._trailers = 0
        self._count = 0
        if not request.keep_alive or socket:
            self._last = True
        self._message_began(request, raw=socket)

    def on_body(self, data: bytes) -> None:
        if self._reading == CHUNKED:
            self._overhead -= 9 * len(data)  # a byte of data pays for itself and 8 bytes around it (LI-06)
            self._gap = 0
        self._got += len(data)
        self._message_data(data)

    def on_message_complete(self) -> None:
        if self._foreign:  # llhttp calls the message complete at the head of an upgrade offer
            return
        if self._reading == CHUNKED and self._overhead > OVERHEAD_MAX:
            self._suspect = True  # unless what is too much belongs to a next message; see `_feed`
            return
        self._ended_here()

    def _ended_here(self) -> None:
        self._count = 0
        self._reading = NO_BODY
        if self._last:
            self._ended = True
        self._message_complete()

    def _read_head(self) -> Request:
        """The head the parser has just completed. Raises what it is refused with; the connection closes."""
        parser, url = self._parser, self._url
        version, method = parser.get_http_version(), parser.get_method()
        if version not in ("1.1", "1.0"):
            raise VersionNotSupported(f"HTTP/{version} is not spoken here; use HTTP/1.1.")
        line = method + b" " + url + b" HTTP/"
        if self._line_at < 0 and self._opening.startswith(line):  # nearly always
            self._line_at = self._read_at
        elif self._is_http:
            self._is_http = False
        else:
            self._check_protocol(method, url)
        if method == b"CONNECT":
            raise MethodNotAllowed("CONNECT is not offered: this is no forward proxy.")
        targets.check_length(url)
        if self._count > FIELD_MAX or not self._counted:  # else no limit can be passed
            check_size(len(method) + len(url) + 12, self._fields)
        request = read_request(method, url, 1 if version == "1.1" else 0, self._fields)
        request.keep_alive = parser.should_keep_alive()
        return request

    def _check_protocol(self, method: bytes, url: bytes) -> None:
        """The parser takes RTSP and ICE for HTTP and does not tell (RT-01). Where in a read of many messages
        a line stands is not certain either: what reads like it anywhere behind the last one is refused."""
        opening = self._opening
        for protocol in (b" RTSP/", b" ICE/"):
            found = opening.find(protocol, max(0, self._line_at))
            while found >= 0:
                end = _before_blanks(opening, found)
                start = _before_blanks(opening, max(0, end - len(url)))
                if opening.endswith(url, 0, end) and opening.endswith(method, 0, start):
                    raise VersionNotSupported("Only HTTP is spoken here; use HTTP/1.1.")
                found = opening.find(protocol, found + 1)
        self._line_at = self._read_at  # the next one is behind the head that ends in this read


def _before_blanks(data: bytes, end: int) -> int:
    """Where the blanks that end at `end` begin."""
    while end > 0 and data[end - 1] == 0x20:
        end -= 1
    return end


def _garbage(exc: Exception) -> HestiaError:
    """What the parser refused, by kind (ER-04)."""
    if isinstance(exc, httptools.HttpParserInvalidMethodError):
        return BadRequest("The request line does not begin with a method that is known here.")
    text = str(exc)
    if _OF_VERSION.search(text):
        return VersionNotSupported("The HTTP version of the request is not spoken here; use HTTP/1.1.")
    if any(word in text for word in _FRAMING_WORDS):
        return BadFraming(
            f"It is not certain where the request's body ends ({text}).",
            remedy="send one Content-Length or Transfer-Encoding: chunked",
        )
    return BadRequest(f"The bytes received are not valid HTTP/1.1 ({text}).")
