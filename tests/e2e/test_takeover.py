"""`hestia serve --takeover`: another gateway in the place of one that runs, under load and with real clients.

Nothing is refused, nothing lost, and the services do not notice; and when the new one does not make it, the
old one goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hestia.store.lock import take
from tests.e2e.cli import PROGRAM, environment
from tests.e2e.load import Load
from tests.e2e.served import Served, launch, serving
from tests.fakes.certificates import Authority
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command
from tests.fakes.wire import request

pytestmark = pytest.mark.e2e

S = "/services/a"


def configuration(**more: Any) -> dict[str, Any]:
    """A quick service, and one that waits for a file; a takeover stops neither. more: keys of the gateway."""
    engine = {"type": "process", "command": small_command()}
    slow = {"type": "process", "command": small_command("--gate", "gate"), "cwd": "."}
    health = "http://127.0.0.1:{port}/health"
    return {
        **more,
        "services": {
            "a": {"engine": engine, "health_url": health, "idle_timeout": "1h"},
            "slow": {"engine": slow, "health_url": health, "idle_timeout": "1h"},
        },
    }


def launch_next(served: Served, number: int, *arguments: str, **more: str) -> Served:
    """Start a gateway beside another one, in its folder. more: environment."""
    log = served.folder / f"next-{number}"
    log.mkdir()
    with (log / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--port", "0", *arguments],
            cwd=served.folder,
            env=environment(HESTIA_STATE_DIR=str(served.folder / "state"), HESTIA_ENV_SERVICES="off", **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    found = Served(log, process)
    found.port = served.port
    return found


@contextlib.asynccontextmanager
async def running(folder: Path, settings: Mapping[str, Any]) -> AsyncIterator[tuple[Served, list[Served]]]:
    """A gateway and whoever a test puts in its place; in the end nothing of either is left."""
    later: list[Served] = []
    first = launch(folder, settings)
    try:
        started = await first.until_line("gateway_started")
        first.port = int(started["listening"].rpartition(":")[2])
        yield first, later
    finally:
        for one in [*later, first]:
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGTERM)
        for one in [*later, first]:
            await one.ended()
            await one.http.aclose()
        for pid in first.programs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not first.programs(), "the services to be gone")


async def taken_over(later: list[Served], served: Served, *arguments: str) -> Served:
    """Put another gateway in the place of `served`; return when it serves and the other one has ended."""
    new = launch_next(served if not later else _home(later, served), len(later), "--takeover", *arguments)
    later.append(new)
    await new.until_line("gateway_started")
    assert await served.ended() == 0
    return new


def _home(later: list[Served], served: Served) -> Served:
    """Where the gateway's folder is: that of the first one."""
    home = Served(later[0].folder.parent, served.process)
    home.port = served.port
    return home


async def test_three_takeovers_under_load_lose_nothing_and_services_go_on(tmp_path: Path) -> None:
    settings = configuration()
    async with running(tmp_path / "g", settings) as (served, later):
        await served.get(f"{S}/x")
        pids = served.programs()
        load, now = Load(served.port), served
        async with load.going():
            for _ in range(3):
                now = await taken_over(later, now)
                await load.more(50)
        assert load.errors == []
        assert served.programs() == pids
        status = await now.status("a")
        assert (status["phase"], status["instances"][0]["generation"]) == ("hot", 1)
        told = (await now.get("/v1/events?limit=5")).json()["events"][::-1]
        assert [one["event"] for one in told if one["event"].startswith("Gateway")] == [
            "GatewayHandedOver",
            "GatewayStarted",
        ]
        texts = [one["text"] for one in told]
        adopted = texts.index("a is taken over: an earlier gateway had started it")
        assert "gives its place" in texts[adopted - 1], "the cause is told before its consequence"


async def test_a_stream_goes_on_at_the_old_gateway_and_counts_as_use_at_the_new_one(tmp_path: Path) -> None:
    async with running(tmp_path / "g", configuration()) as (served, later):
        await served.get(f"{S}/x")
        async with served.client() as stream:
            await stream.send(request("GET", f"{S}/stream?1600"))
            await stream.head()
            new = launch_next(served, 0, "--takeover")
            later.append(new)
            await new.until_line("gateway_started")
            await eventually_in_flight(new, 1)
            await new.get(f"{S}/x")
            assert served.process.poll() is None
            assert (await stream.body()).complete
            assert await served.ended() == 0
            await eventually_in_flight(new, 0)


async def eventually_in_flight(served: Served, count: int) -> None:
    """Wait until the status of `a` says so."""
    for _ in range(600):
        if (await served.status("a"))["inFlight"] == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never {count} in flight: {await served.status('a')}")


async def test_who_waits_for_a_start_is_served_across_a_takeover(tmp_path: Path) -> None:
    async with running(tmp_path / "g", configuration()) as (served, later):
        async with served.client() as waiter:
            await waiter.send(request("GET", "/services/slow/x"))
            await served.until_phase("starting", "slow")
            new = launch_next(served, 0, "--takeover")
            later.append(new)
            await served.until_line("takeover_begun")
            (served.folder / "gate").touch()
            assert (await waiter.response()).status == 200
            await new.until_line("gateway_started")
        await new.until_phase("hot", "slow")  # taken over, then probed


