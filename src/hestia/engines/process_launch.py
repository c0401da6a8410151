"""Makes ready what a program is started with and starts it; says exactly why it cannot be started.

Owns the look at the machine before anything is started (EN-13), the built environment (EN-12) and the
one call that makes a process. What becomes of it afterwards is for `process`.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import grp
import os
import pwd
import resource
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hestia.core.errors import EngineRefused
from hestia.core.urls import fill_port
from hestia.engines.process_options import ProcessOptions
from hestia.engines.process_words import nearest

# What a program gets of the gateway's own environment: who and where it is, its language, and which
# libraries and graphics cards it may use. No credentials, no proxies (they may hold credentials).
_SAFE: Final = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR",
    "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
})  # fmt: skip
_OF_THE_USER: Final = frozenset({"HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "XDG_RUNTIME_DIR"})
_DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_SHORT_OF: Final = {errno.EAGAIN: "processes", errno.ENOMEM: "memory", errno.EMFILE: "file descriptors"}


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the program runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """A program that can be started: everything found and checked. account None: as the gateway."""

    program: str
    words: tuple[str, ...]
    cwd: str | None
    env: Mapping[str, str] = field(repr=False)
    account: Account | None


def prepare(
    options: ProcessOptions, *, port: int, stamps: Mapping[str, str], outer: Mapping[str, str]
) -> Launch:
    """Check everything that can be known before the program starts, and fill in the port.

    stamps: variables that identify the instance. outer: the gateway's own environment. Reads the disk and
    the user database: call it outside the event loop. Raises EngineRefused(permanent=True).
    """
    words = tuple(fill_port(word, port) for word in options.words)
    person = _person(options.user)
    env = _environment(options, person, port=port, stamps=stamps, outer=outer)
    cwd = _folder(options.cwd)
    program = _program(words[0], cwd=cwd, path=env["PATH"], other_user=person is not None)
    account = None
    if person is not None:
        groups = tuple(os.getgrouplist(person.pw_name, person.pw_gid))
        account = Account(person.pw_uid, person.pw_gid, groups)
    return Launch(program, words, cwd, env, account)


def launch(plan: Launch, *, output: int, open_files: int | None = None) -> int:
    """Start it in a session of its own, with its output going to a descriptor; return its pid.

    open_files: its soft limit. Only for the event loop's thread: see `_limited`. Returns when the program has
    taken over (exec succeeded). Raises EngineRefused.
    """
    try:
        try:
            with _limited(open_files):
                pid = _make(plan, output)
        except OSError as exc:
            if open_files is None or exc.errno != errno.EMFILE:
                raise
            pid = _make(plan, output)  # more files are open here than that; so it learns its limit late
            _limit(pid, open_files)
    except OSError as exc:
        raise _refusal(exc, plan) from exc
    return pid


def _make(plan: Launch, output: int) -> int:
    account = plan.account
    process = subprocess.Popen(
        plan.words,
        executable=plan.program,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=plan.cwd,
        env=dict(plan.env),
        start_new_session=True,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else account.groups,
    )
    # The exit is taken by pidfd (process_exits). A Popen that thinks its child runs would warn when it
    # is collected and wait for the child itself later on.
    process.returncode = 0
    return process.pid


@contextlib.contextmanager
def _limited(open_files: int | None) -> Iterator[None]:
    """Have the soft limit that a child is to inherit: programs that use select(), or close every descriptor
    they could have, are not made for a million of them, and look before anybody could tell them.

    What is open stays open. Another thread that opens a file meanwhile fails only where about as many are
    open as the program may have.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files is None or open_files == soft:
        yield
        return
    _limit(0, open_files)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _limit(pid: int, open_files: int) -> None:
    """Set the soft limit of a process, 0: of this one, as far as there is such a process and such a limit."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files, hard))


def _person(user: str | None) -> pwd.struct_passwd | None:
    """The other user to run as; None when that is ourselves."""
    if user is None:
        return None
    try:
        person = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError as exc:
        near = nearest(user, [entry.pw_name for entry in pwd.getpwall()])
        raise _not_found(f"there is no user {user!r} on this machine{near}", "correct `user`") from exc
    if person.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise EngineRefused(
            f"the program is to run as {person.pw_name!r}, and only root can do that; "
            f"the gateway runs as {_our_name()!r}",
            permanent=True,
            cause="denied",
            remedy=f"remove `user`, or run the gateway as root or as {person.pw_name!r}",
        )
    return person


def _environment(
    options: ProcessOptions,
    person: pwd.struct_passwd | None,
    *,
    port: int,
    stamps: Mapping[str, str],
    outer: Mapping[str, str],
) -> dict[str, str]:
    env = {name: value for name, value in outer.items() if name in _SAFE or name.startswith("LC_")}
    env.setdefault("PATH", _DEFAULT_PATH)
    if person is not None:
        env = {name: value for name, value in env.items() if name not in _OF_THE_USER}
        env.update(HOME=person.pw_dir, USER=person.pw_name, LOGNAME=person.pw_name)
        env["SHELL"] = person.pw_shell or "/bin/sh"
    env.update((name, fill_port(value, port)) for name, value in options.env.items())
    env.update(stamps)
    return env


def _folder(cwd: str | None) -> str | None:
    if cwd is None:
        return None
    folder = Path(cwd).expanduser().absolute()
    try:
        if folder.is_dir():
            return str(folder)
        exists = folder.exists()
    except OSError as exc:
        raise _denied(
            f"the folder {str(folder)!r} cannot be looked at: {exc.strerror}", "correct `cwd`"
        ) from exc
    if exists:
        raise _not_found(f"{str(folder)!r} is not a folder, and the program is to run in it", "correct `cwd`")
    siblings = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
    near = nearest(folder.name, siblings)
    raise _not_found(
        f"there is no folder {str(folder)!r} to run the program in{near}", "create it or correct `cwd`"
    )


def _program(name: str, *, cwd: str | None, path: str, other_user: bool) -> str:
    """The file of the program, looked for as a shell would, in the program's own PATH."""
    if "/" in name:
        found = Path(cwd or ".", os.path.expanduser(name)).absolute()
        if not found.exists():
            siblings = [entry.name for entry in found.parent.iterdir()] if found.parent.is_dir() else []
            raise _not_found(
                f"there is no program {str(found)!r}{nearest(found.name, siblings)}", "correct `command`"
            )
        return _executable(found, other_user=other_user)
    folders = [folder for folder in path.split(os.pathsep) if folder]
    candidates = [file for folder in folders if (file := Path(folder, name)).is_file()]
    for file in candidates:
        if os.access(file, os.X_OK):
            return str(file)
    if candidates:
        return _executable(candidates[0], other_user=other_user)
    near = nearest(name, _programs(folders))
    raise _not_found(
        f"there is no program {name!r} on the PATH{near}\nLooked in {', '.join(dict.fromkeys(folders))}",
        "install it, or write its full path in `command`",
    )


