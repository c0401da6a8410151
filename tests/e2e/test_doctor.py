"""`hestia doctor` in worlds that are broken in one way each, over real sockets, files and users (CL-19)."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml

from hestia.core.model import GatewayId, InstanceId, InstanceKey, ServiceId
from hestia.core.ports import Intent
from hestia.store.database import Database
from hestia.store.sqlite import SqliteStore
from tests.e2e.cli import PATIENCE, PROGRAM, Caller, environment, on_terminal
from tests.e2e.served import serving
from tests.fakes.certificates import Authority
from tests.fakes.disk import small_disk

Found = dict[str, Any]  # one finding, as JSON


class Doctor:
    """Calls `hestia doctor --json` in a folder with a configuration."""

    def __init__(self, call: Caller) -> None:
        self.call = call
        self.code = -1

    def __call__(self, settings: dict[str, Any] | str, *arguments: str) -> list[Found]:
        text = settings if isinstance(settings, str) else yaml.safe_dump({"port": free_port(), **settings})
        Path("hestia_config.yml").write_text(text)
        ran = self.call("doctor", "--json", *arguments)
        self.code = ran.code
        document = json.loads(ran.out)
        assert document["ok"] is (ran.code == 0)
        found: list[Found] = document["findings"]
        assert len(found) == sum(document["counts"].values())
        return found


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.chdir(tmp_path)
    for name in [one for one in os.environ if one.startswith(("HESTIA_", "OLLAMA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HESTIA_ENV_SERVICES", "off")
    monkeypatch.setenv("HESTIA_STATE_DIR", str(tmp_path / "state"))
    return Doctor(Caller(capsys))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def of(found: list[Found], check: str, severity: str = "fail") -> list[str]:
    """Text and remedies of the findings of one check."""
    return [
        " | ".join([one["text"], *one["do"]])
        for one in found
        if one["check"] == check and one["severity"] == severity
    ]


@contextmanager
def listener() -> Iterator[int]:
    """Somebody who accepts and never answers; the port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield int(one.getsockname()[1])


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def page() -> Iterator[int]:
    """A service that answers 200 at /health and 404 elsewhere; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


# -- well, and broken in one way ---------------------------------------------------------------


def test_cl19_a_world_in_order_ends_with_0_and_nothing_was_made(doctor: Doctor, tmp_path: Path) -> None:
    with page() as port:
        url = f"http://127.0.0.1:{port}"
        found = doctor({"services": {"a": {"base_url": url, "health_url": url + "/health"}}})
    assert doctor.code == 0
    assert of(found, "address", "ok") == [f"a: {url}/health answers HTTP 200"]
    checks = {one["check"] for one in found}
    assert {"config", "env", "access", "gateway", "port", "folder", "store", "disk", "clock"} <= checks
    assert not (tmp_path / "state").exists()


def test_cl19_a_port_that_is_taken_names_who_has_it(doctor: Doctor) -> None:
    with listener() as port:
        found = doctor({"port": port, "services": {}})
    (said,) = of(found, "port")
    assert f"127.0.0.1:{port} is taken by" in said
    assert f"(pid {os.getpid()})" in said
    assert doctor.code == 1


def test_cl19_a_missing_program_is_told_with_the_nearest(doctor: Doctor) -> None:
    command = ["pythn3", "{port}"]
    found = doctor({"services": {"a": {"engine": {"type": "process", "command": command}}}})
    (said,) = of(found, "engine")
    assert "a: there is no program 'pythn3' on the PATH" in said
    assert "nearest name is" in said


def test_cl19_folder_and_user_of_a_program_are_looked_at(doctor: Doctor) -> None:
    def engine(**more: str) -> Found:
        return {"engine": {"type": "process", "command": ["sh", "{port}"], **more}}

    found = doctor({"services": {"a": engine(cwd="/no/such"), "b": engine(user="nobod"), "c": engine()}})
    one, two = of(found, "engine")
    assert "there is no folder '/no/such'" in one
    assert "there is no user 'nobod'" in two
    assert any(said.startswith("c: /") for said in of(found, "engine", "ok"))


def test_cl19_a_dead_address_is_told(doctor: Doctor) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    found = doctor({"services": {"a": {"base_url": url, "fallback_url": url}}})
    assert f"a: {url}: connection refused" in of(found, "address")[0]
    assert of(found, "address", "warn")[0].startswith(f"a: fallback {url}: connection refused")


def test_cl19_a_name_that_means_nothing_is_told(doctor: Doctor) -> None:
    found = doctor({"services": {"a": {"base_url": "http://no-such-host.invalid:9"}}})
    assert '"no-such-host.invalid"' in of(found, "address")[0]


def test_cl19_a_wrong_health_path_is_told(doctor: Doctor) -> None:
    with page() as port:
        url = f"http://127.0.0.1:{port}"
        found = doctor({"services": {"a": {"base_url": url, "health_url": url + "/helth"}}})
    (said,) = of(found, "address")
    assert "/helth answers HTTP 404" in said
    assert "correct health_url" in said


def test_cl19_https_to_a_plain_server_is_told(doctor: Doctor) -> None:
    with page() as port:
        found = doctor({"services": {"a": {"base_url": f"https://127.0.0.1:{port}"}}})
    assert "write http://" in of(found, "address")[0]


def test_cl19_a_service_that_already_runs_is_told(doctor: Doctor) -> None:
    with page() as port:
        url = f"http://127.0.0.1:{port}"
        engine = {"type": "process", "command": ["sh"]}
        found = doctor(
            {"services": {"a": {"base_url": url, "health_url": url + "/health", "engine": engine}}}
        )
    (said,) = of(found, "address", "warn")
    assert "Hestia did not start it" in said
    assert f"pid {os.getpid()}" in said


def test_cl19_a_certificate_that_has_expired_is_told(doctor: Doctor, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    made = Authority().write(tmp_path / "tls", until=now - timedelta(days=2), since=now - timedelta(days=9))
    Path(made.key).chmod(0o644)
    found = doctor({"tls": {"certificate": made.certificate, "key": made.key}, "services": {}})
    assert "has expired" in of(found, "tls")[0]
    assert f"chmod o-r {made.key}" in of(found, "tls", "warn")[0]


def test_cl19_a_database_that_is_none_is_told(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "hestia.db").write_text("hello, I am a letter")
    assert "hestia db check" in of(doctor({"services": {}}), "store")[0]


def test_cl19_a_database_on_a_read_only_disk_is_not_said_to_be_made_yet(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", size="20m") as disk:
        monkeypatch.setenv("HESTIA_STATE_DIR", str(disk.path))
        disk.path.chmod(0o700)
        (disk.path / "hestia.db").touch()
        disk.writable(False)
        found = doctor({"services": {}})
        assert "mount it writable" in of(found, "folder")[0]
        assert "cannot be written" in of(found, "store", "skip")[0]


async def test_cl19_what_an_engine_started_that_is_not_installed_any_more_is_told(
    doctor: Doctor, tmp_path: Path
) -> None:
    owner = GatewayId("test")
    store = SqliteStore(Database(tmp_path / "state" / "hestia.db"))
    await store.open(owner)
    key = InstanceKey(owner, ServiceId("a"), InstanceId("main"), 3)
    await store.intend(Intent(key=key, engine="gone", options_hash="", episode="", at=1.0))
    await store.aclose()
    (said,) = (one for one in of(doctor({"services": {}}), "engine", "warn") if "gone" in one)
    assert "hestia stop --force a" in said


def test_cl19_a_file_of_tomorrow_shows_that_the_clock_is_late(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    file = tmp_path / "state" / "note"
    file.touch()
    tomorrow = datetime.now(UTC).timestamp() + 86400 * 3
    os.utime(file, (tomorrow, tomorrow))
    assert "younger" in of(doctor({"services": {}}), "clock")[0]


def test_cl19_a_full_disk_is_told(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", size="20m") as disk:
        monkeypatch.setenv("HESTIA_STATE_DIR", str(disk.path))
        disk.path.chmod(0o700)
        assert of(doctor({"services": {}}), "disk") == []
        disk.fill()
        assert "only 0 B free" in of(doctor({"services": {}}), "disk")[0]


AS_NOBODY = """
import os, pwd, sys
from hestia.cli.entry import run
run(["doctor", "--json"])  # imports everything, while it can be read
sys.stdout.flush()
person = pwd.getpwnam("nobody")
os.setgroups([]); os.setgid(person.pw_gid); os.setuid(person.pw_uid)
print(flush=True)
code = run(["doctor", "--json"])
sys.stdout.flush()
os._exit(code)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_cl19_a_state_folder_of_another_user_is_told() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY],
            cwd="/",
            env=environment(HESTIA_STATE_DIR=folder, HESTIA_PORT=str(free_port()), HESTIA_ENV_SERVICES="off"),
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
    as_root, as_nobody = (json.loads(line)["findings"] for line in done.stdout.splitlines() if line.strip())
    assert of(as_root, "folder") == []
    (said,) = of(as_nobody, "folder")
    assert "cannot be used by user nobody" in said
    assert f"belongs to {pwd.getpwuid(0).pw_name} (mode 700)" in said
    assert done.returncode == 1


