"""Fuzzed clients side by side in front of one recording upstream, and the judge over what reached it.

Each client has a loopback address of its own, so that the upstream's record tells whose request it was.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from dataclasses import dataclass, field

from tests.fakes.client import Client
from tests.fakes.upstream import Connection, RawUpstream
from tests.fakes.wire import Request, answer, request

from .mutate import S, Streams
from .oracle import Meant, explains, meant

PATIENT = 0.25  # seconds an answer may take before the client leaves; only coverage depends on it
NUMBER = re.compile(rb"n=([0-9]+);")
LAST = request("GET", S + "/last", ("Connection", "close"))


@dataclass
class Found:
    """What a run came to. violations: one text each, with the seed."""

    streams: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = ", ".join(f"{count} {name}" for name, count in sorted(self.verdicts.items()))
        return f"{self.streams} streams: {told}; {len(self.violations)} violations"


class Recorder(RawUpstream):
    """Answers each request with its number; by client address: (number, request)."""

    def __init__(self) -> None:
        super().__init__([self._serve], keep=False)
        self.seen: dict[bytes, list[tuple[int, Request]]] = {}
        self._number = 0

    async def _serve(self, connection: Connection) -> None:
        while (asked := await connection.next_or_end()) is not None:
            self._number += 1
            number, peer = self._number, asked.get("x-forwarded-for") or b""
            self.seen.setdefault(peer, []).append((number, asked))
            if not await connection.whole(asked):
                break
            body = b"" if asked.method == b"HEAD" else b"n=%d;" % number
            await connection.send(answer(body))
            connection.requests.clear()
            connection._seen = 0
        connection.close()


class Judge:
    """Plays streams, one client each, and judges what came of them."""

    def __init__(self, gateway: tuple[str, int], upstream: Recorder, found: Found) -> None:
        self._gateway = gateway
        self._upstream = upstream
        self._found = found

    async def play(self, seed: str, data: bytes, source: str) -> None:
        """Send one stream from this address, which is its own: what comes late is still known as its."""
        chance = random.Random(seed + " client")
        wanted = meant(data + LAST)
        client = await Client.connect(self._gateway, source=source)
        cuts = sorted({chance.randrange(1, len(data) + 1) for _ in range(chance.choice((0, 0, 0, 1, 4)))})
        leaves = chance.random() < 0.05
        await client.send(data + LAST, at=cuts, gap=0)
        verdict = "left" if leaves else await self._watch(client)
        if leaves:
            client.reset()
        elif not client.lost and not client.transport.is_closing():
            client.half_close()
        await client.gone()
        await client.close()
        seen = self._upstream.seen.pop(source.encode(), [])
        self._judge(f"{seed}: {data!r}", wanted, seen, bytes(client.received))
        self._found.streams += 1
        self._found.verdicts[verdict] += 1

    async def _watch(self, client: Client) -> str:
        try:
            await client.until(lambda: bool(client.ended), "the end", timeout=PATIENT)
        except AssertionError:
            return "waits"
        tail = client.received[-2000:]
        if tail.count(b"application/problem+json"):
            return "refused"
        return "served" if client.received else "closed"

    def _judge(
        self, told: str, wanted: list[Meant], seen: list[tuple[int, Request]], received: bytes
    ) -> None:
        whole = [_as_meant(one) for _, one in seen if one.complete]
        if not explains([_as_sent(one) for one in wanted], whole):
            self._found.violations.append(f"{told} became {whole!r}, h11 reads {wanted!r}")
        own = [number for number, _ in seen]
        answers = [int(number) for number in NUMBER.findall(received)]
        if not set(answers) <= set(own) or answers != sorted(set(answers)):
            self._found.violations.append(f"{told} got answers {answers}, its own are {own}")


def _as_meant(one: Request) -> Meant:
    return _as_sent(Meant(one.method, one.target, bytes(one.body)))


def _as_sent(one: Meant) -> Meant:
    """A message without prefix, scheme and authority: it is sent by prefix and by host name."""
    target = one.target
    if found := re.match(rb"(?i)https?://[^/?#]*", target):
        target = target[found.end() :]
        target = target if target.startswith(b"/") else b"/" + target
    if target == b"/services/a" or target.startswith((b"/services/a/", b"/services/a?")):
        rest = target[len(b"/services/a") :]
        target = rest if rest.startswith(b"/") else b"/" + rest
    return Meant(one.method, target, one.body)


async def fuzz(
    gateway: tuple[str, int], upstream: Recorder, *, seed: str, streams: int, lanes: int = 8
) -> Found:
    """Play this many streams over some lanes at once."""
    found, made = Found(), Streams()
    judge = Judge(gateway, upstream, found)
    numbers = iter(range(streams))

    async def lane() -> None:
        for index in numbers:
            name = f"{seed}/{index}"
            await judge.play(name, made.stream(name), _address(index))
            upstream.requests.clear()
            if index % 500 == 0:
                upstream.connections = [each for each in upstream.connections if not each.lost]

    async with asyncio.TaskGroup() as group:
        for _ in range(lanes):
            group.create_task(lane())
    return found


def _address(number: int) -> str:
    return f"127.{9 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
