"""The address to listen on: whether it can be had, who has it otherwise, which port is free (FM-03, FM-05).

Looks only: nothing is listened on for longer than a moment, nobody is disturbed but by one GET /healthz.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from dataclasses import dataclass
from typing import Final

from hestia.cli.client import Client
from hestia.cli.exits import CliError
from hestia.cli.target import Target
from hestia.cli.text import ago, instant, plain

PORTS_TRIED: Final = 100
ASK_TIMEOUT: Final = 1.0
SCHEMES: Final = ("http", "https")
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::", "*"})
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def browsable(host: str, port: int, *, tls: bool = False) -> str:
    """The address a browser on this machine opens; never a listening address such as 0.0.0.0."""
    return _url("localhost" if host in _EVERYWHERE | _LOOPBACK else host, port, tls=tls)


def _url(name: str, port: int, *, tls: bool) -> str:
    scheme, default = ("https", 443) if tls else ("http", 80)
    at = f"[{name}]" if ":" in name else name
    return f"{scheme}://{at}" if port == default else f"{scheme}://{at}:{port}"


def from_outside(host: str, port: int, *, tls: bool = False) -> str:
    """The address for other machines, "" where only this one can come in or none is known."""
    if host not in _EVERYWHERE:
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks the routing table for our own address
        except OSError:
            return ""
        own = probe.getsockname()[0]
    return "" if own.startswith("127.") else _url(own, port, tls=tls)


def is_free(host: str, port: int) -> bool:
    """Whether one can listen there right now."""
    return obstacle(host, port) is None


def free_port(host: str, after: int) -> int:
    """A port that is free, close above `after`; else any."""
    for port in range(after + 1, min(after + 1 + PORTS_TRIED, 65536)):
        if is_free(host, port):
            return port
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def check(host: str, port: int, *, command: str) -> None:
    """Raise CliError when the address cannot be listened on. command: how serve was called, without port."""
    if port and (error := obstacle(host, port)) is not None:
        raise explain(error, host, port, command=command)


def check_service(service: str, host: str, port: int) -> None:
    """Raise CliError when the own port of a service cannot be listened on."""
    error = obstacle(host, port)
    if error is None:
        return
    if error.errno == errno.EADDRINUSE:
        reason = f"the port is taken by {holder_of(port).words()}"
    elif error.errno == errno.EACCES:
        reason = "only root may use ports below 1024 here"
    else:
        reason = os.strerror(error.errno) if error.errno else str(error)
    raise CliError(
        f"Cannot listen on {host}:{port} for services.{service}: {reason}.",
        code="port_in_use" if error.errno == errno.EADDRINUSE else "bind_failed",
        remedy=(f"Give it another port: services.{service}.port: {free_port(host, max(port, 8080))}",),
    )


def obstacle(host: str, port: int) -> OSError | None:
    """As the gateway does (`edge.listener.bind`), for a moment."""
    missing: OSError | None = None
    found = 0
    try:
        for family, _, _, _, address in socket.getaddrinfo(
            None if host in ("", "*") else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                _listen(family, str(address[0]), port)
                found += 1
            except OSError as exc:
                if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    return exc
                missing = exc
    except OSError as exc:  # no such name
        return exc
    return None if found else missing


def _listen(family: int, host: str, port: int) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # A port in TIME_WAIT is free, one that is listened on is not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        listener.bind((host, port))
        listener.listen(1)


def explain(error: OSError, host: str, port: int, *, command: str) -> CliError:
    """Why the gateway cannot listen there, and what to do (FM-05)."""
    place = f"{host or '*'}:{port}"
    if isinstance(error, socket.gaierror):
        return CliError(
            f'Cannot listen on {place}: "{host}" is not an address of this machine.',
            code="bind_failed",
            remedy=(f"Listen on this machine only: {command} --host 127.0.0.1",),
        )
    if error.errno == errno.EACCES:
        return CliError(
            f"Cannot listen on {place}: only root may use ports below 1024 here.",
            code="bind_failed",
            remedy=(f"Use a higher port: {command} --port {free_port(host, max(port, 8080) - 1)}",),
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return CliError(
            f"Cannot listen on {place}: no network of this machine has that address.",
            code="bind_failed",
            remedy=(f"Listen on this machine only: {command} --host 127.0.0.1",),
        )
    if error.errno == errno.EADDRINUSE:
        return _taken(host, port, command=command)
    reason = os.strerror(error.errno) if error.errno else str(error)
    return CliError(f"Cannot listen on {place}: {reason}.", code="bind_failed")


def _taken(host: str, port: int, *, command: str) -> CliError:
    holder = holder_of(port)
    lines = [f"Cannot listen on {host or '*'}:{port}: the port is taken by {holder.words()}."]
    gateway, url = running_hestia(host, port)
    if gateway:
        lines.append(gateway)
    other = f"{command} --port {free_port(host, port)}"
    if not gateway:
        remedy = [f"Use a free port: {other}"]
    else:
        remedy = [
            f"Look at the one that runs: hestia status --url {url}",
            f"Run a second one beside it: HESTIA_STATE_DIR=~/.local/state/hestia-2 {other}",
        ]
    return CliError("\n".join(lines), code="port_in_use", remedy=tuple(remedy))


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens on a port; pid 0 when it cannot be seen."""

    pid: int = 0
    name: str = ""

    def words(self) -> str:
        """`nginx (pid 812)`."""
        if self.pid:
            return f"{plain(self.name)} (pid {self.pid})"
        return "a program of another user (its name is not visible to you)"


def holder_of(port: int) -> Holder:
    """The program that listens on a TCP port, as far as it can be seen."""
    import psutil  # only here, and only when something is wrong

    try:
        for connection in psutil.net_connections(kind="tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            if listening and connection.laddr and connection.laddr.port == port and connection.pid:
                return Holder(connection.pid, psutil.Process(connection.pid).name())
    except (psutil.Error, OSError):
        return Holder()
    return Holder()


def running_hestia(host: str, port: int) -> tuple[str, str]:
    """A sentence about the gateway that answers at this port, and its address; "" and "" when none does."""
    name = "127.0.0.1" if host in _EVERYWHERE | {"localhost"} else host
    for scheme in SCHEMES:
        if said := _hestia_at(Target(scheme, name, port, "", "", verify=False)):
            return said, browsable(host, port, tls=scheme == "https")
    return "", ""


def _hestia_at(target: Target) -> str:
    client = Client(target, connect_timeout=ASK_TIMEOUT, answer_timeout=ASK_TIMEOUT)
    try:
        health = json.loads(client.call("GET", "/healthz", accept=(503,))[1])
        version, since = str(health["version"]), instant(health["startedAt"])
        file = str(json.loads(client.call("GET", "/v1/config")[1]).get("path", ""))
    except (CliError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    from datetime import UTC, datetime

    age = f", started {ago(since, datetime.now(UTC))}" if since else ""
    source = f", configuration {plain(file)}" if file else ", without a configuration file"
    return f"It is a Hestia: version {plain(version)}{age}{source}."
