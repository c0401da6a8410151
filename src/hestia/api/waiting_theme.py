"""Templates of the waiting page: made into a whole page, or into the part of it that changes.

Owns Jinja2, and which template counts: one of the owner's own, read again when it has changed, or the
built-in one where that is broken. The part is what stands between two marks of the page, so that a template
of somebody else's needs to know nothing of it. Source: experience.md WP-12, WP-16.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment

from hestia.api.waiting_view import Shown, duration

log = logging.getLogger(__name__)

BEGIN: Final = "<!--now-->"
END: Final = "<!--/now-->"


def _environment() -> Environment:
    """Everything that is put in is escaped."""
    made = SandboxedEnvironment(
        loader=PackageLoader("hestia.api"),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["duration"] = duration
    return made


class Theme:
    """One template."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def page(self, now: Shown, nonce: str) -> str:
        """The whole page."""
        return self._template.render(p=now, nonce=nonce)

    def part(self, now: Shown) -> str:
        """What changes of it; "" where the template has no such part."""
        text = self.page(now, "")
        begin, end = text.find(BEGIN), text.rfind(END)
        return text[begin + len(BEGIN) : end].strip() if 0 <= begin < end else ""


_ENVIRONMENT: Final = _environment()
BUILT_IN: Final = Theme(_ENVIRONMENT.get_template("waiting.html"))


class Themes:
    """The template that counts now. path: of the owner's own, "" for none."""

    def __init__(self, path: Callable[[], str] = lambda: "") -> None:
        self._path = path
        self._read: tuple[str, float] = ("", 0.0)  # path and time of change
        self._theme = BUILT_IN

    def page(self, now: Shown, nonce: str) -> str:
        """The whole page."""
        return self._made(lambda theme: theme.page(now, nonce))

    def part(self, now: Shown) -> str:
        """What changes of it."""
        return self._made(lambda theme: theme.part(now))

    def _made(self, make: Callable[[Theme], str]) -> str:
        theme = self._current()
        if theme is not BUILT_IN:
            try:
                return make(theme)
            except Exception as exc:  # boundary: the owner's template; a person waits for a page all the same
                self._theme = BUILT_IN  # until the file changes
                self._tell(exc)
        return make(BUILT_IN)

    def _current(self) -> Theme:
        path = self._path()
        if not path:
            return BUILT_IN
        try:
            changed = os.stat(path).st_mtime
        except OSError:
            changed = 0.0
        if self._read != (path, changed):
            self._read, self._theme = (path, changed), BUILT_IN
            try:
                self._theme = Theme(_ENVIRONMENT.from_string(Path(path).read_text(encoding="utf-8")))
            except Exception as exc:  # boundary: the same
                self._tell(exc)
        return self._theme

    def _tell(self, exc: Exception) -> None:
        log.warning(
            "The template %s of the waiting page cannot be used, so the built-in page is shown: %s: %s",
            self._read[0],
            type(exc).__name__,
            exc,
            extra={"event_type": "waiting_page_broken"},
        )
