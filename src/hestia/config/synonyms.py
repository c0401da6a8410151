"""Which key was meant. Owns the words of other tools and the spellings of units that people try."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from hestia.config.errors import nearest

# what people write who come from other tools → where it is said here
_SYNONYMS: Final[Mapping[str, str]] = {
    "url": "base_url",
    "address": "base_url",
    "target": "base_url",
    "upstream": "base_url",
    "proxy": "base_url",
    "timeout": "request_timeout",
    "ttl": "idle_timeout",
    "healthcheck": "health_url",
    "health_check": "health_url",
    "health": "health_url",
    "checkendpoint": "health_url",
    "retries": "retry_count",
    "concurrency": "max_in_flight",
    "concurrencylimit": "max_in_flight",
    "domains": "hosts",
    "aliases": "hosts",
    "bind": "host",
    "listen": "host",
    "loglevel": "log_level",
}
_UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("s", "sec", "secs", "second"), "seconds"),
    **dict.fromkeys(("msec", "msecs", "millis", "milliseconds"), "ms"),
}


def meant(name: str, known: Collection[str]) -> str:
    """The known key that the writer of `name` most likely meant, or ""."""
    plain = name.lower().replace("-", "_")
    stem, _, unit = plain.rpartition("_")
    for guess in (_SYNONYMS.get(plain, ""), f"{stem}_{_UNITS.get(unit, '')}"):
        if guess in known:
            return guess
    return nearest(name.replace("-", "_"), known)
