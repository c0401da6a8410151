"""What the list `instances` becomes: items with ids, engines, and what they have from their service.

Owns how an instance is named. Engines are looked up by whoever builds services.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from hestia.config.check import Checker
from hestia.config.errors import show
from hestia.config.instances import EXAMPLE, InstanceKeys
from hestia.config.tree import Node
from hestia.core.model import LOCAL, InstanceId
from hestia.core.urls import parse_base_url, uses_port_mark

MAIN: Final = InstanceId("main")  # of `base_url`
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9._-]+")

Engine = tuple[str, BaseModel | None]


@dataclass(frozen=True, slots=True)
class Written:
    """One item as it was understood. node: the item. path: to it."""

    id: InstanceId
    keys: InstanceKeys
    engine: Engine
    node: Node
    path: str
    given: Mapping[str, Node]

    @property
    def spot(self) -> Node:
        """Where to point at for its address."""
        return self.given.get("url", self.node)


def read_instances(
    checker: Checker,
    node: Node,
    path: str,
    *,
    engine_of: Callable[[Node, str], Engine | None],
    inherited: Engine,
    taken: Sequence[str],
) -> list[Written]:
    """The items of `instances`; what is wrong with them is reported. inherited: engine of the service.
    taken: ids that are in use already."""
    if not isinstance(node.value, list) or not node.value:
        what = "an empty list" if node.value == [] else show(node.value)
        checker.add(node, path, f"expected a list such as {EXAMPLE}, found {what}")
        return []
    found: list[Written] = []
    seen = dict.fromkeys(taken, "base_url")
    for at, item in enumerate(node.value):
        one = _read(checker, item, f"{path}[{at}]", at, engine_of, inherited)
        if one is None:
            continue
        if (other := seen.setdefault(one.id, one.path)) != one.path:
            where = one.given.get("name", one.spot)
            text = f"is called {one.id!r}, as {other} is"
            checker.add(where, one.path, text, remedy="give each a `name` of its own")
            continue
        found.append(one)
    return found


def _read(
    checker: Checker,
    item: Node,
    path: str,
    at: int,
    engine_of: Callable[[Node, str], Engine | None],
    inherited: Engine,
) -> Written | None:
    if item.mapping is None:
        remedy = f"write {{url: {item.value}}}" if isinstance(item.value, str) else f"as in {EXAMPLE}"
        checker.add(item, path, f"expected a mapping, found {show(item.value)}", remedy=remedy)
        return None
    before = len(checker.problems)
    elsewhere = {"base_url": f"`url` of {path}"}
    given = checker.keys(item, InstanceKeys, path, coming={}, elsewhere=elsewhere)
    keys = checker.values(InstanceKeys, {name: one for name, one in given.items() if name != "engine"}, path)
    engine = engine_of(given["engine"], path) if "engine" in given else inherited
    if keys.name and not _NAME.fullmatch(keys.name):
        node = given["name"]
        text = f"{node.quoted(repr(keys.name))} cannot be a name; use small letters, digits, '.', '_' and '-'"
        checker.add(node, f"{path}.name", text)
    if engine is None or len(checker.problems) > before:
        return None
    return Written(_id_of(keys, at), keys, engine, item, path, given)


def _id_of(keys: InstanceKeys, at: int) -> InstanceId:
    """Its name, else one made of its address, so that it stays the same when the list is sorted anew."""
    if keys.name:
        return InstanceId(keys.name)
    if not keys.url or uses_port_mark(keys.url):
        return InstanceId(f"instance-{at + 1}")
    endpoint = parse_base_url(keys.url)
    where = endpoint.unix_path or f"{endpoint.host}-{endpoint.port}"
    text = _NOT_IN_NAMES.sub("-", f"{where}{endpoint.base_path}".lower()).strip("-._")
    return InstanceId(text[:63] or f"instance-{at + 1}")


def health_of(written: Written, base_url: str, service_health: str) -> str:
    """Its own `health_url`, or the service's at its own address."""
    if written.keys.health_url or not service_health:
        return written.keys.health_url
    _, _, rest = service_health.partition("://")
    _, slash, path = rest.partition("/")
    if base_url.startswith("unix:"):
        return f"http://localhost/{path}" if slash else ""
    scheme, _, place = base_url.partition("://")
    return f"{scheme}://{place.partition('/')[0]}{slash}{path}"


def machine_of(written: Written, service_machine: str) -> str:
    """Its own machine, or the service's."""
    return written.keys.machine or service_machine or str(LOCAL)
