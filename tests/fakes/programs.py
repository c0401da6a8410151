"""Services that are real processes, for the tests: makes their settings and knows what they did."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from hestia.core.model import Backoff, InstanceId, InstanceSettings, ServiceId, ServiceSettings
from hestia.engines.process_options import ProcessOptions

PROGRAM = Path(__file__).parent / "servers" / "small_service.py"
QUICK = Backoff(base=0.01, cap=0.02, intensity=1000, per_hour=100_000)


def small_command(*more: str) -> list[str]:
    """Command line of the small service; `{port}` is for the engine to fill in. more: its options."""
    return [sys.executable, "-I", "-S", str(PROGRAM), "{port}", *more]


class Programs:
    """Makes services that are processes, and knows what they did. gate: readiness waits for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = folder / "gate"

    def command(self, name: str, *more: str, gated: bool = False) -> list[str]:
        gate = ["--gate", str(self.gate)] if gated else []
        return small_command("--journal", str(self.folder / name), *gate, *more)

    def service(
        self,
        *more: str,
        name: str = "a",
        gated: bool = False,
        command: str | Sequence[str] = (),
        warmup: float = 0.0,
        **settings: Any,
    ) -> ServiceSettings:
        """A service of the process engine. more: words for the program's command line.

        settings: fields of ServiceSettings (any of them, hence Any).
        """
        words: str | list[str] = self.command(name, *more, gated=gated)
        if command:
            words = command if isinstance(command, str) else list(command)
        settings.setdefault("restart_backoff", QUICK)
        options = ProcessOptions(command=words)
        instance = InstanceSettings(
            id=InstanceId(name),
            base_url="http://127.0.0.1:{port}",
            health_url="" if warmup else "http://127.0.0.1:{port}/health",
            warmup=warmup,
            engine="process",
            options=options,
            options_hash=repr(options),
        )
        return ServiceSettings(id=ServiceId(name), instances=(instance,), **settings)

    def lines(self, name: str = "a") -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def started(self, name: str = "a") -> list[int]:
        """Pids of every start so far."""
        return [int(line.split()[1]) for line in self.lines(name) if line.startswith("started ")]

    def targets(self, name: str = "a") -> list[str]:
        return [line.split()[1] for line in self.lines(name) if line.startswith("request ")]

    def alive(self) -> list[int]:
        """Pids that still run."""
        return [pid for path in self.folder.iterdir() for pid in self.started(path.name) if is_alive(pid)]

    def open(self) -> None:
        self.gate.touch()


def is_alive(pid: int) -> bool:
    """Whether a program runs (one that ended and was not yet waited for does not)."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
