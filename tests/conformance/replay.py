"""Replays one case at the edge, in front of a recording upstream, and says what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hestia.core.model import ServiceSettings
from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.upstream import RawUpstream, Script
from tests.fakes.wire import Response, answer
from tests.integration.harness import Gateway, service

from .cases import Case

HOST = b"corpus.test"  # put in where a case has no Host of its own
QUIET = 0.35  # seconds without a byte that end a recording
ANSWERS: Script = [step.repeat(answer(b""))]
REQUEST = b"GET /services/a/case HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def hosts_of(cases: list[Case]) -> tuple[str, ...]:
    """Every host name the cases use, so that they are for the service and not for somebody unknown."""
    found = {HOST.decode()}
    for case in cases:
        for line in case.data.split(b"\n"):
            name, mark, value = line.partition(b":")
            if mark and name.strip().lower() == b"host":
                found.add(value.strip().partition(b":")[0].decode("latin-1").lower())
            if b"://" in line:
                found.add(
                    line.partition(b"://")[2]
                    .split(b"/")[0]
                    .split(b"?")[0]
                    .split(b":")[0]
                    .split(b" ")[0]
                    .decode("latin-1")
                    .lower()
                )
    return tuple(sorted(name for name in found if name))


def everything(upstream: RawUpstream, cases: list[Case]) -> ServiceSettings:
    """A service that is meant by every host name of the cases."""
    return service("a", upstream.url, hosts=hosts_of(cases), path_policy="strict")


def told(response: Response) -> str:
    """Status of an answer, with the code of our own problems."""
    if response.get("content-type") == b"application/problem+json":
        return f"{response.status} {response.json()['code'] if response.body else 'to HEAD'}"
    return str(response.status)


def method_of(case: Case) -> str:
    """Only HEAD changes how an answer is read."""
    return "HEAD" if case.data.lstrip(b"\r\n").startswith(b"HEAD ") else "GET"


async def replayed(gw: Gateway, upstream: RawUpstream, client: Client, case: Case, *, cut: bool) -> Case:
    """Send the case (cut: byte by byte) and return it with what happened.

    Waits for the facts that the stored verdict names; then the client leaves, and what is left is counted.
    """
    upstream.requests.clear()
    await client.send(case.data, at=range(1, len(case.data)) if cut else (), gap=0)
    answers = []
    for _ in case.answers:
        response = await client.response(method_of(case))
        assert response.complete, (case.name, response)
        answers.append(told(response))
    if case.ends:
        await client.gone()
    return await _left(gw, upstream, client, case, answers)


async def recorded(gw: Gateway, upstream: RawUpstream, client: Client, case: Case) -> Case:
    """Send a case whose verdict is not known yet: an answer is what comes before it is quiet."""
    upstream.requests.clear()
    await client.send(case.data)
    answers = []
    while True:
        try:
            async with asyncio.timeout(QUIET):
                response = await client.response(method_of(case))
        except TimeoutError:
            break
        except AssertionError:
            break
        if not response.complete:
            break
        answers.append(told(response))
    try:
        async with asyncio.timeout(QUIET):
            await client.gone()
        case = replace(case, ends=True)
    except TimeoutError:
        case = replace(case, ends=False)
    return await _left(gw, upstream, client, case, answers)


async def _left(gw: Gateway, upstream: RawUpstream, client: Client, case: Case, answers: list[str]) -> Case:
    if not client.lost and not client.transport.is_closing():
        client.half_close()
    await client.gone()
    await gw.at_rest()
    assert client.surplus == b"", (case.name, client.surplus[:200])
    assert upstream.violations == [], (case.name, upstream.violations)
    whole = sum(1 for request in upstream.requests if request.complete)
    return replace(case, answers=tuple(answers), upstream=whole)
