"""A play that is real: `ansible-playbook` on the template's repository, with its inventory and variables.

What the server adds by itself is added here: the command line, the environment of the process, the private
key of the inventory. Killing reaches the top process only, as it does there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .plays import Run
from .records import Document
from .variables import process_environment, secrets
from .versions import Version

LINE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class AnsiblePlay:
    """program: `ansible-playbook` by its full path. Repositories are folders here, used in place."""

    program: str
    version: Version

    async def __call__(self, run: Run) -> int:
        if run.template["app"] != "ansible":
            run.say(f"the stand-in runs Ansible only, not {run.template['app']}")
            return 1
        repository = run.project.of("repositories")[run.template["repository_id"]]
        with tempfile.TemporaryDirectory(prefix="semaphore-") as folder:
            try:
                command = self._command(run, Path(folder))
                return await _execute(command, repository["git_url"], self._environment(run, folder), run)
            except (OSError, ValueError) as exc:
                run.say(f"Running app failed: {exc}")
                return 1

    def _command(self, run: Run, folder: Path) -> list[str]:
        asked = run.task.asked
        inventory = _inventory(run)
        command = [self.program, "-i", _inventory_path(run, inventory, folder)]
        command += _key(run, inventory, folder)
        params = asked if not self.version.modern else asked.get("params", {})
        allowed: Document = run.template.get("task_params") or {}
        if params.get("debug") and (allowed.get("allow_debug") or not self.version.modern):
            command.append("-vvvv")
        command += [flag for name, flag in (("diff", "--diff"), ("dry_run", "--check")) if params.get(name)]
        command += ["--extra-vars", json.dumps(run.variables)]
        for name, value in secrets(run.project, run.template, "var").items():
            command += ["--extra-vars", f"{name}={value}"]
        command += _arguments(run.template["arguments"])
        if run.template["allow_override_args_in_task"]:
            command += _arguments(asked.get("arguments"))
        command += self._limit(asked, allowed)
        return [*command, asked.get("playbook") or run.template["playbook"]]

    def _limit(self, asked: Document, allowed: Document) -> list[str]:
        """From 2.13 a limit that the template does not allow is ignored without a word."""
        if not self.version.modern:
            return [f"--limit={asked['limit']}"] if asked.get("limit") else []
        hosts = asked.get("params", {}).get("limit", [])
        return [f"--limit={','.join(hosts)}"] if hosts and allowed.get("allow_override_limit") else []

    def _environment(self, run: Run, folder: str) -> dict[str, str]:
        """Not this process's own: release 2.10 hands on not even PATH."""
        found = {"HOME": folder, "PYTHONUNBUFFERED": "1", "ANSIBLE_FORCE_COLOR": "True"}
        if self.version.modern:
            found["PATH"] = os.environ.get("PATH", os.defpath)
        own = process_environment(run.project, run.template)
        if not all(isinstance(value, str) for value in own.values()):
            raise ValueError("json: cannot unmarshal a value of the variable group's env into a string")
        return {**found, **own}


def _arguments(text: str | None) -> list[str]:
    """Further arguments of the command line. Raises ValueError: an empty text is no list either."""
    found = [] if text is None else json.loads(text)
    if not isinstance(found, list):
        raise ValueError("arguments are not a list")
    return found


def _inventory(run: Run) -> Document:
    every = run.project.of("inventory")
    return every.get(run.task.asked.get("inventory_id", 0)) or every[run.template["inventory_id"]]


def _inventory_path(run: Run, inventory: Document, folder: Path) -> str:
    if inventory["type"] == "file":
        return str(inventory["inventory"])
    run.say("installing static inventory")
    path = folder / ("inventory.yml" if inventory["type"] == "static-yaml" else "inventory")
    path.write_text(inventory["inventory"])
    return str(path)


def _key(run: Run, inventory: Document, folder: Path) -> list[str]:
    """The private key of an SSH inventory, in a file that only its owner may read."""
    key = run.project.of("keys").get(inventory.get("ssh_key_id") or 0, {"type": "none"})
    if key["type"] != "ssh":
        return []
    path = folder / "key"
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(key["ssh"]["private_key"])
    login = key["ssh"].get("login")
    return ["--private-key", str(path), *(["--user", login] if login else [])]


async def _execute(command: list[str], folder: str, environment: dict[str, str], run: Run) -> int:
    """Run it and hand on its lines. Cancelled, it kills the process."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**environment, "PWD": folder},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=LINE_LIMIT,
    )
    assert process.stdout is not None  # for the type checker: it is a pipe
    try:
        async for line in process.stdout:
            run.say(line.decode(errors="replace").rstrip("\n"))
        return await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
