"""The text of the systemd units. Source: systemd.service(5), systemd.socket(5), systemd.exec(5).

Owns which settings are in them and why; who writes them, `commands.service` owns.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAME: Final = "hestia"
# Only what a program that the gateway starts can never need: they inherit every restriction.
_HARDENING: Final = ("ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectHostname=yes")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the units are for. doors: host and port of each place to listen. user: "" is the manager's own.

    environment: variables that the gateway is to see. system: a unit of the system, else of a user.
    """

    command: Sequence[str]
    folder: Path
    doors: Sequence[tuple[str, int]]
    environment: Mapping[str, str]
    user: str = ""
    system: bool = False


def socket_unit(wanted: Wanted) -> str:
    """systemd listens: the first connection starts the gateway, and none is refused while it restarts."""
    streams = [f"ListenStream={one}" for host, port in wanted.doors for one in addresses(host, port)]
    return _text(
        {
            "Unit": ["Description=Address of the Hestia gateway"],
            "Socket": [*streams, "Backlog=2048", "NoDelay=yes"],
            "Install": ["WantedBy=sockets.target"],
        }
    )


def service_unit(wanted: Wanted) -> str:
    """The gateway. It alone is ended with the unit: services stay up, as `on_exit` says (AD-08)."""
    lines = [
        "Type=notify",
        f"ExecStart={' '.join(quoted(word) for word in wanted.command)}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        f"WorkingDirectory={str(wanted.folder).replace('%', '%%')}",
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in sorted(wanted.environment.items())),
        "Restart=on-failure",
        "RestartSec=1",
        "# Requests and services get 30 s each to end.",
        "TimeoutStopSec=75",
        "TimeoutStartSec=120",
        "# What does not move any more is ended at once; the next gateway adopts what runs.",
        "WatchdogSec=30",
        "WatchdogSignal=SIGKILL",
        "KillMode=process",
    ]
    if wanted.system:
        lines += [f"User={wanted.user}"] if wanted.user else []
        lines += ["StateDirectory=hestia", "StateDirectoryMode=0700", *_HARDENING]
    after = ["Wants=network-online.target", "After=network-online.target"] if wanted.system else []
    return _text(
        {
            "Unit": [
                "Description=Hestia, on-demand service gateway",
                f"Requires={NAME}.socket",
                f"After={NAME}.socket",
                *after,
            ],
            "Service": lines,
            "Install": [
                f"WantedBy={'multi-user' if wanted.system else 'default'}.target",
                f"Also={NAME}.socket",
            ],
        }
    )


def _text(sections: Mapping[str, Sequence[str]]) -> str:
    return "\n".join("\n".join([f"[{name}]", *lines, ""]) for name, lines in sections.items())


def quoted(word: str) -> str:
    """One word as systemd reads it: its own quotes, `%` and `$` kept from being replaced."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if not escaped or any(mark in escaped for mark in " \t'\"\\;") else escaped


def addresses(host: str, port: int) -> list[str]:
    """What to listen on, as numbers: systemd asks nobody for names. Raises OSError: there is no such name."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    hosts = dict.fromkeys(str(address[0]) for _, _, _, _, address in found)
    return [f"[{one}]:{port}" if ipaddress.ip_address(one).version == 6 else f"{one}:{port}" for one in hosts]
