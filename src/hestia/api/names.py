"""The nearest name to a mistyped one, and user text made fit for an error sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

QUOTE_LIMIT = 80
CANDIDATE_LIMIT = 2000  # difflib takes about 10 µs a name; a typo must not hold the loop


def nearest(name: str, known: Iterable[str]) -> str:
    """The one known name that was probably meant, or "". A prefix of at least two letters counts."""
    wanted = name.lower()
    close = [item for item in known if abs(len(item) - len(wanted)) <= 3 or item.startswith(wanted)]
    if len(wanted) >= 2:
        begins = sorted(item for item in close if item.lower().startswith(wanted))
        if begins:
            return begins[0]
    by_lower = {item.lower(): item for item in close[:CANDIDATE_LIMIT]}
    found = difflib.get_close_matches(wanted, by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def quoted(text: str) -> str:
    """Text of a client in quotes: control characters escaped, at most 80 characters (ER-09)."""
    short = text if len(text) <= QUOTE_LIMIT else text[:QUOTE_LIMIT] + "…"
    plain = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in short)
    return f'"{plain}"'
