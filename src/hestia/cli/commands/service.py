"""`hestia service`: a systemd unit for the gateway, written, removed, looked at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from hestia.cli import units
from hestia.cli.command import Lazy, LazyGroup, command
from hestia.cli.exits import CliError, ExitCode, Quiet
from hestia.cli.session import Example, current, output_options

_HERE: Final = "hestia.cli.commands.service"
SYSTEM_FOLDER: Final = Path("/etc/systemd/system")
_RIGHTS: Final = ("For the system: sudo hestia service … --system", "For yourself: leave --system out")
_SECRET: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD", "DATABASE_URL")
RUNS: Final = Path("/run/systemd/system")  # sd_booted(3)
ASK_TIMEOUT: Final = 120.0  # seconds for one call of systemctl: it waits for the start

EXAMPLES: Final = (
    Example("hestia service install", "a unit of your own; needs no root"),
    Example("hestia service install --system", "for the whole machine, with root"),
    Example("hestia service install --dry-run", "only show what would be written"),
    Example("hestia service status", "whether it is there and runs"),
    Example("hestia service uninstall", "end it and remove the units"),
)


@click.group(
    "service",
    cls=LazyGroup,
    invoke_without_command=True,
    examples=EXAMPLES,
    lazy={
        "install": Lazy(f"{_HERE}:install", "write the units and start them"),
        "status": Lazy(f"{_HERE}:status", "whether it is there and runs"),
        "uninstall": Lazy(f"{_HERE}:uninstall", "end it and remove the units"),
    },
)
@output_options
@click.pass_context
def service(context: click.Context) -> None:
    """Run the gateway under systemd, which listens for it and watches it. See docs/operations.md."""
    if context.invoked_subcommand is None:
        current().result(context.get_help())


def _whose(function: Callable[..., Any]) -> Callable[..., Any]:  # click decorates functions of any shape
    return click.option(
        "--user/--system", "user", default=True, help="A unit of yours (default), or of the system."
    )(function)


@command("install", examples=EXAMPLES[:3])
@_whose
@click.option("--config", "config", metavar="PATH", help="The configuration file. Also: HESTIA_CONFIG_PATH.")
@click.option(
    "--run-as", metavar="NAME", help="With --system: whose rights it has. Default: who called sudo."
)
@click.option("--dry-run", is_flag=True, help="Show the units and write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_options
def install(user: bool, config: str | None, run_as: str | None, dry_run: bool, yes: bool) -> None:
    """Write hestia.service and hestia.socket, enable and start them. Again: they are brought up to date."""
    session = current()
    texts = _texts(user=user, config=config, run_as=run_as)
    folder = _folder(user=user)
    if dry_run or not yes:
        for name, text in texts.items():
            (session.result if dry_run else session.note)(f"# {folder / name}\n{text}")
    if dry_run:
        return
    _need_systemd(user=user)
    if not yes:
        _ask()
    changed = [name for name, text in texts.items() if _read(folder / name) != text]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in changed:
            (folder / name).write_text(texts[name], encoding="utf-8")
    except OSError as exc:
        raise CliError(
            f"Cannot write in {folder}: {exc.strerror or exc}.",
            code="permission_denied",
            remedy=(
                "For the system: sudo hestia service install --system",
                "For yourself: leave --system out",
            ),
        ) from exc
    _systemctl(user, "daemon-reload")
    _systemctl(user, "enable", *texts)
    if "hestia.socket" in changed and _state(user, "hestia.service", "ActiveState") == "active":
        _systemctl(user, "stop", "hestia.service", "hestia.socket")
    _systemctl(user, "start", "hestia.socket")
    _systemctl(user, "restart" if changed else "start", "hestia.service")
    scope = "" if user else " --system"
    session.result(
        f"{'Installed' if changed else 'Already so'}: hestia.service runs, and starts with "
        f"{'your session' if user else 'the machine'}."
    )
    session.note(f"Undo: hestia service uninstall{scope}")
    if user:
        session.note("To have it without being logged in: loginctl enable-linger")


@command("uninstall", examples=EXAMPLES[4:])
@_whose
@output_options
def uninstall(user: bool) -> None:
    """End the gateway under systemd and remove its units. Services stay or stop as `on_exit` says."""
    session = current()
    folder = _folder(user=user)
    there = [name for name in ("hestia.service", "hestia.socket") if (folder / name).exists()]
    if not there:
        session.result(f"Already so: there is no hestia.service in {folder}.")
        return
    _need_systemd(user=user)
    _systemctl(user, "disable", "--now", *there)
    try:
        for name in there:
            (folder / name).unlink(missing_ok=True)
    except OSError as exc:
        raise CliError(
            f"Cannot remove {folder / 'hestia.service'}: {exc.strerror or exc}.",
            code="permission_denied",
            remedy=("sudo hestia service uninstall --system",),
        ) from exc
    _systemctl(user, "daemon-reload")
    session.result(f"Removed: {', '.join(there)}.")


@command("status", examples=EXAMPLES[3:4])
@_whose
@output_options
def status(user: bool) -> None:
    """Whether the units are there and run; exit code 1 when not."""
    session = current()
    folder = _folder(user=user)
    installed = (folder / "hestia.service").exists()
    _need_systemd(user=user)
    found = {
        "installed": installed,
        "service": _state(user, "hestia.service", "ActiveState"),
        "socket": _state(user, "hestia.socket", "ActiveState"),
        "pid": int(_state(user, "hestia.service", "MainPID") or 0),
        "says": _state(user, "hestia.service", "StatusText"),
    }
    if session.json:
        session.result(json.dumps(found))
    elif not installed:
        session.result(f"Not installed: there is no {folder / 'hestia.service'}.")
        session.hint("Install it: hestia service install")
    else:
        pid = f", pid {found['pid']}" if found["pid"] else ""
        session.result(f"hestia.service  {found['service']}{pid}  {found['says']}".rstrip())
        session.result(f"hestia.socket   {found['socket']}")
    if not installed or found["socket"] != "active":
        raise Quiet(ExitCode.FAILED)


def _texts(*, user: bool, config: str | None, run_as: str | None) -> dict[str, str]:
    """File name → unit, for the configuration as it is read here. Raises CliError."""
    from hestia.cli.configuration import load_settings, refusal
    from hestia.config import ConfigProblems

    try:
        settings = load_settings(config)
    except ConfigProblems as exc:
        raise refusal(exc, config) from exc
    gateway = settings.gateway
    if run_as and user:
        raise click.UsageError("--run-as is for --system; a unit of yours runs with your rights")
    path = Path(settings.config_path).absolute() if settings.config_path else None
    words = [sys.executable, "-m", "hestia.cli", "serve", *(["--config", str(path)] if path else [])]
    doors = [(gateway.host, gateway.port)]
    doors += [(gateway.host, one.port) for one in settings.services.values() if one.port is not None]
    wanted = units.Wanted(
        command=words,
        folder=path.parent if path else Path.home(),
        doors=doors,
        environment=_environment(),
        user=(run_as or os.environ.get("SUDO_USER", "")) if not user else "",
        system=not user,
    )
    try:
        return {"hestia.service": units.service_unit(wanted), "hestia.socket": units.socket_unit(wanted)}
    except OSError as exc:
        raise CliError(
            f'host: "{gateway.host}" has no address: {exc.strerror or exc}.',
            code="config_error",
            remedy=("set host to an address of this machine",),
        ) from exc


def _environment() -> dict[str, str]:
    """What the gateway sees of this environment: where services find their programs, and its own settings.

    Not what is secret: everybody may read a unit.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("HESTIA_") and not any(word in name for word in _SECRET)
    }
    return {"PATH": os.environ.get("PATH", os.defpath), **kept}


