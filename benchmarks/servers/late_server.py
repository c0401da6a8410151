"""A service that can answer only from a chosen moment on, and writes down when that was.

    late_server.py PORT JOURNAL SECONDS listen|health

`listen`: nobody listens until then. `health`: it listens at once and answers 503 until then. The journal gets
one number, the CLOCK_MONOTONIC instant (seconds) from which a request is answered with 200; JOURNAL.starts
gets a line per start. What is no probe is answered with its number, counted in the order of arrival. It ends
by itself after two minutes, so that a broken run leaves nothing.
"""

import os
import selectors
import socket
import sys
import time

LIFETIME = 120.0
port, journal, delay, way = (int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4])
began = time.monotonic()
selector = selectors.DefaultSelector()
ready, counted = False, 0
with open(journal + ".starts", "a") as starts:
    starts.write(f"{os.getpid()}\n")


def answer(status: str, body: str) -> bytes:
    """One whole answer."""
    return (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nContent-Type: text/plain\r\n\r\n{body}".encode()
    )


def respond(head: bytes) -> bytes:
    """To a probe: whether it is ready; to others: their number."""
    global counted
    if head.startswith(b"GET /health"):
        return answer("200 OK", "warm\n") if ready else answer("503 Service Unavailable", "")
    counted += 1
    return answer("200 OK", f"{counted}\n")


def listen() -> None:
    """Accept from now on."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(4096)
    selector.register(listener, selectors.EVENT_READ, None)


def become_ready() -> None:
    """The moment; written down at once and whole."""
    global ready
    if way == "listen":
        listen()
    ready, now = True, time.clock_gettime(time.CLOCK_MONOTONIC)
    with open(journal + ".part", "w") as stream:
        stream.write(repr(now))
    os.rename(journal + ".part", journal)


if way == "health":
    listen()
due = began + delay
while time.monotonic() < began + LIFETIME:
    wait = LIFETIME if ready else max(0.0, due - time.monotonic())
    events = selector.select(wait) if selector.get_map() else time.sleep(wait) or []
    if not ready and time.monotonic() >= due:
        become_ready()
    for key, _ in events:
        if key.data is None:
            sock, _ = key.fileobj.accept()
            selector.register(sock, selectors.EVENT_READ, bytearray())
            continue
        try:
            data = key.fileobj.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            selector.unregister(key.fileobj)
            key.fileobj.close()
            continue
        key.data.extend(data)
        while (end := key.data.find(b"\r\n\r\n")) >= 0:
            head = bytes(key.data[:end])
            del key.data[: end + 4]
            key.fileobj.sendall(respond(head))
