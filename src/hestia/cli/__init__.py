"""The command line. `main` is the console script's entry."""

from hestia.cli.entry import main

__all__ = ["main"]
