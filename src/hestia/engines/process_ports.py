"""Picks free ports of this machine and tells whose program listens on one (EN-11)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_LISTENING: Final = "0A"  # the state column of /proc/net/tcp (proc(5))
_TRIES: Final = 64


class Ports:
    """Free ports of 127.0.0.1; one that was given is not given again before it is put back."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    @property
    def given(self) -> frozenset[int]:
        """What is given out now."""
        return frozenset(self._given)

    def pick(self) -> int:
        """A port that is free now. Raises OSError when the system has none."""
        for _ in range(_TRIES):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in self._given:
                self._given.add(port)
                return port
        raise OSError(f"the system offered no new port {_TRIES} times")

    def taken(self, port: int) -> None:
        """A program that was found running has this port."""
        if port:
            self._given.add(port)

    def put_back(self, port: int) -> None:
        self._given.discard(port)


def listens(port: int, pids: Iterable[int]) -> bool | None:
    """Whether one of these processes listens on the port; None when nobody is seen to listen there."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not wanted:
        return None
    return any(link in wanted for pid in pids for link in _open_links(pid))


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            if f" {_LISTENING} " not in line:  # quick: a busy machine has thousands that wait for their end
                continue
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _open_links(pid: int) -> list[str]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return [os.readlink(entry.path) for entry in entries]
    except OSError:  # it ended, or a descriptor was closed meanwhile: asked again with the next knock
        return []
