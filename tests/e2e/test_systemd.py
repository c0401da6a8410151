"""The gateway under a real systemd: its units, socket and watchdog; services survive all of it (AD-08)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.e2e.cli import PROGRAM, environment
from tests.e2e.load import Load
from tests.fakes.client import Client
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command
from tests.fakes.real_systemd import Systemd, real_systemd
from tests.fakes.wire import request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with real_systemd(tmp_path) as one:
        yield one


def programs(folder: Path) -> set[int]:
    """Services that run, whoever started them."""
    own = (folder / "state" / "gateway_id").read_text().strip()
    found = set()
    for process in psutil.process_iter():
        try:
            if own in process.environ().get("HESTIA_KEY", "") and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


async def ask(port: int) -> int:
    client = await Client.connect(("127.0.0.1", port))
    try:
        await client.send(request("GET", "/services/a/x"))
        return (await client.response()).status
    finally:
        await client.close()


async def test_ad_08_socket_restart_and_watchdog_leave_services_running(
    systemd: Systemd, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "g"
    folder.mkdir()
    service = {"engine": {"type": "process", "command": small_command()}, "idle_timeout": "1h"}
    service["health_url"] = "http://127.0.0.1:{port}/health"
    file = folder / "hestia_config.yml"
    file.write_text(yaml.safe_dump({"port": port, "on_exit": "keep", "services": {"a": service}}))
    env = environment(
        HESTIA_STATE_DIR=str(folder / "state"), HESTIA_ENV_SERVICES="off", HESTIA_ON_EXIT="keep"
    )

    def hestia(*words: str) -> str:
        done = systemd.run(*PROGRAM, "service", *words, "--system", **env)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    drop = "/etc/systemd/system/hestia.service.d"
    quick = f"mkdir -p {drop} && printf '[Service]\\nWatchdogSec=3\\nRestartSec=100ms\\n' >{drop}/quick.conf"
    assert systemd.run("sh", "-c", quick).returncode == 0

    assert "Installed" in hestia("install", "--yes", "--config", str(file))
    assert "Already so" in hestia("install", "--yes", "--config", str(file))
    assert "  1 service\n" in hestia("status")

    # the first connection starts the gateway
    systemd.systemctl("stop", "hestia.service")
    assert systemd.property("hestia.service", "ActiveState") == "inactive"
    assert await ask(port) == 200
    assert systemd.property("hestia.service", "ActiveState") == "active"
    pids = programs(folder)
    assert len(pids) == 1

    # a restart refuses nobody and leaves the service alone
    load = Load(port, keep=False)
    async with load.going():
        await load.more(20)
        await asyncio.to_thread(systemd.systemctl, "restart", "hestia.service")
        await load.more(20)
    assert load.errors == []
    assert programs(folder) == pids

    # a reload is over for systemd when the new settings are in force
    more = {"port": port, "on_exit": "keep", "services": {"a": service, "b": service}}
    file.write_text(yaml.safe_dump(more))
    await asyncio.to_thread(systemd.systemctl, "reload", "hestia.service")
    await eventually(lambda: "2 services" in hestia("status"), "the new settings")
    await eventually(
        lambda: systemd.property("hestia.service", "ActiveState") == "active", "the end of the reload"
    )
    assert programs(folder) == pids

    # what does not move any more is ended by the watchdog, and the next one adopts
    before = systemd.property("hestia.service", "MainPID")
    systemd.run("kill", "-STOP", before)
    await eventually(
        lambda: systemd.property("hestia.service", "MainPID") not in ("0", before),
        "another gateway",
        timeout=60,
    )
    assert systemd.property("hestia.service", "NRestarts") == "1"
    assert await ask(port) == 200
    assert programs(folder) == pids

    assert "Removed" in hestia("uninstall")
    assert programs(folder) == pids
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(("127.0.0.1", port))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
