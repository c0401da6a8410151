"""Runs one target under atheris: `python -m tests.fuzz.run_atheris NAME [libFuzzer options]`.

atheris is not among the development tools: it has no wheel for every Python. Any environment that has it,
Hestia and the development tools will do.
"""

from __future__ import annotations

import importlib
import sys


def main(arguments: list[str]) -> None:
    """Fuzz until the options say to end, by default never."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["hestia"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    atheris.Setup([arguments[0], *arguments[2:]], targets[arguments[1]])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
