"""The upstream of uploads: reads bodies with Content-Length, throws them away and answers how long they were.

    sink_server.py PORT

One connection after the other per thread; the answer comes when the last byte of the body is here.
"""

import contextlib
import re
import socket
import sys
import threading

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
ROOM = 1 << 20  # bytes read at once


def serve(sock):
    room, held = bytearray(ROOM), b""
    with sock:
        while True:
            while b"\r\n\r\n" not in held:
                data = sock.recv(65536)
                if not data:
                    return
                held += data
            head, _, held = held.partition(b"\r\n\r\n")
            length = LENGTH.search(head + b"\r\n")
            size = int(length[1]) if length else 0
            left = size - len(held)
            if b"100-continue" in head.lower():
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while left > 0:
                got = sock.recv_into(room, min(left, ROOM))
                if not got:
                    return
                left -= got
            held, body = b"", str(size).encode()
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def quietly(sock):
    with contextlib.suppress(ConnectionError):
        serve(sock)


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(128)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=quietly, args=(accepted,), daemon=True).start()
