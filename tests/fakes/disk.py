"""A small disk of its own for a test: one that can be full, or turn read-only.

Making one takes the right to mount; a test that has none is skipped and says so.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_FILLER = "filler"


class SmallDisk:
    """A file system in memory, mounted at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.path / _FILLER).open("ab", buffering=0) as file:
            for piece in (65536, 4096, 512, 1):
                with contextlib.suppress(OSError):  # no room
                    while True:
                        file.write(b"x" * piece)

    def free(self) -> None:
        """Take back what `fill` wrote."""
        (self.path / _FILLER).unlink()

    def writable(self, yes: bool) -> None:
        """Remount it. Nothing on it may be open for writing when it is to be read-only."""
        option = "remount,rw" if yes else "remount,ro"
        subprocess.run(["mount", "-o", option, str(self.path)], check=True, capture_output=True)


@contextmanager
def small_disk(path: Path, *, size: str) -> Iterator[SmallDisk]:
    """Mount one. size: as mount reads it."""
    path.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("there is no mount here: a small disk cannot be made")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
