"""Listening sockets that somebody else opened: systemd, or the gateway whose place this one takes.

Owns which of them belongs to which door. One that no door wants is closed, never listened on.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from hestia.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Heard:
    """One socket that listens. service: whose door it was, "" for the gateway's own."""

    service: str
    sock: socket.socket

    @property
    def at(self) -> str:
        """Its address for people."""
        host, port = self.sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Given:
    """Sockets to listen on instead of new ones.

    any_address: whoever opened them decided about the address, and only the port says whose door it is
    (systemd). Otherwise a door takes what is bound to exactly its own.
    """

    def __init__(self, heard: Iterable[Heard] = (), *, any_address: bool = False) -> None:
        self._heard = list(heard)
        self.any_address = any_address
        for one in self._heard:
            one.sock.setblocking(False)

    def add(self, service: str, socks: Iterable[socket.socket]) -> None:
        """Sockets that were opened for a door ahead of its time."""
        self._heard += (Heard(service, sock) for sock in socks)

    def take(self, service: str, host: str, port: int, family: int) -> socket.socket | None:
        """The socket for one address of a door, or None. port: 0 is whatever the door of that name had."""
        for one in self._heard:
            own_host, own_port = one.sock.getsockname()[:2]
            if one.sock.family == family and own_host == host and self._is_port(one, own_port, service, port):
                self._heard.remove(one)
                return one.sock
        return None

    def take_port(self, service: str, port: int) -> list[socket.socket]:
        """Every socket of a door where the address was decided elsewhere; none where it was not.

        Raises ConfigError: sockets were given, and none of them is for the gateway's own door.
        """
        if not self.any_address:
            return []
        mine = [one for one in self._heard if port in (0, one.sock.getsockname()[1])]
        if not mine and not service and self._heard:
            where = ", ".join(one.at for one in self._heard)
            raise ConfigError(
                f"systemd listens on {where} for this gateway, and port is {port}.",
                remedy=f"set port to {self._heard[0].sock.getsockname()[1]}, or ListenStream= of the "
                f"socket unit to {port}",
            )
        self._heard = [one for one in self._heard if one not in mine]
        return [one.sock for one in mine]

    @staticmethod
    def _is_port(one: Heard, own_port: int, service: str, port: int) -> bool:
        return own_port == port or (port == 0 and one.service == service)

    def close(self) -> None:
        """Close what no door took."""
        for one in self._heard:
            one.sock.close()
        self._heard.clear()

    def __len__(self) -> int:
        return len(self._heard)
