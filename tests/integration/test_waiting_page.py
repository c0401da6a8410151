"""The waiting page (experience.md WP): who gets it, what it asks for; it is neither a start nor a use."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from hestia.core.errors import StartFailed
from hestia.core.model import OnCold, ServiceId
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import Response, request

from .conftest import MakeClient
from .harness import Gateway, MakeGateway, cold

S = "/services/a"
DEEP = S + "/deep/link?x=1"
LOCAL = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "none"))
PLAIN = (("accept", "text/html,application/xhtml+xml;q=0.9"), ("upgrade-insecure-requests", "1"))
News = dict[str, Any]  # the JSON that the page's script gets


async def asleep(gateway: MakeGateway, upstream: HttpUpstream, **settings: object) -> Gateway:
    """Service `a` is cold; its start goes on only when the probe says ready."""
    return await gateway(cold("a", **settings), wakes={"a": upstream}, ready=False)


async def shown(client: Client, target: str = DEEP, *, fields: tuple[tuple[str, str], ...] = LOCAL) -> str:
    """Navigate; the id of the visit whose page came."""
    response = await client.ask("GET", target, *fields)
    return visit_of(response)


def visit_of(response: Response) -> str:
    assert response.status == 503, response
    assert response.get("content-type") == b"text/html; charset=utf-8", response
    found = re.search(rb'data-visit="([\w-]+)"', bytes(response.body))
    assert found is not None, bytes(response.body)
    return found[1].decode()


async def look(client: Client, visit: str, *, word: str = "1", target: str = DEEP) -> News:
    """What the page is told when it asks once."""
    wait = ("hestia-wait", f"{word};visit={visit}")
    method = "GET" if word == "1" else "POST"
    response = await client.ask(method, target, wait, ("accept", "application/json"))
    assert response.status == 200, response
    return news(bytes(response.body))


def news(data: bytes) -> News:
    found: News = json.loads(data)
    return found


async def leave(client: Client, visit: str) -> None:
    await look(client, visit, word="leave")


async def test_wp01_a_navigation_to_a_cold_service_gets_the_page_and_a_program_waits(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    program, browser = await connect(gw), await connect(gw)
    await program.send(request("GET", S + "/data", ("accept", "*/*")))
    visit = await shown(browser)
    assert (await gw.status()).queue == 2
    gw.probe.ready = True
    assert (await program.response()).json()["target"] == "/data"
    await gw.until_waiting(0)
    assert (await look(browser, visit))["state"] == "hot"
    assert (await browser.ask("GET", DEEP, *LOCAL)).json()["target"] == "/deep/link?x=1"
    assert len(gw.engine.starts) == 1


GETS_PAGE = {
    "localhost": LOCAL,
    "a plain name": PLAIN,
}
IS_HELD = {
    "frame": (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), *PLAIN),
    "fetch": (("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("accept", "*/*")),
    "image": (("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), ("accept", "image/png,*/*")),
    "fetch of html on a plain name": (("accept", "text/html"),),
    "curl": (("accept", "*/*"), ("user-agent", "curl/8")),
    "git": (("accept", "*/*"), ("user-agent", "git/2.39")),
    "an OpenAI client": (("accept", "application/json"), ("user-agent", "OpenAI/Python")),
    "nothing said": (),
}


@pytest.mark.parametrize("kind", GETS_PAGE)
@pytest.mark.parametrize("on_cold", [OnCold.AUTO, OnCold.PAGE])
async def test_wp01_each_browser_gets_it(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, kind: str, on_cold: OnCold
) -> None:
    gw = await asleep(gateway, upstream, on_cold=on_cold)
    client = await connect(gw)
    await leave(client, await shown(client, fields=GETS_PAGE[kind]))


@pytest.mark.parametrize("kind", IS_HELD)
async def test_wp01_everything_else_is_held(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, kind: str
) -> None:
    """While a page that came later is shown, what came first still waits."""
    gw = await asleep(gateway, upstream)
    client, browser = await connect(gw), await connect(gw)
    await client.send(request("GET", DEEP, *IS_HELD[kind]))
    await gw.until_waiting(1)
    await leave(browser, await shown(browser))
    assert not client.count
    gw.probe.ready = True
    assert (await client.response()).json()["target"] == "/deep/link?x=1"


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT"])
async def test_wp01_a_form_that_is_sent_is_held(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, method: str
) -> None:
    gw = await asleep(gateway, upstream)
    client, browser = await connect(gw), await connect(gw)
    await client.send(request(method, DEEP, *LOCAL, ("content-length", "0")))
    await gw.until_waiting(1)
    await leave(browser, await shown(browser))
    assert not client.count
    gw.probe.ready = True
    assert (await client.response(method)).status == 200


@pytest.mark.parametrize("on_cold", [OnCold.HOLD, OnCold.REJECT])
async def test_wp01_on_cold_may_forbid_it(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, on_cold: OnCold
) -> None:
    gw = await asleep(gateway, upstream, on_cold=on_cold)
    client = await connect(gw)
    await client.send(request("GET", DEEP, *LOCAL))
    if on_cold is OnCold.HOLD:
        await gw.until_waiting(1)
        gw.probe.ready = True
        assert (await client.response()).json()["target"] == "/deep/link?x=1"
    else:
        (await client.response()).problem("queue_timeout", 503)


async def test_wp01_page_is_for_browsers_that_say_little_too(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream, on_cold=OnCold.PAGE)
    client = await connect(gw)
    await leave(client, await shown(client, fields=(("accept", "text/html, */*;q=0.1"),)))


async def test_wp01_what_has_a_fallback_is_held_and_goes_there_when_the_start_fails(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a", fallback_url=upstream.url), wakes={"a": upstream}, ready=False)
    client = await connect(gw)
    gw.engine.hold("start.call")
    await client.send(request("GET", DEEP, *LOCAL))
    await gw.until_waiting(1)
    gw.engine.fail_next_start(StartFailed("It broke."))
    gw.engine.let_go("start.call")
    assert (await client.response()).json()["target"] == "/deep/link?x=1"


@pytest.mark.parametrize("field", ["sec-purpose", "purpose"])
async def test_wp01_what_is_only_fetched_ahead_starts_nothing(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, field: str
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    response = await client.ask("GET", DEEP, *LOCAL, (field, "prefetch;prerender"))
    response.problem("dormant", 503)
    assert gw.engine.starts == []


async def test_wp01_respond_async_stays_a_202(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    response = await client.ask("GET", DEEP, *LOCAL, ("prefer", "respond-async"))
    assert response.status == 202


async def test_wp02_the_page_is_kept_by_nobody_and_wp12_asks_nobody_else(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    response = await client.ask("GET", DEEP, *LOCAL)
    visit = visit_of(response)
    assert response.get("cache-control") == b"no-store"
    assert response.get("vary") == b"Accept, Sec-Fetch-Mode, Sec-Fetch-Dest"
    assert response.get("x-robots-tag") == b"noindex"
    assert int(response.get("retry-after") or b"0") >= 1
    policy = response.get("content-security-policy") or b""
    assert b"default-src 'none'" in policy
    assert b"frame-ancestors 'self'" in policy
    nonces = set(re.findall(rb"nonce-([\w-]+)", policy))
    assert len(nonces) == 1
    body = bytes(response.body)
    assert len(body) <= 14 * 1024, len(body)
    assert {*re.findall(rb'nonce="([\w-]+)"', body)} == nonces
    assert not re.search(rb"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", body)
    assert response.get("set-cookie") is None
    other = await client.ask("GET", DEEP, *LOCAL)
    assert other.get("content-security-policy") != policy
    await leave(client, visit)
    await leave(client, visit_of(other))


async def test_wp03_what_is_hot_in_a_moment_is_simply_answered(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    response = await client.ask("GET", DEEP, *LOCAL)
    for _ in range(4):  # a machine that is busy with other things may take its time for once
        if response.status == 200:
            break
        await gw.until_phase("hot")
        gw.hestia.gateway.stop(ServiceId("a"), force=True, actor="test")
        await gw.until_phase("cold")
        response = await client.ask("GET", DEEP, *LOCAL)
    assert response.json()["target"] == "/deep/link?x=1"


async def test_wp04_the_page_follows_the_start_by_its_own_address(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """A stream until it is hot; the service never sees the question."""
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    visit = await shown(client)
    await client.send(
        request("GET", DEEP, ("hestia-wait", f"1;visit={visit}"), ("accept", "text/event-stream"))
    )
    response = await client.head()
    assert response.status == 200
    assert response.get("content-type") == b"text/event-stream; charset=utf-8"
    assert response.get("cache-control") == b"no-store"
    assert response.get("x-accel-buffering") == b"no"
    await client.until(lambda: b'"state": "waiting"' in response.body, "the first news")
    gw.probe.ready = True
    await client.body()
    told = [news(part[6:]) for part in bytes(response.body).split(b"\n\n") if part.startswith(b"data: ")]
    assert [one["state"] for one in told[-2:]] == ["waiting", "hot"]
    assert {one["visit"] for one in told} == {visit}
    assert upstream.requests == []
    await gw.at_rest()


@pytest.mark.parametrize("way", ["prefix", "host", "port"])
async def test_wp04_each_kind_of_address_answers_it(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, way: str
) -> None:
    gw = await asleep(gateway, upstream, port=0 if way == "port" else None)
    client = await connect(gw)
    target, host = (DEEP, "localhost") if way == "prefix" else ("/deep/link?x=1", "a.localhost")
    if way == "port":
        client = await Client.connect(gw.hestia.own_address("a"))
        host = "any.example"
    visit = visit_of(await client.ask("GET", target, *LOCAL, host=host))
    wait = (("hestia-wait", f"leave;visit={visit}"), ("accept", "application/json"))
    response = await client.ask("POST", target, *wait, host=host)
    assert response.json()["state"] == "left"
    await gw.until_waiting(0)
    await client.close()


async def test_wp04_a_hot_service_never_sees_what_the_page_asks(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(a=upstream)
    client = await connect(gw)
    assert (await look(client, "gone"))["state"] == "hot"
    assert upstream.requests == []


async def test_wp04_a_page_of_another_site_may_not_ask(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    for word, method in (("1", "GET"), ("start", "POST"), ("leave", "POST")):
        response = await client.ask(
            method, DEEP, ("hestia-wait", word), ("origin", "http://elsewhere.example")
        )
        response.problem("forbidden", 403)
    assert gw.engine.starts == []


@pytest.mark.parametrize("value", ["2", "start;visit=", "1;other=x", "1;visit=a b", ""])
async def test_wp04_a_question_that_is_none_is_refused(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, value: str
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    if not value:  # says nothing, so it is an ordinary request without a field of ours
        await client.send(request("GET", DEEP, ("hestia-wait", value)))
        await gw.until_waiting(1)
        gw.probe.ready = True
        assert b"hestia-wait" not in (await client.response()).json()["fields"]
        return
    (await client.ask("GET", DEEP, ("hestia-wait", value))).problem("bad_request", 400)


async def test_wp06_its_place_and_what_usually_follows_are_told(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """The second start knows the first; whoever came before is counted."""
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    first = await shown(client)
    told = await look(client, first)
    assert "nobody knows how long it takes" in told["html"]
    assert "You are first in the queue" in told["html"]
    second = await shown(await connect(gw), S + "/other")
    assert "1 before you in the queue" in (await look(client, second))["html"]
    gw.probe.ready = True
    await gw.until_phase("hot")
    gw.hestia.gateway.stop(ServiceId("a"), force=False, actor="test")
    await gw.until_phase("cold")
    gw.probe.ready = False
    third = await shown(client)
    told = await look(client, third)
    assert re.search("from the last start|longer than usual", told["html"]), told
    assert re.fullmatch(r"Starting a, \d+ %", told["title"]), told
    await leave(client, third)


async def test_wp08_a_start_that_fails_says_so_on_the_page(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    gw.engine.hold("start.call")
    visit = await shown(client)
    gw.engine.fail_next_start(StartFailed("<b>It broke</b>.", remedy="mend it", tail=("one", "two")))
    gw.engine.let_go("start.call")
    await gw.until_waiting(0)
    told = await look(client, visit)
    assert told["state"] == "failed"
    for words in ("a could not be started", "&lt;b&gt;It broke&lt;/b&gt;.", "mend it", "one\ntwo"):
        assert words in told["html"], told["html"]


async def test_wp08_a_failure_at_once_is_a_page_too_and_a_program_gets_the_problem(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    for _ in range(4):
        gw.engine.fail_next_start(StartFailed("It broke.", remedy="mend it"))
    response = await client.ask("GET", DEEP, *LOCAL)
    visit_of(response)
    body = bytes(response.body)
    assert b"It broke." in body
    assert b'http-equiv="refresh"' not in body  # it would start the service for ever
    assert (response.get("x-request-id") or b"?") in body
    (await client.ask("GET", DEEP)).problem("service_start_failed", 503)


async def test_wp08_try_again_starts_it_at_once(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    gw.engine.fail_next_start(StartFailed("It broke."))
    visit = visit_of(await client.ask("GET", DEEP, *LOCAL))
    before = len(gw.engine.starts)
    told = await look(client, visit, word="start")
    assert told["state"] == "waiting"
    assert told["visit"] != visit
    await eventually(lambda: len(gw.engine.starts) == before + 1, "another start")
    gw.probe.ready = True
    await gw.until_phase("hot")
    assert (await look(client, told["visit"]))["state"] == "hot"


async def test_wp11_a_page_left_open_starts_nothing_and_keeps_nothing_up(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream, idle_timeout=0.3)
    client = await connect(gw)
    visit = await shown(client)
    gw.probe.ready = True
    await gw.until_phase("hot")
    asked = asyncio.get_running_loop().time()
    seen = await gw.status()
    while seen.phase != "cold":  # it asks all the time, and it is no use
        await look(client, visit)
        seen = await gw.status()
        assert asyncio.get_running_loop().time() - asked < 60
    told = await look(client, "forgotten")
    assert told["state"] == "asleep"
    assert len(gw.engine.starts) == 1
    assert (await gw.status()).last_used_at is None or not upstream.requests


async def test_wp11_a_page_that_was_forgotten_does_not_start_what_is_being_stopped(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", DEEP)).status == 200
    gw.engine.hold("stop")
    gw.hestia.gateway.stop(ServiceId("a"), force=False, actor="test")
    await gw.until_phase("stopping")
    assert (await look(client, "forgotten"))["state"] == "asleep"
    gw.engine.let_go("stop")
    await gw.until_phase("cold")
    assert len(gw.engine.starts) == 1


async def test_qf04_a_page_that_leaves_is_demand_no_more(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """The place in the queue goes from the request to the page without a gap, and is free when it leaves."""
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    visit = await shown(client)
    assert (await gw.status()).queue == 1
    client.reset()
    other = await connect(gw)
    assert (await gw.status()).queue == 1  # the page has it, not the connection
    await leave(other, visit)
    assert (await gw.status()).queue == 0
    gw.probe.ready = True
    await gw.until_phase("hot")


async def test_wp09_a_page_without_script_keeps_its_place_and_hears_of_the_failure_once(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hestia.runtime.visits.ALONE", 0.0)
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    gw.engine.hold("start.call")
    response = await client.ask("GET", DEEP, *LOCAL)
    visit = visit_of(response)
    assert b'<noscript><meta http-equiv="refresh" content="5;url=./link?x=1"></noscript>' in response.body
    assert await shown(client) == visit
    assert (await gw.status()).queue == 1
    gw.engine.fail_next_start(StartFailed("It broke."))
    gw.engine.let_go("start.call")
    await gw.until_waiting(0)
    starts = len(gw.engine.starts)
    response = await client.ask("GET", DEEP, *LOCAL)
    assert b"It broke." in response.body
    assert b'http-equiv="refresh"' not in response.body
    assert len(gw.engine.starts) == starts


async def test_wp17_twenty_browsers_are_one_start_and_each_has_a_place(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    clients = [await connect(gw) for _ in range(20)]
    for number, client in enumerate(clients):
        await client.send(request("GET", DEEP, *LOCAL))
        await gw.until_waiting(number + 1)
    visits = [visit_of(await client.response()) for client in clients]
    assert len(set(visits)) == 20
    for number, visit in enumerate(visits[1:], 1):
        assert f"{number} before you" in (await look(clients[0], visit))["html"]
    gw.probe.ready = True
    await gw.until_phase("hot")
    for client, visit in zip(clients, visits, strict=True):
        assert (await look(client, visit))["state"] == "hot"
        assert (await client.ask("GET", DEEP, *LOCAL)).status == 200
    assert len(gw.engine.starts) == 1


async def test_the_inner_path_is_known_to_nobody(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    (await client.ask("GET", "/-/guess/page?service=a")).problem("not_found", 404)


async def test_the_access_line_of_a_page_says_what_it_was(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    await leave(client, await shown(client))
    await eventually(lambda: b'"waiting_page"' in gw.log, lambda: f"the line in {gw.log!r}")
    line = next(json.loads(one) for one in gw.log.splitlines() if b'"waiting_page"' in one)
    assert (line["service_id"], line["status"], line["path"]) == ("a", 503, S + "/deep/link")


async def test_qf04_a_page_that_falls_silent_gives_its_place_back(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while its stream is open, however long nothing is said on it."""
    monkeypatch.setattr("hestia.runtime.visits.PATIENCE", 0.05)
    gw = await asleep(gateway, upstream)
    client, other = await connect(gw), await connect(gw)
    visit = await shown(client)
    await gw.until_waiting(0)
    assert (await look(other, visit))["visit"] != visit  # the start goes on, and this waits for it anew
    await gw.until_waiting(0)
    fields = (("hestia-wait", "1"), ("accept", "text/event-stream"))
    await client.send(request("GET", DEEP, *fields))
    response = await client.head()
    await client.until(lambda: response.body.count(b":\n\n") >= 1, "silence on the stream")
    assert (await gw.status()).queue == 1
    client.reset()
    await gw.until_waiting(0)


