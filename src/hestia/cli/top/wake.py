"""Says when something happened at the gateway, so that `hestia top` looks at once and not a second later.

Owns a thread that follows the event stream and a pipe that becomes readable. Without the stream, as at an
older gateway, nobody is woken and the regular looks remain.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from types import TracebackType
from typing import Final, Self

from hestia.cli.client import Client
from hestia.cli.exits import CliError

AGAIN: Final = 5.0  # seconds between attempts to follow
STREAM: Final = "/v1/events/stream"


class Wake:
    """`with Wake(client) as wake`: `wake.reader` is readable when there is news, until `taken` says so."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)
        self._over = False

    def __enter__(self) -> Self:
        # a daemon: it may hang in a read for as long as nothing happens, and nobody waits for it
        threading.Thread(target=self._follow, name="hestia top events", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True  # the pipe stays: the thread may write once more, and the program ends

    def taken(self) -> bool:
        """Whether there was news since the last call."""
        try:
            return bool(os.read(self.reader, 65536))
        except BlockingIOError:
            return False

    def _follow(self) -> None:
        while not self._over:
            with contextlib.suppress(CliError, ConnectionError):
                for kind, _ in self._client.events(STREAM, after=None):
                    if self._over:
                        return
                    if kind == "change":
                        with contextlib.suppress(BlockingIOError):  # full: it was said often enough
                            os.write(self._writer, b".")
            time.sleep(AGAIN)
