"""Strategies in files of the user's own: `strategies/*.py` beside the configuration.

Each has `register_strategy(registry)` and calls `registry.register(TheClass)` in it. A file is first tried in
a process of its own, so that one that never ends, or ends the process, does that there and not here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import IO, Final

from hestia.core.ports import EnginePlugin, lacking_of_engine
from hestia.core.strategy import Failed, Loaded, OwnEngine, StrategyPlugin

TRIAL_LIMIT: Final = 5.0  # seconds for importing one file
_BEGIN_LIMIT: Final = 30.0  # seconds until its process has begun, on a busy machine
FUNCTION: Final = "register_strategy"
_LAST_WORDS: Final = 5.0  # seconds for reading the rest of what a process said
_PACKAGE: Final = "hestia_own_strategies"
_TRACE_MAX: Final = 4000  # characters


class Registry:
    """What `register_strategy` is given."""

    def __init__(self, misfit: Callable[[object], str] = lambda _: "") -> None:
        self.found: list[StrategyPlugin] = []
        self.engines: list[EnginePlugin] = []
        self._misfit = misfit

    def register(self, strategy: StrategyPlugin) -> None:
        """Make a strategy known by its `name`. Raises TypeError for what is none."""
        if wrong := self._misfit(strategy):
            raise TypeError(wrong)
        self.found.append(strategy)

    def register_engine(self, engine: EnginePlugin) -> None:
        """Make an engine known by its `name`. Raises TypeError for what is none."""
        if lacking := lacking_of_engine(engine):
            name = getattr(engine, "__name__", engine)
            raise TypeError(f"{name!r} is no engine: it lacks {', '.join(lacking)}")
        if not callable(engine) or not hasattr(engine.Options, "model_validate"):
            raise TypeError(f"{engine!r}: its Options is no pydantic model")
        self.engines.append(engine)


@dataclass(slots=True)
class _Tried:
    """What became of a file. stamp: of its text."""

    stamp: str
    found: list[StrategyPlugin] = field(default_factory=list)
    engines: list[EnginePlugin] = field(default_factory=list)
    failed: Failed | None = None


class Files:
    """Loads the files of a folder, each only when its text has changed."""

    def __init__(self, misfit: Callable[[object], str]) -> None:
        self.under_way: Path | None = None  # the file that is being imported, for those who wait
        self._misfit = misfit
        self._known: dict[Path, _Tried] = {}

    def load(self, folder: str) -> tuple[dict[str, Loaded], dict[str, OwnEngine], list[Failed]]:
        """Strategies and engines by name, and the files that are broken. Blocks."""
        paths = own_files(folder)
        self._known = {path: one for path, one in self._known.items() if path in paths}
        loaded: dict[str, Loaded] = {}
        engines: dict[str, OwnEngine] = {}
        failed: list[Failed] = []
        for path in paths:
            one = self._tried(path)
            if one.failed is not None:
                failed.append(one.failed)
            for plugin in one.found:
                if (other := loaded.get(plugin.name)) is not None:
                    text = f"{other.origin} has a strategy {plugin.name!r} as well; rename one of them"
                    failed.append(Failed(file=str(path), detail=text, trace=""))
                else:
                    loaded[plugin.name] = Loaded(plugin=plugin, origin=str(path))
            for engine in one.engines:
                if (owner := engines.get(engine.name)) is not None:
                    text = f"{owner.origin} has an engine {engine.name!r} as well; rename one of them"
                    failed.append(Failed(file=str(path), detail=text, trace=""))
                else:
                    engines[engine.name] = OwnEngine(plugin=engine, origin=str(path))
        return loaded, engines, failed

    def _tried(self, path: Path) -> _Tried:
        try:
            source = path.read_bytes()
        except OSError as exc:
            return _Tried("", failed=_failed(path, f"cannot be read: {exc.strerror}", ""))
        stamp = hashlib.sha256(source).hexdigest()
        known = self._known.get(path)
        if known is None or known.stamp != stamp:
            known = self._known[path] = self._try(path, source, stamp)
        return known

    def _try(self, path: Path, source: bytes, stamp: str) -> _Tried:
        self.under_way = path
        try:
            failed = _trial(path)
            if failed is not None:
                return _Tried(stamp, failed=failed)
            registry = run(path, source, self._misfit)
            return _Tried(stamp, registry.found, registry.engines)
        except (Exception, SystemExit) as exc:  # boundary: somebody's file
            return _Tried(stamp, failed=_failed(path, f"{type(exc).__name__}: {exc}", trace_of(exc)))
        finally:
            self.under_way = None


def own_files(folder: str) -> list[Path]:
    """The files that are loaded, in order of their names. Those that begin with `_` or `.` are not."""
    place = Path(folder)
    if not folder or not os.path.isdir(place):
        return []
    return sorted(path for path in place.glob("*.py") if not path.name.startswith(("_", ".")))


def run(path: Path, source: bytes, misfit: Callable[[object], str]) -> Registry:
    """Import a file and let it register. Raises whatever it raises."""
    name = f"{_PACKAGE}.{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # pydantic looks there for the names in annotations
    exec(compile(source, str(path), "exec"), module.__dict__)
    register = getattr(module, FUNCTION, None)
    if not callable(register):
        raise TypeError(f"it has no function {FUNCTION}(registry)")
    registry = Registry(misfit)
    register(registry)
    if not registry.found and not registry.engines:
        raise TypeError(f"its {FUNCTION} registers nothing: call registry.register(TheClass)")
    return registry


def trace_of(exc: BaseException) -> str:
    """Where somebody's code broke, without the frames of ours."""
    frames = [one for one in traceback.extract_tb(exc.__traceback__) if one.filename != __file__]
    text = "".join([*traceback.format_list(frames), *traceback.format_exception_only(exc)])
    return text[-_TRACE_MAX:]


