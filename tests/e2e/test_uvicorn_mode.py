"""`uvicorn hestia.app:app` as an operator runs it: a program of its own, real services, real signals."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from websockets.sync.client import connect as open_socket

from hestia.bridge.application import FLAGS
from tests.e2e.cli import PATIENCE, Caller, environment
from tests.fakes.facts import eventually
from tests.fakes.programs import Programs, is_alive

pytestmark = pytest.mark.e2e

UVICORN = [sys.executable, "-m", "uvicorn", "hestia.app:app", "--host", "127.0.0.1", "--port", "0"]


@dataclass
class Server:
    """A running uvicorn. url: where it says it listens. said: its output up to there."""

    process: subprocess.Popen[str]
    url: str
    said: str

    def end(self, number: int = signal.SIGTERM) -> str:
        """End it with a signal and return the rest of its output."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=PATIENCE)[0]


def _start(folder: Path, *flags: str, **env: str) -> subprocess.Popen[str]:
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [*UVICORN, *flags],
        cwd=folder,
        env=environment(TMPDIR=str(temporary), HESTIA_LOG_FORMAT="json", **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _listening(process: subprocess.Popen[str]) -> Server:
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if found := re.search(r"running on (http://\S+)", line):
            return Server(process, found[1], said)
    raise AssertionError(f"uvicorn ended with {process.wait(PATIENCE)}:\n{said}")


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    folder = tmp_path / "services"
    folder.mkdir()
    return Programs(folder)


@pytest.fixture
def server(tmp_path: Path, programs: Programs) -> Iterator[Server]:
    """uvicorn with two cold services, `a` and `gated`, and nothing left of it afterwards."""
    services = {
        name: {
            "base_url": "http://127.0.0.1:{port}",
            "health_url": "http://127.0.0.1:{port}/health",
            "engine": {"type": "process", "command": programs.command(name, gated=name == "gated")},
        }
        for name in ("a", "gated")
    }
    settings = {"state_dir": str(tmp_path / "state"), "services": services}
    (tmp_path / "hestia_config.yml").write_text(yaml.safe_dump(settings))
    process = _start(tmp_path, *FLAGS.split())
    try:
        yield _listening(process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=PATIENCE)
        assert programs.alive() == []


def test_everything_through_one_uvicorn(server: Server, programs: Programs, tmp_path: Path) -> None:
    with httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        assert client.get("/v1/services/a/status").json()["state"] == "cold"
        woken = client.get("/services/a/first?x=%2F")
        assert woken.json()["target"] == "/first?x=%2F"
        assert woken.json()["pid"] == programs.started("a")[0]
        assert client.get("/deep", headers={"Host": "a.localhost"}).json()["target"] == "/deep"
        with client.stream("GET", "/services/a/stream?20") as stream:
            assert sum(line.startswith("data: event") for line in stream.iter_lines()) == 20
        assert client.post("/v1/services/a/start").status_code == 409
        assert client.get("/services/b/").json()["code"] == "service_not_found"
        assert len(client.get("/v1/services").headers.get_list("date")) == 1
        with open_socket(f"ws{server.url[4:]}/services/a/ws", proxy=None) as socket:
            socket.send("echo")
            assert socket.recv() == "echo"
        assert client.post("/v1/services/a/stop?force=true").status_code == 202
    assert "bridge_mode" in server.said
    assert FLAGS in server.said


def test_the_command_line_sees_it_as_any_gateway(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    hestia = Caller(capsys)
    started = hestia("--url", server.url, "start", "a")
    assert started.code == 0, started
    shown = hestia("--url", server.url, "status", "a", "--json")
    assert (shown.code, json.loads(shown.out)["state"]) == (0, "hot")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_every_service_stopped_and_nothing_left(
    server: Server, programs: Programs, tmp_path: Path, number: signal.Signals
) -> None:
    assert httpx.get(f"{server.url}/services/a/x", timeout=PATIENCE, trust_env=False).status_code == 200
    (pid,) = programs.started("a")
    said = server.end(number)
    assert not is_alive(pid)
    assert "Application shutdown complete" in said
    assert '"event_type":"gateway_stopped"' in said
    assert "Traceback" not in said
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_a_second_ctrl_c_stops_the_services_too(server: Server, programs: Programs) -> None:
    """uvicorn then says nothing to the application; its end is noticed all the same."""
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, trust_env=False) as client,
        client.stream("GET", "/services/a/stream?1000000") as stream,
    ):
        assert stream.status_code == 200
        server.process.send_signal(signal.SIGINT)
        await eventually(lambda: _refused(server.url), "uvicorn to stop listening")
        said = await asyncio.to_thread(server.end, signal.SIGINT)
    assert '"event_type":"gateway_stopped"' in said
    assert programs.alive() == []


def _refused(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz", timeout=PATIENCE, trust_env=False)
    except httpx.ConnectError:
        return True
    except httpx.HTTPError:
        return False
    return False


def test_a_client_that_leaves_a_cold_start_is_not_waited_for(server: Server, programs: Programs) -> None:
    with httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.get("/services/gated/x", timeout=1.0)
        programs.open()
        assert client.post("/v1/services/gated/start?wait=true").status_code in (200, 409)
        assert client.get("/services/gated/y").json()["target"] == "/y"
    assert programs.targets("gated") == ["/y"]


def test_a_broken_configuration_is_told_whole_and_nothing_is_served(tmp_path: Path) -> None:
    (tmp_path / "hestia_config.yml").write_text("nonsense: 1\nservices: {b: {base_ulr: 'http://x'}}\n")
    process = _start(tmp_path)
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode != 0
    assert "hestia_config.yml:1:1: nonsense: unknown key" in said
    assert "nearest: base_url" in said
    assert "running on" not in said
    assert list((tmp_path / "tmp").iterdir()) == []


def test_without_a_lifespan_it_says_what_to_do(tmp_path: Path) -> None:
    server = _listening(_start(tmp_path, "--lifespan", "off"))
    try:
        answer = httpx.get(f"{server.url}/services/a/", timeout=PATIENCE, trust_env=False)
        assert answer.status_code == 503
        assert "--lifespan off" in answer.json()["detail"]
    finally:
        server.end()
