"""`hestia serve` as a program: what it says, who has its port, how it ends, and with nothing configured."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pexpect
import psutil
import pytest

from tests.e2e.cli import PATIENCE, PROGRAM, environment, on_terminal
from tests.e2e.served import launch, serving
from tests.fakes.client import Client
from tests.fakes.programs import small_command
from tests.fakes.wire import request

pytestmark = pytest.mark.e2e

SEED_FIELDS = ["serviceId", "state", "machineId", "readiness", "queuePending"]
BARE = {"PATH": "/usr/bin:/bin", "HESTIA_ENV_SERVICES": ""}  # no `ollama` there


def small(*more: str, **keys: Any) -> Mapping[str, Any]:
    """Configuration with one quick service `a`. keys: of the service, any of them."""
    service = {
        "engine": {"type": "process", "command": small_command(*more)},
        "health_url": "http://127.0.0.1:{port}/health",
        **keys,
    }
    return {"services": {"a": service}}


# -- what it says ------------------------------------------------------------------------------


def test_fm02_the_banner_on_a_terminal_fits_and_its_address_opens(tmp_path: Path) -> None:
    """FM-02, FM-03: at most 12 lines, then the log; the address is one a browser can open."""
    more = {"HESTIA_STATE_DIR": str(tmp_path / "state"), "OLLAMA_BASE_URL": "http://localhost:11434"}
    child = on_terminal(
        ["serve", "--port", "0", "--host", "0.0.0.0"], cwd=tmp_path, env=environment(**more), columns=100
    )
    child.expect(r"Hestia \S+ listens on (http://localhost:\d+)")
    url = str(child.match.group(1))
    child.expect("Ctrl-C[^\r\n]*\r\n")
    banner = (child.before + child.after).replace("\r", "")
    assert len(banner.splitlines()) <= 12
    for fact in (
        "none, defaults",
        "ollama (environment OLLAMA_BASE_URL)",
        "off: whoever reaches",
        f"curl {url}/v1/",
    ):
        assert fact in banner
    assert not re.search(r"http://0\.0\.0\.0", banner)
    assert httpx.get(f"{url}/v1/services", trust_env=False).status_code == 200
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "Traceback" not in child.before


async def test_fm02_in_a_pipe_the_same_is_one_json_event(tmp_path: Path) -> None:
    async with serving(tmp_path / "g", small()) as served:
        (event,) = served.lines("gateway_started")
        assert event["address"] == f"http://localhost:{served.port}"
        assert event["config"] == str(tmp_path / "g" / "hestia_config.yml")
        assert [(one["service_id"], one["state"], one["engine"]) for one in event["services"]] == [
            ("a", "cold", "process")
        ]
        assert event["access"] == "off"


async def test_fm09_what_has_no_effect_is_said_once_with_its_remedy(tmp_path: Path) -> None:
    async with serving(tmp_path / "g", None, **BARE, MINE_IDLE_TIMEOUT_MS="5000") as served:
        await served.until_line("config_warning", count=2)
        told = [line["message"] for line in served.lines("config_warning")]
        assert len([text for text in told if "MINE_BASE_URL" in text]) == 1
        assert len([text for text in told if "no program 'ollama'" in text and "hestia demo" in text]) == 1


async def test_the_first_access_line_is_a_clients(tmp_path: Path) -> None:
    async with serving(tmp_path / "g", small()) as served:
        await served.status("a")
        first = (await served.until_line("request"))["path"]
        assert first != "/v1/services"


# -- nothing configured ------------------------------------------------------------------------


async def test_fm04_zero_configuration_tells_the_truth_about_ollama(tmp_path: Path) -> None:
    """No file, no environment, no Ollama: the seeds' five fields come first and are true."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unused = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with serving(tmp_path / "g", None, **BARE) as served:
        found = await served.status("ollama")
        assert list(found)[:5] == SEED_FIELDS
        assert found["serviceId"] == "ollama"
        reachable = _answers("http://localhost:11434/api/tags")
        assert (found["state"] == "hot") is reachable
        assert (found["readiness"] == "ready") is reachable
    async with serving(tmp_path / "h", None, **BARE, OLLAMA_BASE_URL=unused) as served:
        found = await served.status("ollama")
        assert [found[name] for name in SEED_FIELDS] == ["ollama", "cold", "local", "not_ready", 0]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2).is_success
    except httpx.HTTPError:
        return False


