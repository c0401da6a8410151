"""A copy of the playbooks that come with Hestia, for people to change and for Semaphore to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hestia.engines.semaphore.bootstrap import PLAYBOOKS


@dataclass(frozen=True, slots=True)
class Copied:
    """made, same, other: names of files that were written, were there, or were there with another text."""

    made: tuple[str, ...]
    same: tuple[str, ...]
    other: tuple[str, ...]


def copy(folder: Path, *, over: bool) -> Copied:
    """Write what is missing. over: also what is there with another text. Raises OSError."""
    made, same, other = [], [], []
    for source in _sources():
        name = str(source.relative_to(PLAYBOOKS))
        there, text = folder / name, source.read_text(encoding="utf-8")
        if there.exists() and there.read_text(encoding="utf-8", errors="replace") == text:
            same.append(name)
        elif there.exists() and not over:
            other.append(name)
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_text(text, encoding="utf-8")
            made.append(name)
    return Copied(tuple(made), tuple(same), tuple(other))


def _sources() -> Iterator[Path]:
    yield from sorted(path for path in Path(PLAYBOOKS).rglob("*") if path.suffix in (".yml", ".sh", ".md"))
