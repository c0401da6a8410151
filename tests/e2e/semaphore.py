"""The Semaphore stand-in in a process of its own, for tests whose gateway is another process.

Owns that process and what a test does to it from outside. Gone when the block ends, and every play with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import ROOT, missing


@dataclass(frozen=True, slots=True)
class SemaphoreProgram:
    """A stand-in that serves. templates: id by name. token: of a user who may only run tasks."""

    process: subprocess.Popen[str]
    url: str
    token: str
    admin_token: str
    project: str
    project_id: int
    templates: dict[str, int]

    def http(self) -> httpx.Client:
        """A client that carries the token, whose paths begin at the server's address."""
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, trust_env=False
        )

    def calls(self) -> list[dict[str, Any]]:
        """Every call so far: method, path, query, body and the status it got."""
        found: list[dict[str, Any]] = self._door("GET", "calls").json()
        return found

    def fault(self, kind: str, **fields: object) -> None:
        """Put a fault in force: the fields of `tests.fakes.semaphore.Fault`."""
        self._door("POST", "fault", {"kind": kind, **fields})

    def lift(self) -> None:
        """End every fault."""
        self._door("POST", "lift")

    def restart(self) -> None:
        """End the server and start it again: plays break off, records stay as they were."""
        self.process.send_signal(signal.SIGHUP)
        assert self.process.stdout is not None  # for the type checker: it is a pipe
        assert self.process.stdout.readline() == "restarted\n"

    def _door(self, method: str, order: str, document: object = None) -> httpx.Response:
        answer = httpx.request(
            method, f"{self._origin}/stand-in/{order}", json=document, trust_env=False, timeout=30
        )
        return answer.raise_for_status()

    @property
    def _origin(self) -> str:
        address = httpx.URL(self.url)
        return f"{address.scheme}://{address.host}:{address.port}"


@contextlib.contextmanager
def semaphore_program(*options: str) -> Iterator[SemaphoreProgram]:
    """`python -m tests.fakes.semaphore` with these options, at a free port."""
    command = [sys.executable, "-m", "tests.fakes.semaphore", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # for the type checker: it is a pipe
            told = json.loads(process.stdout.readline())
            yield SemaphoreProgram(process, **told)
        finally:
            process.terminate()


def ansible_options(python: str, playbooks: Path) -> Sequence[str]:
    """Options for real plays: `ansible-playbook` of the environment with the real servers."""
    program = Path(python).with_name("ansible-playbook")
    if not os.access(program, os.X_OK):
        missing(f"{program} cannot be run; see tests/e2e/requirements.txt")
    return ("--playbooks", str(playbooks), "--ansible", str(program))
