"""The same bytes through two proxies: what reached the service, and which kinds of difference there are."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass

from tests.conformance.cases import Case, load
from tests.fakes.client import Client
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import Request

QUIET = 0.15  # seconds without a byte after which a proxy is taken to wait for more
LONG = 6000  # bytes
OURS = {
    b"content-length",
    b"transfer-encoding",
    b"x-request-id",
    b"via",
    b"forwarded",
    b"date",
    b"connection",
    b"host",
    b"user-agent",
    b"accept-encoding",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a service got: method, target, body and end-to-end fields of each whole request."""

    requests: tuple[tuple[bytes, bytes, bytes, tuple[tuple[bytes, bytes], ...]], ...]

    @property
    def bare(self) -> tuple[tuple[bytes, bytes, bytes], ...]:
        return tuple(one[:3] for one in self.requests)


def cases() -> list[Case]:
    """Those of the corpora with a Host: without one every proxy says only that."""
    every = [case for name in ("gunicorn", "llhttp_requests") for case in load(name)]
    return [case for case in every if re.search(rb"(?i)\r\nhost:", case.data) and len(case.data) < LONG]


def seen(requests: list[Request]) -> Seen:
    return Seen(
        tuple(
            (one.method, one.target, bytes(one.body), tuple(sorted(_passing(one))))
            for one in requests
            if one.complete
        )
    )


def _passing(one: Request) -> list[tuple[bytes, bytes]]:
    lower = [(name.lower(), value) for name, value in one.fields]
    return [
        (name, value) for name, value in lower if name not in OURS and not name.startswith(b"x-forwarded-")
    ]


async def through(address: tuple[str, int], upstream: RawUpstream, data: bytes) -> Seen:
    """Send the bytes and give the proxy time to do with them what it will."""
    upstream.requests.clear()
    client = await Client.connect(address)
    await client.send(data)
    count = -1
    while not client.ended and count != client.count:
        count = client.count
        await asyncio.sleep(QUIET)
    await client.close()
    return seen(list(upstream.requests))


def kind(case: Case, ours: Seen, theirs: Seen) -> str:
    """The kind of difference: "" for none."""
    if ours == theirs:
        return ""
    if ours.bare == theirs.bare:
        return "fields"
    if len(ours.requests) > len(theirs.requests):
        return "only Hestia passes it"
    if len(ours.requests) < len(theirs.requests):
        return "only the other passes it"
    return "another reading"


def table(found: list[tuple[str, Case, str]]) -> str:
    """Counts of each kind by proxy."""
    counts = Counter((name, what) for name, _, what in found)
    return "\n".join(f"{name}: {count} × {what or 'equal'}" for (name, what), count in sorted(counts.items()))
