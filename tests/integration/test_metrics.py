"""Metrics of a real gateway under real traffic (proxy-semantics OB, lifecycle OB-16)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families as parse

from hestia.core.model import GatewaySettings, InstanceId, ServiceId
from hestia.telemetry.catalogue import CATALOGUE
from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.websocket import handshake, switching
from tests.fakes.wire import request

from .assertions import refused, untouched
from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, cold, service

S = "/services/a"
PATH = "/services/{serviceId}/{path}"
TRAFFIC = ("requests_in_flight", "websockets_open", "queue_waiters", "body_buffer_bytes")


async def numbers(client: Client, path: str = "/v1/metrics") -> dict[str, Any]:
    """The JSON document (of any numbers, hence Any)."""
    response = await client.ask("GET", path)
    assert response.status == 200, response.body
    document: dict[str, Any] = response.json()
    return document


async def page(client: Client) -> dict[str, Metric]:
    """The page for Prometheus as the library reads it, by name of the family."""
    response = await client.ask("GET", "/metrics")
    assert response.status == 200
    assert response.get("content-type") == b"text/plain; version=0.0.4; charset=utf-8"
    return {family.name: family for family in parse(bytes(response.body).decode())}


def series(found: dict[str, Metric], name: str, **labels: str) -> float:
    """The value of one series."""
    (value,) = [sample.value for sample in found[name].samples if sample.labels == labels]
    return float(value)


async def test_ob_02_gauges_say_what_is_under_way_and_go_back_to_zero(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """OB-02, OB-03: queue, in flight, buffered bytes, WebSockets, connections to services."""
    asked = asyncio.Event()
    upstream = await raw(
        [step.get_request(), step.send(switching()), step.until_gone(), step.close()],
        [step.get_head(), step.set_event(asked), step.until_gone(), step.close()],
    )
    gw = await gateway(cold("a"), wakes={"a": upstream}, ready=False)
    socket, upload, looking = await connect(gw), await connect(gw), await connect(gw)
    await socket.send(handshake(S + "/ws"))
    await gw.until_waiting(1)
    await upload.send(request("POST", S + "/x", ("Content-Length", "100000")) + b"x" * 5000)
    await gw.until_waiting(2)
    await eventually(lambda: gw.hestia.buffers.held >= 5000, "the body to be held")

    gauges = (await numbers(looking))["services"]["a"]["gauges"]
    assert (gauges["queue_waiters"], gauges["requests_in_flight"]) == (2, 0)
    assert gauges["instances[state=starting]"] == 1
    found = await page(looking)
    assert series(found, "hestia_queue_waiters", service="a") == 2
    assert series(found, "hestia_queue_oldest_waiter_seconds", service="a") >= 0
    assert series(found, "hestia_body_buffer_bytes") >= 5000
    assert series(found, "hestia_client_connections") == 3

    gw.probe.ready = True
    assert (await socket.head(upgrade=True)).status == 101
    await eventually(asked.is_set, "the upload to arrive")
    found = await page(looking)
    assert series(found, "hestia_websockets_open", service="a") == 1
    assert series(found, "hestia_requests_in_flight", service="a") == 2
    assert series(found, "hestia_upstream_connections", state="in_use") == 2
    assert series(found, "hestia_upstream_connections", state="connecting") == 0
    assert series(found, "hestia_instances", service="a", state="hot") == 1

    await socket.close()
    await upload.close()
    await gw.at_rest()
    gauges = (await numbers(looking))["gauges"]
    assert {name: gauges[name] for name in TRAFFIC} == dict.fromkeys(TRAFFIC, 0)
    assert gauges["upstream_connections[state=in_use]"] == 0
    assert gauges["queue_oldest_waiter_seconds"] == 0


async def test_ob_02_a_connection_that_is_being_made_is_counted(
    gateway: MakeGateway, raw: MakeUpstream, connect: MakeClient
) -> None:
    """OB-02: `connecting`: the service never answers the TLS greeting."""
    silent = await raw([step.until_gone(), step.close()])
    gw = await gateway(service("a", silent.url.replace("http:", "https:")))
    client, looking = await connect(gw), await connect(gw)
    await client.send(request("GET", S + "/x"))
    await eventually(lambda: bool(silent.connections), "the gateway to connect")
    assert series(await page(looking), "hestia_upstream_connections", state="connecting") == 1
    await client.close()
    await gw.at_rest()
    assert series(await page(looking), "hestia_upstream_connections", state="connecting") == 0


async def test_seeds_json_is_as_printed(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", f"{S}/secret/path?key=1")).status == 200
    assert (await client.ask("GET", f"{S}/status?n=500")).status == 500
    for _ in range(5):
        assert (await client.ask("GET", "/v1/services/a/status")).status == 200
    (await client.ask("GET", "/services/nobody/")).problem("service_not_found")
    document = await numbers(client)
    assert list(document) == ["counters", "timers", "gauges", "services"]
    count = document["counters"]["requests_total[method=GET,path=/v1/services/{serviceId}/status]"]
    assert list(count) == ["count", "timestamp"]
    assert count["count"] == 5
    assert count["timestamp"].endswith("Z")
    assert document["counters"][f"requests_total[method=GET,path={PATH}]"]["count"] == 2
    assert document["counters"]["request_errors_total[code=service_not_found]"]["count"] == 1
    timer = document["timers"]["request_duration_ms[method=GET]"]
    assert list(timer) == ["count", "avg_ms", "min_ms", "max_ms", "p50_ms", "p95_ms", "p99_ms"]
    assert timer["count"] == 8
    assert timer["min_ms"] <= timer["p50_ms"] <= timer["p95_ms"] <= timer["p99_ms"] <= timer["max_ms"]
    assert timer["min_ms"] <= timer["avg_ms"] <= timer["max_ms"]
    own = document["services"]["a"]
    assert own["counters"]["responses_total[status=2xx]"]["count"] == 1
    assert own["counters"]["responses_total[status=5xx]"]["count"] == 1
    assert own["counters"]["starts_total[cause=demand]"]["count"] == 1
    assert own["timers"]["cold_start_ms"]["count"] == own["timers"]["queue_wait_ms"]["count"] == 1
    alone = await numbers(client, "/v1/services/a/metrics")
    assert alone["counters"].keys() == own["counters"].keys()
    assert alone["timers"] == own["timers"]
    (await client.ask("GET", "/v1/services/b/metrics")).problem("service_not_found")


async def test_prometheus_page_is_the_catalogue_and_adds_up(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    for _ in range(40):  # more than a batch of records
        assert (await client.ask("GET", S + "/bytes?n=10")).status == 200
    found = await page(client)
    names = {name + "_total" if family.type == "counter" else name for name, family in found.items()}
    assert names <= set(CATALOGUE)
    for name, family in found.items():
        known = CATALOGUE.get(name) or CATALOGUE[name + "_total"]
        assert (family.type, family.documentation) == (str(known.kind), known.help)
        assert {tuple(sample.labels) for sample in family.samples} <= {
            known.labels, (*known.labels, "le"),
        }  # fmt: skip
    alike = {"service": "a", "method": "GET", "status": "2xx"}
    assert series(found, "hestia_requests", **alike) == 40
    duration = found["hestia_request_duration_seconds"].samples
    buckets = [sample.value for sample in duration if sample.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 40
    assert series(found, "hestia_starts", service="a", cause="demand") == 1
    assert series(found, "hestia_response_bytes", service="a") == 400


async def test_ob_04_hostile_requests_make_no_further_series(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    """OB-04: methods, paths, hosts and targets of clients are no labels."""
    client = await connect(gw)

    async def storm(mark: str) -> None:
        for number in range(20):
            await client.ask("GET", f"{S}/{mark}{number}?{mark}={number}")
            await client.ask("GET", f"/{mark}/{number}")
            await client.ask("GET", f"/services/{mark}{number}/")
            await client.ask("PROPFIND" if number % 2 else "MKCOL", f"{S}/{mark}")
            await client.ask("GET", f"{S}/x", host=f"{mark}{number}.example")

    async def all_series() -> set[tuple[str, ...]]:
        found = [sample for family in (await page(client)).values() for sample in family.samples]
        return {
            (sample.name, *map(str, sorted(sample.labels.items())))
            for sample in found
            if not sample.name.startswith("hestia_loop_")  # a stall of this machine, and nobody's request
        }

    await storm("first")
    await all_series()  # asking makes series of its own
    before = await all_series()
    await storm("second")
    assert await all_series() - before == set()


async def test_scraping_wakes_nothing_and_is_no_use(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a", idle_timeout=600.0), cold("b"), wakes={"a": upstream, "b": upstream})
    client = await connect(gw)
    assert (await client.ask("GET", S + "/x")).status == 200
    slot = gw.hestia.gateway.world.slot(ServiceId("a"), InstanceId("a"))
    assert slot.use is not None
    used = slot.use.last_used
    for path in ("/metrics", "/v1/metrics", "/v1/services/a/metrics", "/v1/services/b/metrics"):
        assert (await client.ask("GET", path)).status == 200
    assert slot.use.last_used == used
    assert (await gw.status("b")).phase == "cold"
    assert len(upstream.requests) == 1
    empty = await numbers(client, "/v1/services/b/metrics")
    assert empty == {"counters": {}, "timers": {}, "gauges": {}}


@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics", "/v1/services/a/metrics"])
async def test_rules_of_the_api_hold_for_metrics(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, path: str
) -> None:
    client = await connect(gw)
    foreign = await client.ask("GET", path, host="rebound.example")
    assert foreign.status >= 400
    foreign.problem("unknown_host")
    (await client.ask("GET", path, ("Origin", "http://evil.example"))).problem("forbidden")
    await untouched(upstream)
    own = await client.ask("GET", "/metrics", host="a.localhost")
    assert own.json()["target"] == "/metrics", "a service's host has its own /metrics"


async def test_numbers_count_without_an_access_log(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(settings=GatewaySettings(access_log=False), a=upstream)
    client = await connect(gw)
    assert (await client.ask("GET", S + "/x")).status == 200
    assert gw.log == b""
    document = await numbers(client)
    assert document["counters"][f"requests_total[method=GET,path={PATH}]"]["count"] == 1


async def test_bytes_that_are_no_request_are_counted_as_nobodys(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    await refused(await connect(gw), b"\x16\x03\x01garbage\r\n\r\n", 400)
    client = await connect(gw)
    found = await page(client)
    assert series(found, "hestia_requests", service="", method="other", status="4xx") == 1
    await client.send(request("GET", S + "/x"))
    assert (await client.response()).status == 200
