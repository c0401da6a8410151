"""A small service in a process of its own: starts in milliseconds, does what its command line says.

    small_service.py PORT [--gate FILE] [--journal FILE] [--say LINE] [--fail STATUS] [--linger SECONDS]
                     [--alone FILE]

With `--alone` it notes `overlap` and ends at once when another program has that file at the same time.
`/health` answers 503 until the gate file exists · `/crash` ends the process · `/slow?SECONDS` answers late
· `/stream?COUNT` sends COUNT chunks, one every 5 ms · `/ws` echoes short WebSocket messages · anything
else tells pid, target and how many requests came before. Only the standard library, few imports.
"""

import os
import select
import signal
import socket
import sys
import time


def option(name: str, default: str = "") -> str:
    """The value behind an option of the command line."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


PORT = int(sys.argv[1])
GATE, JOURNAL = option("--gate"), option("--journal")
LINGER = float(option("--linger", "0"))
ALONE = option("--alone")


def note(text: str) -> None:
    """One line for the journal, whole even when several processes write."""
    if JOURNAL:
        handle = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, f"{text}\n".encode())
        os.close(handle)


class Peer:
    """One connection: bytes in, bytes out, and whether it speaks WebSocket by now."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.inside = b""
        self.outside = b""
        self.socket = False
        self.closing = False
        self.busy = False


class Service:
    """The poll loop. timers: (when, what to do)."""

    def __init__(self) -> None:
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", PORT))
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.poll = select.poll()
        self.poll.register(self.listener, select.POLLIN)
        self.peers: dict[int, Peer] = {}
        self.timers: list[tuple[float, object]] = []
        self.number = 0
        self.end_at = 0.0

    def run(self) -> None:
        while True:
            now = time.monotonic()
            if self.end_at and now >= self.end_at:
                return
            due = [entry for entry in self.timers if entry[0] <= now]
            self.timers = [entry for entry in self.timers if entry[0] > now]
            for _, act in due:
                act()  # type: ignore[operator]  # always a plain function
            nearest = min(
                [at for at, _ in self.timers] + ([self.end_at] if self.end_at else []), default=now + 1
            )
            for handle, event in self.poll.poll(max(0.0, nearest - now) * 1000):
                if handle == self.listener.fileno():
                    self.accept()
                elif handle in self.peers:
                    self.ready(self.peers[handle], event)

    def accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peers[sock.fileno()] = Peer(sock)
            self.poll.register(sock, select.POLLIN)

    def ready(self, peer: Peer, event: int) -> None:
        try:
            if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                data = peer.sock.recv(65536)
                if not data:
                    self.drop(peer)
                    return
                peer.inside += data
                self.serve(peer)
            self.flush(peer)
        except OSError:
            self.drop(peer)

    def drop(self, peer: Peer) -> None:
        handle = peer.sock.fileno()
        if handle >= 0 and self.peers.pop(handle, None) is not None:
            self.poll.unregister(peer.sock)
            peer.sock.close()

    def flush(self, peer: Peer) -> None:
        if peer.sock.fileno() < 0:
            return
        try:
            while peer.outside:
                peer.outside = peer.outside[peer.sock.send(peer.outside) :]
        except BlockingIOError:
            self.poll.modify(peer.sock, select.POLLIN | select.POLLOUT)
            return
        except OSError:
            self.drop(peer)
            return
        if peer.closing:
            self.drop(peer)
        else:
            self.poll.modify(peer.sock, select.POLLIN)

    def serve(self, peer: Peer) -> None:
        if peer.socket:
            self.echo(peer)
            return
        while not peer.busy and not peer.socket and b"\r\n\r\n" in peer.inside:
            text, _, rest = peer.inside.partition(b"\r\n\r\n")
            size = 0
            for line in text.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    size = int(value)
            if len(rest) < size:
                return
            peer.inside = rest[size:]
            self.answer(peer, text)

    def answer(self, peer: Peer, text: bytes) -> None:
        method, target, _ = text.split(b"\r\n")[0].decode("latin-1").split(" ", 2)
        path, _, query = target.partition("?")
        if path == "/health":
            ready = not GATE or os.path.exists(GATE)
            self.send(peer, "200 OK" if ready else "503 Loading", b"" if ready else b"loading")
            return
        note(f"request {target}")
        number, self.number = self.number, self.number + 1
        if path == "/crash":
            os._exit(7)
        if path == "/ws":
            self.upgrade(peer, text)
            return
        body = b'{"pid": %d, "number": %d, "target": "%s"}' % (os.getpid(), number, target.encode("latin-1"))
        if path == "/slow":
            self.later(peer, float(query), lambda: self.send(peer, "200 OK", body))
        elif path == "/stream":
            peer.outside += (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            peer.busy = True
            self.stream(peer, 0, int(query))
        else:
            self.send(peer, "200 OK", b"" if method == "HEAD" else body)

    def later(self, peer: Peer, seconds: float, act: object) -> None:
        peer.busy = True

        def fire() -> None:
            peer.busy = False
            act()  # type: ignore[operator]  # always a plain function
            self.flush(peer)
            self.serve(peer)
            self.flush(peer)

        self.timers.append((time.monotonic() + seconds, fire))

    def stream(self, peer: Peer, number: int, count: int) -> None:
        if number == count:
            peer.outside += b"0\r\n\r\n"
            peer.busy = False
        else:
            piece = b"data: event %d\n\n" % number
            peer.outside += b"%x\r\n%s\r\n" % (len(piece), piece)
            self.timers.append((time.monotonic() + 0.005, lambda: self.stream(peer, number + 1, count)))
        self.flush(peer)

    def send(self, peer: Peer, status: str, body: bytes) -> None:
        peer.outside += b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)

    def upgrade(self, peer: Peer, text: bytes) -> None:
        import base64
        import hashlib

        key = next(
            line.split(b":", 1)[1].strip()
            for line in text.split(b"\r\n")
            if b"sec-websocket-key" in line.lower()
        )
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
        peer.outside += b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        peer.outside += b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        peer.socket = True
        self.echo(peer)

    def echo(self, peer: Peer) -> None:
        """Masked frames of up to 125 bytes come back unmasked; a close frame is answered and ends it."""
        while len(peer.inside) >= 6 and len(peer.inside) >= 6 + (size := peer.inside[1] & 0x7F):
            mask, data = peer.inside[2:6], peer.inside[6 : 6 + size]
            plain = bytes(octet ^ mask[n % 4] for n, octet in enumerate(data))
            peer.outside += bytes([peer.inside[0], size]) + plain
            peer.closing = peer.closing or peer.inside[0] & 0x0F == 8
            peer.inside = peer.inside[6 + size :]


def main() -> None:
    for number, word in enumerate(sys.argv):
        if word == "--say":
            print(sys.argv[number + 1], flush=True)
    note(f"started {os.getpid()}")
    if ALONE:
        import fcntl

        handle = os.open(ALONE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("overlap")
            sys.exit(9)
    if status := option("--fail"):
        sys.exit(int(status))
    service = Service()
    if LINGER:
        signal.signal(signal.SIGTERM, lambda *_: setattr(service, "end_at", time.monotonic() + LINGER))
    service.run()


main()
