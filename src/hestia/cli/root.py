"""The list of commands and the grouped help that `hestia` alone prints (CL-01)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import click

from hestia.cli.command import Lazy, LazyGroup
from hestia.cli.exits import PipeClosed
from hestia.cli.session import PROGRESS_OPTION, client_options

_C: Final = "hestia.cli.commands"

COMMANDS: Final = {
    "serve": Lazy(f"{_C}.serve:serve", "run the gateway"),
    "demo": Lazy(f"{_C}.demo:demo", "see it work, in under a minute"),
    "status": Lazy(f"{_C}.status:status", "services and their state"),
    "top": Lazy(f"{_C}.top:top", "the same, live"),
    "logs": Lazy(f"{_C}.logs:logs", "output of a service"),
    "events": Lazy(f"{_C}.events:events", "what happened, and why"),
    "explain": Lazy(f"{_C}.explain:explain", "a request, or a service"),
    "doctor": Lazy(f"{_C}.doctor:doctor", "what is wrong, and what to do"),
    "start": Lazy(f"{_C}.act:start", "start a service and follow it"),
    "stop": Lazy(f"{_C}.act:stop", "stop it once its requests have ended"),
    "restart": Lazy(f"{_C}.act:restart", "stop it, then start it again"),
    "service": Lazy(f"{_C}.service:service", "run it under systemd"),
    "machines": Lazy(f"{_C}.machines:machines", "what they have, who has it, who waits"),
    "strategies": Lazy(f"{_C}.strategies:strategies", "who chooses among instances"),
    "semaphore": Lazy(f"{_C}.semaphore:semaphore", "set a Semaphore up, check it"),
    "config": Lazy(f"{_C}.config:config", "check, show, schema, example"),
    "db": Lazy(f"{_C}.db:db", "check, vacuum, backup"),
    "help": Lazy(f"{_C}.help:help_command", "a command, exit-codes, errors"),
    "completion": Lazy(f"{_C}.completion:completion", "completion for bash, zsh, fish"),
    "version": Lazy(f"{_C}.version:version", "versions of client and gateway"),
    "ps": Lazy(f"{_C}.status:status", "status", hidden=True),
    "up": Lazy(f"{_C}.act:start", "start", hidden=True),
    "down": Lazy(f"{_C}.act:stop", "stop", hidden=True),
}

# Group, then (command, example). Together with the rest at most 24 lines.
_GROUPS: Final = (
    (
        "Run",
        (
            ("serve", "hestia serve --port 8080"),
            ("service", "hestia service install"),
            ("demo", "hestia demo"),
        ),
    ),
    (
        "Look",
        (
            ("status", "hestia status"),
            ("top", "hestia top"),
            ("logs", "hestia logs -f ollama"),
            ("events", "hestia events -f"),
            ("explain", "hestia explain ollama"),
            ("machines", "hestia machines"),
            ("doctor", "hestia doctor"),
        ),
    ),
    (
        "Act",
        (
            ("start", "hestia start ollama"),
            ("stop", "hestia stop ollama"),
            ("restart", "hestia restart ollama"),
        ),
    ),
    (
        "Configure",
        (
            ("config", "hestia config check"),
            ("strategies", "hestia strategies"),
            ("db", "hestia db check"),
        ),
    ),
    ("Help", (("help", "hestia help start"),)),
)


def overview() -> str:
    """The grouped help, without a final newline."""
    lines = ["Hestia wakes a service when a request comes and stops it when nobody uses it."]
    for title, members in _GROUPS:
        lines.append(title)
        for name, example in members:
            lines.append(f"  {name:<11}{COMMANDS[name].says:<38}{example}")
    lines += ["All take --json, -h. Also: hestia semaphore, hestia version, hestia completion"]
    return "\n".join(lines)


@contextlib.contextmanager
def _own_word_for_a_closed_pipe() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as exc:
        raise PipeClosed from exc


class Root(LazyGroup):
    """`hestia` itself."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse, which may print help. Raises PipeClosed. extra: click's own business, hence Any."""
        with _own_word_for_a_closed_pipe():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. Raises PipeClosed."""
        with _own_word_for_a_closed_pipe():
            return super().invoke(ctx)

    def get_help(self, ctx: click.Context) -> str:
        """The grouped help."""
        return overview()


@click.group("hestia", cls=Root, lazy=COMMANDS, invoke_without_command=True)
@client_options
@PROGRESS_OPTION
@click.option("-V", "--version", is_flag=True, help="Version, Python and platform.")
@click.pass_context
def root(context: click.Context, version: bool) -> None:
    """Personal on-demand service gateway."""
    if context.invoked_subcommand is None:
        click.echo(overview())
