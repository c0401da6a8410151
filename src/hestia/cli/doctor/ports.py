"""Checks of the ports the gateway listens on: free, held by the running gateway, or held by somebody else."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, field

from hestia.cli import address
from hestia.cli.address import Holder
from hestia.cli.doctor.finding import Finding, fail, ok, skip
from hestia.cli.doctor.running import Running, process_of
from hestia.cli.doctor.world import World
from hestia.cli.text import plain


@dataclass(frozen=True, slots=True)
class PortLook:
    """What was found at a port. key: the setting that names it. error: why one cannot listen there.

    gateway: a sentence about the Hestia that answers there, "" when none does. own: it is the one of this
    configuration. free: a port that could be had instead.
    """

    key: str
    host: str
    port: int
    error: OSError | None = None
    holder: Holder = field(default_factory=Holder)
    gateway: str = ""
    own: bool = False
    free: int = 0

    @property
    def place(self) -> str:
        return f"{self.host or '*'}:{self.port}"


def main_port(world: World) -> Finding:
    """The gateway's own port."""
    host, port = world.gateway.host, world.gateway.port
    if port == 0:
        return skip("port", "0: a free one is picked with each start", "port")
    error = address.obstacle(host, port)
    if error is None or error.errno != errno.EADDRINUSE:
        return judge(PortLook("port", host, port, error, free=_free(host, port, error)))
    holder = address.holder_of(port)
    sentence, _ = address.running_hestia(host, port)
    own = bool(sentence) and (holds_folder(world, holder) or has_file(world))
    free = address.free_port(host, port)
    return judge(PortLook("port", host, port, error, holder, sentence, own, free))


def holds_folder(world: World, holder: Holder) -> bool:
    """Whether who holds the port has the state folder of this configuration, too."""
    pid = process_of(world.gateway.state_dir)
    return pid != 0 and holder.pid in (0, pid)


def has_file(world: World) -> bool:
    """Whether the gateway at this configuration's address runs with the same file."""
    running = world.asked.running()
    if running is None or world.target.port != world.gateway.port:
        return False
    return world.settings is None or (running.config or {}).get("path") == world.settings.config_path


def own_port(world: World, service: str, port: int) -> Finding:
    """The port that a service has on the gateway."""
    key, host = f"services.{service}.port", world.gateway.host
    error = address.obstacle(host, port)
    if error is None or error.errno != errno.EADDRINUSE:
        return judge(PortLook(key, host, port, error, free=_free(host, port, error)))
    running = world.asked.running()
    own = running is not None and listens_for(running, service, port)
    gateway = f"It belongs to service {service}." if own else ""
    free = address.free_port(host, max(port, world.gateway.port))
    return judge(PortLook(key, host, port, error, address.holder_of(port), gateway, own, free))


def listens_for(running: Running, service: str, port: int) -> bool:
    """Whether the running gateway has that port for that service."""
    return running.service(service).get("port") == port


def _free(host: str, port: int, error: OSError | None) -> int:
    return address.free_port(host, max(port, 8080) - 1) if error is not None else 0


def judge(look: PortLook) -> Finding:
    """What the look means."""
    place, error = look.place, look.error
    if error is None:
        return ok("port", f"{place} is free", look.key)
    if look.own:
        who = f", {look.holder.words()}" if look.holder.pid else ""
        return ok(
            "port", f"{place} is held by the running gateway{who}. {plain(look.gateway)}".rstrip(), look.key
        )
    elsewhere = f"take another port: {look.key}: {look.free}" if look.free else "take another port"
    if error.errno == errno.EADDRINUSE:
        text = f"{place} is taken by {look.holder.words()}" + (f". {look.gateway}" if look.gateway else "")
        return fail("port", text, look.key, _stop(look.holder), elsewhere)
    if isinstance(error, socket.gaierror):
        return fail(
            "port", f'"{plain(look.host)}" is not an address of this machine', "host", "host: 127.0.0.1"
        )
    if error.errno == errno.EACCES:
        return fail("port", f"{place} needs root here, as ports below 1024 do", look.key, elsewhere)
    if error.errno == errno.EADDRNOTAVAIL:
        return fail("port", f"no network of this machine has the address {place}", "host", "host: 127.0.0.1")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return fail("port", f"cannot listen on {place}: {reason}", look.key, elsewhere)


def _stop(holder: Holder) -> str:
    return f"stop that program: kill {holder.pid}" if holder.pid else "see who holds it: sudo ss -ltnp"
