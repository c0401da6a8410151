"""The pool's books (proxy-semantics CP-08): open = idle + in use + connecting, whatever is given up when."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from hestia.core.errors import UpstreamError
from hestia.core.model import Endpoint
from hestia.http1.heads import Field, Response
from hestia.http1.pool import Outcome, Pool, PoolStatistics
from hestia.http1.upstream import UpstreamConnection
from tests.fakes import upstream as step
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import RawUpstream
from tests.fakes.wire import answer, request

from .conftest import MakeClient
from .harness import MakeGateway, cold

S = "/services/a"
QUICK = 300  # rounds
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Asking:
    """An exchange that sends one request and keeps what happened."""

    def __init__(self) -> None:
        self.ended = False
        self.writable = True

    def response_head(self, head: Response) -> None: ...
    def response_body(self, data: bytes) -> None: ...
    def response_flush(self) -> None: ...
    def upstream_writable(self, writable: bool) -> None: ...

    def response_end(self, trailers: list[Field]) -> None:
        self.ended = True

    def response_failed(self, error: UpstreamError, *, clean: bool) -> None:
        self.ended = True


class Books:
    """A pool, its tasks, and every connection it made."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.pool = Pool(spawn=self._spawn, clock=asyncio.get_running_loop().time)
        self.shelf = self.pool.shelf(None)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


@pytest.fixture
async def books(leaks: None) -> AsyncIterator[Books]:
    books = Books()
    yield books
    books.pool.close()
    await eventually(lambda: not books.tasks, "dials to end")
    assert books.pool.statistics() == PoolStatistics(0, 0, 0)


@pytest.fixture
async def service(leaks: None) -> AsyncIterator[RawUpstream]:
    async with RawUpstream([step.repeat(answer(b"ok"))], keep=False) as upstream:
        yield upstream


async def test_t_cp_10_a_dial_that_is_given_up_leaves_no_socket(books: Books) -> None:
    """Nobody accepts, so the connect is still under way when it is given up."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        told: list[Outcome] = []
        where = Endpoint("http", "127.0.0.1", deaf.getsockname()[1])
        dial = books.pool.dial(books.shelf, where, 60.0, told.append, tls_verify=True)
        await asyncio.sleep(0)
        assert books.pool.statistics().connecting == 1
        books.pool.give_up(dial)
        books.pool.give_up(dial)  # a second time is harmless
        await eventually(lambda: books.pool.statistics().connecting == 0, "the dial to end")
        for filler in fillers:
            filler.close()
        assert told == []


async def test_cp_08_a_dial_given_up_before_its_first_turn_is_not_counted_for_ever(
    books: Books, service: RawUpstream
) -> None:
    where = Endpoint("http", "127.0.0.1", service.port)
    books.pool.give_up(books.pool.dial(books.shelf, where, 60.0, lambda _: None, tls_verify=True))
    await eventually(lambda: not books.tasks, "the dial to end")
    seen, books.pool._dials = books.pool.statistics(), set()
    assert seen.connecting == 0


async def _round(books: Books, where: Endpoint, chance: random.Random) -> None:
    """One exchange that is given up after a random number of turns, once or twice."""
    done: list[UpstreamConnection] = []

    def connected(outcome: Outcome) -> None:
        assert isinstance(outcome, UpstreamConnection), outcome
        done.append(outcome)
        outcome.begin(Asking(), no_body=False)
        outcome.write(ASK)
        outcome.request_done = True

    idle = books.pool.checkout(books.shelf, idempotent=True) if chance.random() < 0.6 else None
    dial = None
    if idle is not None:
        connected(idle)
    else:
        dial = books.pool.dial(books.shelf, where, 60.0, connected, tls_verify=True)
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8, 13, 40))):
        await asyncio.sleep(0)
    for _ in range(chance.choice((0, 1, 2))):
        if dial is not None and not done:
            books.pool.give_up(dial)
        for connection in done:
            if connection.exchange is not None:
                connection.abort()


async def _rounds(books: Books, service: RawUpstream, seed: str, count: int) -> None:
    chance = random.Random(seed)
    where = Endpoint("http", "127.0.0.1", service.port)
    for number in range(count):
        await _round(books, where, chance)
        if number % 50 == 49:
            await _balanced(books, service)
            service.requests.clear()
            service.connections = [one for one in service.connections if not one.ended]


async def _balanced(books: Books, service: RawUpstream) -> None:
    def told() -> bool:
        seen = books.pool.statistics()
        return seen.connecting == seen.in_use == 0 and service.open == seen.idle

    await eventually(told, lambda: f"{books.pool.statistics()}, the service has {service.open} open")


async def test_t_cp_09_given_up_at_any_turn_the_books_balance(books: Books, service: RawUpstream) -> None:
    """CP-08."""
    await _rounds(books, service, "quick", QUICK)


@pytest.mark.fuzz
@pytest.mark.timeout(1800)
async def test_t_cp_09_ten_thousand_rounds(books: Books, service: RawUpstream) -> None:
    await _rounds(books, service, os.environ.get("HESTIA_FUZZ_SEED", "hestia"), 10_000)


async def test_t_cp_12_a_service_that_was_started_again_on_its_port_gets_new_connections(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """CP-01: also where nothing else tells that its process is another one."""
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    for _ in range(2):
        assert (await client.ask("GET", S + "/x")).status == 200
    assert len(upstream.connections) == 1
    stopped = await client.ask("POST", "/v1/services/a/stop", host=f"localhost:{gw.port}")
    assert stopped.status < 300
    await gw.until_phase("cold")
    await client.send(request("GET", S + "/x"))
    assert (await client.response()).status == 200
    assert [one.connection for one in upstream.requests] == [0, 0, 1]