def _trial(path: Path) -> Failed | None:
    """Import the file in a process of its own; what went wrong. Blocks a worker thread, never the loop."""
    command = [sys.executable, "-m", "hestia.strategies.trial", str(path), f"{TRIAL_LIMIT:g}"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # whatever it prints, and that may be without end
        stderr=subprocess.PIPE,
        start_new_session=True,  # what it starts itself ends with it
    ) as process:
        said = _Said(process.stderr)
        try:
            status = process.wait(timeout=_BEGIN_LIMIT + TRIAL_LIMIT)
        except subprocess.TimeoutExpired:
            status = -signal.SIGALRM
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        trace = said.end()
    if status == 0:
        return None
    lines = re.findall(rf'File "{re.escape(str(path))}", line ([0-9]+)', trace)
    if status == -signal.SIGALRM:
        place = f"; look for a loop at line {lines[0]}" if lines else "; look for a loop"  # innermost first
        text = f"importing it did not end within {TRIAL_LIMIT:g} s, so it was not loaded{place}"
        return _failed(path, text, trace)
    last = trace.rpartition("\n")[2] or f"importing it ended the process with status {status}"
    return _failed(path, f"line {lines[-1]}: {last}" if lines else last, trace)


class _Said:
    """The end of what a process says, read all the time so that it can go on; no more than that is kept."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None, "it was asked for"
        self._pipe = pipe
        self._kept = bytearray()
        self._reader = threading.Thread(target=self._read, name="strategy trial", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(
            ValueError
        ):  # closed: somebody who left its process group still has the pipe
            while data := os.read(self._pipe.fileno(), 65536):
                self._kept += data
                del self._kept[: -4 * _TRACE_MAX]

    def end(self) -> str:
        """The text, once its process and what that started have ended."""
        self._reader.join(timeout=_LAST_WORDS)
        return self._kept.decode("utf-8", "replace").strip()[-_TRACE_MAX:]


def _failed(path: Path, detail: str, trace: str) -> Failed:
    return Failed(file=str(path), detail=detail, trace=trace)
