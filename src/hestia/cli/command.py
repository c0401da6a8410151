"""click, dressed: commands that load on use, help that begins with examples, guesses for what was mistyped.

Owns the look of help and usage errors. What commands exist, `root` lists.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

from hestia.cli.session import Example
from hestia.cli.text import nearest, plain


class HestiaCommand(click.Command):
    """A command whose help starts with examples."""

    def __init__(self, *args: Any, examples: Sequence[Example] = (), **settings: Any) -> None:
        # Any: handed through to click unchanged
        settings.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **settings)
        self.examples = tuple(examples)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, usage, text, options."""
        write_examples(self.examples, formatter)
        super().format_help(ctx, formatter)


def write_examples(examples: Sequence[Example], formatter: click.HelpFormatter) -> None:
    """The examples as two aligned columns."""
    if not examples:
        return
    wide = max(len(example.line) for example in examples)
    for example in examples:
        formatter.write(f"  {example.line.ljust(wide)}   {example.says}\n")
    formatter.write("\n")


def command(name: str, *, examples: Sequence[Example]) -> Callable[[Callable[..., Any]], HestiaCommand]:
    """Make a click command with examples out of a function."""

    def make(function: Callable[..., Any]) -> HestiaCommand:
        made = click.command(name, cls=HestiaCommand, examples=examples)(function)
        assert isinstance(made, HestiaCommand)
        return made

    return make


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command that is imported when it is called. place: `module:attribute`. hidden: an alias."""

    place: str
    says: str
    hidden: bool = False


class LazyGroup(click.Group):
    """A group whose commands are named here and imported on use."""

    def __init__(
        self, *args: Any, lazy: Mapping[str, Lazy], examples: Sequence[Example] = (), **settings: Any
    ) -> None:
        # Any: handed through to click unchanged
        settings.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **settings)
        self.lazy = lazy
        self.examples = tuple(examples)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the listing, aliases left out."""
        return [name for name, one in self.lazy.items() if not one.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        found = self.lazy.get(cmd_name)
        if found is None:
            return None
        module, _, attribute = found.place.partition(":")
        loaded: click.Command = getattr(importlib.import_module(module), attribute)
        return loaded

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Command names from the list alone, so that completing imports no command."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=self.lazy[name].says)
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command named first. Raises UsageError with the nearest names (CL-09)."""
        name = args[0]
        if name not in self.lazy and not name.startswith("-"):
            visible = self.list_commands(ctx)
            close = nearest(name, visible)
            hint = f"Did you mean: {', '.join(close)}?" if close else f"There are: {', '.join(visible)}."
            path = ctx.command_path
            raise click.UsageError(f'There is no command "{path} {plain(name)}". {hint}', ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first, then click's order."""
        write_examples(self.examples, formatter)
        super().format_help(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with one line each, without importing them."""
        rows = [(name, self.lazy[name].says) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
