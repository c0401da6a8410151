"""This machine, as the tests of the engine `process` use it: real programs, real signals, real ports."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from hestia.core.model import InstanceKey
from hestia.core.ports import EngineContext, Handle, StartSpec
from hestia.engines.process import ProcessEngine
from hestia.engines.process_options import ProcessOptions
from hestia.engines.process_ports import Ports
from hestia.engines.process_table import bearing, environment, read_stat
from tests.contract.engine_contract import GATEWAY

PYTHON = [sys.executable, "-S", "-E", "-u", "-c"]  # -S -E: starts in 20 ms

# Listens on the port given as argument, prints `hello` and the note, runs until TERM.
SERVER = """
import signal, socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print("hello", *sys.argv[2:])
signal.pause()
"""


class ThisMachine:
    """Runs engines on one state folder. `mark` is in the environment of all that is started here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = f"hestia-test-{uuid.uuid4().hex}"

    def engine(self, *, ports: Ports | None = None, port_window: float = 3.0) -> ProcessEngine:
        context = EngineContext(GATEWAY, str(self.folder))
        return ProcessEngine(context, ports=ports, port_window=port_window)

    def spec(self, note: str = "") -> StartSpec:
        return self.command([*PYTHON, SERVER, "{port}", note])

    def command(self, command: str | Sequence[str], *, base_url: str = "", **more: object) -> StartSpec:
        """Any command. more: further options."""
        env = {"HESTIA_TEST": self.mark, **dict(more.pop("env", {}))}  # type: ignore[call-overload]  # a mapping
        options = ProcessOptions.model_validate({"command": command, "env": env, **more})
        return StartSpec(options=options, options_hash=str(hash(str(command))), base_url=base_url)

    def fixed(self, command: str | Sequence[str], **more: object) -> StartSpec:
        """A command that is told no port, at an address where nobody will ever answer."""
        return self.command(command, base_url="http://127.0.0.1:1", **more)

    async def crash(self, handle: Handle) -> None:
        os.kill(int(handle["pid"]), signal.SIGKILL)

    def living(self, instance: InstanceKey) -> int:
        return sum(stat.pid == stat.session for stat, key, _ in bearing(str(instance)) if key == instance)

    async def exec_done(self, handle: Handle) -> None:
        """Wait until a program just started shows its environment, or has ended already.

        Its pid is known from the moment the kernel lets go of the old program; the new one's
        environment is there a little later, and without it nobody knows whose process it is.
        """
        pid = int(handle["pid"])

        def done() -> bool:
            stat = read_stat(pid)
            return stat is None or not stat.alive or environment(pid) != {}

        await until(done)

    def processes(self) -> list[int]:
        """Every living process that was started here, whatever became of its parent or group."""
        return [stat.pid for stat, _, env in bearing("hestia:") if env.get("HESTIA_TEST") == self.mark]

    def anything_left(self) -> list[str]:
        return [f"pid {pid}: {_command_line(pid)}" for pid in self.processes()]

    def end_all(self) -> None:
        """After a failed test: leave nothing behind all the same."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


class StolenPorts(Ports):
    """Hands out ports that somebody else has bound by the time the program comes, then free ones.

    The thief binds and does not listen: connections are refused until the program finds out.
    """

    def __init__(self, stolen: int) -> None:
        super().__init__()
        self.left = stolen
        self.thieves: list[socket.socket] = []
        self.picked: list[int] = []

    def pick(self) -> int:
        port = super().pick()
        self.picked.append(port)
        if self.left:
            self.left -= 1
            thief = socket.socket()
            thief.bind(("127.0.0.1", port))
            self.thieves.append(thief)
        return port

    def close(self) -> None:
        for thief in self.thieves:
            thief.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until(fact: object, *, timeout: float = 10.0) -> None:
    """Wait until a look at the machine is true; the kernel tells nobody, so this one polls."""
    assert callable(fact)
    async with asyncio.timeout(timeout):
        while not fact():
            await asyncio.sleep(0.01)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:200]
    except OSError:
        return "(gone meanwhile)"
