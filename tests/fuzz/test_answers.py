"""Fuzzed answers of a service: the client gets what h11 reads in them, or an error, or a visible cut.

Whoever asks next gets an answer of their own. Proxy-semantics SE-04, BF-12 to BF-16.
"""

from __future__ import annotations

import logging
import os
import random
import re
from collections import Counter

import pytest

from tests.conformance.cases import load
from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import LAST_CHUNK, Response, answer, chunk, head, request, response_reader
from tests.integration.conftest import MakeUpstream
from tests.integration.harness import Gateway, MakeGateway

from .mutate import mutated

QUICK = 600
PATIENT = 0.5  # seconds an answer may take before the client leaves; only coverage depends on it
SEED = os.environ.get("HESTIA_FUZZ_SEED", "hestia")
ASK = request("GET", "/services/a/x")
OWN = answer(b"own", ("Connection", "close"))  # so that the next answer comes on a new connection
PLAIN = [
    answer(b"hello"),
    answer(b""),
    head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]) + chunk(b"he") + chunk(b"llo") + LAST_CHUNK,
    head("HTTP/1.1 200 OK", [("Connection", "close")]) + b"until the end",
    head("HTTP/1.1 204 No", [("X", "y")]),
    head("HTTP/1.1 304 Not", [("Content-Length", "9"), ("ETag", '"1"')]),
    head("HTTP/1.1 103 Early", [("Link", "x")]) + answer(b"late"),
    head("HTTP/1.0 200 OK", [("Content-Length", "3")]) + b"old",
]


def _bytes(chance: random.Random) -> bytes:
    data = chance.choice(PLAIN) if chance.random() < 0.7 else chance.choice(CASES)
    if chance.random() < 0.2:
        data += chance.choice(PLAIN)  # one that nobody asked for
    made = mutated(chance, data) if chance.random() < 0.85 else data
    return data if BAD_REASON.search(made) else made


# Other protocols are an expected failure of tests/conformance, for requests.
CASES = [case.data for case in load("llhttp_responses") if not re.match(rb"(?i)(ICE|RTSP)/", case.data)]
BAD_REASON = re.compile(rb"HTTP/1\.\d \d{3}[^\r\n]*[\x00-\x08\x0b-\x1f\x7f]")  # an expected failure there
EMPTY_LINES = re.compile(rb"^((?:HTTP/1\.1 1\d\d[^\r]*\r\n(?:[^\r]+\r\n)*\r\n)*)(?:\r\n)+")


async def _round(gw: Gateway, upstream: RawUpstream, chance: random.Random, told: Counter[str]) -> str:
    """One answer and one victim behind it. "" or what is wrong."""
    data = _bytes(chance)
    meant = Response([])
    reader = response_reader(meant, b"GET")
    reader.feed(
        EMPTY_LINES.sub(rb"\1", data)
    )  # in front of an answer they are skipped, which h11 does not do
    closes = not reader.done or chance.random() < 0.5
    # What comes behind a whole answer comes with it: later it could be the answer to the next request.
    cut = len(data) if reader.rest else chance.randrange(1, len(data) + 1)
    if closes:
        reader.end()
    if meant.status == 205:
        meant.body.clear()
    sending = [step.get_request(), step.send(data[:cut], data[cut:])]
    upstream.scripts = [[*sending, step.close()] if closes else [*sending, step.repeat(OWN)]]
    got, complete = await _ask(gw)
    upstream.scripts = [[step.repeat(OWN)]]
    victim, whole = await _ask(gw)
    if victim.status == 200 and (bytes(victim.body), whole) != (b"own", True):
        return f"{data!r}: the next client got {victim}"
    if not complete:
        told["cut" if got.status else "waits"] += 1
        return ""
    if got.get("content-type") == b"application/problem+json" and got.status in (502, 504):
        told["refused"] += 1
        return ""
    told["relayed"] += 1
    same = (got.status, bytes(got.body)) == (meant.status, bytes(meant.body)) and meant.complete
    return (
        "" if same else f"{data!r} closes={closes}: h11 reads {meant}, {reader.error}; the client got {got}"
    )


async def _ask(gw: Gateway) -> tuple[Response, bool]:
    client = await Client.connect(gw.address)
    await client.send(ASK)
    response = client.begin()
    reader = client._reader
    assert reader is not None
    try:
        await client.until(lambda: reader.done or bool(client.ended), "the answer", timeout=PATIENT)
    except AssertionError:
        response = Response([])
    await client.close()
    assert not reader.error or "closed connection" in reader.error, (reader.error, bytes(client.received))
    assert reader.error or not client.surplus, client.surplus[:200]
    return response, reader.done


async def _run(
    raw: MakeUpstream, gateway: MakeGateway, caplog: pytest.LogCaptureFixture, seed: str, rounds: int
) -> None:
    upstream = await raw([step.repeat(OWN)])
    gw = await gateway(a=upstream)
    chance, told = random.Random(seed), Counter[str]()
    wrong = []
    for number in range(rounds):
        wrong.append(await _round(gw, upstream, chance, told))
        upstream.requests.clear()
        if number % 200 == 0:
            upstream.connections = [one for one in upstream.connections if not one.lost]
    await gw.at_rest()
    print(f"\n{rounds} answers: {dict(told)}")
    assert not any(wrong), "\n".join(one for one in wrong[:2000] if one)[:6000]
    broken = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert not broken, caplog.text[-3000:]


async def test_se_04_fuzzed_answers(
    raw: MakeUpstream, gateway: MakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    await _run(raw, gateway, caplog, SEED, QUICK)


@pytest.mark.fuzz
@pytest.mark.timeout(3 * 3600)
async def test_se_04_many_fuzzed_answers(
    raw: MakeUpstream, gateway: MakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    await _run(
        raw, gateway, caplog, f"{SEED} long", int(os.environ.get("HESTIA_FUZZ_STREAMS", "20000")) // 10
    )
