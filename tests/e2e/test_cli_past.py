"""`hestia explain` and `hestia events` beside a real gateway, which is restarted meanwhile (CL-17)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cli import PROGRAM, environment
from tests.e2e.served import Served, launch, serving
from tests.e2e.test_serve import small
from tests.fakes.facts import eventually
from tests.fakes.stores import ask

pytestmark = pytest.mark.e2e


async def called(served: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What came of a command."""
    return await asyncio.to_thread(
        subprocess.run, [*PROGRAM, *arguments, "--url", served.url], cwd=served.folder,
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def asked(served: Served, *arguments: str) -> str:
    """What a command says; it must succeed."""
    done = await called(served, *arguments)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


FOLLOW = ("events", "-f", "--json", "--url")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def test_cl18_a_request_is_explained_also_by_the_next_gateway(tmp_path: Path) -> None:
    async with serving(tmp_path / "a", small()) as served:
        answer = await served.get("/services/a/")
        request_id = answer.headers["x-request-id"]
        told = await asked(served, "explain", request_id)
        assert "the start was begun by this request" in told
        assert "probe" in told
        whole = json.loads(await asked(served, "explain", request_id, "--json"))
        assert sum(part["durationMs"] for part in whole["parts"]) == pytest.approx(whole["totalMs"], abs=5)
        service = await asked(served, "explain", "a")
        assert f"a request came ({request_id})" in service
    async with serving(tmp_path / "a", small()) as served:
        assert await asked(served, "explain", request_id) == told
        assert request_id in await asked(served, "events", "a", "--since", "1h")


async def test_cl17_events_are_followed_across_a_restart_and_none_is_missed(tmp_path: Path) -> None:
    port = free_port()
    folder, out = tmp_path / "a", tmp_path / "out"
    url = f"http://127.0.0.1:{port}"
    with out.open("wb") as stdout, (tmp_path / "err").open("wb") as stderr:
        async with serving(folder, small(), "--port", str(port)) as served:
            follow = subprocess.Popen(
                [*PROGRAM, *FOLLOW, url],
                env=environment(),
                stdout=stdout,
                stderr=stderr,
            )
            await served.get("/services/a/")
            await eventually(lambda: '"after": "hot"' in out.read_text(), "the first start to be shown")
        async with serving(folder, small(), "--port", str(port)) as served:
            await served.get("/services/a/")
            await eventually(lambda: out.read_text().count('"after": "hot"') == 2, "the second start")
            follow.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(follow.wait, 30) == 130
    shown = [json.loads(line) for line in out.read_text().splitlines()]
    numbers = [one["id"] for one in shown]
    assert numbers == sorted(set(numbers))
    assert "cold" in [one["after"] for one in shown], "how it ended with the first gateway was told, too"
    assert "Reconnected" in (tmp_path / "err").read_text()


async def test_qf_16_estimates_survive_a_restart_and_reach_status_and_retry_after(tmp_path: Path) -> None:
    async with serving(tmp_path / "a", small()) as served:
        await served.get("/services/a/")
    async with serving(tmp_path / "a", small("--gate", str(tmp_path / "never"))) as served:
        answer = await served.http.get(f"{served.url}/services/a/", headers={"Prefer": "respond-async"})
        assert answer.status_code == 202
        assert answer.json()["estimatedReadyMs"] >= 1000
        assert int(answer.headers["retry-after"]) >= 1
        status = (await served.get("/v1/services/a/status")).json()
        assert status["estimatedReadyMs"] >= 1000
        assert any(stage["usualMs"] is not None for stage in status["instances"][0]["stages"])


async def test_ob_17_output_and_error_survive_the_instance(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo last words {port}; exit 3"]
    engine = {"type": "process", "command": command}
    settings = {"services": {"b": {"base_url": "http://127.0.0.1:{port}", "engine": engine}}}
    async with serving(tmp_path / "a", settings) as served:
        answer = await served.http.get(f"{served.url}/services/b/")
        assert answer.status_code == 503
        assert "last words" in (await served.get("/v1/services/b/logs")).text
        error = (await served.get("/v1/services/b/status")).json()["lastError"]
        assert "exit status 3" in error["detail"]
        assert error["tail"][-1].startswith("last words")
        assert "last words" in await asked(served, "explain", "b")


async def test_ob_19_a_crash_is_explained_before_the_next_start(tmp_path: Path) -> None:
    """The gateway is gone; its database answers, and every answer says where it is from."""
    folder = tmp_path / "a"
    served = launch(folder, small())

    def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *arguments], cwd=folder,
            env=environment(HESTIA_STATE_DIR=str(folder / "state"), HESTIA_PORT=str(served.port)),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    try:
        started = await served.until_line("gateway_started")
        served.port = int(started["listening"].rpartition(":")[2])
        request_id = (await served.get("/services/a/")).headers["x-request-id"]
        await eventually(
            lambda: bool(ask(folder / "state" / "hestia.db", "SELECT 1 FROM requests")),
            "the request to be stored",
        )
        port, served.port = served.port, free_port()
        missed = alone("status")  # one runs, and the configuration names another port by now
        assert f"A gateway runs (pid {served.process.pid})" in missed.stderr
        assert ("HESTIA_URL" in missed.stderr, "hestia serve" in missed.stderr) == (True, False), missed
        assert "ask the gateway that runs" in alone("explain", "a").stdout
        served.port = port
        served.process.kill()
        served.process.wait()
        told = alone("explain", request_id)
        assert (told.returncode, "the start was begun by this request" in told.stdout) == (0, True), told
        assert "No gateway runs" in told.stderr
        assert str(folder / "state" / "hestia.db") in told.stderr
        service = alone("explain", "a")
        assert "was hot (engine process, generation 1), and may still run" in service.stdout
        assert f"a request came ({request_id})" in service.stdout
        assert request_id in alone("events", "a").stdout
        page = json.loads(alone("events", "a", "--json").stdout)
        assert page["events"][0]["after"] == "hot"
        status = alone("status")
        assert (status.returncode, "was hot" in status.stdout) == (3, True), status
        assert alone("status", "a", "--is", "hot").returncode == 3
        assert json.loads(alone("status", "--json").stdout)["code"] == "gateway_unreachable"
        unknown = alone("explain", "nobody")
        assert (unknown.returncode, unknown.stdout) == (5, "")
        async with serving(folder, small()) as again:
            await again.until_phase("hot", "a")
            texts = [one["text"] for one in (await again.get("/v1/events")).json()["events"][::-1]]
            adopted = texts.index("a is taken over: an earlier gateway had started it")
            assert f"(pid {served.process.pid}) was killed" in texts[adopted - 1]
        async with serving(folder, small()) as third:
            texts = [one["text"] for one in (await third.get("/v1/events")).json()["events"]]
            assert sum("was killed" in one for one in texts) == 1, "the second one ended in order"
    finally:
        await served.http.aclose()
        served.process.kill()
        served.process.wait()
        for pid in served.programs():
            os.kill(pid, signal.SIGKILL)
