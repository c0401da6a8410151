"""Finds strategies: those of installed packages through the entry points `hestia.strategies`, the built-in
ones included, and those in files of the user's own folder.

Owns names and the words for what cannot be loaded. A file that breaks takes nobody along.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from hestia.core.strategy import Failed, Loaded, Strategies
from hestia.strategies import files
from hestia.strategies.files import Files, trace_of

GROUP: Final = "hestia.strategies"
_PARTS: Final = ("name", "version", "features", "Options", "rank")


class Finder:
    """All strategies of this installation; called with a folder, also those of its files.

    found: entry points to choose from; None reads those of the installed packages. What was loaded from a
    file is used again as long as the file is the same.
    """

    def __init__(self, found: Iterable[EntryPoint] | None = None) -> None:
        self._found = found
        self._installed: tuple[dict[str, Loaded], list[Failed]] | None = None
        self._files = Files(misfit)

    @property
    def limit(self) -> float:
        """Seconds that importing one file may take."""
        return files.TRIAL_LIMIT

    @property
    def under_way(self) -> str:
        """The file that is being imported now, "" for none; any thread may ask."""
        return str(self._files.under_way or "")

    def __call__(self, folder: str) -> Strategies:
        """folder: of the user's own files; it need not exist. Blocks for as long as importing them takes."""
        if self._installed is None:
            self._installed = self._load_installed()
        loaded, failed = dict(self._installed[0]), list(self._installed[1])
        own, engines, broken = self._files.load(folder)
        failed += broken
        for name, one in own.items():
            if (other := loaded.get(name)) is not None:
                text = f"it calls its strategy {name!r}, as {other.origin} does; give it another name"
                failed.append(Failed(file=one.origin, detail=text, trace=""))
            else:
                loaded[name] = one
        return Strategies(loaded=loaded, engines=engines, failed=tuple(failed), folder=folder)

    def _load_installed(self) -> tuple[dict[str, Loaded], list[Failed]]:
        loaded: dict[str, Loaded] = {}
        failed: list[Failed] = []
        for point in entry_points(group=GROUP) if self._found is None else self._found:
            package = point.dist.name if point.dist is not None else point.module
            if point.name in loaded and loaded[point.name].origin == package:
                continue  # an editable install lists twice
            try:
                plugin = point.load()
            except Exception as exc:  # a plug-in's import may raise anything; it must not take others along
                detail = f"the strategy {point.name!r} cannot be loaded: {type(exc).__name__}: {exc}"
                failed.append(Failed(file=package, detail=detail, trace=trace_of(exc)))
                continue
            wrong = misfit(plugin) or (
                "" if plugin.name == point.name else f"it calls itself {plugin.name!r}"
            )
            if wrong or point.name in loaded:
                detail = wrong or f"{loaded[point.name].origin} brings a strategy {point.name!r} as well"
                failed.append(Failed(file=package, detail=f"{point.name}: {detail}", trace=""))
            else:
                loaded[point.name] = Loaded(plugin=plugin, origin=package)
        return loaded, failed


def misfit(plugin: object) -> str:
    """What a class lacks to be a strategy; "" when nothing."""
    lacking = [part for part in _PARTS if not hasattr(plugin, part)]
    if lacking or not callable(plugin):
        return f"{getattr(plugin, '__name__', plugin)!r} is no strategy: it lacks {', '.join(lacking)}"
    if not hasattr(getattr(plugin, "Options", None), "model_validate"):
        return f"{plugin!r}: its Options is no pydantic model"
    return ""
