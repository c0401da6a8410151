"""Reads what a page shows and does it: blocks of a Markdown file, played in order in a folder of its own.

The rules that a page keeps, all of them visible to its reader:
- A block whose first line is a comment with a file name (`# hestia_config.yml`) is that file.
- A shell block is run; the `text` block right behind it is what it prints. `…` stands for anything.
- `./scripts/dev.sh run` and `hestia serve` are the gateway: it is started anew, and runs from there on.
  A configuration that was written since is read by a restart before the next command.
- `sleep` waits until no service is hot: the tests wait for the fact, not for the seconds.
- A first line with `, needs …` names what a test machine lacks: its configuration is checked, nothing is run.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pexpect

from tests.e2e.cli import PATIENCE
from tests.fakes.facts import eventually

SERVES: Final = ("./scripts/dev.sh run", "hestia serve")
NOT_HERE: Final = ("./scripts/dev.sh test", "python3 -m pip install")
"""This very suite, and what `.ci/run` installs beforehand."""
_FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"# ([\w.]+)(?:, needs (.+))?$")
_WAIT_FOR_COLD: Final = (
    'sleep() { while hestia status --json | grep -qE \'"phase": *"(hot|starting|draining|stopping)"\'; '
    "do command sleep 0.1; done; }\n"
)
_PROGRESS: Final = re.compile(r"[\w-]+: (?:cold|starting|hot|draining|stopping|failed)\b")
_MASKS: Final = (
    (re.compile(r"\d+(?:\.\d+)? (ms|s|min|h)\b"), r"N \1"),
    (re.compile(r"\d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\d\d/[A-Z][a-z]{2}/\d{4}"), "DATE"),
    (re.compile(r"\breq_[a-z2-7]+"), "ID"),
    (re.compile(r"\b(process|pid) \d+"), r"\1 N"),
    (re.compile(r"\b\d{5}\b"), "PORT"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. file: the file that it is, or "". needs: what a test machine lacks, or ""."""

    language: str
    text: str
    line: int
    file: str = ""
    needs: str = ""


def blocks(page: Path) -> list[Block]:
    """Every block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        named = _FILE.fullmatch(match[2].partition("\n")[0])
        found.append(
            Block(
                match[1],
                match[2],
                text.count("\n", 0, match.start()) + 1,
                named[1] if named and "." in named[1] else "",
                (named[2] or "") if named else "",
            )
        )
    return found


def _shown(found: list[Block], number: int) -> str | None:
    """What the page says that this block prints: the text right behind it. None: nothing is said."""
    block = found[number]
    end = block.line + block.text.count("\n") + 2
    follows = found[number + 1 : number + 2]
    if follows and follows[0].language == "text" and follows[0].line == end:
        return follows[0].text
    return None


def masked(text: str) -> list[str]:
    """Lines that can be compared: without what differs from run to run."""
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return [line.strip() for line in text.strip().splitlines()]


def says(shown: str, printed: str) -> bool:
    """Whether a command printed what the page shows."""
    parts = [re.escape(part) for part in "\n".join(masked(shown)).split("…")]
    return re.fullmatch(".*".join(parts), "\n".join(masked(printed)), re.DOTALL) is not None


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Play:
    """Plays one page. folder: where it is played. env: of every command. replaced: texts of commands →
    what is run instead. Close it: it ends the gateway it started."""

    folder: Path
    env: Mapping[str, str]
    port: int
    replaced: Mapping[str, str] = field(default_factory=dict)
    _gateway: subprocess.Popen[bytes] | None = None
    _serves: str = ""
    _stale: bool = False

    def run(self, page: Path) -> int:
        """Play every block; the number of shell blocks that were run."""
        found, ran = blocks(page), 0
        for number, block in enumerate(found):
            where = f"{page.name}:{block.line}"
            if block.file:
                self._write(block, where)
            elif block.language == "sh" and not block.needs:
                self._commands(block, _shown(found, number), where)
                ran += 1
        return ran

    def _write(self, block: Block, where: str) -> None:
        folder = self.folder
        if block.needs:
            folder = self.folder / f"only-checked-{block.line}"
            folder.mkdir()
        (folder / block.file).write_text(self._here(block.text), encoding="utf-8")
        if block.needs and block.file == "hestia_config.yml":
            code, printed = self._bash("hestia config check", folder)
            assert code == 0, f"{where}: {printed}"
        elif not block.needs and not block.file.endswith(".py"):
            self._stale = True

    def _commands(self, block: Block, shown: str | None, where: str) -> None:
        lines: list[str] = []
        for line in block.text.splitlines():
            command = re.sub(r"\s+# .*", "", line)
            if command in SERVES:
                assert not lines, f"{where}: the gateway has a terminal of its own, so a block of its own"
                self._serve(command)
            elif command and not command.startswith(NOT_HERE):
                lines.append(command)
        if not lines:
            return
        if self._stale and self._serves:
            self._serve(self._serves)
        script = "\n".join(lines)
        for text, instead in self.replaced.items():
            script = script.replace(text, instead)
        code, printed = self._bash(_WAIT_FOR_COLD + self._here(script), self.folder)
        if shown is None:
            assert code == 0, f"{where} ended with {code}:\n{printed}"
        else:
            told, was = "\n".join(masked(shown)), "\n".join(masked(printed))
            assert says(shown, printed), f"{where} shows:\n{told}\nbut printed:\n{was}"

    def _here(self, script: str) -> str:
        here = script.replace("localhost:8080", f"localhost:{self.port}")
        return here.replace("--port 8080", f"--port {self.port}")

    def _bash(self, script: str, folder: Path) -> tuple[int, str]:
        """Run on a terminal, as a reader does; one that cannot move its cursor."""
        child = pexpect.spawn(
            "bash",
            ["-c", script],
            cwd=str(folder),
            env=dict(self.env),
            dimensions=(40, 200),
            encoding="utf-8",
            timeout=PATIENCE,
        )
        child.expect(pexpect.EOF)
        child.close()
        printed = str(child.before).replace("\r\n", "\n").replace(f":{self.port}", ":8080")
        kept = [line for line in printed.splitlines() if not _PROGRESS.match(line)]
        return child.exitstatus if child.exitstatus is not None else -1, "\n".join(kept)

    # -- the gateway ---------------------------------------------------------------------------

    def _serve(self, command: str) -> None:
        self.close()
        log = open(self.folder / "gateway.log", "ab")  # noqa: SIM115 - the gateway's own from here on
        self._gateway = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=self.folder, env=dict(self.env), stderr=log, stdout=log
        )
        log.close()
        self._serves, self._stale = command, False
        asyncio.run(eventually(self._answers, f"an answer of {command}", timeout=PATIENCE))

    def _answers(self) -> bool:
        assert self._gateway is not None
        assert self._gateway.poll() is None, (self.folder / "gateway.log").read_text(errors="replace")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5):
                return True
        except OSError:
            return False

    def close(self) -> None:
        """End the gateway as a reader does, with Ctrl-C; it ends well and stops what it started."""
        gateway, self._gateway = self._gateway, None
        if gateway is None:
            return
        gateway.send_signal(signal.SIGINT)
        try:
            code = gateway.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.kill(gateway.pid, signal.SIGKILL)
            raise
        assert code == 0, (self.folder / "gateway.log").read_text(errors="replace")
