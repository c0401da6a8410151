"""What a routed request pays beyond a plain one: the decision of each strategy, and the look into a body.

    python -m benchmarks.routing               microseconds, against the goals of issue 6

Like `hot_path` without sockets: the real chooser over real records, on one core. The best of several rounds
is shown, since the machine's own noise only adds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from hestia.core.lease import Use
from hestia.core.model import (
    Endpoint,
    GatewayId,
    GatewaySettings,
    InstanceId,
    InstanceKey,
    InstanceSettings,
    ServiceId,
    ServiceSettings,
    Settings,
)
from hestia.core.records import ServiceRecord
from hestia.core.strategy import StrategySettings
from hestia.http1.heads import Request
from hestia.proxy.asking import Asking
from hestia.proxy.choosing import Chooser, Choosers
from hestia.proxy.peek import Peek
from hestia.strategies.registry import Finder

SERVICE: Final = ServiceId("bench")
ROUNDS, COUNT = 7, 5000
DECISION_GOAL, PEEK_GOAL = 10.0, 30.0  # microseconds
CASES: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("load_balancer, in turns", "load_balancer", {}),
    ("load_balancer, weighted", "load_balancer", {"method": "weighted"}),
    ("load_balancer, least in flight", "load_balancer", {"method": "least_in_flight"}),
    ("load_balancer, random of two", "load_balancer", {"method": "random_two"}),
    ("load_balancer, region", "load_balancer", {"region": "eu"}),
    ("model_router, exact", "model_router", {"by_model": {"llama3": "one"}}),
    ("model_router, glob", "model_router", {"by_model": {"llama*": "one"}}),
    ("custom_routing, third rule", "custom_routing", {"rules": [
        {"path": "/no/*", "to": "one"}, {"method": "PUT", "to": "two"}, {"path": "/*", "to": "three"}]}),
)  # fmt: skip


class Bench:
    """The part of a gateway that a chooser needs; nothing of it waits."""

    def __init__(self, strategy: str, routing: dict[str, Any]) -> None:
        instances = tuple(
            InstanceSettings(id=InstanceId(name), base_url=f"http://{name}:1", engine="process", region="eu")
            for name in ("one", "two", "three")
        )
        plugin = Finder()("").loaded[strategy].plugin
        chosen = StrategySettings(strategy, plugin, plugin.Options.model_validate(routing))
        settings = ServiceSettings(id=SERVICE, instances=instances, strategy=chosen)
        self.found = ServiceRecord(settings)
        for slot in self.found.slots.values():
            key = InstanceKey(GatewayId("g"), SERVICE, slot.settings.id, 1)
            slot.use = Use(key, Endpoint("http", "h", 1), limit=None, warm_limit=1, now=0.0, owner=slot)
            slot.use.warm = True
        self.choosers = Choosers(self, clock=time.monotonic, spawn=lambda job, _: job.close())
        self.choosers.update(Settings(gateway=GatewaySettings(), services={SERVICE: settings}))

    @property
    def chooser(self) -> Chooser:
        chooser = self.choosers.of(SERVICE)
        assert chooser is not None
        return chooser

    def record(self, service: ServiceId) -> ServiceRecord:
        return self.found

    def spill_over(self, service: ServiceId, instance: InstanceId, *, actor: str) -> None: ...

    async def answers(self, service: ServiceId, instance: InstanceId) -> bool:
        return True

    async def look(self, service: ServiceId) -> None: ...

    async def models(self, service: ServiceId, path: str, authorization: bytes | None) -> bytes:
        return b""


def best(run: Callable[[], object], count: int = COUNT) -> float:
    """Microseconds of one run, the best of the rounds."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(count):
            run()
        taken.append((time.perf_counter() - began) / count)
    return min(taken) * 1e6


def decision(strategy: str, routing: dict[str, Any]) -> float:
    """The request as the strategy sees it, the ranking, and its check."""
    chooser = Bench(strategy, routing).chooser
    fields = [(b"Host", b"localhost"), (b"Content-Type", b"application/json"), (b"Cookie", b"a=1; b=2")]
    request = Request(b"POST", b"/services/bench/v1/chat", 1, fields)

    def run() -> None:
        asking = Asking(request, b"/v1/chat", "127.0.0.1")
        asking.key = "llama3"
        chooser.rank(asking)

    return best(run)


def peek(body: bytes, *, whole: bool) -> float:
    """The search for the model in a body; whole: it came in one piece, as small ones do."""

    def run() -> None:
        one = Peek("model", "json", b"", 2**18, len(body) if whole else -1)
        one.feed(body)
        assert one.value == "llama3"

    return best(run, 1000)


def main() -> int:
    """Print a table in the form of RESULTS.md; 1 when a goal is missed."""
    message = {"role": "user", "content": "Tell me about the hearth, please. " * 3}
    chat = {"messages": [message] * 29, "model": "llama3"}
    body = json.dumps(chat).encode()
    prompt = json.dumps({"prompt": "x" * 4050, "model": "llama3"}).encode()
    rows = [(name, decision(strategy, routing), DECISION_GOAL) for name, strategy, routing in CASES]
    rows += [
        (f"model of a chat of {len(body)} B, whole", peek(body, whole=True), PEEK_GOAL),
        (f"model of a prompt of {len(prompt)} B, whole", peek(prompt, whole=True), PEEK_GOAL),
        (f"model of a prompt of {len(prompt)} B, searched", peek(prompt, whole=False), PEEK_GOAL),
        (f"model of a chat of {len(body)} B, searched", peek(body, whole=False), 0.0),
    ]
    print("| measured | found | at most | |\n|---|---|---|---|")
    for name, found, goal in rows:
        word = "" if not goal else "met" if found <= goal else "**missed**"
        print(f"| {name} | {found:.1f} µs | {f'{goal:.0f} µs' if goal else '–'} | {word} |")
    return int(any(goal and found > goal for _, found, goal in rows))


if __name__ == "__main__":
    sys.exit(main())
