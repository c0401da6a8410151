"""Load the configuration for the commands that need it in full: `serve` and `config`.

The only place of the client that imports `hestia.config` and the engines; imported by those commands alone.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hestia.cli.exits import CliError, ExitCode
from hestia.config import ConfigProblems, load
from hestia.engines.registry import load_engines
from hestia.strategies.registry import Finder

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hestia.core.model import Settings


FINDER = Finder()  # one for all reads of the configuration: a file that is the same is not imported again


def engine_options() -> dict[str, type[BaseModel]]:
    """Name of each installed engine → model of its options."""
    return {name: plugin.Options for name, plugin in load_engines().items()}


def strategy_options() -> dict[str, type[BaseModel]]:
    """Name of each installed strategy → model of its options; those of files are not among them."""
    return {name: one.plugin.Options for name, one in FINDER("").loaded.items()}


def load_settings(path: str | None, overrides: Mapping[str, object] | None = None) -> Settings:
    """The settings of file, environment and command line. Raises ConfigProblems."""
    return load(
        path=path,
        environ=os.environ,
        cwd=os.getcwd(),
        overrides=dict(overrides or {}),
        engines=engine_options(),
        strategies=FINDER,
    )


def refusal(error: ConfigProblems, path: str | None = None, *, done: str = "nothing was started") -> CliError:
    """All problems as one error of the command line. path: of `--config`. done: what came of it."""
    count = len(error.problems)
    again = "hestia config check" + (f" --config {shlex.quote(path)}" if path else "")
    return CliError(
        f"{error.render()}\n{count} {'error' if count == 1 else 'errors'}; {done}.",
        exit_code=ExitCode.FAILED,
        code="config_error",
        remedy=(f"Look again without starting: {again}",),
    )
