"""What the gateway said at one moment, and what two moments tell together."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from typing import Final

from hestia.cli import view
from hestia.cli.client import Client
from hestia.cli.exits import CliError, Document
from hestia.cli.parameters import is_status

SHOWN_FIRST: Final = ("failed", "starting", "draining", "stopping", "suspect", "hot", "cold")


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """One look. answers: responses so far by service. p95: milliseconds by service, since the gateway began;
    of the method that is asked most. Both are empty where unknown."""

    at: float
    services: Sequence[Document]
    answers: Mapping[str, float]
    p95: Mapping[str, float]

    @classmethod
    def ask(cls, client: Client, *, count: bool = False) -> Seen:
        """Raises CliError. count: ask for the numbers too."""
        services: list[Document] = is_status(client, client.services(), list)
        numbers = _numbers(client) if count else {}
        return cls(
            time.monotonic(),
            services,
            {name: _responses(one) for name, one in numbers.items()},
            {name: p95 for name, one in numbers.items() if (p95 := _p95(one)) is not None},
        )

    def ordered(self) -> list[Document]:
        """What needs a look first; among equals as configured."""
        rank = {phase: at for at, phase in enumerate(SHOWN_FIRST)}
        return sorted(self.services, key=lambda one: rank.get(view.phase_of(one), 0))

    def rates(self, before: Seen) -> dict[str, float]:
        """Requests a second since an earlier look. A gateway that began anew has counted nothing yet."""
        apart = max(self.at - before.at, 0.001)
        return {
            name: max(count - before.answers.get(name, 0.0), 0.0) / apart
            for name, count in self.answers.items()
            if before.answers
        }


def _numbers(client: Client) -> dict[str, Document]:
    """The numbers of each service; nothing where an older gateway does not count."""
    try:
        found = json.loads(client.call("GET", "/v1/metrics")[1])
    except (CliError, ValueError):
        return {}
    services = found.get("services") if isinstance(found, dict) else None
    return {str(name): one for name, one in services.items()} if isinstance(services, dict) else {}


def _responses(numbers: Document) -> float:
    counters = numbers.get("counters", {})
    return sum(float(one["count"]) for key, one in counters.items() if key.startswith("responses_total"))


def _p95(numbers: Document) -> float | None:
    timers = numbers.get("timers", {})
    found = [one for key, one in timers.items() if key.startswith("request_duration_ms") and one["count"]]
    return float(max(found, key=lambda one: int(one["count"]))["p95_ms"]) if found else None