def _folder(*, user: bool) -> Path:
    if not user:
        return SYSTEM_FOLDER
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "systemd" / "user"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _ask() -> None:
    if not sys.stdin.isatty():
        raise CliError(
            "This writes units and starts them, and there is no terminal to ask at.",
            exit_code=ExitCode.USAGE,
            code="confirmation_needed",
            remedy=("Go on without asking: --yes", "Only look: --dry-run"),
        )
    if not click.confirm("Write these units and start them?", default=False, err=True):
        raise Quiet(ExitCode.FAILED)


def _need_systemd(*, user: bool) -> None:
    if shutil.which("systemctl") is None or not RUNS.is_dir():
        raise CliError(
            f"No systemd runs here (there is no {RUNS}).",
            code="no_systemd",
            remedy=(
                "Run it yourself: hestia serve",
                "In a container: let the container's restart policy do it",
            ),
        )
    if not user and os.geteuid() != 0:
        raise CliError(
            "A unit of the system takes root.",
            code="permission_denied",
            remedy=_RIGHTS,
        )


def _systemctl(user: bool, *words: str) -> str:
    """What systemctl prints. Raises CliError with what it says."""
    call = ["systemctl", *(["--user"] if user else []), *words]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=ASK_TIMEOUT)
    except subprocess.TimeoutExpired as exc:
        raise CliError(
            f"systemctl {words[0]} did not end within {ASK_TIMEOUT:g} s.",
            code="systemd_failed",
            remedy=("systemctl status hestia.service",),
        ) from exc
    if done.returncode:
        scope = "--user " if user else ""
        remedy = f"journalctl {scope}-u hestia.service -n 20"
        if "bus" in done.stderr and user:
            remedy = "log in as this user (not with su or sudo), or: loginctl enable-linger"
        raise CliError(
            f"systemctl {' '.join(words)} failed: {done.stderr.strip() or done.returncode}",
            code="systemd_failed",
            remedy=(remedy,),
        )
    return done.stdout


def _state(user: bool, unit: str, name: str) -> str:
    """One property of a unit, as systemd has it."""
    return _systemctl(user, "show", "--property", name, "--value", unit).strip()
