"""What two gateways say to each other: lines of JSON, with descriptors beside the first answer.

Owns the names in the lines and the place of the socket; unix(7), SCM_RIGHTS.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

PROTOCOL: Final = 1
LINE_LIMIT: Final = 1 << 20  # bytes: a line for each of thousands of instances in use
UNDER_WAY: Final = "another takeover is under way"  # why one is refused
SOCKETS_LIMIT: Final = 250  # descriptors of one message; the kernel's own limit is 253

Message = Mapping[str, Any]  # JSON of the other side; each reader checks what it needs


def place(state_dir: str) -> Path:
    """Where the gateway of a state folder can be asked."""
    return Path(os.path.abspath(state_dir)) / "control" / "takeover"


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """The same file under a name that fits into a socket address, however deep its folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def line(**fields: object) -> bytes:
    """One message."""
    return json.dumps(fields).encode() + b"\n"


def parsed(data: bytes) -> Message:
    """A message as it came; empty when it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Closed(Exception):
    """The other side went away."""


async def receive(sock: socket.socket, recv: Any) -> Message:  # Any: loop.sock_recv
    """The next message. Raises Closed."""
    data = b""
    while not data.endswith(b"\n"):
        try:
            piece = await recv(sock, 65536)
        except OSError as exc:
            raise Closed from exc
        if not piece or len(data) > LINE_LIMIT:
            raise Closed
        data += piece
    return parsed(data)
