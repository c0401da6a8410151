"""The upstream of the live service: token streams at a steady pace, and a WebSocket echo.

    live_server.py PORT

`GET …/stream?CHUNKS` sends so many chunks of server-sent events, one every 50 ms; each carries the
CLOCK_MONOTONIC instant (nanoseconds) at which it was due. An upgrade request is accepted; then every frame of
the client (masked with zeros, shorter than 126 bytes, all of one length) is sent back unmasked.
"""

import base64
import hashlib
import heapq
import selectors
import socket
import sys
import time

PACE = 50_000_000  # nanoseconds between two chunks of a stream
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)

selector = selectors.DefaultSelector()
due = []  # (instant, number, connection): streams in the order of their next chunk


class Connection:
    """One client: bytes not yet understood, and what it asked for."""

    def __init__(self, sock):
        self.sock, self.held, self.echo, self.left, self.open = sock, b"", False, 0, True

    def close(self):
        if self.open:
            self.open = False
            selector.unregister(self.sock)
            self.sock.close()

    def read(self):
        try:
            data = self.sock.recv(262144)
        except (ConnectionError, BlockingIOError):
            data = b""
        if not data:
            self.close()
            return
        self.held += data
        try:
            self.take()
        except OSError:  # the other side left while it was answered
            self.close()

    def take(self):
        if self.echo:
            self.send_back()
            return
        head, gap, rest = self.held.partition(b"\r\n\r\n")
        if gap:
            self.held = rest
            self.begin(head)

    def begin(self, head):
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if b"upgrade" in fields and b"websocket" in fields[b"upgrade"]:
            key = next(
                line.split(b":", 1)[1].strip()
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"sec-websocket-key")
            )
            accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
            self.sock.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )  # fmt: skip
            self.echo = True
            return
        self.left = int(head.split(b" ", 2)[1].partition(b"?")[2] or b"1")
        self.sock.sendall(HEAD)
        heapq.heappush(due, (time.monotonic_ns() + PACE, id(self), self))

    def send_back(self):
        out = []
        while len(self.held) >= 6:
            length = self.held[1] & 127
            if len(self.held) < 6 + length:
                break
            out.append(self.held[:1] + bytes([length]) + self.held[6 : 6 + length])
            self.held = self.held[6 + length :]
        if out:
            self.sock.sendall(b"".join(out))

    def tick(self, when):
        if not self.open:
            return
        chunk = b"data: %020d %s\n\n" % (when, b"token" * 4)
        self.left -= 1
        try:
            self.sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk) + (b"" if self.left else b"0\r\n\r\n"))
        except OSError:
            self.close()
            return
        if self.left:
            heapq.heappush(due, (when + PACE, id(self), self))


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(4096)
selector.register(listener, selectors.EVENT_READ)
while True:
    wait = max(0.0, (due[0][0] - time.monotonic_ns()) / 1e9) if due else None
    for key, _ in selector.select(wait):
        if key.data is None:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(sock, selectors.EVENT_READ, Connection(sock))
        else:
            key.data.read()
    now = time.monotonic_ns()
    while due and due[0][0] <= now:
        when, _, connection = heapq.heappop(due)
        connection.tick(when)
