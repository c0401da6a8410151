"""Several instances and their strategies, over real sockets: the examples of the seeds, and what fails."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hestia.core.model import InstanceId, InstanceSettings, OnCold, ServiceId, ServiceSettings
from hestia.core.rules import NoWake
from hestia.core.strategy import StrategySettings
from tests.fakes import websocket
from tests.fakes.client import Client
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import request

from .conftest import MakeClient
from .harness import Gateway, MakeGateway
from .routed import FINDER, configured, only, served_by

MODEL_ROUTER = """
services:
  my-llm:
    base_url: "http://fallback-llm:11434"
    strategy: "model_router"
    instances:
      - { url: "http://llm-a:11434" }
      - { url: "http://llm-b:11434" }
    routing:
      model_key: "model"
      by_model:
        llama3: "http://llm-a:11434"
        mistral: "http://llm-b:11434"
"""
LOAD_BALANCER = """
services:
  my-service:
    strategy: "load_balancer"
    instances:
      - { url: "http://service-a:8080", region: "us-east" }
      - { url: "http://service-b:8080", region: "us-west" }
"""
S = "/services/my-service/echo"
LLM = "/services/my-llm/echo"
JSON = ("Content-Type", "application/json")


def asks(model: str) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "Hi"}], "model": model}).encode()


@pytest.fixture
async def ups(leaks: None) -> AsyncIterator[dict[str, HttpUpstream]]:
    """Three friendly services that tell their name."""
    made = {name: await HttpUpstream(name).start() for name in ("a", "b", "main")}
    yield made
    for one in made.values():
        await one.aclose()


@pytest.fixture
async def router(gateway: MakeGateway, ups: dict[str, HttpUpstream], tmp_path: Path) -> Gateway:
    hosts = {
        "http://llm-a:11434": ups["a"].url,
        "http://llm-b:11434": ups["b"].url,
        "http://fallback-llm:11434": ups["main"].url,
    }
    return await gateway(only(configured(tmp_path / "conf", MODEL_ROUTER, hosts)), hot=False)


@pytest.fixture
async def balancer(gateway: MakeGateway, ups: dict[str, HttpUpstream], tmp_path: Path) -> Gateway:
    hosts = {"http://service-a:8080": ups["a"].url, "http://service-b:8080": ups["b"].url}
    return await gateway(only(configured(tmp_path / "conf", LOAD_BALANCER, hosts)), hot=False)


async def test_the_seeds_model_router_sends_each_model_to_its_instance(
    router: Gateway, connect: MakeClient
) -> None:
    client = await connect(router)
    assert await served_by(client, LLM, asks("llama3"), JSON) == "a"
    assert await served_by(client, LLM, asks("mistral"), JSON) == "b"
    assert await served_by(client, LLM, asks("llama3"), JSON) == "a"


async def test_a_model_that_nobody_is_meant_for_goes_to_base_url(
    router: Gateway, connect: MakeClient
) -> None:
    client = await connect(router)
    assert await served_by(client, LLM, asks("qwen"), JSON) == "main"


async def test_the_seeds_load_balancer_takes_turns(balancer: Gateway, connect: MakeClient) -> None:
    client = await connect(balancer)
    await served_by(client, S)  # who is there is found by the first request
    await balancer.until(
        lambda seen: [one.phase for one in seen.instances] == ["hot", "hot"], "both hot", "my-service"
    )
    served = Counter([await served_by(client, S) for _ in range(20)])
    assert served == {"a": 10, "b": 10}


# -- several engines, and what fails -----------------------------------------------------------------


def hot(upstream: HttpUpstream) -> InstanceSettings:
    """Somebody else runs it; it is probed at its own address, so that it is gone when it is gone."""
    return InstanceSettings(
        id=InstanceId(upstream.name), base_url=upstream.url, health_url=f"{upstream.url}/status?n=200"
    )


def asleep(name: str) -> InstanceSettings:
    """Started on demand; what it is, `wakes` says."""
    return InstanceSettings(id=InstanceId(name), base_url="http://127.0.0.1:{port}", engine="fake")


def several(
    *instances: InstanceSettings, strategy: str = "", routing: Any = None, **more: Any
) -> ServiceSettings:
    """Service `a`. routing: as in the file. more: fields of ServiceSettings (any of them, hence Any)."""
    chosen = None
    if strategy:
        plugin = FINDER("").loaded[strategy].plugin
        chosen = StrategySettings(strategy, plugin, plugin.Options.model_validate(routing or {}))
    return ServiceSettings(
        id=ServiceId("a"), instances=instances, strategy=chosen, appear_timeout=1.0, **more
    )


async def until_hot(gw: Gateway, *names: str) -> None:
    await gw.status("a", probe=True)
    await gw.until(
        lambda seen: {one.id for one in seen.instances if one.phase == "hot"} >= set(names), f"hot: {names}"
    )


async def test_a_chosen_instance_that_sleeps_is_woken_though_others_are_hot(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    routing = {"by_model": {"llama3": "a", "mistral": "b"}}
    one = several(hot(ups["a"]), asleep("b"), strategy="model_router", routing=routing)
    gw = await gateway(one, hot=False, wakes={"a/b": ups["b"]})
    await until_hot(gw, "a")
    client = await connect(gw)
    assert await served_by(client, "/services/a/echo", asks("mistral"), JSON) == "b"
    assert await served_by(client, "/services/a/echo", asks("llama3"), JSON) == "a"


async def test_sf_16_fifty_requests_over_two_that_sleep_start_one(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    one = several(asleep("x"), asleep("y"), strategy="load_balancer")
    gw = await gateway(one, ready=False, hot=False, wakes={"a/x": ups["a"], "a/y": ups["b"]})
    clients = [await connect(gw) for _ in range(50)]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(served_by(client, "/services/a/echo")) for client in clients]
        await gw.until_waiting(50)
        gw.probe.ready = True
    assert {one.result() for one in asked} == {"a"}
    seen = await gw.status()
    assert [one.phase for one in seen.instances] == ["hot", "cold"]


async def test_one_more_is_started_when_all_are_busy_and_nobody_waits_for_it(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    one = several(
        hot(ups["a"]),
        asleep("b"),
        strategy="load_balancer",
        routing={"spill_over": 1},
        no_wake=(NoWake(user_agent="scrape"),),
    )
    gw = await gateway(one, hot=False, wakes={"a/b": ups["b"]})
    await until_hot(gw, "a")
    slow, client = await connect(gw), await connect(gw)
    assert await served_by(client, "/services/a/echo") == "a"
    await slow.send(request("GET", "/services/a/slow"))
    await gw.until_in_flight(1)
    assert await served_by(client, "/services/a/echo?quiet", None, ("User-Agent", "scrape")) == "a"
    elsewhere = (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image"))
    assert await served_by(client, "/services/a/echo", None, *elsewhere) == "a"
    assert [one.phase for one in (await gw.status("a")).instances] == ["hot", "cold"], "these start nothing"
    assert await served_by(client, "/services/a/echo") == "a"
    await until_hot(gw, "a", "b")
    ups["a"].release()
    await slow.response()


async def test_a_dead_one_costs_no_request_and_a_new_one_takes_its_turn(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    """Nothing was sent, so a POST goes on as well (T-RF-01), and `retry_count` is not what ends it."""
    one = several(*(hot(up) for up in ups.values()), strategy="load_balancer", retry_count=0)
    gw = await gateway(one, hot=False)
    await until_hot(gw, "a", "b", "main")
    await ups["a"].aclose()
    await ups["b"].aclose()
    client = await connect(gw)
    for _ in range(6):
        assert await served_by(client, "/services/a/echo", b"{}", JSON) == "main"


async def test_the_next_one_gets_its_turn_when_the_chosen_one_is_not_there(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    routing = {"by_model": {"llama3": "b"}}
    one = several(hot(ups["a"]), hot(ups["b"]), strategy="model_router", routing=routing)
    await ups["b"].aclose()
    gw = await gateway(one, hot=False)
    client = await connect(gw)
    assert await served_by(client, "/services/a/echo", asks("llama3"), JSON) == "a"
    latest = (await client.ask("GET", "/v1/requests")).json()["requests"][0]
    story = (await client.ask("GET", f"/v1/requests/{latest['requestId']}")).json()
    assert story["end"].startswith("answered 200 by a, "), "which of the instances served"


async def test_fallback_url_comes_after_all_instances(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    one = several(hot(ups["a"]), hot(ups["b"]), strategy="load_balancer", fallback_url=ups["main"].url)
    gw = await gateway(one, hot=False)
    await until_hot(gw, "a", "b")
    client = await connect(gw)
    assert await served_by(client, "/services/a/echo") in ("a", "b")
    await ups["a"].aclose()
    await ups["b"].aclose()
    assert await served_by(client, "/services/a/echo") == "main"


async def test_t_rf_17_a_503_is_the_answer_unless_retry_on_status_says_otherwise(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    two = (hot(ups["a"]), hot(ups["b"]))
    ups["a"].always = 503
    for statuses, expected in (((), {503, 200}), ((503,), {200})):
        gw = await gateway(
            several(
                *two, strategy="load_balancer", retry_on_status=statuses, routing={"eject": {"after": 99}}
            ),
            hot=False,
        )
        await until_hot(gw, "a", "b")
        client = await connect(gw)
        found = set()
        for _ in range(4):
            await client.send(request("GET", "/services/a/echo"))
            found.add((await client.response()).status)
        assert found == expected


async def dying(gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient, count: int) -> None:
    """`count` requests over three instances: one ends meanwhile, one sleeps at first. None may fail."""
    one = several(
        hot(ups["a"]), hot(ups["b"]), asleep("c"), strategy="load_balancer", routing={"spill_over": 4}
    )
    gw = await gateway(one, hot=False, wakes={"a/c": ups["main"]})
    await until_hot(gw, "a", "b")
    clients = [await connect(gw) for _ in range(16)]
    served: Counter[str] = Counter()

    async def ask(client: Client, share: int) -> None:
        for _ in range(share):
            served[await served_by(client, "/services/a/echo")] += 1
            if served.total() == count // 3:
                await ups["b"].aclose()

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(ask(client, count // len(clients)))
    assert served.total() == count // len(clients) * len(clients)
    assert served["main"], "the one that slept was woken"
    assert served["a"] > served["b"]


async def test_a_dying_and_a_sleeping_instance_cost_no_request(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    await dying(gateway, ups, connect, 480)


@pytest.mark.load
async def test_ten_thousand_requests_over_a_dying_and_a_sleeping_instance(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    await dying(gateway, ups, connect, 10_000)


async def test_a_cold_one_that_is_chosen_is_cold_for_on_cold_too_though_others_are_hot(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    """Its start begins, not that of another one; `on_cold: reject` says so at once."""
    routing = {"by_model": {"llama3": "a", "mistral": "b"}}
    one = several(hot(ups["a"]), asleep("b"), strategy="model_router", routing=routing, on_cold=OnCold.REJECT)
    gw = await gateway(one, hot=False, wakes={"a/b": ups["b"]})
    await until_hot(gw, "a")
    client = await connect(gw)
    await client.send(request("POST", "/services/a/echo", JSON, body=asks("mistral")))
    answer = await client.response("POST")
    assert (answer.status, answer.json()["code"]) == (503, "queue_timeout")
    await until_hot(gw, "a", "b")
    assert await served_by(client, "/services/a/echo", asks("mistral"), JSON) == "b"


async def test_a_websocket_is_balanced_as_any_request(
    balancer: Gateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    await served_by(await connect(balancer), S)
    await balancer.until(
        lambda seen: [one.phase for one in seen.instances] == ["hot", "hot"], "both hot", "my-service"
    )
    for _ in range(4):
        client = await connect(balancer)
        await client.send(websocket.handshake("/services/my-service/ws"))
        assert (await client.head(upgrade=True)).status == 101
    seen = await balancer.status("my-service")
    assert [one.in_flight for one in seen.instances] == [2, 2]


async def test_the_dispatcher_goes_the_same_way(router: Gateway, connect: MakeClient) -> None:
    """SS-09: the model in the body of the call decides."""
    call = {"serviceId": "my-llm", "method": "POST", "path": "/echo", "body": {"model": "mistral"}}
    client = await connect(router)
    await client.send(request("POST", "/v1/requests", JSON, body=json.dumps(call).encode()))
    told = (await client.response("POST")).json()
    assert (told["status"], told["headers"]["x-upstream"]) == (200, "b")


async def test_nobody_waits_for_what_somebody_else_starts_while_another_serves(
    gateway: MakeGateway, ups: dict[str, HttpUpstream], connect: MakeClient
) -> None:
    """With a time that no test has: the one that is meant is not there, so the next one has its turn."""
    routing = {"by_model": {"llama3": "b"}}
    one = several(hot(ups["a"]), hot(ups["b"]), strategy="model_router", routing=routing)
    gw = await gateway(replace(one, appear_timeout=3600.0), hot=False)
    await until_hot(gw, "a", "b")
    await ups["b"].aclose()
    client = await connect(gw)
    for _ in range(3):
        assert await served_by(client, "/services/a/echo", asks("llama3"), JSON) == "a"