def test_cl19_every_fault_of_the_configuration_is_told_and_the_rest_is_looked_at(doctor: Doctor) -> None:
    with listener() as port:
        found = doctor(f"port: {port}\nprot: 1\nservices:\n  a:\n    base_url: localhost:9\n")
    assert len(of(found, "config")) == 2
    assert found[0]["where"] == "hestia_config.yml:2:1"
    assert any("^^^^" in line for line in found[0]["detail"])
    assert f":{port} is taken by" in of(found, "port")[0]
    assert {"folder", "disk", "clock", "memory"} <= {one["check"] for one in found}


# -- beside a gateway --------------------------------------------------------------------------


async def test_cl19_beside_its_own_gateway(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its port and its folder are held by itself; what was changed since, and what failed, is told."""
    port = free_port()
    command = ["no-such-program", "{port}"]
    broken: Found = {"services": {"a": {"engine": {"type": "process", "command": command}}}, "port": port}
    async with serving(tmp_path, broken, "--port", str(port)) as served:
        await served.http.get(f"{served.url}/services/a/")
        found = doctor(broken)
        (said,) = of(found, "port", "ok")
        assert "held by the running gateway, " in said
        assert f"in use by the gateway (pid {served.process.pid})" in of(found, "folder", "ok")[0]
        assert "a has failed: there is no program" in of(found, "gateway")[0]
        assert "(as the running gateway sees it)" in of(found, "engine")[0]
        assert "of them are open in the gateway" in of(found, "files", "ok")[0]
        assert of(found, "gateway", "warn") == []
        broken["services"]["a"]["idle_timeout"] = "5m"
        assert "services.a.idle_timeout" in of(doctor(broken), "gateway", "warn")[0]
        (tmp_path / "other.yml").write_text(f"port: {port}\nservices: {{}}\n")
        monkeypatch.setenv("HESTIA_STATE_DIR", str(tmp_path / "other"))
        ran = doctor.call("doctor", "--json", "--config", "other.yml")
        other = json.loads(ran.out)["findings"]
        assert "is taken by" in of(other, "port")[0]
        assert "runs with" in of(other, "gateway", "warn")[0]


def test_cl19_a_gateway_that_was_named_must_be_there(doctor: Doctor) -> None:
    found = doctor({"services": {}}, "--url", f"http://127.0.0.1:{free_port()}")
    assert "not reachable" in of(found, "gateway")[0]


def test_cl19_a_stranger_that_never_answers_costs_seconds_at_most(doctor: Doctor) -> None:
    with listener() as port:
        found = doctor({"services": {"a": {"base_url": f"http://127.0.0.1:{port}/", "health_url":
                                           f"http://127.0.0.1:{port}/h"}}},
                       "--url", f"http://127.0.0.1:{port}")  # fmt: skip
    assert "gave no answer" in of(found, "gateway")[0]
    assert "no answer within" in of(found, "address")[0]


# -- what people see ---------------------------------------------------------------------------


def test_et07_a_report_has_everything_but_secrets(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESTIA_API_KEY", "canary-of-the-key")
    monkeypatch.setenv("CHAT_SECRET", "canary-of-the-environment")
    engine = {
        "type": "process",
        "command": ["sh", "--token", "canary-of-the-command", "{port}"],
        "env": {"API_TOKEN": "canary-of-the-program"},
    }
    Path("hestia_config.yml").write_text(
        yaml.safe_dump({"port": free_port(), "services": {"a": {"engine": engine}}})
    )
    ran = doctor.call("doctor", "--report")
    assert ran.code == 0
    assert ran.err == ""
    assert "canary" not in ran.out
    for part in ("hestia 0.", "## Findings", "## Settings", "services.a.engine.type", "## Gateway"):
        assert part in ran.out
    whole = doctor.call("doctor", "--report", "--json")
    assert "canary" not in whole.out
    assert "## Findings" in json.loads(whole.out)["report"]


async def test_et07_a_report_with_an_id_tells_the_request_also_without_a_gateway(tmp_path: Path) -> None:
    engine = {
        "type": "process",
        "command": [sys.executable, "-c", "raise SystemExit('token=canary')", "{port}"],
    }
    folder = tmp_path / "a"

    async def reported(request_id: str, port: int) -> str:
        done = await asyncio.to_thread(
            subprocess.run, [*PROGRAM, "doctor", "--report", request_id], cwd=folder,
            env=environment(HESTIA_PORT=str(port), HESTIA_STATE_DIR=str(folder / "state"), A_TOKEN="canary"),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "canary" not in done.stdout
        return str(done.stdout).partition(f"## Request {request_id}")[2]

    async with serving(folder, {"services": {"a": {"engine": engine}}}) as served:
        answer = await served.http.get(f"{served.url}/services/a/")
        request_id = answer.headers["x-request-id"]
        told = await reported(request_id, served.port)
        assert "GET /services/a/   503 service_start_failed" in told
        assert f"a starts: a request came ({request_id})" in told
        assert "no request of this id is remembered" in await reported("req_nobody", served.port)
    told = await reported(request_id, served.port)
    assert "GET /services/a/   503 service_start_failed" in told
    assert f"a starts: a request came ({request_id})" in told


def test_cl11_verbose_shows_the_calls_and_what_each_check_took(doctor: Doctor) -> None:
    with page() as port:
        Path("hestia_config.yml").write_text(yaml.safe_dump({"port": port, "services": {}}))
        ran = doctor.call("doctor", "-v")
    assert re.search(rf"GET http://127.0.0.1:{port}/healthz -> \d+ in \d+ ms", ran.err)
    assert re.search(r"check config took \d+ ms", ran.err)
    assert "took" not in ran.out


def test_variables_that_give_settings_are_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESTIA_PORT", str(free_port()))
    Path(".env").write_text("HESTIA_LOG_LEVEL=info\n")
    (told,) = [one["text"] for one in doctor({"services": {}}) if one["check"] == "env"]
    assert "HESTIA_PORT" in told
    assert "log_level in line 1" in told


def test_cl04_a_terminal_sees_progress_and_a_hint_and_no_line_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "hestia_config.yml").write_text(
        f"port: {free_port()}\nservices: {{a: {{base_url: 'http://127.0.0.1:{free_port()}'}}}}\n"
    )
    env = environment(HESTIA_STATE_DIR=str(tmp_path / "state"), HESTIA_ENV_SERVICES="off", NO_COLOR="1")
    child = on_terminal(["doctor"], cwd=tmp_path, env=env)
    child.expect("checks done; looking at:")
    child.expect("1 failed")
    shown = str(child.before).rpartition("\x1b[K")[2]
    # a path is never broken: it is there to be copied
    assert all(len(line) <= 80 or str(tmp_path) in line for line in shown.splitlines())
    child.expect("hestia doctor --report")
    child.expect_exact("\r\n")
    child.wait()
    assert child.exitstatus == 1


def test_cl07_ctrl_c_ends_the_looking_at_once_with_130(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("0.0.0.0", 0))
        silent.listen()
        port = silent.getsockname()[1]
        many = {f"s{number}": f"http://127.0.1.{number}:{port}" for number in range(1, 200)}
        services = {name: {"base_url": url, "health_url": f"{url}/h"} for name, url in many.items()}
        (tmp_path / "hestia_config.yml").write_text(
            yaml.safe_dump({"port": free_port(), "services": services})
        )
        env = environment(HESTIA_STATE_DIR=str(tmp_path / "state"), HESTIA_ENV_SERVICES="off")
        child = on_terminal(["doctor"], cwd=tmp_path, env=env)
        child.expect(r"looking at: .*address")  # more than at a time, and each waits for an answer
        child.kill(signal.SIGINT)
        child.expect(r"Stopped; \d+ checks were not finished.")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 130
        assert "Traceback" not in str(child.before)


def test_cl02_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    """CL-08."""
    env = environment(HESTIA_STATE_DIR=str(tmp_path / "state"), HESTIA_PORT=str(free_port()))
    words = " ".join([*PROGRAM, "doctor"])
    done = subprocess.run(
        ["bash", "-c", f"{words} | head -1; echo ${{PIPESTATUS[0]}}"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("0", "1", "141")