async def test_a_new_gateway_that_dies_before_it_serves_leaves_the_old_one_serving(tmp_path: Path) -> None:
    """At three moments: while it is told, while clients say farewell, after it was given everything."""
    async with running(tmp_path / "g", configuration()) as (served, later):
        await served.get(f"{S}/x")
        pids = served.programs()
        load = Load(served.port)
        async with load.going():
            for moment in ("", "takeover_begun", "yours"):
                await die_at(served, moment)
                await load.more(20)
        assert load.errors == []
        assert served.process.poll() is None
        assert served.lines("takeover_failed")
        await served.until_phase("hot", "a")
        assert served.programs() == pids
        await taken_over(later, served)


async def die_at(served: Served, moment: str) -> None:
    """Ask for the place of `served` as a new gateway does, and end at a moment of the conversation."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        path = served.folder / "state" / "control" / "takeover"
        folder = os.open(path.parent, os.O_PATH)
        await loop.sock_connect(sock, f"/proc/self/fd/{folder}/takeover")
        os.close(folder)
        await loop.sock_sendall(sock, b'{"protocol": 1, "version": "0"}\n')
        while True:
            with contextlib.suppress(BlockingIOError):
                _, descriptors, _, _ = socket.recv_fds(sock, 65536, 10)
                break
            await asyncio.sleep(0.01)
        for one in descriptors:
            os.close(one)
        assert descriptors
        if not moment:
            return
        begun = len(served.lines("takeover_begun"))
        await loop.sock_sendall(sock, b'{"take": true}\n')
        await served.until_line("takeover_begun", count=begun + 1)
        if moment == "yours":
            assert b"yours" in await loop.sock_recv(sock, 65536)


async def test_settings_that_do_not_work_leave_the_old_gateway_serving(tmp_path: Path) -> None:
    """A broken file, an address that is taken, another version of the conversation, systemd: all are told."""
    async with running(tmp_path / "g", configuration()) as (served, later):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = other.getsockname()[1]
            broken = tmp_path / "broken.yml"
            broken.write_text("services: {a: {prot: 1}}\n")
            used = tmp_path / "used.yml"
            more = configuration()
            more["services"]["a"]["port"] = taken
            used.write_text(yaml.safe_dump(more))
            for number, (path, said) in enumerate([(broken, "prot"), (used, "services.a.port")]):
                new = launch_next(served, number, "--takeover", "--config", str(path))
                later.append(new)
                assert await new.ended() != 0
                assert said in new.said
                await served.get(f"{S}/x")
        assert not served.lines("takeover_begun")


async def test_where_no_gateway_runs_it_is_a_plain_start(tmp_path: Path) -> None:
    async with serving(tmp_path / "g", configuration(), "--takeover") as served:
        await served.get(f"{S}/x")
        await served.until_line("log")
        assert "No gateway ran" in served.lines("log")[0]["message"]


async def test_own_ports_and_tls_go_over_as_well(tmp_path: Path) -> None:
    authority = Authority()
    files = authority.write(tmp_path / "tls")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = configuration(tls={"certificate": files.certificate, "key": files.key})
    settings["services"]["a"]["port"] = port
    trust = authority.trusting()
    async with running(tmp_path / "g", settings) as (served, later):

        async def ask(at: int, path: str) -> int:
            client = await Client.connect(("127.0.0.1", at), tls=trust)
            try:
                await client.send(request("GET", path))
                return (await client.response()).status
            finally:
                await client.close()

        assert await ask(port, "/x") == 200
        new = launch_next(served, 0, "--takeover")
        later.append(new)
        while new.process.poll() is None and not new.lines("gateway_started"):
            assert [await ask(port, "/x"), await ask(served.port, f"{S}/x")] == [200, 200]
        assert await served.ended() == 0
        assert [await ask(port, "/x"), await ask(served.port, f"{S}/x")] == [200, 200]


async def test_who_cannot_give_its_place_is_named_with_the_reason(tmp_path: Path) -> None:
    """Under systemd, and one that does not know how; the second is any process that holds the lock."""
    folder = tmp_path / "g"
    notify = str(tmp_path / "nobody listens here")
    async with serving(folder, configuration(), NOTIFY_SOCKET=notify) as served:
        new = launch_next(served, 0, "--takeover")
        assert await new.ended() == 1
        assert "systemctl restart" in new.said
        assert str(served.process.pid) in new.said
        await served.get(f"{S}/x")
        await new.http.aclose()
    lock = take(folder / "state" / "gateway.lock")
    try:
        new = launch_next(served, 1, "--takeover")
        assert await new.ended() == 1
        assert "cannot hand its place over" in new.said
        assert f"kill {os.getpid()}" in new.said
        await new.http.aclose()
    finally:
        os.close(lock)


async def test_another_port_is_opened_and_the_old_one_given_up(tmp_path: Path) -> None:
    async with running(tmp_path / "g", configuration()) as (served, later):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        new = await taken_over(later, served, "--port", str(port))
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(("127.0.0.1", served.port))
        new.port = port
        await new.get(f"{S}/x")
