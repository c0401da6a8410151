"""What systemd and a service say to each other: given sockets, notifications, the watchdog.

Source: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3). Nothing here needs systemd to be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Final

from hestia.edge.given import Given, Heard

FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START
PINGS: Final = 3  # in the time after which silence ends the service
STATUS_EVERY: Final = 10.0  # seconds between lines for `systemctl status`, without a watchdog


def is_activated(environment: MutableMapping[str, str]) -> bool:
    """Whether systemd gave listening sockets to this very process."""
    return environment.get("LISTEN_PID") == str(os.getpid()) and environment.get("LISTEN_FDS", "0") != "0"


def given_sockets(environment: MutableMapping[str, str]) -> Given:
    """The TCP sockets that systemd listens on for this process. Call once: they are owned from here on."""
    count = int(environment["LISTEN_FDS"]) if is_activated(environment) else 0
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(name, None)  # a program that is started later must not take them for its own
    heard = []
    for number in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + count):
        os.set_inheritable(number, False)
        sock = socket.socket(fileno=number)
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
            heard.append(Heard("", sock))
        else:
            sock.close()
    return Given(heard, any_address=True)


class Notifier:
    """Tells systemd how it goes; where nobody asked to be told, nothing happens.

    Takes what concerns it out of the environment, so that no program started later answers in its place.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        silence = environment.pop("WATCHDOG_USEC", "")
        mine = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._ending = False
        self._silence = int(silence) / 1e6 if silence.isdecimal() and mine else 0.0

    @property
    def asked(self) -> bool:
        """Whether systemd runs this process and wants to be told."""
        return bool(self._address)

    def say(self, *lines: str) -> None:
        """Send lines such as `READY=1`."""
        if not self._address:
            return
        self._ending = self._ending or "STOPPING=1" in lines
        where = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            with contextlib.suppress(OSError):  # a manager that does not listen cannot be told
                sock.sendto("\n".join(lines).encode(), where)

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Around a reload: `systemctl reload` knows from it when the new settings are in force."""
        # sd_notify(3): the time tells a manager that this reload began after it had asked for one
        self.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            if not self._ending:
                self.say("READY=1")

    async def keep_alive(self, pulse: Callable[[], tuple[bool, str]]) -> None:
        """Say for ever that it goes well, while it does: who falls silent is ended and started again.

        pulse: whether it goes well, and a line about it.
        """
        while self._address:
            well, status = pulse()
            lines = [f"STATUS={status}"]
            if self._silence and well:
                lines.append("WATCHDOG=1")
            self.say(*lines)
            await asyncio.sleep(self._silence / PINGS if self._silence else STATUS_EVERY)
