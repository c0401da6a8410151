"""What is known about a request at its end. Made once by the data path, read by logs, metrics and explain.

A tuple of plain values: it holds nothing of the exchange alive, and the collector does not look into it.
"""

from __future__ import annotations

from typing import NamedTuple


class Step(NamedTuple):
    """Something on the way of a request that did not go straight through. Instants are loop-clock seconds.

    what: `chosen` (its strategy ranked the instances), `queued`, `granted`, `knock` (nobody listens yet),
    `failed` (an attempt), `stale` (its pooled connection had ended), `fallback`,
    `kept` (the service's last answer is passed on after all), `page` (a waiting page has its place from here
    on), `refused`, `end`. leased, connected, head: of
    the attempt, 0.0 where it did not get there. ahead: who waited before it. text, remedy: why, in words.
    """

    what: str
    at: float
    instance: str = ""
    generation: int = 0
    leased: float = 0.0
    connected: float = 0.0
    head: float = 0.0
    ahead: int = 0
    text: str = ""
    remedy: str = ""


class RequestRecord(NamedTuple):
    """at: wall-clock seconds at the end. service: "" for the gateway's own. route: kind of the match
    (`prefix`, `host`, `port`, `control`), `none` where it was refused before. target: raw, query included.
    status: 0 when none was sent, 499 for a client that left. bytes_*: of bodies. *_ms: milliseconds, 0.0
    where that part did not happen. attempts: tries upstream. reused: the last one was on a pooled
    connection. aborted: side that broke the exchange off (`client`, `upstream`, `gateway`), or "".
    code: of the problem, or "". fallback: the last try was at `fallback_url`. instance, generation: where it
    was sent last; "" and 0 where it never was. steps: empty for what went straight through; else in order,
    the last one is `end`. trace: the `traceparent` it came with, as it was sent, where traces are made; else
    b"".
    """

    at: float
    service: str
    request_id: bytes
    method: bytes
    route: str
    target: bytes
    status: int
    bytes_in: int = 0
    bytes_out: int = 0
    queue_ms: float = 0.0
    connect_ms: float = 0.0
    head_ms: float = 0.0
    total_ms: float = 0.0
    attempts: int = 0
    reused: bool = False
    aborted: str = ""
    code: str = ""
    fallback: bool = False
    instance: str = ""
    generation: int = 0
    steps: tuple[Step, ...] = ()
    trace: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query, which may hold secrets."""
        return self.target.partition(b"?")[0].decode("latin-1")
