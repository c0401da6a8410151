"""Programs under measurement: started on a free port, CPU time and memory read from /proc, ended by pid.

Owns processes only; what they are configured to do is `peers`, what is asked of them `load` and its siblings.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
START_LIMIT = 20.0  # seconds until a program must answer
END_LIMIT = 10.0  # seconds after SIGTERM before SIGKILL


class ProgramFailed(Exception):
    """A program ended or did not answer in time. The text carries the last lines it wrote."""


def free_port() -> int:
    """A TCP port of loopback that nobody listens on right now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def http_status(port: int, path: str, *, method: str = "GET", timeout: float = 5.0) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body. Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (the second may hold spaces); [] when gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    """The process and everything below it that is alive."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))):
            parents.setdefault(int(stat[1]), []).append(int(entry))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


@dataclass
class Program:
    """One program of the run. started_at: instant of exec; listens_after, answers_after: seconds from it."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    output: Path
    started_at: float
    listens_after: float = 0.0
    answers_after: float = 0.0
    _tree: list[int] = field(default_factory=list)

    def settle(self) -> None:
        """Look once which processes belong to it; called when it answers."""
        self._tree = descendants(self.process.pid)

    def cpu(self) -> float:
        """Seconds of user and system time used so far by it and its children, in steps of one tick."""
        ticks = 0
        for pid in self._tree:
            if stat := _stat(pid):
                ticks += int(stat[11]) + int(stat[12])
        return ticks / TICKS

    def resident(self) -> int:
        """Bytes resident now, it and its children."""
        return sum(int(stat[21]) * PAGE for pid in self._tree if (stat := _stat(pid)))

    def forget_peak(self) -> None:
        """Start a new measurement of `peak`."""
        for pid in self._tree:
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """Bytes resident at most since `forget_peak`."""
        total = 0
        for pid in self._tree:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        total += int(line.split()[1]) * 1024
        return total

    def end(self) -> None:
        """SIGTERM, then SIGKILL to what is left of its own session. Never by name."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_LIMIT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def words(self) -> str:
        """The last lines it wrote."""
        try:
            return "\n".join(self.output.read_text(errors="replace").splitlines()[-12:])
        except FileNotFoundError:
            return ""


def start(
    name: str,
    command: Sequence[str],
    *,
    port: int,
    folder: Path,
    path: str = "",
    env: Mapping[str, str] | None = None,
) -> Program:
    """Start a program in a session of its own and wait until it answers `path` with 200.

    path "": listening is enough. Raises ProgramFailed, with its last lines, and leaves no process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{name}.out"
    with output.open("ab") as stream:
        started_at = time.monotonic()
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=folder,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        except OSError as exc:
            raise ProgramFailed(f"{name}: cannot run {command[0]}: {exc}") from exc
    program = Program(name, process, port, output, started_at)
    try:
        _wait_listening(program)
        if path:
            _wait_answer(program, path)
    except BaseException:
        program.end()
        raise
    program.settle()
    return program


def _check(program: Program, waiting_for: str) -> None:
    status = program.process.poll()
    if status is not None:
        raise ProgramFailed(f"{program.name} ended with status {status}:\n{program.words()}")
    if time.monotonic() - program.started_at > START_LIMIT:
        raise ProgramFailed(f"{program.name}: {waiting_for} within {START_LIMIT:.0f} s:\n{program.words()}")


def _wait_listening(program: Program) -> None:
    while True:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", program.port)) == 0:
                program.listens_after = time.monotonic() - program.started_at
                return
        _check(program, f"nobody listens on port {program.port}")
        time.sleep(0.002)


def _wait_answer(program: Program, path: str) -> None:
    said = "no answer"
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, body = http_status(program.port, path)
            if status == 200:
                program.answers_after = time.monotonic() - program.started_at
                return
            said = f"status {status}: {body[:300]!r}"
        _check(program, f"GET {path} did not answer 200 ({said})")
        time.sleep(0.005)
