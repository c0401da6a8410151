"""Binary streams for logs: one that keeps what it gets, and two that fail in named ways."""

from __future__ import annotations

import threading


class KeepingStream:
    """Keeps every block."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self.blocks.append(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    @property
    def text(self) -> str:
        return b"".join(self.blocks).decode()


class StuckStream(KeepingStream):
    """Nobody reads: `write` holds its caller until `release`. `entered` tells that one is held."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.release = threading.Event()

    def write(self, data: bytes, /) -> int:
        self.entered.set()
        self.release.wait(30)
        return super().write(data)


class BrokenStream(KeepingStream):
    """The reader closed the pipe."""

    def write(self, data: bytes, /) -> int:
        super().write(data)
        raise BrokenPipeError
