"""One client connection: requests to exchanges, one at a time, in order.

Queues what is pipelined, holds deadlines as fields, reads away what nobody wants within bounds, and tells
the exchange what the client does. Bytes become requests in `reader`; what a request means is the handler's
business. Source: proxy-semantics 0.4, TO-01…04, LI, CA, SL.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from hestia.core.errors import GatewayDraining, HestiaError, RequestTimeout
from hestia.edge.pending import Exchange, Pending
from hestia.edge.reader import RequestReader
from hestia.http1.framing import NO_BODY
from hestia.http1.heads import Request
from hestia.http1.sockets import hung_up, keep_alive, reset_on_close

log = logging.getLogger(__name__)

FIRST_BYTE_TIMEOUT: Final = 10.0  # seconds (TO-01)
HEAD_TIMEOUT: Final = 15.0  # seconds for a whole head (TO-02)
BODY_TIMEOUT: Final = 60.0  # seconds between reads of a body (TO-03)
KEEP_ALIVE_TIMEOUT: Final = 75.0
WRITE_TIMEOUT: Final = 120.0  # seconds a client may leave our bytes unread (TO-09)
SOCKET_CLOSE_TIMEOUT: Final = 5.0  # seconds for the last bytes of a spliced WebSocket (TO-14)
HIGH_WATER: Final = 64 * 1024  # bytes (SB-04)
LOW_WATER: Final = 16 * 1024
PIECE: Final = 4096  # bytes parsed before the requests that wait are counted
PIPELINED: Final = 16  # requests waiting behind the running one (LI-13)
HELD_MAX: Final = 256 * 1024  # bytes of bodies that wait behind the running request
DISCARD_LIMIT: Final = 1024 * 1024  # bytes of an unwanted body that are read away (CA-07)
DISCARD_TIMEOUT: Final = 2.0  # seconds
NEVER: Final = float("inf")


Handler = Callable[[Request, "ClientConnection"], Exchange]


class ClientConnection(RequestReader):
    """One client. Fields by lifetime: the connection's, then the running exchange's.

    handler: makes the exchange for a request. refuse: bytes of the answer to what could not be parsed.
    """

    def __init__(
        self,
        handler: Handler,
        refuse: Callable[[HestiaError, ClientConnection], bytes],
        *,
        clock: Callable[[], float],
        opened: Callable[[ClientConnection], bool],
        closed: Callable[[ClientConnection], None],
    ) -> None:
        super().__init__()
        self._handler = handler
        self._refuse_with = refuse
        self._clock = clock
        self._opened = opened
        self._closed = closed
        self.transport: asyncio.Transport | None = None
        self.write: Callable[[bytes], None] = _nowhere  # the transport's own, without a call in between
        self.peer = ""
        self.port = 0
        self.scheme = b"http"
        self.fd = -1
        self.forwarded: tuple[bytes, bytes] = (b"", b"")  # host → block, kept by the proxy
        self.deadline = NEVER
        self.write_deadline = NEVER
        self.writable = True
        self.draining = False  # answer what runs, then close
        self._pending: deque[Pending] = deque()
        self._held = 0  # bytes of their bodies
        self._kept = b""  # what was read and is not parsed, because as many as may wait already
        self._stepping = False  # `_next` is at work further up
        self._asked = False  # for the next one meanwhile
        self._go_on = False  # and with which `keep`
        self._paused = False
        self._lingering = 0  # bytes that are still read away behind our last answer
        self._raw = False  # bytes go to the exchange as they come
        # the running exchange
        self.exchange: Exchange | None = None
        self._current: Pending | None = None  # the message being parsed, when it is not the running one
        self._body_open = False  # the running request's body has not ended
        self._discard = 0  # bytes of a body nobody wants that are still read away
        self._keep = True

    # -- what the exchange calls ---------------------------------------------------------------

    def pause(self) -> None:
        """Stop reading; the sweep polls for a hang-up meanwhile (P13)."""
        if self.transport is not None and self.transport.is_reading():
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self._paused:
            return
        if self.transport is None or self.transport.is_closing():
            return
        if self._is_crowded():
            return
        if self._kept:
            asyncio.get_running_loop().call_soon(self._go_on_reading)
            return
        self._paused = False
        if not self.transport.is_reading():
            self.transport.resume_reading()

    def _go_on_reading(self) -> None:
        self._read_kept()
        if not self._kept:
            self.resume()

    def expect_body(self) -> None:
        """The client's body is awaited from now on (TO-03)."""
        if self._body_open:
            self.deadline = self._clock() + BODY_TIMEOUT

    @property
    def body_open(self) -> bool:
        """Whether the running request's body has not ended yet."""
        return self._body_open

    def splice(self) -> None:
        """Give the exchange every byte from here on."""
        self._raw = True
        self.deadline = NEVER
        keep_alive(self.transport)

    def finished(self, *, keep: bool) -> None:
        """The exchange has written its whole answer. keep: the connection may serve the next request."""
        self.exchange = None
        keep = keep and self._keep and not self.draining and not self._raw
        if not self._body_open:
            if keep and not self._pending and not self._ended and not self._paused:  # nearly always
                self.deadline = self._clock() + (HEAD_TIMEOUT if self._count else KEEP_ALIVE_TIMEOUT)
            else:
                self._next(keep)
        elif keep and not self._ended:  # a body nobody wants: read it away within bounds, then go on (CA-07)
            self._discard = DISCARD_LIMIT
            self.deadline = self._clock() + DISCARD_TIMEOUT
            self.resume()
        else:
            self._linger()

    def turn_away(self, error: HestiaError) -> None:
        """Answer before anything was asked, and close."""
        self._answer_refusal(error)

    def abort(self) -> None:
        """Cut the connection as it stands: the client sees a truncated answer (BF-16)."""
        self.exchange = None
        self._ended = True
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """Cut the connection so that the client sees a reset: for a body whose end is the connection's."""
        reset_on_close(self.transport)
        self.abort()

    def _linger(self) -> None:
        """Nothing more is written, but the client still sends: a close now would reset the connection and
        take our answer with it. Say the end, then read away what comes, within bounds (CA-08)."""
        self._ended = True
        self._body_open = False
        self._drop_waiting()
        if self.transport is None or self.transport.is_closing():
            return
        if not self.transport.can_write_eof():  # TLS has no half of an end; its close reads away by itself
            self.close()
            return
        self._lingering = DISCARD_LIMIT
        self.deadline = self._clock() + DISCARD_TIMEOUT
        self.transport.write_eof()
        self.resume()

    def close(self) -> None:
        """Close once everything that was written is out."""
        self._ended = True
        self._drop_waiting()
        if self.transport is not None and not self.transport.is_closing():
            self.write_deadline = self._clock() + (SOCKET_CLOSE_TIMEOUT if self._raw else WRITE_TIMEOUT)
            self.transport.close()

    def _drop_waiting(self) -> None:
        """No request behind the running one will be answered."""
        self._pending.clear()
        self._held = 0
        self._kept = b""

    def drain(self) -> None:
        """Answer what runs and close behind it; close now where nothing runs."""
        self.draining = True
        exchange = self.exchange
        if exchange is None:
            self.close()
        else:
            exchange.draining()

    def cut(self) -> None:
        """End at once, whatever runs; it is the gateway that breaks it off."""
        if self.exchange is not None:
            self.exchange.abort(GatewayDraining("The gateway ended before the answer did."))
        self.abort()

    def _next(self, keep: bool) -> None:
        """Begin what waits, or wait for more. A loop: what is answered at once asks for the next in here."""
        if self._stepping:
            self._asked, self._go_on = True, keep
            return
        while self._pending and keep:
            if not self.writable:  # who does not read gets no further answers; `resume_writing` goes on
                self.deadline = NEVER
                return
            pending = self._pending.popleft()
            if pending.error is not None:
                self._answer_refusal(pending.error)
                return
            self._stepping, self._asked = True, False
            try:
                self._take_up(pending)
            finally:
                self._stepping = False
            if not self._asked:
                return
            keep = self._go_on
        if not keep or self._ended:
            if self._paused or self._pending:  # a close with bytes unread would reset the connection
                self._linger()
            else:
                self.close()
            return
        self.deadline = self._clock() + (HEAD_TIMEOUT if self._count else KEEP_ALIVE_TIMEOUT)
        self.resume()

    def _take_up(self, pending: Pending) -> None:
        """Begin a request that waited, with what of its body is here."""
        if self._current is pending:
            self._current = None
        self._held -= pending.size
        assert pending.request is not None
        self._start(pending.request, ended=pending.ended)
        exchange = self.exchange
        self._raw = pending.raw and exchange is not None
        self.resume()
        for part in pending.parts:
            if self.exchange is exchange and exchange is not None:
                exchange.body(part)
        if pending.ended and self.exchange is exchange and exchange is not None:
            exchange.body_end()

    def _hold(self, pending: Pending, data: bytes) -> None:
        """Keep bytes of a request that waits; beyond the limit nothing is read."""
        self._held += pending.keep(data)
        if self._held >= HELD_MAX:
            self.pause()

    def _start(self, request: Request, *, ended: bool) -> None:
        self._keep = request.keep_alive
        self._body_open = request.length != NO_BODY and not ended
        self.deadline = NEVER
        self.exchange = exchange = self._handler(request, self)
        try:
            exchange.begin()
        except Exception:  # boundary: a bug answers this one request and ends its connection (T-ER-04)
            log.exception("A request broke", extra={"event_type": "request_broke"})
            exchange.broke()

    # -- what the loop calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        self.transport = transport
        self.write = transport.write
        transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer, self.port = plain_address(str(peer[0])), int(peer[1])
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = b"https"
        sock = transport.get_extra_info("socket")
        self.fd = sock.fileno() if sock is not None else -1
        self.deadline = self._clock() + FIRST_BYTE_TIMEOUT
        if not self._opened(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._kept or (
            len(data) > PIECE and not self._raw and (self._pending or self._reading == NO_BODY)
        ):
            self._kept += data
            self._read_kept()
        else:
            self._received(data)

    def _read_kept(self) -> None:
        """A long read that may hold many requests is taken piece by piece, no further than they may wait."""
        while self._kept and not self._is_crowded():
            size = len(self._kept) if self._left or self._raw else PIECE
            piece, self._kept = self._kept[:size], self._kept[size:]
            self._received(piece)

    def _is_crowded(self) -> bool:
        """Whether as many requests wait, or as much of them, as may (LI-13)."""
        return len(self._pending) >= PIPELINED or self._held >= HELD_MAX

    def _received(self, data: bytes) -> None:
        if self._raw:
            if self.exchange is not None:
                self.exchange.body(data)
            return
        if self._ended:
            self._behind_the_end(data)
            return
        if not self._count and not self._body_open:
            self.deadline = self._clock() + HEAD_TIMEOUT
        self._read(data)
        if self._in_head and not self._count:  # a head that began behind another message in this read
            self._count = 1
            if self.exchange is None:
                self.deadline = self._clock() + HEAD_TIMEOUT
        elif self._body_open and self.exchange is not None and self.deadline != NEVER:
            self.deadline = self._clock() + BODY_TIMEOUT
        if self._is_crowded():
            self.pause()

    def _behind_the_end(self, data: bytes) -> None:
        """Bytes behind the last message: dropped, but for the first ones of a WebSocket that waits."""
        if self._lingering:
            self._lingering -= len(data)
            if self._lingering <= 0:
                self.close()
        elif self._pending and self._pending[-1].raw:
            self._hold(self._pending[-1], data)

    def eof_received(self) -> bool:
        """A FIN means gone: it cannot be told from a leaving client (SL-06)."""
        exchange = self.exchange
        if exchange is not None:
            exchange.client_gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self.exchange = self.exchange, None
        self._ended = True
        self._drop_waiting()
        self.deadline = self.write_deadline = NEVER
        self._closed(self)
        if exchange is not None:
            exchange.client_gone()
        self.transport = None
        self.write = _nowhere
        self._forget()

    def pause_writing(self) -> None:
        self.writable = False
        self.write_deadline = self._clock() + WRITE_TIMEOUT
        if self.exchange is not None:
            self.exchange.client_writable(False)

    def resume_writing(self) -> None:
        self.writable = True
        if self.transport is not None and self.transport.is_closing():
            return  # the deadline is that of the last bytes
        self.write_deadline = NEVER
        if self.exchange is not None:
            self.exchange.client_writable(True)
        elif self._pending:
            self._next(keep=True)

    def sweep(self, now: float) -> None:
        """Once a second: compare the deadlines, look for a hang-up where reading is paused."""
        exchange = self.exchange
        if exchange is not None:
            exchange.sweep(now)
        transport = self.transport
        if transport is None:
            return
        if now >= self.write_deadline:
            self._gone()
        elif now >= self.deadline:
            self._expired()
        elif exchange is not None and not transport.is_reading() and hung_up(self.fd):
            self._gone()

    def _gone(self) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self.abort()

    def _expired(self) -> None:
        self.deadline = NEVER
        if self.exchange is not None:
            if self._body_open:
                self.exchange.body_timeout()
            return
        if self._pending:  # they wait until the client reads, which has its own deadline
            return
        if self._ended or self._discard or not self._count or not self._in_head:
            self.close()
        else:
            self._refuse(RequestTimeout(f"The request head did not arrive within {HEAD_TIMEOUT:g} s."))

    # -- what the reader calls -----------------------------------------------------------------

    def _message_began(self, request: Request, *, raw: bool) -> None:
        if self.exchange is None and not self._body_open and not self._pending and self.writable:
            self._start(request, ended=False)
        else:
            self._current = Pending(request, raw=raw)
            self._pending.append(self._current)

    def _message_data(self, data: bytes) -> None:
        if self._current is not None:
            self._hold(self._current, data)
        elif not self._body_open:
            return
        elif self.exchange is not None:
            self.exchange.body(data)
        else:
            self._discard -= len(data)
            if self._discard <= 0:
                self.close()

    def _message_complete(self) -> None:
        if self._current is not None:
            self._current.ended = True
            self._current = None
            return
        if not self._body_open:
            if self.exchange is not None:
                self.exchange.body_end()
            return
        self._body_open = False
        self.deadline = NEVER
        if self.exchange is not None:
            self.exchange.body_end()
        else:
            self._discard = 0
            self._next(self._keep)

    def _upgraded(self, rest: bytes) -> None:
        if self._pending and self._pending[-1].raw:
            self._hold(self._pending[-1], rest)
        elif self.exchange is not None:
            self._raw = True
            if rest:
                self.exchange.body(rest)

    def _refuse(self, error: HestiaError) -> None:
        """Answer what could not be parsed, in its turn, and close (SE-03)."""
        self._ended = True
        self._in_head = False
        if self._lingering or self.transport is None or self.transport.is_closing():
            return  # our last answer is out
        if self._body_open and self._current is None:  # the running request's own body is broken
            if self.exchange is not None:
                self.exchange.body_failed(error)
            else:
                self._linger()  # it has its answer
        elif self.exchange is not None or self._pending:
            if self._current is not None and self._current in self._pending:
                self._pending.remove(self._current)
                self._held -= self._current.size
            self._current = None
            self._pending.append(Pending(None, error))
        else:
            self._answer_refusal(error)

    def _answer_refusal(self, error: HestiaError) -> None:
        self.exchange = None
        self.write(self._refuse_with(error, self))
        self._linger()

    def __repr__(self) -> str:
        return (
            f"<ClientConnection {self.peer}:{self.port} busy={self.exchange is not None} "
            f"pending={len(self._pending)}>"
        )


def _nowhere(data: bytes) -> None:
    """Where bytes go before there is a transport."""


def plain_address(host: str) -> str:
    """Without zone (FW-07); an IPv4 client of a socket for both kinds by its IPv4 address."""
    host = host.partition("%")[0]
    return host[7:] if host.startswith("::ffff:") and "." in host else host
