"""The gateway of `hestia demo`: its own folder, port and process, and nothing left of any of them (FM-06).

Owns making and removing. A real `hestia serve` runs in a child, so that what is shown is what one gets.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hestia.cli.client import Client
from hestia.cli.exits import CliError
from hestia.cli.target import Target

START_LIMIT: Final = 20.0
STOP_LIMIT: Final = 45.0
LOOK_EVERY: Final = 0.05
QUICK: Final = "quick"
SLOW: Final = "slow"
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


@dataclass(frozen=True, slots=True)
class Play:
    """Seconds. slow_start: how long `slow` takes to start; idle: until an unused service is stopped."""

    slow_start: float = 8.0
    idle: float = 5.0


@contextlib.contextmanager
def running(port: int, play: Play) -> Iterator[Client]:
    """A gateway with the two services on this port; gone with all it made when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="hestia-demo-"))
    child: subprocess.Popen[bytes] | None = None
    try:
        child = _start(folder, port, play)
        client = Client(Target("http", "127.0.0.1", port, "", "the demo"))
        _wait_until_it_answers(client, child, folder / "gateway.log")
        yield client
    finally:
        if child is not None:
            _stop(child)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, port: int, play: Play) -> subprocess.Popen[bytes]:
    file = folder / "hestia_config.yml"
    file.write_text(json.dumps(configuration(folder, play), indent=2), encoding="utf-8")  # JSON is YAML too
    (folder / "tmp").mkdir()
    command = [sys.executable, "-m", "hestia.cli", "serve", "--config", str(file), "--port", str(port)]
    with (folder / "gateway.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(os.environ, folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # the terminal's Ctrl-C is for us; we end it in order
            preexec_fn=_die_with_parent,
        )


def configuration(folder: Path, play: Play) -> Mapping[str, object]:
    """The configuration of the demo as a document."""

    def service(name: str, delay: float) -> Mapping[str, object]:
        command = [sys.executable, "-m", "hestia.cli.demo_service", "--name", name, "--port", "{port}"]
        return {
            "engine": {"type": "process", "command": [*command, "--start-delay", str(delay)]},
            "health_url": "http://127.0.0.1:{port}/health",
            "idle_timeout": f"{play.idle:g}s",
            "stop_grace": "2s",
        }

    return {
        "host": "127.0.0.1",
        "state_dir": str(folder / "state"),
        "on_exit": "stop",
        "services": {QUICK: service(QUICK, 0.0), SLOW: service(SLOW, play.slow_start)},
    }


def _environment(own: Mapping[str, str], folder: Path) -> dict[str, str]:
    """A bare environment: nobody's HESTIA_* or *_BASE_URL changes the show, no file lands elsewhere."""
    kept = {name: own[name] for name in _PASSED_ON if name in own}
    return {
        **kept,
        "TMPDIR": str(folder / "tmp"),
        "HESTIA_ENV_SERVICES": "off",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _die_with_parent() -> None:
    """Should we be killed outright, the kernel tells the gateway, and it stops its services."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_it_answers(client: Client, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        with contextlib.suppress(CliError):
            client.call("GET", "/readyz")
            return
        if child.poll() is not None:
            break
        time.sleep(LOOK_EVERY)
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
    raise CliError("\n".join(["The demo's gateway did not start. It said:", *said]), code="demo_failed")


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the gateway in order; it stops its services. A second Ctrl-C must not cut this short."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for number, limit in ((signal.SIGTERM, STOP_LIMIT), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if child.poll() is not None:
                return
            child.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(limit)
                return
    finally:
        signal.signal(signal.SIGINT, before)
