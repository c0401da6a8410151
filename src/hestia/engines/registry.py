"""Finds engines through the entry-point group `hestia.engines`, the built-in ones included.

Owns names, importing on first use and the words for a plug-in that cannot be loaded. What an engine is,
`core.ports` says; with which options and context one is built, configuration and the composition root do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from hestia.core.errors import ConfigError
from hestia.core.model import Settings
from hestia.core.ports import EnginePlugin, lacking_of_engine

GROUP: Final = "hestia.engines"


class EngineRegistry:
    """The engines of this installation by name. An engine is imported when it is first asked for.

    found: entry points to choose from; None reads those of the installed packages.
    """

    def __init__(self, found: Iterable[EntryPoint] | None = None) -> None:
        self._points: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=GROUP) if found is None else found:
            known = self._points.setdefault(point.name, [])
            if point.value not in [other.value for other in known]:  # an editable install lists twice
                known.append(point)
        self._loaded: dict[str, EnginePlugin] = {}

    def names(self) -> list[str]:
        """Every name that `engine.type` may have, sorted, whether it can be imported or not."""
        return sorted(self._points)

    def plugin(self, name: str) -> EnginePlugin:
        """The engine of that name. Raises ConfigError: unknown, ambiguous, or it cannot be loaded."""
        if name not in self._loaded:
            self._loaded[name] = _load(self._only(name))
        return self._loaded[name]

    def failures(self) -> dict[str, ConfigError]:
        """Import every engine; what could not be loaded, by name. The others work all the same."""
        failed: dict[str, ConfigError] = {}
        for name in self.names():
            try:
                self.plugin(name)
            except ConfigError as exc:
                failed[name] = exc
        return failed

    def _only(self, name: str) -> EntryPoint:
        points = self._points.get(name, [])
        if len(points) == 1:
            return points[0]
        if points:
            packages = " and ".join(sorted(_package(point) for point in points))
            raise ConfigError(
                f"two packages bring an engine named {name!r}: {packages}", remedy="uninstall one of them"
            )
        near = difflib.get_close_matches(name, self._points, n=1)
        hint = f"; the nearest name is {near[0]!r}" if near else ""
        raise ConfigError(
            f"there is no engine {name!r}{hint}",
            cause="not_found",
            remedy=f"set `engine.type` to one of: {', '.join(self.names())}",
        )


def load_engines() -> dict[str, EnginePlugin]:
    """Every installed engine that can be loaded, by name; `EngineRegistry.failures` tells of the rest."""
    registry = EngineRegistry()
    failed = registry.failures()
    return {name: registry.plugin(name) for name in registry.names() if name not in failed}


def _load(point: EntryPoint) -> EnginePlugin:
    try:
        plugin = point.load()
    except Exception as exc:  # a plug-in's import may raise anything; it must not take the others along
        raise ConfigError(
            f"the engine {point.name!r} of {_package(point)} cannot be loaded: {type(exc).__name__}: {exc}",
            remedy=f"reinstall {_package(point)} with what it needs, or take another engine",
        ) from exc
    lacking = lacking_of_engine(plugin)
    if lacking or getattr(plugin, "name", None) != point.name:
        wrong = (
            f"lacks {', '.join(lacking)}" if lacking else f"calls itself {getattr(plugin, 'name', None)!r}"
        )
        raise ConfigError(
            f"the engine {point.name!r} of {_package(point)} does not fit: {point.value} {wrong}",
            remedy=f"install a version of {_package(point)} made for this version of Hestia",
        )
    checked: EnginePlugin = plugin
    return checked


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module


def used_engines(settings: Settings) -> set[str]:
    """Names of the engines that services have."""
    return {one.engine for service in settings.services.values() for one in service.instances}
