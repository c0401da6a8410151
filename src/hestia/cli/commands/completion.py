"""`hestia completion`: the script that makes a shell complete commands, options and service ids (CL-24)."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from hestia.cli.command import command
from hestia.cli.session import Example, current, output_options

SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    examples=(
        Example('eval "$(hestia completion bash)"', "in ~/.bashrc"),
        Example('eval "$(hestia completion zsh)"', "in ~/.zshrc, after compinit"),
        Example("hestia completion fish | source", "in ~/.config/fish/config.fish"),
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@output_options
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    assert found is not None
    script = found(click.Command("hestia"), {}, "hestia", "_HESTIA_COMPLETE")
    # The base method: bash's own first runs bash to look at its version, which need not be on the PATH.
    current().result(ShellComplete.source(script).rstrip())
