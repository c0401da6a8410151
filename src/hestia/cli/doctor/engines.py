"""Checks of the engines: whether they can be loaded, and whether each program could be started.

Programs are looked at by the engine's own code (`engines.process_launch.prepare`), with the variables of the
running gateway where they can be seen, so that its PATH counts and not that of a terminal.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hestia.cli.doctor.finding import Finding, fail, ok, skip, warn
from hestia.cli.doctor.running import environment_of, process_of, user_of
from hestia.cli.doctor.world import World
from hestia.cli.text import plain
from hestia.core.errors import EngineRefused, StoreUnavailable
from hestia.core.model import InstanceSettings
from hestia.engines.process_launch import Launch, prepare
from hestia.engines.process_options import ProcessOptions
from hestia.engines.registry import EngineRegistry
from hestia.store.choose import database_path
from hestia.store.look import looking

_ANY_PORT: Final = 1  # what stands for `{port}` while nothing is started
_LINE_MAX: Final = 256  # bytes of a first line that the kernel reads (execve(2))


@dataclass(frozen=True, slots=True)
class Starter:
    """Who would start the programs. environment: its variables. gateway: it is the running one."""

    environment: Mapping[str, str] = field(repr=False)
    gateway: bool

    @property
    def words(self) -> str:
        """Whose PATH counts."""
        return "the running gateway" if self.gateway else "this terminal"


def starter(world: World) -> Starter:
    """The running gateway, if it is visible and of the same user; else a gateway started from here."""
    pid = process_of(world.gateway.state_dir)
    if pid and user_of(pid) == os.geteuid() and (seen := environment_of(pid)) is not None:
        return Starter(seen, gateway=True)
    return Starter(world.environment, gateway=False)


def installed(world: World) -> Iterator[Finding]:
    """Engines that cannot be loaded, and those that no service uses."""
    registry = EngineRegistry()
    failures = registry.failures()
    for error in failures.values():
        yield warn("engine", plain(error.detail), "", error.remedy)
    strategies = world.settings.strategies if world.settings is not None else None
    own = {} if strategies is None else strategies.engines
    yield from _orphans(world, {*registry.names(), *own} - {*failures})
    if world.settings is None:
        return
    used = {instance.engine for service in world.services for instance in service.instances}
    for name in registry.names():
        if name not in used and name not in failures and name != "none":
            yield skip("engine", f"{name}: no service uses it")


def _orphans(world: World, engines: Collection[str]) -> Iterator[Finding]:
    """What may run, and no engine here can end: nothing else starts in its place."""
    if (path := database_path(world.gateway)) is None:
        return
    with contextlib.suppress(StoreUnavailable), looking(path) as look:  # what is wrong with it, `store` says
        for one in look.left():
            if one.engine not in engines:
                yield warn(
                    "engine",
                    plain(
                        f"{one.service}: what the engine {one.engine} started may still run (generation "
                        f"{one.generation}), and that engine is not installed; nothing starts in its place"
                    ),
                    "",
                    f"install it again, or end it by hand and then: hestia stop --force {plain(one.service)}",
                )


def program(world: World, service: str, instance: InstanceSettings) -> Iterator[Finding]:
    """Whether the program of a service could be started."""
    options = instance.options
    assert isinstance(options, ProcessOptions)
    where = f"services.{service}.engine"
    who = starter(world)
    try:
        plan = prepare(options, port=_ANY_PORT, stamps={}, outer=who.environment)
    except EngineRefused as exc:
        yield fail(
            "engine",
            f"{service}: {plain(exc.detail.splitlines()[0])} (as {who.words} sees it)",
            where,
            exc.remedy,
        )
        return
    yield judge(service, plan, options, where, first_line(plan.program))


def judge(service: str, plan: Launch, options: ProcessOptions, where: str, first: bytes) -> Finding:
    """What is known of a program that was found. first: its first line."""
    interpreter = interpreter_in(first)
    if interpreter and not os.path.exists(interpreter):
        return fail(
            "engine",
            f"{service}: {plain(plan.program)} needs {plain(interpreter)!r}, which is not there",
            where,
            f"install it, or correct the first line of {plan.program}",
        )
    text = f"{service}: {plain(plan.program)}"
    if isinstance(options.command, str):
        text = f"{service}: /bin/sh runs the command; the programs in it are not looked at"
    if plan.account is not None:
        text += f", as user {pwd.getpwuid(plan.account.uid).pw_name}"
    if plan.cwd is not None:
        text += f", in {plain(shlex.quote(plan.cwd))}"
    return ok("engine", text, where)


def first_line(program: str) -> bytes:
    """The first line of a file, b"" when it cannot be read."""
    try:
        with Path(program).open("rb") as file:
            return file.readline(_LINE_MAX)
    except OSError:
        return b""


def interpreter_in(line: bytes) -> str:
    """The interpreter that a script names in its first line, "" for anything else."""
    if not line.startswith(b"#!"):
        return ""
    words = line[2:].split()
    return os.fsdecode(words[0]) if words else ""
