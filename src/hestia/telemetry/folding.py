"""Repeated identical warnings are folded: the first, then every power of two, with how often it was (OB-18).

Owns what counts as the same. Nothing is lost from metrics or the timeline: only lines of the log are fewer.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

KEPT: Final = 1000  # different lines that are remembered
QUIET: Final = 600.0  # seconds without a line after which it is news again
Key = tuple[str, int, str, str, str]


class Folding(logging.Filter):
    """Lets WARNING and above through unless the same was said before; puts `repeated` on what comes again.

    A change of state (it has a `generation`) is a fact of its own and always passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: OrderedDict[Key, tuple[int, float]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is written."""
        if record.levelno < logging.WARNING or hasattr(record, "generation"):
            return True
        error = record.exc_info[1] if record.exc_info else None
        service = str(getattr(record, "service_id", ""))
        key = (record.name, record.levelno, record.getMessage(), service, repr(error) if error else "")
        count, at = self._seen.pop(key, (0, record.created))
        count = 1 if record.created - at > QUIET else count + 1
        self._seen[key] = (count, record.created)
        if len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        if count > 1:
            record.repeated = count
        return count & (count - 1) == 0
