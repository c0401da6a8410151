"""Services that share a machine, with real processes: never two at once, nobody starved, and told why.

The truth about "at once" is the kernel's: each program takes one lock for its whole life and notes an overlap
when it is taken.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cli import PATIENCE, PROGRAM, environment
from tests.e2e.lives import lives
from tests.e2e.served import Served, serving
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command

pytestmark = pytest.mark.e2e

BOX = {"box": {"address": "box.lan", "role": "gpu", "max_instances": 1}}


def tenant(folder: Path, name: str, **keys: Any) -> dict[str, Any]:  # any keys of a service
    """A service on the box that is alone there, or notes that it is not."""
    command = small_command("--journal", str(folder / name), "--alone", str(folder / "alone"))
    return {
        "engine": {"type": "process", "command": command},
        "health_url": "http://127.0.0.1:{port}/health",
        "machine": "box",
        **keys,
    }


def journal(folder: Path, name: str) -> list[str]:
    path = folder / name
    return path.read_text().splitlines() if path.exists() else []


def hestia(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(HESTIA_URL=url, COLUMNS="120"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


async def ask(served: Served, service: str) -> dict[str, Any]:
    """A request that is served, however long its service waits for room."""
    answer = await served.http.get(f"{served.url}/services/{service}/here", timeout=120)
    assert answer.status_code == 200, answer.text
    return {"id": answer.headers["x-request-id"], **answer.json()}


async def test_two_services_on_one_machine_alternate_under_load(tmp_path: Path) -> None:
    """Neither is ever idle for long; both are served to the end, and the kernel saw no two at once."""
    keys = {"min_hot": "300ms", "max_room_wait": "1s"}
    services = {name: tenant(tmp_path, name, **keys) for name in ("one", "two")}
    async with serving(tmp_path / "gateway", {"machines": BOX, "services": services}) as served:
        turns = {"one": 0, "two": 0}

        async def client(name: str) -> None:
            while min(turns.values()) < 40 or swaps() < 6:
                await ask(served, name)
                turns[name] += 1

        def swaps() -> int:
            return sum(line == "started" for name in services for line in words(name))

        def words(name: str) -> list[str]:
            return [line.split()[0] for line in journal(tmp_path, name)]

        async with asyncio.timeout(PATIENCE * 4):
            await asyncio.gather(*(client(name) for name in ["one", "two"] * 3))
        for name in services:
            assert "overlap" not in words(name)
        stops = [line["cause"] for line in served.lines() if line.get("to") in ("stopping", "draining")]
        assert {"evicted_for:one", "evicted_for:two"} <= set(stops)


async def test_a_wait_for_room_is_shown_and_explained(tmp_path: Path) -> None:
    services = {
        "comfyui": tenant(tmp_path, "comfyui", min_hot="0s"),
        "sdxl": tenant(tmp_path, "sdxl"),
    }
    async with serving(tmp_path / "gateway", {"machines": BOX, "services": services}) as served:
        await ask(served, "comfyui")
        async with served.client() as busy:
            await busy.send(b"GET /services/comfyui/stream?1000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await busy.got(b"event 3")
            waiting = asyncio.create_task(ask(served, "sdxl"))  # noqa: TID251 - awaited below
            status = await served.until_phase("starting", "sdxl")
            stage = status["instances"][0]["stages"][0]
            assert stage["name"] == "room"
            assert stage["text"] == "waiting for room on box: comfyui is busy (1 request)"
            assert (await served.status("sdxl"))["machineId"] == "box"
        answer = await waiting
        told = hestia("explain", answer["id"], url=served.url).stdout
        assert "box: comfyui was busy; evicted after" in told, told


async def test_ev_13_a_reload_that_changes_capacity(tmp_path: Path) -> None:
    """More room lets who waits begin at once; less kills nobody."""
    services = {"one": tenant(tmp_path, "one"), "two": tenant(tmp_path, "two")}
    for name in services:  # these two may run together
        services[name]["engine"]["command"] = small_command("--journal", str(tmp_path / name))
    async with serving(tmp_path / "gateway", {"machines": BOX, "services": services}) as served:
        await ask(served, "one")
        waiting = asyncio.create_task(ask(served, "two"))  # noqa: TID251 - awaited below
        await served.until_phase("starting", "two")
        path = served.folder / "hestia_config.yml"
        larger = {"machines": {"box": {"max_instances": 2}}, "services": services}
        path.write_text(yaml.safe_dump(larger))
        served.process.send_signal(signal.SIGHUP)
        await waiting
        assert (await served.status("one"))["phase"] == "hot"
        path.write_text(yaml.safe_dump({"machines": BOX, "services": services}))
        served.process.send_signal(signal.SIGHUP)
        await served.until_line("config_reloaded", count=2)
        assert [(await served.status(name))["phase"] for name in services] == ["hot", "hot"]


async def test_two_want_the_room_when_the_gateway_is_killed(tmp_path: Path) -> None:
    """The next gateway adopts the one that runs, counts its room, and gives both their turn."""
    async with lives(tmp_path / "gateway") as gateway:
        gateway.configuration["machines"] = BOX
        keys = {"min_hot": "0s", "max_room_wait": "2s"}
        gateway.set(**{name: tenant(tmp_path, name, **keys) for name in ("one", "two")})
        await gateway.boot()
        first = await ask(gateway.now, "one")
        holding = await gateway.send("/services/one/stream?1000000")
        await eventually(lambda: len(gateway.programs()) == 1, "one program")
        await gateway.send("/services/two/first")
        await gateway.now.until_phase("starting", "two")
        gateway.kill()
        del holding
        await gateway.boot()
        one, two = await asyncio.gather(ask(gateway.now, "one"), ask(gateway.now, "two"))
        assert one["pid"] == first["pid"] or len(journal(tmp_path, "one")) > 1
        assert two["pid"] != first["pid"]
        for name in ("one", "two"):
            assert "overlap" not in journal(tmp_path, name)
        await gateway.end()


async def test_machines_are_shown_with_who_has_their_room_and_who_waits(tmp_path: Path) -> None:
    machines = {"box": {"address": "box.lan", "resources": {"vram": "24GiB"}}, "empty": {}}
    services = {
        "comfyui": tenant(tmp_path, "comfyui", needs={"vram": "14GiB"}),
        "sdxl": tenant(tmp_path, "sdxl", needs={"vram": "20GiB"}),
    }
    async with serving(tmp_path / "gateway", {"machines": machines, "services": services}) as served:
        await ask(served, "comfyui")
        async with served.client() as busy:
            await busy.send(b"GET /services/comfyui/stream?1000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await busy.got(b"event 3")
            waiting = asyncio.create_task(ask(served, "sdxl"))  # noqa: TID251 - ends below
            await served.until_phase("starting", "sdxl")
            table = hestia("machines", url=served.url).stdout
            assert "box\tawake\tbox.lan\t1\tvram 14 GiB of 24 GiB\tsdxl" in table, table
            one = hestia("machines", "box", url=served.url).stdout
            assert "comfyui, has vram 14 GiB: is busy (1 request)" in one, one
            assert "sdxl waits, needs vram 20 GiB: comfyui is busy (1 request)" in one, one
            found = json.loads(hestia("machines", "--json", url=served.url).stdout)
            assert [(each["machineId"], each["running"]) for each in found] == [("box", 1), ("empty", 0)]
            assert found[0]["resources"]["vram"]["free"] == 10 * 2**30
            assert hestia("machines", "bxo", url=served.url).returncode == 5
            waiting.cancel()


async def test_seed_services_that_name_one_semaphore_machine_take_turns(tmp_path: Path) -> None:
    """The rule is about how a machine was named; what starts the service there is another matter."""
    keys = {
        "semaphore_enabled": True,
        "semaphore_machine_id": "cloud-1",
        "base_url": "http://cloud-1.invalid",
    }
    services = {name: {**keys, "base_url": f"http://{name}.invalid"} for name in ("one", "two")}
    configuration = {"services": services, "semaphore_api_key": "k"}
    async with serving(tmp_path / "gateway", configuration) as served:
        answer = await served.get("/v1/machines/cloud-1")
        found = answer.json()
        assert (found["maxInstances"], found["declared"], found["services"]) == (1, False, 2)


async def test_no_room_in_time_is_an_answer_that_says_who_has_it(tmp_path: Path) -> None:
    services = {
        "kept": tenant(tmp_path, "kept", pin=True),
        "late": tenant(tmp_path, "late", request_timeout="500ms"),
    }
    async with serving(tmp_path / "gateway", {"machines": BOX, "services": services}) as served:
        await ask(served, "kept")
        answer = await served.http.get(f"{served.url}/services/late/here")
        told = answer.json()
        assert (answer.status_code, told["code"]) == (503, "queue_timeout")
        assert (told["cause"], told["stage"]) == ("no_room", "room")
        assert 'There was no room for "late" on box' in told["detail"]
        assert "kept is pinned" in told["detail"]
        assert "hestia stop kept" in told["detail"]
        await served.until_phase("cold", "late")
        events = hestia("events", url=served.url).stdout
        assert "nobody waits for its room any more" in events, events
