"""Secrets of the configuration, taken out of what is told (OB-20).

Owns the hiding: an engine, a program or another side may put a secret into a text, and does not know that it
is one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from hestia.core.errors import HestiaError

SHORT: Final = 6  # characters; shorter ones stand in texts by chance
HIDDEN: Final = "***"


class Secrets:
    """Texts that nobody is to see. `take` is for a new configuration; what it had before stays hidden."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts: tuple[str, ...] = ()
        self.take(texts)

    def take(self, texts: Iterable[str]) -> None:
        """Hide these as well."""
        known = {*self._texts, *(text for text in texts if len(text) >= SHORT)}
        self._texts = tuple(sorted(known, key=len, reverse=True))  # one may be a part of another

    def hide(self, text: str) -> str:
        """The text with stars in place of every secret."""
        for secret in self._texts:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text

    def hide_all(self, texts: Collection[str]) -> tuple[str, ...]:
        """The same for several."""
        return tuple(map(self.hide, texts))

    def hide_in(self, error: HestiaError) -> None:
        """The same for what an error says."""
        if self._texts:
            error.detail, error.remedy = self.hide(error.detail), self.hide(error.remedy)
            error.tail = self.hide_all(error.tail)

    def __repr__(self) -> str:
        return f"<Secrets {len(self._texts)}>"
