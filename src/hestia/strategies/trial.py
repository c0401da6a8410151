"""Imports one strategy file in this process and says what is wrong: `hestia.strategies.trial FILE SECONDS`.

Status 0 is well; else the traceback stands on standard error. When the seconds are over it ends by SIGALRM,
and says where it was. See `files`.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
from pathlib import Path

from hestia.strategies.files import run, trace_of
from hestia.strategies.registry import misfit


def main(path: Path, seconds: float) -> int:
    """Try the file. Returns the exit status. seconds: for the file alone, this process has begun already."""
    faulthandler.register(signal.SIGALRM, all_threads=False, chain=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        run(path, path.read_bytes(), misfit)
    except BaseException as exc:  # boundary: whatever a file may raise, SystemExit too
        print(trace_of(exc), end="", file=sys.stderr)  # noqa: T201 - that is the answer
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))
