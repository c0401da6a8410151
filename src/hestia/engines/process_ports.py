"""Picks free ports of this machine and tells whose program listens on one (EN-11)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_LISTENING: Final = "0A"  # the state column of /proc/net/tcp (proc(5))
_TRIES: Final = 64

# sock_diag(7) and netlink(7)
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NETLINK_DONE: Final = 3
_DUMP_REQUEST: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_TCP_LISTEN: Final = 10
_NETLINK_HEAD: Final = struct.Struct("=IHHII")
_DIAG_ASK: Final = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_DIAG_SIZE: Final = 56
_DIAG_PORT: Final = struct.Struct("!H")
_DIAG_INODE: Final = struct.Struct("=I")


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
    """Inodes of the sockets that listen on a port, of either family."""
    try:
        found = [one for family in (socket.AF_INET, socket.AF_INET6) for one in _listeners(family)]
    except OSError:  # no such kernel service here
        return _listening_inodes_by_table(port)
    return {str(inode) for number, inode in found if number == port}


def _listeners(family: int) -> Iterator[tuple[int, int]]:
    """(port, inode) of what listens, from the kernel's sock_diag(7): it answers in microseconds where the
    table in /proc takes tens of milliseconds, because thousands of closed connections stand in that."""
    ask = _DIAG_ASK.pack(family, socket.IPPROTO_TCP, 0, 1 << _TCP_LISTEN)
    head = _NETLINK_HEAD.pack(_NETLINK_HEAD.size + _DIAG_SIZE, _SOCK_DIAG_BY_FAMILY, _DUMP_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(1.0)
        sock.sendto(head + ask.ljust(_DIAG_SIZE, b"\0"), (0, 0))
        while True:
            data = sock.recv(65536)
            at = 0
            while at < len(data):
                size, kind, *_ = _NETLINK_HEAD.unpack_from(data, at)
                if kind == _NETLINK_DONE:
                    return
                if kind != _SOCK_DIAG_BY_FAMILY:
                    raise OSError("the kernel does not tell who listens")
                at += _NETLINK_HEAD.size
                (port,) = _DIAG_PORT.unpack_from(data, at + 4)
                (inode,) = _DIAG_INODE.unpack_from(data, at + 68)
                yield port, inode
                at += (size + 3 & ~3) - _NETLINK_HEAD.size


def _listening_inodes_by_table(port: int) -> set[str]:
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