def _executable(file: Path, *, other_user: bool) -> str:
    if file.is_dir():
        raise _not_found(f"{str(file)!r} is a folder, not a program", "correct `command`")
    # Whether another user may run it, only that user's attempt can tell.
    if not os.access(file, os.X_OK) and not other_user:
        raise _denied(f"{str(file)!r} may not be executed by {_our_name()!r}", f"chmod +x {file}")
    return str(file)


def _programs(folders: list[str]) -> list[str]:
    names: list[str] = []
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                names.extend(entry.name for entry in entries)
        except OSError:
            continue
    return names


def _refusal(exc: OSError, plan: Launch) -> EngineRefused:
    """What the system said when the process was to be made, in our words."""
    name = plan.words[0]
    why = exc.strerror or str(exc)
    if exc.errno in _SHORT_OF:
        resource = _SHORT_OF[exc.errno]
        return EngineRefused(
            f"{name!r} could not be started: the machine is short of {resource} ({why})",
            permanent=False,
            resource=resource,
            cause="no_room",
            remedy="stop another service, or raise the limit (ulimit -u, ulimit -n)",
        )
    if exc.errno == errno.ENOENT:  # the file was there a moment ago: what its first line names is not
        return _not_found(
            f"{plan.program!r} cannot run: {_interpreter(plan.program)}", "correct its first line"
        )
    if exc.errno == errno.ENOEXEC:
        return _denied(
            f"{plan.program!r} is not a program of this machine ({why})",
            "give a script a first line such as #!/bin/sh, or take the build for this processor",
        )
    if exc.errno == errno.E2BIG:
        return _denied(
            f"{name!r}: `command` and `env` are together too long ({why})", "shorten `env` or `command`"
        )
    user = _our_name() if plan.account is None else pwd.getpwuid(plan.account.uid).pw_name
    groups = ", ".join(sorted(_group_name(gid) for gid in _groups(plan)))
    whom = f"as {user!r} (groups {groups})"
    return _denied(
        f"{plan.program!r} could not be started in {plan.cwd or os.getcwd()!r} {whom}: {why}",
        f"ls -ld {plan.program} {plan.cwd or '.'}",
    )


def _interpreter(program: str) -> str:
    try:
        with open(program, "rb") as file:
            first = file.readline(256)
    except OSError:
        first = b""
    if first.startswith(b"#!"):
        return f"its first line names the interpreter {os.fsdecode(first[2:].strip())!r}, which is not there"
    return "it, or the loader it was built for, is not there"


def _groups(plan: Launch) -> tuple[int, ...]:
    return tuple(os.getgroups()) if plan.account is None else plan.account.groups


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _our_name() -> str:
    try:
        return getpass.getuser() if os.geteuid() == os.getuid() else pwd.getpwuid(os.geteuid()).pw_name
    except (KeyError, OSError):
        return str(os.geteuid())


def _not_found(detail: str, remedy: str) -> EngineRefused:
    return EngineRefused(detail, permanent=True, cause="not_found", remedy=remedy)


def _denied(detail: str, remedy: str) -> EngineRefused:
    return EngineRefused(detail, permanent=True, cause="denied", remedy=remedy)
