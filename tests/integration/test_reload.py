"""A new configuration while clients are there: only what differs is touched (SPEC 2, DR-09)."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from hestia.config import ConfigProblems, Problem
from hestia.core.errors import ConfigError
from hestia.core.model import InstanceId, ServiceId, ServiceSettings
from hestia.core.reconfigure import GRACE, SPREAD
from hestia.core.records import OUTDATED_IDLE
from tests.fakes import upstream as step
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.http_upstream import HttpUpstream
from tests.fakes.wire import chunk, head, request

from .conftest import MakeClient, MakeUpstream
from .harness import Gateway, MakeGateway, cold, service

A = "/services/a"
CHUNKED = ("Transfer-Encoding", "chunked")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def other_options(one: ServiceSettings) -> ServiceSettings:
    """The same service, started in another way."""
    return replace(one, instances=tuple(replace(each, options_hash="new") for each in one.instances))


async def test_t_dr_04_a_stream_goes_on_and_new_requests_have_the_new_settings(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    end = asyncio.Event()
    streaming = await raw(
        [
            step.get_request(),
            step.send(head("HTTP/1.1 200 OK", [CHUNKED]), chunk(b"begin")),
            step.wait_for(end),
            step.send(chunk(b"end") + b"0\r\n\r\n"),
            step.until_gone(),
        ],
        [
            step.get_request(),
            step.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew"),
            step.until_gone(),
        ],
    )
    gw = await gateway(service("a", streaming.url))
    stream, other = await connect(gw), await connect(gw)
    await stream.send(request("GET", A + "/x"))
    await stream.head()
    reload = await gw.reload(service("a", streaming.url, host_header="new.example", response_timeout=5.0))
    assert (reload.ok, reload.found.changed) == (True, ("a",))
    assert (await other.ask("GET", A + "/y")).body == b"new"
    assert [one.get("host") == b"new.example" for one in streaming.requests] == [False, True]
    end.set()
    assert (await stream.body()).body == b"beginend"


async def test_waiters_keep_their_place_and_have_the_settings_they_came_with(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a", host_header="old.example"), wakes={"a": upstream}, ready=False)
    clients = [await connect(gw) for _ in range(4)]
    for number, client in enumerate(clients[:3]):
        await client.send(request("GET", f"{A}/{number}"))
        await gw.until_waiting(number + 1)
    await gw.reload(cold("a", host_header="middle.example"))
    await gw.reload(cold("a", host_header="new.example", queue_size=9))
    await clients[3].send(request("GET", f"{A}/3"))
    await gw.until_waiting(4)
    gw.probe.ready = True
    for number, client in enumerate(clients):
        assert (await client.response()).json()["target"] == f"/{number}"
    assert len(gw.engine.starts) == 1, "two reloads during one start"
    hosts = {one.target: one.get("host") for one in upstream.requests}
    assert [hosts[b"/%d" % n] for n in range(3)] == [b"old.example"] * 3
    assert hosts[b"/3"] == b"new.example"
    await clients[0].ask("GET", f"{A}/4")
    assert upstream.requests[-1].get("host") == b"new.example", "nobody has the old ones any more"


async def test_what_was_started_with_other_options_serves_on_until_it_is_unused(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client = await connect(gw)
    slow = await connect(gw)
    assert (await client.ask("GET", A + "/x")).status == 200
    await slow.send(request("GET", A + "/slow"))
    await gw.until_in_flight(1)
    await gw.reload(other_options(cold("a")))
    assert (await client.ask("GET", A + "/x")).status == 200
    assert (await gw.status()).phase == "hot"
    upstream.release()
    assert (await slow.response()).body == b"released"
    status = await gw.until(lambda seen: seen.idle_stop_at is not None, "an end that is due")
    assert status.idle_stop_at is not None
    assert status.last_used_at is not None
    assert (status.idle_stop_at - status.last_used_at).total_seconds() <= OUTDATED_IDLE + 1, "two clocks"
    gw.hestia.gateway.stop(ServiceId("a"), force=False, actor="test")
    await gw.until_phase("cold")
    assert (await client.ask("GET", A + "/x")).status == 200
    assert [key.generation for key in gw.engine.starts] == [1, 2]


async def test_a_service_and_a_host_that_were_added_work_at_once(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    assert (await client.ask("GET", "/services/n/x")).status == 404
    assert (await client.ask("GET", "/x", host="n.example")).status == 421
    await gw.reload(service("a", upstream.url), service("n", upstream.url, hosts=("n.example",)))
    assert (await client.ask("GET", "/services/n/x")).status == 200
    assert (await client.ask("GET", "/x", host="n.example")).status == 200
    assert gw.hestia.gateway.services() == ["a", "n"]
    await gw.reload(service("a", upstream.url))
    assert (await client.ask("GET", "/x", host="n.example")).status == 421


async def test_dr_08_one_that_is_taken_out_while_hot_drains_stops_and_is_forgotten(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream}, b=upstream)
    slow, client = await connect(gw), await connect(gw)
    await slow.send(request("GET", A + "/slow"))
    await gw.until_in_flight(1)
    await gw.reload(service("b", upstream.url))
    (await client.ask("GET", A + "/x")).problem("service_not_found", 404)
    assert (await client.ask("GET", "/services/b/x")).status == 200
    assert gw.engine.stops == []
    upstream.release()
    assert (await slow.response()).body == b"released"
    await eventually(lambda: gw.hestia.gateway.services() == ["b"], "the service to be forgotten")
    assert len(gw.engine.stops) == 1


async def test_one_that_comes_back_while_it_stops_works_and_uses_no_number_twice(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a"), wakes={"a": upstream})
    client, slow = await connect(gw), await connect(gw)
    await slow.send(request("GET", A + "/slow"))
    await gw.until_in_flight(1)
    await gw.reload()
    assert (await client.ask("GET", A + "/x")).status == 404
    await gw.reload(cold("a"))
    await client.send(request("GET", A + "/x"))
    upstream.release()
    assert (await slow.response()).body == b"released"
    assert (await client.response()).status == 200
    await gw.reload()
    await eventually(lambda: gw.hestia.gateway.services() == [], "the service to be forgotten")
    await gw.reload(cold("a"))
    assert (await client.ask("GET", A + "/x")).status == 200
    assert [key.generation for key in gw.engine.starts] == [1, 2, 3]


async def test_own_ports_are_opened_kept_handed_over_and_closed(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(a=upstream, b=upstream)
    first, second = free_port(), free_port()
    one, two = service("a", upstream.url), service("b", upstream.url)
    await gw.reload(replace(one, port=first), replace(two, port=second))
    client = await connect(gw.hestia.own_address("a"))
    assert (await client.ask("GET", "/x")).status == 200
    await gw.reload(replace(one, port=second), replace(two, port=first))
    assert gw.hestia.own_address("a")[1] == second, "they changed places"
    assert (await client.ask("GET", "/x")).status == 200, "a connection is kept"
    await gw.reload(replace(one, port=second), two)
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(("127.0.0.1", first))
    (await client.ask("GET", "/x")).problem("service_not_found", 404)
    assert (await (await connect(gw.hestia.own_address("a"))).ask("GET", "/x")).status == 200


async def test_a_port_that_cannot_be_had_keeps_the_old_configuration(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    opens = free_port()
    taken = upstream.address[1]
    reload = await gw.reload(
        service("n", upstream.url, port=opens), service("a", upstream.url, port=taken, queue_size=3)
    )
    assert reload.problems[0].text.startswith(f"services.a.port: cannot listen on 127.0.0.1:{taken}")
    assert gw.hestia.gateway.services() == ["a"]
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(("127.0.0.1", opens))
    reload = await gw.reload(service("n", upstream.url, port=opens), service("a", upstream.url))
    assert reload.ok
    assert (await (await connect(gw.hestia.own_address("n"))).ask("GET", "/x")).status == 200


async def test_a_broken_edit_keeps_everything_and_says_so_and_a_good_one_recovers(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect(gw)
    wrong = [
        Problem(
            source="hestia_config.yml", line=3, column=5, key="services.a.ports", text="there is no such key"
        ),
        Problem(source=".env", line=1, text="expected NAME=value"),
    ]
    gw.configuration.problem = ConfigProblems(wrong)
    reload = await gw.reload(service("n", upstream.url))
    assert set(reload.problems) == set(wrong)
    told = "".join(one.getMessage() for one in caplog.records if one.levelname == "ERROR")
    assert "hestia_config.yml:3:5: services.a.ports: there is no such key" in told
    assert ".env:1: expected NAME=value" in told
    assert (await client.ask("GET", A + "/x")).status == 200
    gw.configuration.problem = None
    reload = await gw.reload(service("a", upstream.url), service("n", upstream.url))
    assert reload.ok
    assert (await client.ask("GET", "/services/n/x")).status == 200


async def test_keys_of_the_gateway_change_or_wait_for_a_restart(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    assert (await client.ask("GET", "/healthz", host="new.example")).status == 421
    reload = await gw.reload(
        service("a", upstream.url), allowed_hosts=("new.example",), database_url="sqlite:///elsewhere"
    )
    assert (reload.found.gateway, reload.found.waiting) == (("allowed_hosts",), ("database_url",))
    assert (await client.ask("GET", "/healthz", host="new.example")).status == 200
    gw.configuration.problem = ConfigError("broken")
    assert (await gw.reload(service("a", upstream.url))).found.waiting == ("database_url",), "it still waits"


async def test_reloads_under_load_lose_no_request(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("z"), wakes={"z": upstream}, a=upstream)
    over = asyncio.Event()
    served = 0

    async def ask(client: Client, path: str) -> None:
        nonlocal served
        while not over.is_set():
            assert (await client.ask("GET", path)).status == 200
            served += 1

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(ask(await connect(gw), f"/services/{'az'[number % 2]}/x"))
        for size in range(1, 31):
            before = served
            await gw.reload(
                service("a", upstream.url, queue_size=size),
                cold("z", queue_size=100 + size, max_in_flight=1 + size % 3),
                *([service("n", upstream.url)] if size % 2 else []),
            )
            await eventually(lambda at=before: served > at + 4, "requests between two reloads")  # type: ignore[misc]
        over.set()
    assert len(gw.engine.starts) == 1


async def test_after_the_end_began_nothing_is_taken(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(a=upstream)
    slow = await connect(gw)
    await slow.send(request("GET", A + "/slow"))
    await gw.until_in_flight(1)
    closing = asyncio.get_running_loop().create_task(gw.aclose(drain=15.0))
    await eventually(lambda: gw.hestia.gateway.health().ready is False, "the end to begin")
    reload = await gw.reload(service("a", upstream.url, port=free_port()))
    assert [one.text for one in reload.problems] == ["The gateway is ending."]
    upstream.release()
    assert (await slow.response()).status == 200
    await closing


async def test_an_engine_that_is_newly_needed_is_made_and_asked(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(wakes={"z": upstream}, a=upstream)
    client = await connect(gw)
    await gw.reload(service("a", upstream.url), cold("z"))
    assert (await client.ask("GET", "/services/z/x")).status == 200
    await gw.reload(service("a", upstream.url))
    await eventually(lambda: gw.hestia.gateway.services() == ["a"], "the service to be forgotten")
    await gw.reload(service("a", upstream.url), cold("z"))
    assert (await client.ask("GET", "/services/z/x")).status == 200, "it is kept for when it is needed again"


async def test_the_dispatcher_knows_what_was_added(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    call = b'{"serviceId": "n", "method": "GET", "path": "/x"}'
    kind = ("Content-Type", "application/json")
    assert (await client.ask("POST", "/v1/requests", kind, body=call)).status == 404
    await gw.reload(service("a", upstream.url), service("n", upstream.url))
    assert (await client.ask("POST", "/v1/requests", kind, body=call)).status == 200


async def test_every_attempt_is_one_event_with_who_asked_and_what_changed(
    gw: Gateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    client = await connect(gw)
    await gw.reload(service("n", upstream.url), service("a", upstream.url, queue_size=2))
    gw.configuration.problem = ConfigError("Broken in line 3.")
    assert (await client.ask("POST", "/v1/config/reload")).status == 409
    events = (await client.ask("GET", "/v1/events")).json()["events"]
    told = [one for one in events if one["event"].startswith("Config")]
    assert [(one["event"], one["text"]) for one in reversed(told)] == [
        ("ConfigReloaded", "the configuration was read again: added n; changed a"),
        ("ConfigRefused", "a new configuration was refused: gateway: Broken in line 3."),
    ]
    assert [one["actor"].partition(":")[0] for one in reversed(told)] == ["test", "api"]


async def test_id19_a_shorter_idle_timeout_leaves_a_grace_that_the_status_shows(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(cold("a", idle_timeout=3600.0), wakes={"a": upstream})
    assert (await (await connect(gw)).ask("GET", A + "/x")).status == 200
    await gw.at_rest()  # what is still in use gets no grace
    await gw.reload(cold("a", idle_timeout=0.001))
    status = await gw.status()
    assert status.idle_stop_at is not None
    assert status.last_used_at is not None
    assert (status.idle_stop_at - status.last_used_at).total_seconds() >= GRACE
    await gw.reload(cold("a", idle_timeout=7200.0))
    status = await gw.status()
    assert status.idle_stop_at is not None
    assert status.last_used_at is not None
    assert (status.idle_stop_at - status.last_used_at).total_seconds() == pytest.approx(7200.0, abs=0.01)


@pytest.mark.load
async def test_id19_a_hundred_idle_services_shortened_together_stop_one_after_the_other(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    names = [f"s{number}" for number in range(100)]
    gw = await gateway(
        *(cold(name, idle_timeout=3600.0) for name in names), wakes=dict.fromkeys(names, upstream)
    )
    client = await connect(gw)
    for name in names:
        assert (await client.ask("GET", f"/services/{name}/x")).status == 200
    await gw.reload(*(cold(name, idle_timeout=0.001) for name in names))
    ended: list[int] = []

    def all_ended() -> bool:
        if len(gw.engine.stops) != (ended or [0])[-1]:
            ended.append(len(gw.engine.stops))
        return len(gw.engine.stops) == len(names)

    await eventually(all_ended, "all to end", timeout=GRACE + SPREAD + 30)
    assert len(ended) > 10, f"they ended in {len(ended)} goes"


async def test_rf_06_a_new_fallback_is_asked_although_a_connection_to_the_old_one_is_idle(
    gateway: MakeGateway, upstream: HttpUpstream, raw: MakeUpstream, connect: MakeClient
) -> None:
    gone, answer = await raw(), b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew"
    await gone.aclose()
    newer = await raw([step.get_request(), step.send(answer), step.until_gone()])
    gw = await gateway(service("a", gone.url, fallback_url=upstream.url, appear_timeout=0.0), hot=False)
    client = await connect(gw)
    assert (await client.ask("GET", A + "/echo")).status == 200
    await gw.reload(service("a", gone.url, fallback_url=newer.url, appear_timeout=0.0))
    assert (await client.ask("GET", A + "/echo")).body == b"new"
    assert len(upstream.requests) == 1


async def test_a_waiter_served_by_the_reload_leaves_nothing_of_the_old_settings_behind(
    gateway: MakeGateway, upstream: HttpUpstream, connect: MakeClient
) -> None:
    gw = await gateway(service("a", upstream.url, max_in_flight=1))
    first, second, third = [await connect(gw) for _ in range(3)]
    assert (await first.ask("GET", A + "/echo")).status == 200
    await first.send(request("POST", A + "/echo", ("Content-Length", "1")))
    await gw.until_in_flight(1)
    await second.send(request("GET", A + "/echo"))
    await gw.until_waiting(1)
    await gw.reload(service("a", upstream.url, max_in_flight=9, host_header="new.example"))
    assert (await second.response()).status == 200
    assert (await third.ask("GET", A + "/echo")).status == 200
    assert upstream.requests[-1].get("host") == b"new.example"
    await first.send(b"x")
    assert (await first.response()).status == 200


async def test_t_dr_04_an_instance_that_is_taken_out_while_hot_is_told_to_be_cold(
    raw: MakeUpstream, gateway: MakeGateway, connect: MakeClient
) -> None:
    """Its record is gone when its last change of state is written down."""
    upstream = await raw([step.repeat(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew")])
    before = service("a", upstream.url)
    gw = await gateway(before)
    client = await connect(gw)
    assert (await client.ask("GET", A + "/x")).status == 200
    (one,) = gw.hestia.gateway.world.service(ServiceId("a")).settings.instances
    renamed = replace(before, instances=(replace(one, id=InstanceId("b")),))
    await gw.reload(renamed)
    assert (await client.ask("GET", A + "/x")).status == 200
    told = await gw.hestia.gateway.status(ServiceId("a"))
    assert [each.id for each in told.instances] == ["b"]
    events = await gw.hestia._store.events(service="a", instance="a")
    assert events[0].row.after == "cold"
