"""`strategy` and `routing` of a service: which plug-in, and its options checked by its own model.

Strategies are found by whoever calls `load`; one whose file is broken is no fault of the configuration, and
its service goes on with its instances in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from hestia.config.check import Checker
from hestia.config.errors import nearest, one_of, show
from hestia.config.tree import Node
from hestia.core.model import InstanceSettings
from hestia.core.strategy import Strategies, StrategySettings, Unfit


def read_strategy(
    checker: Checker,
    given: Mapping[str, Node],
    path: str,
    strategies: Strategies,
    instances: Sequence[InstanceSettings],
) -> tuple[StrategySettings | None, str]:
    """The strategy of a service, and a warning or "". What is wrong is reported."""
    node, routing = given.get("strategy"), given.get("routing")
    if node is None:
        if routing is not None:
            text = "has no effect without a strategy"
            checker.add(
                routing, f"{path}.routing", text, at_key=True, remedy=f"add `strategy`: {_names(strategies)}"
            )
        return None, ""
    name = node.value
    loaded = strategies.loaded.get(name) if isinstance(name, str) else None
    if loaded is None:
        return None, _unknown(checker, node, path, strategies)
    found = routing or Node({}, node.place, node.key, "routing")
    if found.mapping is None:
        checker.add(found, f"{path}.routing", f"expected a mapping, found {show(found.value)}")
        return None, ""
    model: type[BaseModel] = loaded.plugin.Options
    options = checker.options(model, found, f"{path}.routing")
    if options is None:
        return None, ""
    try:
        loaded.plugin(options, instances)
    except Unfit as exc:
        _unfit(checker, found, f"{path}.routing", exc)
        return None, ""
    except Exception as exc:  # boundary: somebody's strategy; the service goes on without it
        return None, f"the strategy {name!r} cannot be made ({type(exc).__name__}: {exc}); it is not used"
    written = found.plain()
    assert isinstance(written, dict)
    return StrategySettings(str(name), loaded.plugin, options, written), ""


def _unknown(checker: Checker, node: Node, path: str, strategies: Strategies) -> str:
    """A name that is none: a fault, unless a broken file may have it."""
    name, known = node.value, sorted(strategies.loaded)
    near = nearest(name, known) if isinstance(name, str) else ""
    if strategies.failed and isinstance(name, str) and not near:
        files = ", ".join(one.file for one in strategies.failed)
        return (
            f"there is no strategy {name!r}, and not every file could be loaded ({files}); the instances "
            "are used in their order; see: hestia strategies"
        )
    text = f"there is no strategy {show(name)}; expected {one_of(known)}"
    checker.add(node, f"{path}.strategy", text, expected=one_of(known), nearest=near)
    return ""


def _unfit(checker: Checker, node: Node, path: str, exc: Unfit) -> None:
    """Point at the value that does not fit."""
    for step in exc.way:
        value = node.value
        if isinstance(value, dict) and str(step) in value:
            node = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            node = value[step]
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    checker.add(node, path, str(exc), nearest=exc.near, remedy=exc.remedy)


def _names(strategies: Strategies) -> str:
    return one_of(sorted(strategies.loaded)) if strategies.loaded else "load_balancer"
