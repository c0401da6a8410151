"""The gateway's own life in the timeline: its start, its end, and that the one before was killed.

Owns the fact in the store by which the next gateway knows that one had not ended in order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Final, Protocol

from hestia.core.ports import Memory, Store

LIFE: Final = ("gateway", "life")  # kind and name of the fact; it is there while a gateway runs


class Note(Protocol):
    """Writes an event down that is no transition."""

    def __call__(self, event: str, *, cause: str, data: Mapping[str, object]) -> None: ...


def tell_before(memory: Memory, note: Note) -> None:
    """Before anything is adopted: that the earlier gateway ended without its own word."""
    fact = memory.facts.get(LIFE)
    if fact is not None:
        note("GatewayLost", cause="killed", data=dict(fact))


def begun(store: Store, note: Note, version: str) -> None:
    """This gateway listens."""
    said = {"version": version, "pid": os.getpid()}
    note("GatewayStarted", cause="start", data=said)
    store.fact(*LIFE, {**said, "at": time.time()})


def handed_over(store: Store, note: Note) -> None:
    """Another gateway decides from here on; its adoptions follow."""
    note("GatewayHandedOver", cause="takeover", data={"pid": os.getpid()})
    store.fact(*LIFE, None)


def ended(store: Store, note: Note, left: list[str]) -> None:
    """This gateway has ended in order. left: what it could not stop."""
    note("GatewayEnded", cause="shutdown", data={"left": list(left)})
    store.fact(*LIFE, None)
