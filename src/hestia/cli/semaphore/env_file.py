"""A file of `NAME=value` lines that a command may add to: other lines stay, and who may read it does too."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hestia.config.dotenv import read_dotenv
from hestia.config.tree import Source

_BARE: Final = re.compile(r"[A-Za-z0-9_./:@%+=,-]*")
_PRIVATE: Final = 0o600


def values_of(text: str) -> dict[str, str]:
    """What the lines say, as the gateway reads them."""
    read = read_dotenv(Source("", tuple(text.splitlines())))
    return {name: str(node.value) for name, node in read.values.items()}


def line(name: str, value: str) -> str:
    """One line, quoted where it has to be."""
    if _BARE.fullmatch(value):
        return f"{name}={value}"
    quoted = re.sub(r'([\\"$])', r"\\\1", value)
    return f'{name}="{quoted}"'


def with_values(text: str, values: Mapping[str, str]) -> str:
    """The text with these values: each in the place of its old line, else at the end."""
    left = dict(values)
    lines = []
    for old in text.splitlines():
        match = re.match(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*(?:=|$)", old)
        name = match[1] if match else ""
        if name not in values:
            lines.append(old)
        elif name in left:
            lines.append(line(name, left.pop(name)))
    lines += [line(name, value) for name, value in left.items()]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> bool:
    """Write it, readable by its owner alone where it is new; whether it was another text. Raises OSError."""
    old = read(path)
    if old == text:
        return False
    mode = stat.S_IMODE(path.stat().st_mode) if old is not None else _PRIVATE
    path = path.resolve()  # a link stays a link
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
        os.replace(beside, path)
    except OSError:  # the folder takes no files, or the file is mounted by itself, as in a container
        with contextlib.suppress(OSError):
            beside.unlink()
        if old is None:
            raise
        path.write_text(text, encoding="utf-8")
    return True


def is_open(path: Path) -> bool:
    """Whether others than its owner and its group may read it. False where nobody can say."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def read(path: Path) -> str | None:
    """Its text; None when it is not there. Raises OSError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
