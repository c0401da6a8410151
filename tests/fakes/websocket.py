"""WebSocket frames as bytes, for tests (RFC 6455 section 5). No state, no negotiation."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def accept_of(key: bytes) -> bytes:
    """The value of Sec-WebSocket-Accept for a key."""
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    return base64.b64encode(digest)


def handshake(
    target: str | bytes = "/",
    *fields: tuple[str, str | bytes],
    host: str = "localhost",
    key: bytes = KEY,
    version: str = "13",
) -> bytes:
    """A client's opening handshake."""
    path = target if isinstance(target, bytes) else target.encode()
    lines = [
        b"GET " + path + b" HTTP/1.1",
        b"Host: " + host.encode(),
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: " + key,
        b"Sec-WebSocket-Version: " + version.encode(),
    ]
    for name, value in fields:
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def switching(*fields: tuple[str, str], accept: bytes | None = None, key: bytes = KEY) -> bytes:
    """A server's 101 answer."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + (accept_of(key) if accept is None else accept),
    ]
    lines += [name.encode() + b": " + value.encode() for name, value in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def frame(
    opcode: int, payload: bytes = b"", *, mask: bytes | None = None, final: bool = True, reserved: int = 0
) -> bytes:
    """One frame. mask: 4 bytes for client frames, None for server frames."""
    first = (0x80 if final else 0) | reserved << 4 | opcode
    flag = 0x80 if mask is not None else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, flag | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, flag | 126, size)
    else:
        head = struct.pack("!BBQ", first, flag | 127, size)
    if mask is None:
        return head + payload
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """Apply (or remove) a mask."""
    if not payload:
        return b""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


def close_frame(code: int | None = 1000, reason: bytes = b"", *, mask: bytes | None = None) -> bytes:
    """A close frame; code None makes an empty one."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason, mask=mask)


@dataclass(frozen=True)
class Frame:
    """One frame read back, unmasked. was_masked: whether it came with a mask."""

    opcode: int
    payload: bytes
    final: bool
    was_masked: bool

    @property
    def close_code(self) -> int:
        return int(struct.unpack("!H", self.payload[:2])[0])


def frames(data: bytes) -> tuple[list[Frame], bytes]:
    """Read whole frames; also returns the bytes of an unfinished one."""
    found: list[Frame] = []
    while True:
        size = _whole(data)
        if size is None or len(data) < size:
            return found, data
        found.append(_read(data[:size]))
        data = data[size:]


def _layout(data: bytes) -> tuple[int, int] | None:
    """Offset of the mask (or payload) and payload size; None while the header is not whole."""
    if len(data) < 2:
        return None
    size = data[1] & 0x7F
    if size < 126:
        return 2, size
    if size == 126:
        return (4, int(struct.unpack("!H", data[2:4])[0])) if len(data) >= 4 else None
    return (10, int(struct.unpack("!Q", data[2:10])[0])) if len(data) >= 10 else None


def _whole(data: bytes) -> int | None:
    layout = _layout(data)
    if layout is None:
        return None
    start, size = layout
    return start + (4 if data[1] & 0x80 else 0) + size


def _read(data: bytes) -> Frame:
    layout = _layout(data)
    assert layout is not None
    start, _ = layout
    with_mask = bool(data[1] & 0x80)
    if with_mask:
        payload = masked(data[start + 4 :], data[start : start + 4])
    else:
        payload = data[start:]
    return Frame(data[0] & 0x0F, payload, bool(data[0] & 0x80), with_mask)
