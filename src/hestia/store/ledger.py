"""What one gateway has to remember of its generations, numbers and facts: the part that is never pruned.

Plain records, whoever writes them down. Every store has one and changes it at once; the durable one writes
after it what has changed. No I/O and no locks: who shares it guards it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from copy import deepcopy
from dataclasses import replace

from hestia.core.model import InstanceId, InstanceKey, ServiceId
from hestia.core.ports import Handle, Intent, Kept, Memory

Fact = tuple[str, str]  # kind, name
Place = tuple[ServiceId, InstanceId]


class Ledger:
    """Generations not yet gone, the highest number of each instance, and facts."""

    def __init__(self) -> None:
        self.kept: dict[InstanceKey, Kept] = {}
        self.numbers: dict[Place, int] = {}
        self.facts: dict[Fact, Mapping[str, object]] = {}

    def memory(self) -> Memory:
        """A copy of what it holds."""
        return Memory(kept=tuple(self.kept.values()), generations=dict(self.numbers), facts=dict(self.facts))

    def merge(self, memory: Memory, *, apart: Set[InstanceKey | Fact]) -> None:
        """Take in what is not known yet. apart: what has changed here and may be gone."""
        for one in memory.kept:
            if one.intent.key not in apart:
                self.kept.setdefault(one.intent.key, one)
        for fact, value in memory.facts.items():
            if fact not in apart:
                self.facts.setdefault(fact, value)
        for place, number in memory.generations.items():
            self.numbers[place] = max(number, self.numbers.get(place, 0))

    def intend(self, intent: Intent) -> None:
        """Remember a generation that is about to be started."""
        key = intent.key
        place = (key.service, key.instance)
        self.kept[key] = Kept(intent=intent, state="starting")
        self.numbers[place] = max(key.generation, self.numbers.get(place, 0))

    def handle_made(self, key: InstanceKey, handle: Handle) -> bool:
        """Remember how to find it. Whether that is news; so with the others."""
        return self._replace(key, handle=deepcopy(dict(handle)))

    def noted(self, key: InstanceKey, **fields: object) -> bool:
        """Remember what is known of it now; None is nothing new."""
        return self._replace(key, **{name: value for name, value in fields.items() if value is not None})

    def closed(self, key: InstanceKey) -> bool:
        """It is gone."""
        return self.kept.pop(key, None) is not None

    def fact(self, kind: str, name: str, value: Mapping[str, object] | None) -> bool:
        """Remember a fact, or forget it."""
        if value is None:
            return self.facts.pop((kind, name), None) is not None
        if self.facts.get((kind, name)) == value:
            return False
        self.facts[kind, name] = deepcopy(dict(value))  # the caller may go on changing what is in it
        return True

    def _replace(self, key: InstanceKey, **fields: object) -> bool:
        known = self.kept.get(key)
        if known is None:
            return False
        changed = replace(known, **fields)  # type: ignore[arg-type]  # the callers' signatures type them
        self.kept[key] = changed
        return changed != known

    def __repr__(self) -> str:
        return f"<Ledger kept={len(self.kept)} facts={len(self.facts)}>"
