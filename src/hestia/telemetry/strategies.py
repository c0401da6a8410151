"""What strategies did wrong, by service and name."""

from __future__ import annotations

import time

from hestia.telemetry.numbers import Counter
from hestia.telemetry.traffic import of


class StrategyErrors:
    """errors: requests for which a strategy raised, or named nothing that there is."""

    def __init__(self) -> None:
        self.errors: dict[tuple[str, str], Counter] = {}

    def failed(self, service: str, strategy: str) -> None:
        of(self.errors, (service, strategy), Counter).add(1, time.time())
