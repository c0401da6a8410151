"""Text made safe and instants made readable, for both forms of a log line."""

from __future__ import annotations

import time
from json.encoder import encode_basestring_ascii as json_text

__all__ = ["clock_text", "json_text", "plain", "utc_text"]


def plain(text: str) -> str:
    """Text without control characters: what could steer a terminal is shown as an escape (CL-26)."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def utc_text(at: float) -> str:
    """Wall-clock seconds as RFC 3339 in UTC with milliseconds."""
    seconds, thousandths = divmod(int(at * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{thousandths:03d}Z"


def clock_text(at: float) -> str:
    """Wall-clock seconds as the local time of day, for people."""
    return time.strftime("%H:%M:%S", time.localtime(at))
