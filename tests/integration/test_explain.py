"""What became of requests, told afterwards (lifecycle OB-15, OB-19): by the API, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hestia.core.errors import StartFailed
from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.facts import PATIENCE
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.upstream import Connection
from tests.fakes.websocket import handshake
from tests.fakes.wire import answer, request

from .conftest import MakeClient, MakeUpstream
from .harness import MakeGateway, cold, service

S = "/services/a"
EXACT = 5.0  # milliseconds by which parts and whole may differ
Story = dict[str, Any]  # JSON of the API


async def told(client: Client, request_id: str) -> Story:
    """The story of a request, whose parts follow each other and add up."""
    response = await client.ask("GET", f"/v1/requests/{request_id}")
    assert response.status == 200, response.body
    story: Story = response.json()
    adds_up(story)
    return story


def adds_up(story: Story) -> None:
    """Parts without gaps, of the length of the whole; so are the parts of a wait."""
    at = 0.0
    for part in story["parts"]:
        assert part["startMs"] == pytest.approx(at, abs=0.01), story
        at += part["durationMs"]
        if part["parts"] is not None:
            inner = sum(one["durationMs"] for one in part["parts"])
            assert inner == pytest.approx(part["durationMs"], abs=EXACT), story
    assert at == pytest.approx(story["totalMs"], abs=EXACT), story


def names(story: Story) -> list[str]:
    return [part["name"] for part in story["parts"]]


def the(story: Story, name: str) -> Story:
    """The first part of this name."""
    found: Story = next(part for part in story["parts"] if part["name"] == name)
    return found


async def test_ob_15_two_requests_wait_for_one_start_and_both_can_tell_whose_it_was(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream}, ready=False)
    first, second = await connect(gw), await connect(gw)
    await first.send(request("GET", f"{S}/1", ("X-Request-ID", "first")))
    await gw.until_waiting(1)
    await second.send(request("GET", f"{S}/2?secret=canary", ("X-Request-ID", "second")))
    await gw.until_waiting(2)
    gw.probe.ready = True
    for client in (first, second):
        assert (await client.response()).status == 200
    one, two = await told(first, "first"), await told(first, "second")
    began = "waited for an instance, {}; the start was begun by {}"
    assert the(one, "queue")["text"] == began.format("nobody before it", "this request")
    assert the(two, "queue")["text"] == began.format("1 before it", "request first")
    stages = {part["name"] for part in the(one, "queue")["parts"]}
    assert {"engine", "probe"} <= stages
    assert (one["instance"], one["generation"], one["attempts"]) == ("a", 1, 1)
    assert two["path"] == f"{S}/2"
    assert two["matched"] == "matched service a by its path"
    assert one["end"].startswith("answered 200")


async def test_explain_of_what_went_straight_through_has_its_four_durations(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(a=upstream)
    client = await connect(gw)
    for number in range(3):
        await client.ask("GET", f"{S}/echo", ("X-Request-ID", f"r{number}"))
    story = await told(client, "r2")
    assert set(names(story)) <= {"route", "connect", "first_byte", "answer"}
    assert (story["code"], story["detail"], story["queueMs"]) == ("", "", 0.0)


async def test_explain_of_a_failed_start_says_why_and_what_to_do(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream}, ready=False)
    gw.engine.fail_next_start(
        StartFailed("The program ended with 3.", cause="exited", stage="boot", remedy="x")
    )
    client = await connect(gw)
    response = await client.ask("GET", f"{S}/1", ("X-Request-ID", "lost"))
    assert response.status == 503
    story = await told(client, "lost")
    assert story["code"] == "service_start_failed"
    assert "The program ended with 3." in story["detail"]
    assert story["do"]
    entry = await gw.hestia._store.request("lost")
    assert entry is not None, "what failed is stored, too"


async def now(client: Client, request_id: str, state: str) -> Story:
    """The story of a request that has not ended, once it does `state`."""
    async with asyncio.timeout(PATIENCE):
        while (story := await told(client, request_id))["now"]["state"] != state:
            await asyncio.sleep(0.003)
    assert story["finished"] is False
    return story


async def test_cl_18_a_request_that_waits_says_for_what_and_behind_whom(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream}, ready=False)
    asker = await connect(gw)
    clients = [await connect(gw) for _ in range(3)]
    for number, client in enumerate(clients):
        await client.send(request("GET", f"{S}/{number}", ("X-Request-ID", f"r{number}")))
        await gw.until_waiting(number + 1)
    first, last = await now(asker, "r0", "waiting"), await now(asker, "r2", "waiting")
    assert (first["now"]["position"], first["now"]["behind"]) == (1, [])
    assert (last["now"]["position"], last["now"]["behind"]) == (3, ["r0", "r1"])
    assert "waits for a, which starts" in last["now"]["text"]
    assert last["now"]["text"].endswith("2 before it")
    assert last["now"]["since"] >= first["at"]
    assert the(last, "queue")["text"].endswith("the start was begun by request r0")
    assert last["status"] == 0
    assert last["queueMs"] == pytest.approx(last["totalMs"], abs=EXACT)
    gw.probe.ready = True
    for client in clients:
        assert (await client.response()).status == 200
    ended = await told(asker, "r2")
    assert (ended["finished"], ended["now"], ended["status"]) == (True, None, 200)


async def test_cl_18_a_request_that_streams_says_since_when_and_how_much(
    gateway: MakeGateway, upstream: HttpUpstream, raw: MakeUpstream, connect: MakeClient
) -> None:
    """Whether it waited before makes no difference; nor does asking change how it ends."""
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    go_on = asyncio.Event()

    async def play(connection: Connection) -> None:
        await connection.next_or_end()
        await connection.send(begun + b"12345")
        await go_on.wait()
        await connection.send(b"67890")

    slow = await raw([play])
    gw = await gateway(a=slow)
    client, asker = await connect(gw), await connect(gw)
    await client.send(request("GET", f"{S}/x", ("X-Request-ID", "slow")))
    await client.head()
    story = await now(asker, "slow", "streaming")
    assert story["now"]["position"] is None
    assert "200, 5 bytes so far" in story["now"]["text"]
    assert (story["status"], story["bytesOut"]) == (200, 5)
    go_on.set()
    await client.body()
    assert (await told(asker, "slow"))["finished"] is True


async def test_cl_18_an_open_websocket_is_told(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(a=upstream)
    client, asker = await connect(gw), await connect(gw)
    await client.send(handshake(f"{S}/ws", ("X-Request-ID", "socket")))
    await client.head(upgrade=True)
    story = await now(asker, "socket", "streaming")
    assert story["now"]["text"] == "its WebSocket with a is open"


async def test_the_queue_time_of_a_request_that_was_sent_again_is_its_wait_only(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    """Of the log, the metrics and explain alike: an attempt that failed is no wait for an instance."""

    async def dies(connection: Connection) -> None:
        await connection.next_or_end()
        await asyncio.sleep(0.05)  # the attempt takes a while, as a real one does
        connection.reset()

    flaky = await raw([dies], [step.repeat(answer(b"ok"))])
    gw = await gateway(a=flaky)
    client = await connect(gw)
    await client.ask("GET", f"{S}/x", ("X-Request-ID", "again"))
    story = await told(client, "again")
    assert (story["attempts"], story["queueMs"]) == (2, 0.0)
    record = next(one for one in gw.hestia.past._newest() if one.request_id == b"again")
    assert (record.attempts, record.queue_ms) == (2, 0.0)
    assert "hestia_queue_wait_seconds" not in {
        family.name for family, points in gw.hestia.metrics.families() if points
    }


async def test_an_unknown_request_is_404_and_says_how_long_they_are_kept(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(await gateway(a=upstream))
    members = (await client.ask("GET", "/v1/requests/req_nobody")).problem("not_found", 404)
    assert "10,000" in members["detail"]
    assert "30 days" in members["detail"]


async def test_explain_adds_up_for_a_hundred_slow_requests(
    gateway: MakeGateway, upstream: HttpUpstream, raw: MakeUpstream, connect: MakeClient
) -> None:
    """Issue 5: cold starts, waits for a turn and attempts that failed, all told to the millisecond."""
    refuses = [step.get_request(), step.reset()]
    serves = [step.get_request(), step.send(answer(b"ok", ("Connection", "close"))), step.close()]
    flaky = await raw(*[refuses, serves] * 3)
    elsewhere = await raw([step.repeat(answer(b"elsewhere"))])
    gone = await raw([step.repeat(answer(b"never"))], keep=False)
    gw = await gateway(
        cold("a", max_in_flight=4),
        service("b", flaky.url, retry_count=5, retry_delay=0.01),
        service("c", gone.url, fallback_url=elsewhere.url, retry_count=0),
        wakes={"a": upstream},
    )
    gone.stop_listening()
    clients = [await connect(gw) for _ in range(100)]
    await asyncio.gather(
        *(
            client.ask("GET", f"{S}/echo", ("X-Request-ID", f"a{number}"))
            for number, client in enumerate(clients)
        )
    )
    for number in range(3):  # within the budget of further attempts
        response = await clients[0].ask("GET", "/services/b/x", ("X-Request-ID", f"b{number}"))
        assert bytes(response.body) == b"ok"
    await clients[0].ask("GET", "/services/c/x", ("X-Request-ID", "c"))

    asked = [f"a{n}" for n in range(100)] + [f"b{n}" for n in range(3)] + ["c"]
    stories = {one: await told(clients[0], one) for one in asked}
    slow = [story for story in stories.values() if story["queueMs"] or story["attempts"] > 1]
    assert len(slow) >= 100
    assert all(the(stories[f"a{n}"], "queue")["parts"] is not None for n in range(100))
    assert all("pause" in names(stories[f"b{n}"]) for n in range(3))
    assert stories["c"]["fallback"]
    assert "Nobody listens" in " ".join(part["text"] for part in stories["c"]["parts"])
    listed = (await clients[0].ask("GET", "/v1/requests?waited=true&limit=200")).json()["requests"]
    assert {story["requestId"] for story in listed} >= set(stories)
    for story in listed:
        adds_up(story)


async def test_what_was_sent_again_is_in_the_timeline_of_the_service(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    flaky = await raw([step.get_request(), step.reset()], [step.repeat(answer(b"ok"))])
    client = await connect(await gateway(a=flaky))
    await client.ask("GET", f"{S}/x", ("X-Request-ID", "again"))
    await told(client, "again")
    events = (await client.ask("GET", "/v1/services/a/events?event=RequestRetried")).json()["events"]
    assert [(one["actor"], one["serviceId"], one["instance"]) for one in events] == [("again", "a", "a")]
    assert events[0]["text"].startswith("a request to a is sent again: ")


async def test_events_are_paged_newest_first_and_name_what_happened(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """OB-13, OB-14: every transition, its cause and who wanted it."""
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    await client.ask("GET", f"{S}/echo", ("X-Request-ID", "one"))
    await client.ask("POST", "/v1/services/a/stop", ("X-Request-ID", "two"))
    await gw.until_phase("cold")
    first = (await client.ask("GET", "/v1/events?limit=2&service=a")).json()
    rest = (await client.ask("GET", f"/v1/services/a/events?before={first['next']}")).json()
    events = [*first["events"], *rest["events"]]
    assert [one["after"] for one in events] == ["cold", "stopping", "hot", "starting"]
    assert [one["id"] for one in events] == sorted((one["id"] for one in events), reverse=True)
    assert rest["next"] is None
    assert events[3]["text"] == "a starts: a request came (one)"
    assert events[1]["text"] == "a is being stopped: asked for (by the API, request two)"
    assert events[1]["data"]["open_leases"] == 0
    (await client.ask("GET", "/v1/services/nobody/events")).problem("service_not_found", 404)
    wrong = await client.ask("GET", "/v1/events?since=yesterday")
    wrong.problem("bad_request", 400)
    assert "such as 2026-01-31T12:00:00Z" in wrong.json()["detail"]
