"""The dispatcher behind `POST /v1/requests`: one request and its whole answer, as plain values.

The request is made to our own edge, over a private socket, as `/services/{id}{path}`: so it walks exactly as
a client's own (queue, pool, retries, limits, access line), and there is no second path to keep in step
(SS-09). Redirects are answers (SS-05). Owns the connections to the edge and the size of what is held.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from hestia.core.errors import (
    AnswerTooLarge,
    BodyTooLarge,
    GatewayDraining,
    GatewayOverloaded,
    UpstreamDisconnected,
    UpstreamError,
)
from hestia.core.model import Endpoint
from hestia.http1.heads import Field, Response
from hestia.http1.pool import Pool, Spawn
from hestia.inward.call import Call
from hestia.inward.head import dispatch_head

# Bytes of a call's JSON document, and of the answer of a service. Both are held whole and parsed in one go,
# which keeps everything else waiting: about 10 ms per MiB, ten times that for hostile nesting.
BODY_MAX: Final = 4 * 1024 * 1024
ANSWER_MAX: Final = 4 * 1024 * 1024
UNSENT_MAX: Final = 1024  # bodies of problems, about 2 KiB each
_ELSEWHERE: Final = "use /services/{serviceId}/…, which streams and has no such limit"
_SEAL: Final = b"hestia-own-answer"


class Memory(Protocol):
    """Counts bytes that are held, for the whole process. `full`: no new body may be taken in."""

    held: int

    @property
    def full(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. fields: lower-case names, in order. own: it is the gateway's, not the service's."""

    status: int
    fields: list[Field]
    body: bytes
    own: bool


class Dispatcher:
    """Makes one `DispatchCall` for each call.

    path: of the private unix socket where the edge listens. memory: shared with the data path.
    identity: lower-case names of `identity_headers`, asked at each call.
    """

    def __init__(
        self,
        path: str,
        *,
        spawn: Spawn,
        clock: Callable[[], float],
        memory: Memory,
        identity: Callable[[], Collection[bytes]],
    ) -> None:
        self.edge = Endpoint("http", "", 0, unix_path=path)
        self.pool = Pool(spawn=spawn, clock=clock)
        self.memory = memory
        self.identity = identity
        self._token = secrets.token_hex(16).encode() + b"-"
        self._numbers = itertools.count()
        self._unsent: dict[bytes, bytes] = {}

    def call(self) -> DispatchCall:
        """One call; use it in a `with`."""
        return DispatchCall(self)

    def seal(self, unsent: bytes) -> bytes:
        """The line that our edge puts on its own answers behind this socket. Nobody else knows its token, so
        a service cannot pass for the gateway. unsent: the body, of an answer that goes without it (HEAD)."""
        mark = self._token + str(next(self._numbers)).encode()
        if unsent:
            self._unsent[mark] = unsent
            if len(self._unsent) > UNSENT_MAX:  # of callers that left
                del self._unsent[next(iter(self._unsent))]
        return b"\r\n" + _SEAL + b": " + mark

    def own_body(self, head: Response) -> bytes | None:
        """The body that was not sent with an answer of our own edge; None for an answer of a service."""
        for mark in head.get_all(_SEAL):
            if mark.startswith(self._token):
                return self._unsent.pop(mark, b"")
        return None


class DispatchCall:
    """One call, from the first byte of its document to its answer. Frees what it held at the end."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._held = 0
        self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dispatcher.memory.held -= self._held
        self._held = 0

    def take(self, size: int) -> None:
        """Count a piece of the call's document in. Raises BodyTooLarge, GatewayOverloaded."""
        self._taken += size
        if self._taken > BODY_MAX:
            raise BodyTooLarge(
                f"The call is larger than {BODY_MAX} bytes, which the dispatcher takes at most.",
                remedy=_ELSEWHERE,
            )
        self._hold(size)

    def _hold(self, size: int) -> None:
        memory = self._dispatcher.memory
        if memory.full:
            raise GatewayOverloaded(
                "The bodies that are held fill the memory of the gateway.",
                remedy="try again later",
                retry_after=1.0,
            )
        memory.held += size
        self._held += size

    async def send(
        self,
        service: str,
        method: str,
        path: str,
        fields: Sequence[tuple[str, str]],
        body: bytes | None,
        *,
        kind: str,
        caller: Sequence[Field],
    ) -> Answer:
        """Ask the service, which must be a configured one. Cancelled, it aborts the request at the service.

        body: None for none. kind, caller: as `head.dispatch_head` has them.
        Raises ClientError, UpstreamError, AdmissionError; what else goes wrong is an answer that is `own`.
        """
        dispatcher = self._dispatcher
        head = dispatch_head(
            service,
            method,
            path,
            fields,
            caller=caller,
            identity=dispatcher.identity(),
            kind=kind,
            length=-1 if body is None else len(body),
        )
        bodyless = method == "HEAD"
        call = Call()
        try:
            answer = await self._ask(call, head + (body or b""), bodyless=bodyless)
            return await self._read(call, answer, service, bodyless=bodyless)
        finally:
            call.abort()

    async def _ask(self, call: Call, message: bytes, *, bodyless: bool) -> Response:
        """Send the whole request and wait for the head. It is written at once: with the body still to be
        sent, a service that answers early would wait for us while we wait for it."""
        try:
            await call.open(self._dispatcher.pool, self._dispatcher.edge, message, is_head=bodyless)
            call.end_body()
            return await call.head()
        except UpstreamError as error:  # our own edge does not answer: it is closing
            raise GatewayDraining("The gateway is ending.", retry_after=1.0) from error

    async def _read(self, call: Call, head: Response, service: str, *, bodyless: bool) -> Answer:
        unsent = self._dispatcher.own_body(head)
        pieces: list[bytes] = []
        size = 0
        if head.length > ANSWER_MAX and not bodyless and head.status != 304:
            raise _too_large(service)
        try:
            while data := await call.read():
                size += len(data)
                if size > ANSWER_MAX:
                    raise _too_large(service)
                self._hold(len(data))
                pieces.append(data)
        except UpstreamDisconnected as error:
            raise UpstreamDisconnected(
                f'The service "{service}" broke off in the middle of its answer.',
                remedy=f"look what happened: hestia logs {service}",
                service_id=service,
            ) from error
        passing = head.passing
        fields = [(passing[at][2:-2].lower(), passing[at + 1]) for at in range(0, len(passing), 2)]
        fields = [field for field in fields if field[0] != _SEAL]
        if bodyless or head.status in (204, 304):
            size = head.length
        if size >= 0:
            fields.append((b"content-length", b"%d" % size))
        return Answer(head.status, fields, unsent or b"".join(pieces), own=unsent is not None)


def _too_large(service: str) -> AnswerTooLarge:
    return AnswerTooLarge(
        f'The answer of "{service}" is larger than {ANSWER_MAX} bytes, which the dispatcher holds at most.',
        remedy=_ELSEWHERE,
        service_id=service,
    )
