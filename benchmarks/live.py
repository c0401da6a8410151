"""Long exchanges: one large body down or up, many token streams, a WebSocket echo; in this process."""

from __future__ import annotations

import re
import selectors
import socket
import time
from dataclasses import dataclass

from benchmarks.load import LENGTH, Answer, LoadFailed

STREAMS, PACE = 500, 0.05  # streams at once; seconds between two chunks of one
SOCKETS, MESSAGE = 32, b"m" * 64
_EVENT = re.compile(rb"data: (\d{20}) ")


@dataclass(frozen=True)
class Transfer:
    """One large body. size in bytes, seconds from the request to the last byte of the answer."""

    size: int
    seconds: float


def download(port: int, path: str) -> Transfer:
    """Read one answer with Content-Length to its end and throw it away. Raises LoadFailed."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        began = time.monotonic()
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := sock.recv(65536)):
                raise LoadFailed(f"port {port} closed before the head of {path}")
            head += data
        head, _, body = head.partition(b"\r\n\r\n")
        length = LENGTH.search(head + b"\r\n")
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            raise LoadFailed(f"unexpected answer from port {port}: {head[:200]!r}")
        size, left = int(length[1]), int(length[1]) - len(body)
        room = bytearray(1 << 20)
        while left > 0:
            got = sock.recv_into(room)
            if got == 0:
                raise LoadFailed(f"port {port} closed {left} bytes before the end of {path}")
            left -= got
        return Transfer(size, time.monotonic() - began)


def upload(port: int, path: str, size: int) -> Transfer:
    """Send a body of `size` bytes and wait for the answer, which names what arrived. Raises LoadFailed."""
    piece = bytes(1 << 18)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        began = time.monotonic()
        sock.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
            f"Content-Length: {size}\r\n\r\n".encode()
        )
        try:
            for _ in range(size // len(piece)):
                sock.sendall(piece)
        except ConnectionError as exc:
            raise LoadFailed(f"port {port} broke the upload off: {exc}") from exc
        answer, data = Answer(), sock.recv(65536)
        while not answer.take(data):
            data = sock.recv(65536)
        took = time.monotonic() - began
    if not data.endswith(str(size).encode()):
        raise LoadFailed(f"port {port} did not carry the whole body: {data[-300:]!r}")
    return Transfer(size, took)


def streams(port: int, path: str, seconds: float) -> list[float]:
    """Open 500 token streams and read them to their end. Returns the lateness of each chunk in seconds.

    Lateness: from the instant the chunk was due at the service to its arrival here. Chunks due before all
    streams were open do not count. Raises LoadFailed.
    """
    chunks = round(seconds / PACE)
    request = f"GET {path}?{chunks} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    selector, arrived, lateness = selectors.DefaultSelector(), 0, []
    try:
        for number in range(STREAMS):
            sock = socket.create_connection(("127.0.0.1", port), timeout=5)
            sock.sendall(request)
            selector.register(sock, selectors.EVENT_READ, number)
            time.sleep(PACE / STREAMS)  # spread over one period, so that they do not all speak at once
        wanted, limit = STREAMS * chunks, time.monotonic() + seconds * 3 + 10
        opened = time.monotonic_ns()
        while arrived < wanted:
            if time.monotonic() > limit:
                raise LoadFailed(f"{wanted - arrived} of {wanted} chunks never came from port {port}")
            for key, _ in selector.select(1.0):
                data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # only sockets are registered here
                now = time.monotonic_ns()
                if not data:
                    raise LoadFailed(f"port {port} closed a stream early")
                for due in map(int, _EVENT.findall(data)):
                    arrived += 1
                    if due > opened:
                        lateness.append((now - due) / 1e9)
    finally:
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        selector.close()
    return lateness


def echoes(port: int, path: str, seconds: float) -> int:
    """Send a short message on each of 32 WebSockets, again when it is back. Returns how many came back."""
    handshake = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    frame = b"\x81" + bytes([0x80 | len(MESSAGE)]) + bytes(4) + MESSAGE  # masked with zeros
    whole = 2 + len(MESSAGE)
    selector, answered = selectors.DefaultSelector(), 0
    try:
        for _ in range(SOCKETS):
            sock = socket.create_connection(("127.0.0.1", port), timeout=5)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(handshake)
            head = sock.recv(4096)
            if not head.startswith(b"HTTP/1.1 101"):
                raise LoadFailed(f"no WebSocket from port {port}: {head[:200]!r}")
            selector.register(sock, selectors.EVENT_READ, [0])
            sock.sendall(frame)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in selector.select(1.0):
                got = len(key.fileobj.recv(65536))  # type: ignore[union-attr]
                if got == 0:
                    raise LoadFailed(f"port {port} closed a WebSocket")
                key.data[0] += got
                if key.data[0] == whole:
                    key.data[0] = 0
                    answered += 1
                    key.fileobj.sendall(frame)  # type: ignore[union-attr]
    finally:
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        selector.close()
    return answered
