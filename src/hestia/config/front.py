"""`tls:` with its files: their paths, and what is wrong with them at the place where it is said."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hestia.config.check import Checker
from hestia.config.tree import Node
from hestia.core.model import Tls
from hestia.edge.certificate import TlsUnusable, load


def with_paths(tls: Tls, base: Path) -> Tls:
    """Its paths made whole; a relative one counts from `base`."""
    return replace(
        tls,
        certificate=str(base / os.path.expanduser(tls.certificate)),
        key=str(base / os.path.expanduser(tls.key)),
    )


def check_files(tls: Tls, node: Node, checker: Checker) -> str:
    """Report files that cannot be used. Returns what is to be warned of, or ""."""
    try:
        return load(tls).warning(time.time())
    except TlsUnusable as exc:
        child = (node.mapping or {}).get(exc.part)
        checker.add(child or node, f"tls.{exc.part}", exc.text, remedy=exc.remedy)
        return ""


def sources_of(node: Node) -> Iterator[tuple[str, str]]:
    """Where each of its keys came from, for `Settings.sources`."""
    for name, child in (node.mapping or {}).items():
        yield f"tls.{name}", child.words()