async def test_wp10_a_page_hears_that_the_gateway_ends_and_asks_the_next_one(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    visit = await shown(client)
    fields = (("hestia-wait", f"1;visit={visit}"), ("accept", "text/event-stream"))
    await client.send(request("GET", DEEP, *fields))
    response = await client.head()
    await client.until(lambda: b"waiting" in response.body, "the first news")
    await gw.aclose()
    await client.body()
    last = bytes(response.body).strip().rpartition(b"data: ")[2]
    assert news(last)["state"] == "ending"


async def test_wp16_a_template_of_ones_own_is_shown_from_the_next_page_on(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient, tmp_path: Path
) -> None:
    """Named by a reload; what it is told of the start is what the built-in page is told."""
    own = tmp_path / "own.html"
    own.write_text(
        '{% extends "waiting.html" %}{% block header %}<p>Welcome to {{ p.service }}</p>{% endblock %}'
    )
    gw = await asleep(gateway, upstream)
    client = await connect(gw)
    response = await client.ask("GET", DEEP, *LOCAL)
    assert b"Welcome" not in response.body
    await leave(client, visit_of(response))
    await gw.reload(cold("a"), waiting_page=str(own))
    response = await client.ask("GET", DEEP, *LOCAL)
    assert b"<p>Welcome to a</p>" in response.body
    assert (await look(client, visit_of(response)))["title"] == "Starting a"
    await leave(client, visit_of(response))
