"""Keys of one service that cannot work together, or do nothing beside each other (CK-04, ID-08)."""

from __future__ import annotations

from collections.abc import Mapping

from hestia.config.check import Checker
from hestia.config.models import ServiceKeys
from hestia.config.tree import Node
from hestia.config.values import duration_text
from hestia.core.model import NEVER, External


def check_limits(
    checker: Checker, path: str, keys: ServiceKeys, given: Mapping[str, Node], home: Node, engine: str
) -> list[str]:
    """Report what cannot work; return warnings about what does nothing. home: where the service stands."""
    if keys.warmup >= keys.start_timeout and not keys.health_url:
        checker.add(
            given.get("warmup", given.get("start_timeout", home)),
            f"{path}.warmup",
            f"lasts {duration_text(keys.warmup)}, but a start may only take "
            f"{duration_text(keys.start_timeout)} (start_timeout)",
            remedy="raise start_timeout, or lower warmup",
        )
    _check_external(checker, f"{path}.external", keys, given, engine)
    if keys.keep_warm and engine == "none":
        checker.add(
            given["keep_warm"],
            f"{path}.keep_warm",
            "needs an engine that starts the service; engine none starts nothing",
            at_key=True,
            remedy="add an `engine`, or remove the key",
        )
    return [f"{path}.{text}" for text in _idle_words(keys, given)]


def _check_external(
    checker: Checker, path: str, keys: ServiceKeys, given: Mapping[str, Node], engine: str
) -> None:
    """What an engine cannot do with what it did not start."""
    if keys.external == External.STOP:
        text = f"stop is not possible: engine {engine} cannot stop what it did not start"
        remedy = "use adopt or ignore, or stop that program yourself"
        checker.add(given["external"], path, text, remedy=remedy)
    elif keys.external == External.IGNORE and engine == "none":
        text = "ignore leaves nothing to serve: with engine none somebody else always starts the service"
        checker.add(given["external"], path, text, remedy="remove the key, or add an `engine`")


def _idle_words(keys: ServiceKeys, given: Mapping[str, Node]) -> list[str]:
    words = []
    if keys.warmup and keys.health_url and "warmup" in given:
        words.append("warmup has no effect beside health_url, which is better")
    if keys.busy_probe is not None and keys.idle_timeout == NEVER:
        words.append("busy_probe has no effect without idle_timeout: it is asked before an idle stop")
    elif keys.busy_probe is None and "busy_probe_max" in given:
        words.append("busy_probe_max has no effect without busy_probe")
    return words
