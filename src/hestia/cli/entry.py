"""The way in and the way out: arguments in, exit code out, no traceback for what people do.

Owns exit codes of everything that is not a command's own: usage errors, Ctrl-C, a closed pipe. Imports
nothing dear before it must: `hestia --version` answers at once (CL-25).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import click

    from hestia.cli.exits import CliError


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _pipe_closed()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command; its exit code. stdout may still hold what was not flushed."""
    if arguments in (["--version"], ["-V"]):
        sys.stdout.write(version_line() + "\n")
        return 0
    import click

    from hestia.cli.exits import CliError, ExitCode, PipeClosed
    from hestia.cli.root import root

    try:
        outcome = root.main(_help_wins(arguments), prog_name="hestia", standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except CliError as exc:
        return _show(exc, as_json="--json" in arguments)
    except click.ClickException as exc:
        return _show(_usage(exc), as_json="--json" in arguments)
    except (click.Abort, KeyboardInterrupt):
        return int(ExitCode.INTERRUPTED)
    except PipeClosed:
        return _pipe_closed()
    return outcome if isinstance(outcome, int) else 0


def version_line() -> str:
    """Version, Python and platform, and whether the data path is machine code."""
    from hestia import __version__

    python = ".".join(str(part) for part in sys.version_info[:3])
    return f"hestia {__version__} (Python {python}, {sys.platform} {os.uname().machine}, {data_path()})"


def data_path() -> str:
    """`compiled` (scripts/dev.sh compile) or `interpreted`."""
    from hestia.core import lease

    return "interpreted" if lease.__file__.endswith(".py") else "compiled"


def _pipe_closed() -> int:
    """The reader has gone: say nothing, and keep the interpreter from saying something at exit (CL-08)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _help_wins(arguments: list[str]) -> list[str]:
    """With -h or --help anywhere, only the command's name and the wish for help (CL-01)."""
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if not {"-h", "--help"} & set(before):
        return arguments
    import click

    from hestia.cli.root import root

    path: list[str] = []
    group: click.Command | None = root
    for word in before:
        if not isinstance(group, click.Group):
            break
        if (found := group.get_command(click.Context(group), word)) is not None:
            path.append(word)
            group = found
    return [*path, "--help"]


def _usage(error: click.ClickException) -> CliError:
    """A usage error of click in our words."""
    import click

    from hestia.cli.exits import CliError, ExitCode
    from hestia.cli.text import plain

    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "hestia"
    words = path.split()[1:]
    text = plain(error.format_message())
    if isinstance(error, click.NoSuchOption):
        close = _near_options(error.option_name, context)
        text = f'"{path}" has no option "{plain(error.option_name)}".'
        text += f" Did you mean: {', '.join(close)}?" if close else ""
    return CliError(
        text,
        exit_code=ExitCode.USAGE,
        code="usage",
        remedy=(f"See: {' '.join(['hestia', 'help', *words])}",),
    )


def _near_options(name: str, context: click.Context | None) -> list[str]:
    from hestia.cli.text import nearest

    if context is None:
        return []
    return nearest(name, [one for parameter in context.command.params for one in parameter.opts])


def _show(error: CliError, *, as_json: bool) -> int:
    """Print an error: for people on stderr, or as problem JSON on stdout."""
    import json

    from hestia.cli.text import plain

    if not error.detail:
        return int(error.exit_code)
    if as_json:
        sys.stdout.write(json.dumps(error.document(), ensure_ascii=False) + "\n")
        return int(error.exit_code)
    lines = [*error.detail.splitlines(), *error.remedy]
    text = "\n".join(plain(line) for line in lines)
    encoding = sys.stderr.encoding or "utf-8"
    sys.stderr.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stderr.flush()
    return int(error.exit_code)
