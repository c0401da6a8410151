"""A gateway beside a stand-in Semaphore whose plays start and stop real programs, known by their key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil

from tests.contract.process_machine import free_port
from tests.e2e.lives import Lives, lives
from tests.fakes.facts import PATIENCE
from tests.fakes.programs import small_command
from tests.fakes.semaphore import V2_16, Run, Scene, Semaphore, Version, furnish


class Automated:
    """See the module docstring. lives: of the gateway. port: of the service `one`."""

    def __init__(self, server: Semaphore, scene: Scene, gateway: Lives) -> None:
        self.server = server
        self.scene = scene
        self.lives = gateway
        self.port = free_port()
        self.words: tuple[str, ...] = ()  # further words of the programs' command line
        self.server.plays = {"start": self.start, "stop": self.stop}
        self._programs: list[subprocess.Popen[bytes]] = []
        gateway.configuration = {
            "semaphore_base_url": server.url,
            "semaphore_api_key": scene.token,
            "semaphore_project": "hestia",
            "services": {"one": self.service()},
        }

    def service(self, **settings: Any) -> dict[str, Any]:
        """The service `one`. settings: further keys, of any kind."""
        return {
            "base_url": f"http://127.0.0.1:{self.port}",
            "health_url": f"http://127.0.0.1:{self.port}/health",
            "semaphore_enabled": True,
            "semaphore_machine_id": "gpu-1",
            "semaphore_start_template_id": "start",
            "semaphore_stop_template_id": "stop",
            "semaphore_poll_interval": 0.1,
            **settings,
        }

    def set(self, **settings: Any) -> None:
        """From the next life on the service has these keys as well."""
        self.lives.set(one=self.service(**settings))

    def messages(self) -> list[str]:
        """What each task is for, oldest first: `start` or `stop`."""
        return [task.asked["message"].split()[1] for task in self.server.world.tasks.values()]

    # -- the playbooks -------------------------------------------------------------------------

    async def start(self, run: Run) -> int:
        """Start the program once: the play bears being run twice."""
        key, port = run.variables["hestia_instance_key"], run.variables["hestia_port"]
        run.say(f"starting {run.variables['hestia_service']} on {run.variables['hestia_machine']}")
        if not _bearing(key):
            words = [word.replace("{port}", port) for word in small_command(*self._journal(), *self.words)]
            environment = {**os.environ, "HESTIA_KEY": key}
            program = subprocess.Popen(words, env=environment, start_new_session=True)
            self._programs.append(program)
        return 0

    async def stop(self, run: Run) -> int:
        """End every program that bears the key, and see that it has ended, as a play should."""
        run.say("stopping")
        bearing = _bearing(run.variables["hestia_instance_key"])
        for process in bearing:
            process.send_signal(signal.SIGTERM)
        for process in bearing:
            await asyncio.to_thread(process.wait, PATIENCE)
        return 0

    def _journal(self) -> tuple[str, str]:
        return "--journal", str(self.lives.folder / "journal")

    def close(self) -> None:
        """Leave no program behind."""
        for program in self._programs:
            if program.poll() is None:
                program.kill()
            program.wait()


def _bearing(key: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            running = process.status() != psutil.STATUS_ZOMBIE
            if running and process.environ().get("HESTIA_KEY") == key:
                found.append(process)
    return found


@contextlib.asynccontextmanager
async def automated(folder: Path, version: Version = V2_16) -> AsyncIterator[Automated]:
    """A stand-in, and a gateway that is not started yet."""
    async with Semaphore(version, tick=0) as server, lives(folder) as gateway:
        one = Automated(server, furnish(server.world), gateway)
        try:
            yield one
        finally:
            one.close()
