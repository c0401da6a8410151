"""The list `instances` of a service → the core's, with what only shows beside the engine of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from hestia.config.check import Checker
from hestia.config.convert import holds_port, instance_of
from hestia.config.models import ServiceKeys
from hestia.config.several import Engine, Written, read_instances
from hestia.config.tree import Node
from hestia.core.model import InstanceSettings
from hestia.core.urls import PORT_MARK, uses_port_mark

ANY_PORT_URL: Final = "http://127.0.0.1:{port}"


def make_instances(
    checker: Checker,
    node: Node,
    path: str,
    keys: ServiceKeys,
    *,
    engine_of: Callable[[Node, str], Engine | None],
    complete: Callable[[Written, ServiceKeys], Written | None],
    inherited: Engine,
    taken: Sequence[str],
) -> list[tuple[InstanceSettings, str, Node]]:
    """Each with the key and the node of its address; those that are wrong are reported and left out.

    keys: of the service. engine_of, inherited, taken: as for `read_instances`. complete: adds what an engine
    has from elsewhere; None when that is wrong, which it has reported.
    """
    made = []
    for item in read_instances(checker, node, path, engine_of=engine_of, inherited=inherited, taken=taken):
        if (one := complete(item, keys)) is None:
            continue
        engine, told = one.engine[0], holds_port(one.engine[1])
        url = one.keys.url
        if not url and engine != "none" and told:
            url = ANY_PORT_URL
        if not url:
            also = "" if engine == "none" else f", or {PORT_MARK} in the command"
            checker.add(one.node, one.path, "has no url", remedy=f"add `url`{also}")
            continue
        for key in ("url", "health_url"):
            spot = one.given.get(key)
            if spot is not None and uses_port_mark(str(spot.value)):
                check_mark(checker, spot, f"{one.path}.{key}", engine, told=told)
        made.append((instance_of(one, keys, url), f"{one.path}.url", one.spot))
    return made


def check_mark(checker: Checker, node: Node, path: str, engine: str, *, told: bool) -> None:
    """`{port}` needs an engine that fills it in, and a program that is told it."""
    if engine == "none":
        checker.add(
            node,
            path,
            f"{PORT_MARK} needs an engine that starts the service; engine none starts nothing",
            remedy="write the port, or add an `engine`",
        )
    elif not told:
        checker.add(
            node,
            path,
            f"the program is never told its port: its command and environment have no {PORT_MARK}",
            remedy=f"put {PORT_MARK} into the command, or write a fixed port here",
        )
