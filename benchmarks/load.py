"""Small requests: many at once (`wrk`, or a plain loop where it is missing) and one after the other.

CPU time is the proxy's own, from /proc, so that neither the load generator nor a busy machine is counted.
"""

from __future__ import annotations

import re
import selectors
import shutil
import socket
import subprocess
import time

CONNECTIONS = 32
_DONE = re.compile(r"(\d+) requests in ")
_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: connect (\d+), read (\d+), write (\d+)")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class LoadFailed(Exception):
    """Requests were not answered as they should be, so the figure would mean nothing."""


def request_bytes(path: str, port: int) -> bytes:
    """The request that every client here sends."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()
    )


def many(port: int, path: str, seconds: float) -> int:
    """Ask for `path` on 32 connections for so long. Returns how many answers came. Raises LoadFailed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return _loop(port, path, seconds)
    command = [
        wrk,
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{max(1, round(seconds))}s",
        f"http://127.0.0.1:{port}{path}",
    ]
    said = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    done = _DONE.search(said.stdout)
    if done is None or int(done[1]) == 0:
        raise LoadFailed(f"wrk got no answer on port {port}: {said.stdout}{said.stderr}")
    if bad := _BAD.search(said.stdout):
        raise LoadFailed(f"wrk on port {port}: {bad[0]}")
    return int(done[1])


def _loop(port: int, path: str, seconds: float) -> int:
    """The same without wrk: one poll loop, each connection sends when its answer is whole."""
    selector, request, answered = selectors.DefaultSelector(), request_bytes(path, port), 0
    try:
        for _ in range(CONNECTIONS):
            sock = socket.create_connection(("127.0.0.1", port), timeout=5)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(sock, selectors.EVENT_READ, Answer())
            sock.sendall(request)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in selector.select(1.0):
                sock = key.fileobj  # type: ignore[assignment]  # only sockets are registered here
                if key.data.take(sock.recv(65536)):
                    answered += 1
                    sock.sendall(request)
    finally:
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        selector.close()
    return answered


class Answer:
    """Reads answers with Content-Length off one connection; others are refused as not ours."""

    def __init__(self) -> None:
        self._held = b""

    def take(self, data: bytes) -> bool:
        """Whether an answer is whole now. Raises LoadFailed."""
        if not data:
            raise LoadFailed("the connection was closed")
        held = self._held + data
        head, gap, body = held.partition(b"\r\n\r\n")
        if gap:
            length = LENGTH.search(head + b"\r\n")
            if not head.startswith(b"HTTP/1.1 200") or length is None:
                raise LoadFailed(f"unexpected answer: {head[:200]!r}")
            if len(body) >= int(length[1]):
                self._held = b""
                return True
        self._held = held
        return False


def one_by_one(port: int, path: str, requests: int) -> list[float]:
    """Seconds each of so many requests took on one connection, one after the other. Raises LoadFailed."""
    request, answer, took = request_bytes(path, port), Answer(), []
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            began = time.perf_counter()
            sock.sendall(request)
            while not answer.take(sock.recv(65536)):
                pass
            took.append(time.perf_counter() - began)
    return took


def percentile(samples: list[float], share: float) -> float:
    """The value below which `share` (0…1) of the samples lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