# -- the port is taken -------------------------------------------------------------------------


async def test_fm05_a_port_taken_by_a_hestia_says_which(tmp_path: Path) -> None:
    async with serving(tmp_path / "g", small()) as served:
        done = _serve_on(served.port, tmp_path)
        assert done.returncode == 1
        assert f"(pid {served.process.pid})" in done.stderr
        assert "It is a Hestia: version " in done.stderr
        assert str(tmp_path / "g" / "hestia_config.yml") in done.stderr
        assert f"hestia status --url http://localhost:{served.port}" in done.stderr
        assert (await served.status("a"))["phase"] == "cold", "the first one was not disturbed"


def test_fm05_a_port_taken_by_another_program_names_it_and_a_free_one(tmp_path: Path) -> None:
    """The proposed command is taken at its word: it serves."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        done = _serve_on(holder.getsockname()[1], tmp_path)
    assert done.returncode == 1
    assert "Hestia:" not in done.stderr
    assert re.search(r"the port is taken by \S+ \(pid \d+\)", done.stderr), done.stderr
    assert len(done.stderr.splitlines()) <= 4
    proposed = re.search(r"^Use a free port: (hestia serve --port (\d+))$", done.stderr, re.MULTILINE)
    assert proposed, done.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", int(proposed[2])))


def _serve_on(port: int, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "serve", "--port", str(port)],
        cwd=folder,
        env=environment(HESTIA_STATE_DIR=str(folder / "other")),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# -- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_cl07_one_signal_lets_open_requests_end_then_stops_everything(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The answer under way comes whole, new connections are refused, nothing is left, exit 0."""
    async with serving(tmp_path / "g", small()) as served, served.client() as client:
        await client.send(request("GET", "/services/a/stream?400"))
        await client.until(lambda: b"event 3" in client.received, "the stream to run")
        assert served.programs()
        served.process.send_signal(number)
        await served.until_line("gateway_draining")
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(("127.0.0.1", served.port))
        answer = await client.response()
        assert answer.complete
        assert answer.body.endswith(b"event 399\n\n")
        assert await served.ended() == 0
        assert served.programs() == set()


async def test_cl07_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """A request that would take five minutes and a service that ignores SIGTERM do not hold it."""
    stubborn = small("--linger", "300", stop_grace="5m")
    async with serving(tmp_path / "g", stubborn) as served, served.client() as client:
        await client.send(request("GET", "/services/a/slow?300"))
        await served.until_phase("hot", "a")
        served.process.send_signal(signal.SIGINT)
        await served.until_line("gateway_draining")
        assert served.process.poll() is None, "it waits for the open request"
        served.process.send_signal(signal.SIGINT)
        assert await served.ended() == 0
        assert served.programs() == set()


async def test_a_broken_configuration_is_said_before_anything_is_touched(tmp_path: Path) -> None:
    served = launch(tmp_path / "g", {"services": {"a": {"idle_timeout": "soon"}}})
    assert await served.ended() == 1
    assert "hestia_config.yml" in served.said
    assert "soon" in served.said
    assert "Traceback" not in served.said
    assert not (tmp_path / "g" / "state").exists()
    await served.http.aclose()


def test_a_closed_terminal_ends_the_gateway_and_its_services(tmp_path: Path) -> None:
    """Nobody could stop it from there any more."""
    (tmp_path / "hestia_config.yml").write_text(json.dumps(small()))
    state = {"HESTIA_STATE_DIR": str(tmp_path / "state")}
    child = on_terminal(["serve", "--port", "0"], cwd=tmp_path, env=environment(**state), columns=100)
    child.expect(r"Hestia \S+ listens on (http://localhost:\d+)")
    url = str(child.match.group(1))
    child.expect("Ctrl-C[^\r\n]*\r\n")
    assert httpx.get(f"{url}/services/a/", trust_env=False, timeout=PATIENCE).is_success
    gateway = psutil.Process(child.pid)
    programs = gateway.children(recursive=True)
    assert programs
    os.close(child.child_fd)
    _, alive = psutil.wait_procs([gateway, *programs], timeout=PATIENCE)
    assert alive == []
    child.closed = True  # its descriptor is
