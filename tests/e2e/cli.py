"""How tests call the command line: in this process with its streams caught, or as a program on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from hestia.cli.entry import run

PROGRAM = [sys.executable, "-m", "hestia.cli"]
PATIENCE = 30


@dataclass(frozen=True, slots=True)
class Ran:
    """What one call left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls `hestia` as if in a pipe, in an empty folder, with an environment that names no gateway."""

    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Ran:
        self.capture.readouterr()
        code = run(list(arguments))
        found = self.capture.readouterr()
        return Ran(code, found.out, found.err)


def environment(**more: str) -> dict[str, str]:
    """The tests' environment without anything that steers Hestia or colours."""
    drop = ("HESTIA_", "NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR", "CI")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    return {**kept, "HESTIA_ON_EXIT": "stop", "TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **more}


def on_terminal(
    arguments: list[str], *, cwd: Path, env: Mapping[str, str] | None = None, columns: int = 80
) -> pexpect.spawn:
    """Start `hestia` on a terminal of its own."""
    return pexpect.spawn(
        PROGRAM[0],
        [*PROGRAM[1:], *arguments],
        cwd=str(cwd),
        env=dict(env or environment()),
        dimensions=(30, columns),
        encoding="utf-8",
        timeout=PATIENCE,
    )
