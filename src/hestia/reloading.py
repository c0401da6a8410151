"""How a running gateway takes new settings: read, compare, apply, tell (SPEC 2).

Owns when that happens and what is said of it. What new settings mean, `core.reconfigure` and `app` know. A
broken edit keeps what was; whoever asks is told what is wrong and where.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from hestia.api.control import Reload
from hestia.config import ConfigProblems, Problem
from hestia.config.load import FILE_NAMES
from hestia.config.warned import tell_warnings
from hestia.core.difference import Difference, applied, difference
from hestia.core.errors import ConfigError
from hestia.core.model import Settings

log = logging.getLogger(__name__)

DOTENV: Final = ".env"

Apply = Callable[[Settings, Difference], Awaitable[None]]
Stamp = tuple[int, int, int] | None  # of a file: when it was written, size, number; None: it is not there


class Reloader:
    """See the module docstring.

    load: reads the configuration; raises ConfigProblems. apply: takes it, or raises ConfigError and has
    changed nothing. told: called with each attempt. spawn: owns the task of a reload that nobody waits for.
    around: entered for each attempt; whoever has to know that one is under way sets it.
    """

    def __init__(
        self,
        current: Settings,
        *,
        load: Callable[[], Settings],
        apply: Apply,
        told: Callable[[Reload], None],
        spawn: Callable[..., object],
    ) -> None:
        self.last_reload: Reload | None = None
        self.around: Callable[[], AbstractContextManager[object]] = nullcontext
        self._current = current
        self._load = load
        self._apply = apply
        self._told = told
        self._spawn = spawn
        self._lock = asyncio.Lock()
        self._files = watched_files(current)
        self._seen = self._stamps()
        self._changing: Sequence[Stamp] | None = None

    async def reload(self, actor: str) -> Reload:
        """Read the configuration and take it. One at a time; never raises for what it says."""
        async with self._lock:
            with self.around():
                return await self._attempt(actor)

    async def _attempt(self, actor: str) -> Reload:
        self._seen, self._changing = self._stamps(), None
        before = self._current
        try:
            found = await self._take(actor)
            last = Reload(at=time.time(), actor=actor, found=found)
        except ConfigError as error:
            if isinstance(error, ConfigProblems):
                self._watch([*watched_files(self._current), *error.secret_files])
            waiting = self.last_reload.found.waiting if self.last_reload is not None else ()
            last = Reload(
                at=time.time(), actor=actor, problems=_problems(error), found=Difference(waiting=waiting)
            )
        self.last_reload = last
        self._tell(last)
        tell_warnings(self._current, before)
        self._told(last)
        return last

    async def _take(self, actor: str) -> Difference:
        if self._current.config_path and _stamp(self._current.config_path) is None:
            # Without its file a gateway would be one with the defaults, which nobody asked for.
            raise ConfigError(
                f"{self._current.config_path} is not there any more",
                remedy="put the file back; restart the gateway to run without it",
            )
        read = await asyncio.get_running_loop().run_in_executor(None, self._load)
        new, found = applied(self._current, read), difference(self._current, read)
        await self._apply(new, found)
        self._current = new
        self._watch(watched_files(new))
        return found

    @staticmethod
    def _tell(reload: Reload) -> None:
        fields: dict[str, object] = {"event_type": "config_reloaded", **told(reload)}
        if not reload.ok:
            text = "\n".join(one.render() for one in reload.problems)
            fields["event_type"] = "config_refused"
            log.error("The new configuration is not taken, the old one stays:\n%s", text, extra=fields)
            return
        said = "; ".join(
            f"{name.replace('_', ' ')}: {', '.join(of)}" for name, of in changes(reload).items() if of
        )
        log.info("Configuration read again: %s", said or "nothing has changed", extra=fields)

    # -- watching ------------------------------------------------------------------------------

    def look(self, _now: float = 0.0) -> None:
        """Look whether a file changed; called once a second. It is read when it has stayed as it is for one
        look, so that nobody's half-written file is taken."""
        stamps = self._stamps()
        if stamps == self._seen or self._lock.locked():
            self._changing = None
        elif stamps == self._changing:
            self._seen = stamps
            self._spawn(self.reload("file"), "reload")
        else:
            self._changing = stamps

    def _watch(self, files: Sequence[str]) -> None:
        """Look at these files from now on. What was seen of those before stays: no change is missed."""
        seen = dict(zip(self._files, self._seen, strict=True))
        self._files = list(dict.fromkeys(files))
        self._seen = [seen[path] if path in seen else _stamp(path) for path in self._files]

    def _stamps(self) -> Sequence[Stamp]:
        return [_stamp(path) for path in self._files]


def changes(reload: Reload) -> dict[str, list[str]]:
    """What an attempt changed, in words for people and programs."""
    found = reload.found
    return {
        "added": [*found.added],
        "removed": [*found.removed],
        "changed": [*found.changed],
        "gateway": [*found.gateway],
        "needs_restart": [*found.waiting],
    }


def told(reload: Reload) -> dict[str, object]:
    """An attempt as data of an event."""
    said: dict[str, object] = {"actor": reload.actor, **changes(reload)}
    if not reload.ok:
        said["problems"] = [one.render() for one in reload.problems]
    return said


def _problems(error: ConfigError) -> tuple[Problem, ...]:
    if isinstance(error, ConfigProblems):
        return error.problems
    return (Problem(source="gateway", text=error.detail, remedy=error.remedy),)


def watched_files(settings: Settings) -> list[str]:
    """The configuration file, or where one would be found, and the `.env` beside it, there or not; files that
    hold secrets; the folder of strategies and what is in it."""
    path = settings.config_path
    folder = os.path.dirname(path) or os.getcwd()
    files = [path] if path else [os.path.join(folder, name) for name in FILE_NAMES]
    own = settings.strategies.folder if settings.strategies is not None else ""
    scripts = sorted(glob.glob(os.path.join(glob.escape(own), "*.py"))) if own else []
    dotenv = os.path.join(folder, DOTENV)
    return [*files, dotenv, *settings.secret_files, *([own] if own else []), *scripts]


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
