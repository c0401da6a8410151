"""Imports one strategy file in this process and says what is wrong: `python -m hestia.strategies.trial FILE`.

Status 0 is well; else the traceback stands on standard error. See `files`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hestia.strategies.files import run, trace_of
from hestia.strategies.registry import misfit


def main(path: Path) -> int:
    """Try the file. Returns the exit status."""
    try:
        run(path, path.read_bytes(), misfit)
    except BaseException as exc:  # boundary: whatever a file may raise, SystemExit too
        print(trace_of(exc), end="", file=sys.stderr)  # noqa: T201 - that is the answer
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
