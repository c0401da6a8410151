"""One WebSocket between an ASGI server and the edge: messages, not bytes (WS-22).

The server in front ends its hop at messages. Towards the edge the handshake is an ordinary call of ours,
so that a refusal is an ordinary answer, and the frames are the `websockets` library's protocol without
I/O. Type, order, boundaries, subprotocol, close code and reason pass; pings, compression and fragments are
each hop's own. A side that vanished without a close frame makes the other one be cut, not closed.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import Message, Receive, Scope, Send
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from hestia.bridge.heads import asgi_fields
from hestia.core.errors import HandshakeFailed, HestiaError
from hestia.http1.heads import Field, Response
from hestia.inward.call import Call
from hestia.problems import render

CLOSE_TIMEOUT: Final = 5.0  # seconds for the service to answer a close (TO-14)
REFUSAL_MAX: Final = 1024 * 1024  # bytes; the server in front holds a refusal whole

NO_CODE, VANISHED, GOING_AWAY, RESTARTING = 1005, 1006, 1001, 1012


class Socket:
    """Both directions, once the edge was asked. `up` and `down` are one task each."""

    def __init__(self, call: Call, receive: Receive, send: Send) -> None:
        self._call = call
        self._receive = receive
        self._send = send
        self._frames = Protocol(Side.CLIENT, max_size=None)
        self._opened = asyncio.Event()
        self._parts: list[bytes] = []
        self._is_text = False
        self._deaf = False  # the client takes nothing more

    @property
    def accepted(self) -> bool:
        """Whether the client's handshake was accepted: no answer but a close or a cut is left."""
        return self._opened.is_set()

    async def up(self) -> None:
        """Carry messages to the edge until the client ends."""
        try:
            while (event := await self._receive())["type"] == "websocket.receive":
                await self._opened.wait()
                await self._message(event)
            await self._left(event)
        finally:
            self._call.abort()

    async def _message(self, event: Message) -> None:
        if self._frames.state is not State.OPEN:
            return
        if (text := event.get("text")) is not None:
            self._frames.send_text(text.encode())
        else:
            self._frames.send_binary(event["bytes"])
        await self._flush()

    async def _left(self, event: Message) -> None:
        """Pass on the client's close. A client that vanished gives 1005 or 1006 and no reason (U31)."""
        self._deaf = True
        code, reason = event.get("code", VANISHED), event.get("reason")
        if reason is None and code in (NO_CODE, VANISHED):
            return
        if not self._opened.is_set() or self._frames.state is not State.OPEN:
            return
        if reason is None and code == RESTARTING:  # the server in front shuts down (WS-13)
            code = GOING_AWAY
        self._frames.send_close(None if code == NO_CODE else code, reason or "")
        await self._flush()
        await asyncio.sleep(CLOSE_TIMEOUT)  # `down` takes the service's answer and ends this task

    async def down(self, head: Response, fields: list[Field]) -> None:
        """Accept, then carry messages to the client. Returning without a close cuts the client."""
        chosen = head.get_all(b"sec-websocket-protocol")
        await self._send(
            {
                "type": "websocket.accept",
                "subprotocol": chosen[0].decode("latin-1").strip() if chosen else None,
                "headers": [field for field in fields if not field[0].startswith(b"sec-websocket-")],
            }
        )
        self._opened.set()
        frames = self._frames
        while data := await self._call.read():
            frames.receive_data(data)
            found = frames.events_received()
            await self._flush()  # pongs, and the answer to a close
            for frame in found:
                assert isinstance(frame, Frame)
                if not await self._frame(frame):
                    return
            if frames.parser_exc is not None:
                return

    async def _frame(self, frame: Frame) -> bool:
        """Take one frame of the service. False when it was the last."""
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            await self._closed()
            return False
        if opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return True
        if opcode is not Opcode.CONT:
            self._is_text = opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return True
        data = b"".join(self._parts)
        self._parts.clear()
        if not self._is_text:
            await self._deliver({"type": "websocket.send", "bytes": data})
            return True
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._frames.fail(1007)
            await self._flush()
            return False
        await self._deliver({"type": "websocket.send", "text": text})
        return True

    async def _closed(self) -> None:
        """The service closed; its frame was answered already."""
        self._call.finish(CLOSE_TIMEOUT)
        close = self._frames.close_rcvd
        assert close is not None
        code = 1000 if close.code == NO_CODE else int(close.code)  # ASGI cannot close without a code
        await self._deliver({"type": "websocket.close", "code": code, "reason": close.reason})

    async def _deliver(self, message: Message) -> None:
        """Hand a message to the server in front, unless the client has ended: `up` learns how."""
        if self._deaf:
            return
        try:
            await self._send(message)
        except (OSError, RuntimeError):  # uvicorn: gone, and closed but receive() did not tell yet
            self._deaf = True

    async def _flush(self) -> None:
        data = b"".join(self._frames.data_to_send())
        if data:
            await self._call.write(data)


async def relay_refusal(call: Call, scope: Scope, send: Send, head: Response, identifier: bytes) -> None:
    """The edge or the service answered the handshake with something else: hand that on whole."""
    body = bytearray()
    try:
        while len(body) <= REFUSAL_MAX and (data := await call.read()):
            body += data
    except HestiaError as error:
        await refuse(scope, send, error, identifier)
        return
    if len(body) > REFUSAL_MAX:
        found = f"status {head.status} and more than {REFUSAL_MAX} bytes"
        too_long = HandshakeFailed(f"The service answered a WebSocket handshake with {found}.")
        await refuse(scope, send, too_long, identifier)
        return
    fields = asgi_fields(head, identifier, framed=False)
    await _answer(scope, send, head.status, fields, bytes(body))


async def refuse(scope: Scope, send: Send, error: HestiaError, identifier: bytes) -> None:
    """Answer a handshake with a problem document."""
    status, fields, body = render(error, request_id=identifier.decode("latin-1"))
    fields = [field for field in fields if field[0] != b"content-length"]
    await _answer(scope, send, status, fields, body)


async def _answer(scope: Scope, send: Send, status: int, fields: list[Field], body: bytes) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": GOING_AWAY})  # the server makes a 403 of it
        return
    if status not in (204, 304):
        fields = [*fields, (b"content-length", b"%d" % len(body))]
    await send({"type": "websocket.http.response.start", "status": status, "headers": fields})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
