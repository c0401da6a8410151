"""`hestia config`: check, show, schema, example, which need no gateway; reload, which asks it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import click

from hestia.cli import view
from hestia.cli.command import HestiaCommand, Lazy, LazyGroup, command
from hestia.cli.exits import Document, ExitCode, Quiet
from hestia.cli.session import Example, Session, client_options, current, output_options
from hestia.cli.table import Column, render
from hestia.cli.text import plain

if TYPE_CHECKING:
    from hestia.core.model import Settings

_HERE = "hestia.cli.commands.config"
_PATIENCE: Final = 1.0  # seconds between two looks at what takes so long
_path = click.option("--config", "path", metavar="PATH", help="The file. Also: HESTIA_CONFIG_PATH.")

EXAMPLES = (
    Example("hestia config check", "every mistake in every source, at once"),
    Example("hestia config show --diff", "only what was set, and where it comes from"),
    Example("hestia config example > hestia_config.yml", "a commented file to begin with"),
)


@click.group(
    "config",
    cls=LazyGroup,
    invoke_without_command=True,
    examples=EXAMPLES,
    lazy={
        "check": Lazy(f"{_HERE}:check", "find every mistake, without starting anything"),
        "show": Lazy(f"{_HERE}:show", "the effective values and where each comes from"),
        "schema": Lazy(f"{_HERE}:schema", "the JSON Schema of the file, for editors"),
        "example": Lazy(f"{_HERE}:example", "a commented file to begin with"),
        "reload": Lazy(f"{_HERE}:reload", "make the running gateway read it again"),
    },
)
@output_options
@click.pass_context
def config(context: click.Context) -> None:
    """The configuration: look at it, check it, without a gateway; make the running one read it again."""
    if context.invoked_subcommand is None:
        current().result(context.get_help())


@command("check", examples=(EXAMPLES[0], Example("hestia config check --config x.yml", "another file")))
@_path
@output_options
def check(path: str | None) -> None:
    """Check file, environment and .env; exit code 1 when something is wrong."""
    from hestia.cli.configuration import load_settings
    from hestia.config import ConfigProblems
    from hestia.config.warned import warnings_of

    session = current()
    try:
        with _patience(session):
            settings = load_settings(path)
    except ConfigProblems as exc:
        _show_problems(session, exc)
        raise Quiet(ExitCode.FAILED) from exc
    if session.json:
        document = {
            "ok": True,
            "path": settings.config_path,
            "problems": [],
            "warnings": warnings_of(settings),
        }
        session.result(json.dumps(document, ensure_ascii=False))
        return
    _warn(session, settings)
    source = plain(settings.config_path) if settings.config_path else "no file, defaults"
    count = len(settings.services)
    session.result(f"{source}: {count} {'service' if count == 1 else 'services'}, no mistake")


@contextmanager
def _patience(session: Session) -> Iterator[None]:
    """Say what takes so long, once, where a strategy file keeps everybody waiting."""
    from hestia.cli.configuration import FINDER

    done = threading.Event()

    def tell() -> None:
        while not done.wait(_PATIENCE):
            if file := FINDER.under_way:
                session.note(f"importing {plain(file)} takes long; it may take {FINDER.limit:g} s")
                return

    if not session.quiet:
        threading.Thread(target=tell, name="patience", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _warn(session: Session, settings: Settings) -> None:
    """Say on stderr what is odd and yet works."""
    from hestia.config.warned import warnings_of

    for warning in warnings_of(settings) if not session.quiet else ():
        session.note(f"warning: {plain(warning)}")


def _show_problems(session: Session, error: Any) -> None:  # Any: ConfigProblems is imported on use only
    if session.json:
        problems = [asdict(problem) for problem in error.problems]
        document = {"ok": False, "problems": problems, "warnings": []}
        session.result(json.dumps(document, ensure_ascii=False))
        return
    for problem in error.problems:
        session.result(problem.render())
    count = len(error.problems)
    session.result(f"{count} {'error' if count == 1 else 'errors'}")


@command("show", examples=(Example("hestia config show", "everything, what was set first"), EXAMPLES[1]))
@_path
@click.option("--diff", is_flag=True, help="Only what was set; the defaults are left out.")
@click.option("--no-header", is_flag=True, help="Leave the table's header out.")
@output_options
def show(path: str | None, diff: bool, no_header: bool) -> None:
    """Show the effective values with their sources; secrets are hidden."""
    from hestia.cli.configuration import load_settings, refusal
    from hestia.config import ConfigProblems, effective

    session = current()
    try:
        with _patience(session):
            settings = load_settings(path)
    except ConfigProblems as exc:
        raise refusal(exc, path, done="nothing is shown") from exc
    rows = [row for row in effective(settings) if row.changed or not diff]
    if session.json:
        session.result(json.dumps(_document(settings, rows), ensure_ascii=False))
        return
    _warn(session, settings)
    cells = [(row.key, plain(_value(row.value)), plain(row.source)) for row in rows]
    for line in render(_COLUMNS, cells, session.out, header=not no_header):
        session.result(line)


_COLUMNS = (
    Column("KEY", shrink=3, least=20, middle=True),
    Column("VALUE", shrink=1, least=14),
    Column("SOURCE", shrink=2, least=18),
)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _document(settings: Settings, rows: list[Any]) -> dict[str, Any]:  # Any: a JSON document
    from hestia.config.warned import warnings_of

    return {
        "path": settings.config_path,
        "settings": [{"key": row.key, "value": row.value, "source": row.source} for row in rows],
        "warnings": list(warnings_of(settings)),
    }


@command(
    "schema", examples=(Example("hestia config schema > hestia.schema.json", "for completion in an editor"),)
)
@output_options
def schema() -> None:
    """Print the JSON Schema of the configuration file, options of the installed engines included."""
    from hestia.cli.configuration import engine_options, strategy_options
    from hestia.config import json_schema

    current().result(
        json.dumps(json_schema(engine_options(), strategy_options()), indent=2, ensure_ascii=False)
    )


@command("example", examples=(EXAMPLES[2],))
@output_options
def example() -> None:
    """Print a commented configuration file. Every entry in it is valid."""
    text = files("hestia.cli").joinpath("example_config.yml").read_text(encoding="utf-8")
    current().result(text.rstrip("\n"))


@command("reload", examples=(Example("hestia config reload", "what changed, or what is wrong with it"),))
@client_options
def reload() -> None:
    """Make the running gateway read its configuration again. It does so by itself when a file changes.

    Exit code 1 when something is wrong; the gateway keeps the old configuration then.
    """
    session = current()
    body = session.client().reload()
    done: Document = json.loads(body)
    if session.json:
        session.body(body)
    else:
        for line in view.reload(done):
            session.result(line)
        if not session.quiet:
            for line in view.warned(session.client().warnings(), session.err):
                session.note(line)
    if not done["ok"]:
        raise Quiet(ExitCode.FAILED)


COMMANDS: tuple[HestiaCommand, ...] = (check, show, schema, example, reload)
