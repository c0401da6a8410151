"""Seeded chaos: split and mutated pipelines, clients that vanish, an upstream that misbehaves.

Whatever happens: an answer belongs to its request, the upstream gets only what was meant, nothing is
logged as broken, nothing is left, and the gateway serves afterwards.
"""

from __future__ import annotations

import logging
import random
import re

import pytest

from tests.fakes.client import Client
from tests.fakes.upstream import Connection, RawUpstream
from tests.fakes.wire import LAST_CHUNK, answer, chunk, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import MakeGateway

SEEDS = range(1, 11)  # widen it to search; a seed repeats its bytes
ROUNDS = 60  # connections a seed
S = "/services/a"
MARK = re.compile(rb"mark=([0-9a-z]+)")
HANDSHAKE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
)


class Misbehaving:
    """An upstream's script: answers with the mark of the request, now and then wrongly or not at all."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.well = False

    async def __call__(self, connection: Connection) -> None:
        while (asked := await connection.next_or_end()) is not None:
            roll = 1.0 if self.well else self._random.random()
            if roll < 0.1:  # an answer before the body
                pass
            elif not await connection.whole(asked):
                break
            found = MARK.search(asked.target)
            body = b"mark=" + found[1] if found else b"none"
            if roll < 0.14:
                connection.reset()
                return
            if roll < 0.18:
                break
            if roll < 0.22:
                await connection.send(answer(body)[: self._random.randrange(1, 60)])
                break
            if roll < 0.25:
                await connection.send(b"HTTP/1.1 junk\r\n\r\n")
            elif roll < 0.3:
                await connection.send(answer(body) + answer(b"mark=stray"))
            elif roll < 0.4:
                await connection.send(head("HTTP/1.1 103 Early", [("Link", "x")]) + answer(body))
            elif roll < 0.5:
                await connection.send(head("HTTP/1.0 200 OK", [("X", "y")]) + body)
                break
            elif roll < 0.6:
                await connection.send(head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]))
                await connection.send(chunk(body) + LAST_CHUNK)
            else:
                await connection.send(answer(body))
            if asked.upgrade or not await connection.whole(asked):
                break
        connection.close()


def _message(chance: random.Random, mark: str) -> bytes:
    target = f"{S}/x?mark={mark}"
    kind = chance.randrange(9)
    body = f"body-{mark}".encode() * chance.randrange(1, 40)
    if kind == 0:
        return request("GET", f"/services/nope/?mark={mark}")
    if kind == 1:
        return request("POST", target, body=body)
    if kind == 2:
        fields = [("Host", "localhost"), ("Transfer-Encoding", "chunked")]
        half = len(body) // 2
        return (
            head(f"PUT {target} HTTP/1.1", fields)
            + chunk(body[:half] or b"x")
            + chunk(body[half:])
            + LAST_CHUNK
        )
    if kind == 3:
        fields2 = (("Connection", "Upgrade"), ("Upgrade", "h2c"))
        return request("POST", target, *fields2, body=request("GET", S + "/inner"))
    if kind == 4:
        return request("POST", target, ("Expect", "100-continue"), body=body)
    if kind == 5 and chance.random() < 0.4:
        return request("GET", target, ("Connection", "close"))
    if kind == 6 and chance.random() < 0.3:
        return request("GET", target, *HANDSHAKE)
    if kind == 7 and chance.random() < 0.4:
        return request("POST", target, ("Expect", "else"), body=body)
    return request("GET", target)


MUTATIONS = [
    b"\r\n",
    b"\0",
    b" ",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"ZZ\r\n",
]


def _mutated(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    kind = chance.randrange(3)
    if kind == 0:
        return data[:at] + chance.choice(MUTATIONS) + data[at:]
    if kind == 1:
        return data[:at] + data[at + chance.randrange(1, 6) :]
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


async def _round(client: Client, chance: random.Random, number: str) -> tuple[list[str], bool]:
    """Send one pipeline. Its marks, and whether it was sent as it should be."""
    marks = [f"{number}z{index}" for index in range(chance.randrange(1, 7))]
    data = b"".join(_message(chance, mark) for mark in marks)
    mutated = chance.random() < 0.4
    if mutated:
        data = _mutated(chance, data)
    cuts = sorted({chance.randrange(1, len(data)) for _ in range(chance.randrange(5))})
    vanishes = chance.random() < 0.3
    if vanishes:
        data = data[: chance.randrange(1, len(data))]
        cuts = [cut for cut in cuts if cut < len(data)]
    await client.send(data, at=cuts, gap=0)
    if vanishes:
        if chance.random() < 0.5:
            client.reset()
        else:
            client.half_close()
    return marks, mutated


def _answers_in_order(received: bytes, marks: list[str]) -> None:
    """Marks of answers are among those asked for, each once and in order."""
    seen = [found.decode() for found in re.findall(rb"mark=([0-9]+z[0-9]+)", received)]
    places = [marks.index(mark) for mark in seen if mark in marks]
    assert len(places) == len(seen), (seen, marks)
    assert places == sorted(set(places)), (seen, marks)


def _only_meant(upstream: RawUpstream, marks: list[str]) -> None:
    """Every request the upstream got is one of those sent; retries repeat, nothing is invented."""
    for asked in upstream.requests:
        found = MARK.search(asked.target)
        assert asked.target.startswith(b"/x?"), asked.target
        assert found is not None
        assert found[1].decode() in marks
        assert asked.method != b"GET" or not asked.body


@pytest.mark.parametrize("seed", SEEDS)
async def test_t_bf_26_chaos(
    raw: MakeUpstream,
    gateway: MakeGateway,
    connect: MakeClient,
    caplog: pytest.LogCaptureFixture,
    seed: int,
) -> None:
    chance = random.Random(seed)
    upstream_script = Misbehaving(seed)
    upstream = await raw([upstream_script])
    gw = await gateway(a=upstream)
    for number in range(ROUNDS):
        client = await connect(gw)
        marks, mutated = await _round(client, chance, str(number))
        if not client.lost and not mutated:
            await gw.at_rest()
        if not client.lost and not client.transport.is_closing():
            client.half_close()
        await client.gone()
        await gw.at_rest()
        if not mutated:
            _answers_in_order(bytes(client.received), marks)
            _only_meant(upstream, marks)
        upstream.requests.clear()
    upstream_script.well = True
    response = await (await connect(gw)).ask("GET", f"{S}/x?mark=last")
    assert bytes(response.body) == b"mark=last"
    broken = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert not broken, caplog.text[-3000:]
