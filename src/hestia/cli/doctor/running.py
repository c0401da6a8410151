"""What the running gateway says about itself, asked over HTTP; and which process it is, if it can be seen."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hestia.cli.client import Client
from hestia.cli.exits import CliError, Document


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that answers. config: what it runs with, None when it does not say (access, age).

    services: their status documents. withheld: why config or services are missing, "" when they are not.
    """

    url: str
    version: str
    started_at: str
    status: str
    ready: bool
    problems: tuple[str, ...]
    config: Document | None
    services: tuple[Document, ...]
    withheld: str = ""

    def service(self, name: str) -> Document:
        """The status of a service, empty when it has none of that name."""
        return next((one for one in self.services if one.get("serviceId") == name), {})


def find_running(client: Client) -> Running | CliError:
    """Ask for its health, its configuration and its services; the error when no Hestia answers."""
    try:
        health = _json(client, "/healthz")
    except CliError as exc:
        return exc
    if not isinstance(health, dict) or not {"version", "status", "startedAt"} <= health.keys():
        return client.stranger("/healthz was answered, but not as a gateway does")
    withheld = ""
    config: Any = None  # Any: JSON of another program
    services: Any = []
    try:
        config, services = _json(client, "/v1/config"), _json(client, "/v1/services")
    except CliError as exc:
        withheld = exc.detail
    return Running(
        url=client.target.url,
        version=str(health["version"]),
        started_at=str(health["startedAt"]),
        status=str(health["status"]),
        ready=health.get("ready") is not False,
        problems=tuple(str(one) for one in health.get("problems") or ()),
        config=config if isinstance(config, dict) else None,
        services=tuple(one for one in services if isinstance(one, dict)),
        withheld=withheld,
    )


def _json(client: Client, path: str) -> Any:  # Any: a JSON document
    body = client.call("GET", path, accept=(503,))[1]
    try:
        return json.loads(body)
    except ValueError as exc:
        raise client.stranger(f"{path} was not answered with JSON") from exc


def process_of(state_dir: str, locks: Path = Path("/proc/locks")) -> int:
    """Pid of the gateway that holds the lock of a state folder; 0 when none does or it cannot be seen.

    Reads the kernel's list instead of trying the lock: a gateway that starts in this moment must not lose it.
    """
    lock = Path(state_dir) / "gateway.lock"
    try:
        written = lock.read_text(encoding="ascii", errors="replace").strip()
        inode = lock.stat().st_ino
        held = any(_is_lock(line.split(), inode) for line in locks.read_text().splitlines())
    except OSError:
        return 0
    return int(written) if held and written.isdecimal() else 0


def _is_lock(words: list[str], inode: int) -> bool:
    """Whether a line of /proc/locks (proc(5)) is about a lock of that file that is held, not awaited."""
    return (
        "FLOCK" in words
        and "->" not in words
        and any(word.count(":") == 2 and word.rpartition(":")[2] == str(inode) for word in words)
    )


def environment_of(pid: int) -> Mapping[str, str] | None:
    """The variables a process was started with; None when they cannot be seen."""
    with contextlib.suppress(OSError):
        data = Path(f"/proc/{pid}/environ").read_bytes()
        pairs = (os.fsdecode(entry).partition("=") for entry in data.split(b"\0") if b"=" in entry)
        return {name: value for name, _, value in pairs}
    return None


def user_of(pid: int) -> int | None:
    """The user id a process runs as; None when there is no such process."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None
