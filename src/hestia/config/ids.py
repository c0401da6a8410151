"""What a service may be called. Owns the form of ids and the prefix of a service's variables."""

from __future__ import annotations

import re
from typing import Final

from hestia.config.check import Checker
from hestia.config.tree import Node

ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_GATEWAY: Final = "hestia"


def prefix_of(service: str) -> str:
    """How a service's variables begin: `remote-api` → `REMOTE_API`."""
    return service.upper().replace("-", "_")


def is_id(checker: Checker, name: str, node: Node, path: str, prefixes: dict[str, str]) -> bool:
    """Whether the file may have a service of this name; a problem is added when not.

    prefixes: of the variables of the services before it → id; this one is entered.
    """
    if not ID.fullmatch(name):
        checker.add(
            node,
            path,
            "expected an id of small letters, digits, '-' and '_', beginning with a letter or digit, "
            "at most 63 long",
            at_key=True,
            nearest=_id_like(name),
        )
        return False
    if name == _GATEWAY:
        checker.add(
            node,
            path,
            "this id is taken: hestia.localhost is the gateway",
            at_key=True,
            remedy="use another id",
        )
        return False
    other = prefixes.setdefault(prefix_of(name), name)
    if other != name:
        checker.add(
            node,
            path,
            f"has the same environment variables as services.{other}: both are {prefix_of(name)}_… there",
            at_key=True,
            remedy="rename one of the two",
        )
        return False
    return True


def _id_like(name: str) -> str:
    """The id that the writer may have meant."""
    letters = (ch if ch.isascii() and (ch.isalnum() or ch in "-_") else "-" for ch in name.lower())
    near = "".join(letters).strip("-_")[:63]
    return near if ID.fullmatch(near) else ""
