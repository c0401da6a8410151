"""Finds what the engine `process` started, with nothing in memory: notes on disk and the process table.

A note per instance is written right after its start; the environment of the processes says the same
(`HESTIA_KEY`). Either may be missing: a crash may come between start and note, and a program that
rewrites its title overwrites its environment. Everything here reads the disk: call it outside the loop.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Final
from urllib.parse import quote

from hestia.core.model import GatewayId, InstanceKey
from hestia.core.urls import parse_base_url
from hestia.engines.process_handle import Launched
from hestia.engines.process_options import ProcessOptions
from hestia.engines.process_output import log_path
from hestia.engines.process_table import Stat, bearing, boot_id, lives

_LOG_MAX: Final[int] = ProcessOptions.model_fields["log_max"].default


class Records:
    """The notes in one folder, and the look into the process table that stands in for a missing one."""

    def __init__(self, folder: Path) -> None:
        self._notes = folder / "run"
        self.output = folder / "output"

    def note(self, launched: Launched) -> None:
        """Write the note; complete or not at all."""
        path = self._path(launched.key)
        part = path.with_suffix(".part")
        self._notes.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.write_text(json.dumps(dict(launched.handle())))
        part.replace(path)

    def forget(self, launched: Launched) -> None:
        """Remove the note of what is gone."""
        self._path(launched.key).unlink(missing_ok=True)

    def lock(self) -> int | None:
        """Take the right to start something, for all engine objects on this folder; None while it is taken.

        Returns a descriptor; closing it gives the right back, and so does the end of the gateway.
        """
        self._notes.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._notes / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def find(self, key: InstanceKey) -> tuple[Launched | None, Launched | None]:
        """The live program of a key, or else what is left over of it: children whose main one has ended."""
        noted = self._read(self._path(str(key)))
        if noted is not None and noted.key == str(key) and lives(noted.identity):
            return noted, None
        bearers = [(stat, env) for stat, found, env in bearing(str(key)) if found == key]
        if not bearers:
            return None, None
        main = self._main_of(bearers, key)
        return main, None if main is not None else self._as_launched(*_oldest(bearers), key)

    def all_of(self, owner: GatewayId) -> dict[InstanceKey, Launched]:
        """Everything alive that bears the gateway's id; of a program that ended, its left-over children."""
        found: dict[InstanceKey, list[tuple[Stat, dict[str, str]]]] = {}
        for stat, key, env in bearing(f"hestia:{owner}/"):
            found.setdefault(key, []).append((stat, env))
        running: dict[InstanceKey, Launched] = {}
        for path in self._notes.glob("*.json"):
            noted = self._read(path)
            if noted is not None and noted.instance_key.gateway == owner and lives(noted.identity):
                running[noted.instance_key] = noted
        for key, bearers in found.items():
            if key not in running:
                running[key] = self._main_of(bearers, key) or self._as_launched(*_oldest(bearers), key)
        return running

    def _main_of(self, processes: list[tuple[Stat, dict[str, str]]], key: InstanceKey) -> Launched | None:
        leaders = [(stat, env) for stat, env in processes if stat.pid == stat.session]
        if not leaders:
            return None
        # A double fork makes another session with the same key; the one we made is the oldest.
        return self._as_launched(*_oldest(leaders), key)

    def _as_launched(self, stat: Stat, env: dict[str, str], key: InstanceKey) -> Launched:
        base_url = env.get("HESTIA_ENDPOINT", "")
        try:
            port = parse_base_url(base_url).port
        except ValueError:
            base_url, port = "http://127.0.0.1:1", 0  # somebody changed the variable: probes will tell
        return Launched(
            key=str(key),
            pid=stat.pid,
            ticks=stat.ticks,
            boot=boot_id(),
            group=stat.group,
            port=port,
            base_url=base_url,
            health_url=env.get("HESTIA_HEALTH_URL", ""),
            log=str(log_path(self.output, key)),
            log_max=_LOG_MAX,
            options_hash=env.get("HESTIA_OPTIONS", ""),
        )

    def _path(self, key: str) -> Path:
        return self._notes / f"{quote(key, safe='')}.json"

    def _read(self, path: Path) -> Launched | None:
        try:
            value = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        return Launched.read(value) if isinstance(value, dict) else None


def _oldest(processes: list[tuple[Stat, dict[str, str]]]) -> tuple[Stat, dict[str, str]]:
    return min(processes, key=lambda process: process[0].ticks)
