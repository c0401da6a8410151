"""`hestia help`: the overview, a command, the exit codes, the error codes."""

from __future__ import annotations

import json

import click

from hestia.cli.command import command
from hestia.cli.exits import MEANING, CliError, ExitCode
from hestia.cli.root import COMMANDS, overview, root
from hestia.cli.session import Example, current, output_options
from hestia.cli.text import nearest, plain

TOPICS = ("exit-codes", "errors")


@command(
    "help",
    examples=(
        Example("hestia help start", "a command"),
        Example("hestia help exit-codes", "what the exit codes mean"),
        Example("hestia help errors queue_timeout", "what an error code means, and what to do"),
    ),
)
@click.argument("words", nargs=-1, metavar="[COMMAND]")
@output_options
def help_command(words: tuple[str, ...]) -> None:
    """Show help. Works without a gateway."""
    session = current()
    if not words:
        session.result(overview())
    elif words[0] == "exit-codes":
        _exit_codes()
    elif words[0] == "errors":
        _errors(words[1:])
    else:
        _command(words)


def _exit_codes() -> None:
    session = current()
    if session.json:
        session.result(json.dumps({str(int(code)): text for code, text in MEANING.items()}))
        return
    for code, text in MEANING.items():
        session.result(f"{int(code):>4}  {text}")


def _errors(codes: tuple[str, ...]) -> None:
    from hestia.api.error_texts import ERRORS  # words only; imports nothing of the gateway

    session = current()
    if not codes:
        session.result(json.dumps(list(ERRORS)) if session.json else "\n".join(ERRORS))
        return
    code = codes[0]
    text = ERRORS.get(code)
    if text is None:
        close = nearest(code, ERRORS)
        hint = f"Did you mean: {', '.join(close)}?" if close else "List them: hestia help errors"
        raise CliError(
            f'There is no error code "{plain(code)}".',
            exit_code=ExitCode.NOT_FOUND,
            code="not_found",
            remedy=(hint,),
        )
    if session.json:
        session.result(json.dumps({"code": code, "meaning": text.meaning, "do": list(text.do)}))
        return
    session.result(f"{code}: {text.meaning}")
    for line in text.do:
        session.result(f"  - {line}")


def _command(words: tuple[str, ...]) -> None:
    context = click.Context(root, info_name="hestia")
    found: click.Command = root
    for word in words:
        child = found.get_command(context, word) if isinstance(found, click.Group) else None
        if child is None:
            known = [*(name for name, one in COMMANDS.items() if not one.hidden), *TOPICS]
            close = nearest(word, known)
            raise click.UsageError(
                f'There is no help on "{plain(" ".join(words))}". '
                + (f"Did you mean: {', '.join(close)}?" if close else f"There is: {', '.join(known)}."),
                context,
            )
        found, context = child, click.Context(child, info_name=word, parent=context)
    current().result(found.get_help(context))
