"""slowhttptest against Hestia: five hundred slow clients of each kind, and an ordinary one is served."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import missing
from tests.e2e.served import Served
from tests.fakes.facts import eventually
from tests.load.clients import Held
from tests.load.conftest import Tell
from tests.load.service import Service
from tests.load.test_streams import asked, p99

pytestmark = [pytest.mark.load, pytest.mark.timeout(300)]

SECONDS = 30
KINDS = {
    "slow headers": ["-H", "-i", "5"],
    "slow body": ["-B", "-i", "5", "-s", "8192"],
    "ranges": ["-R", "-a", "10", "-b", "3000"],
    "slow read": ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"],
}


@pytest.mark.parametrize("kind", list(KINDS))
async def test_t_sl_01_an_ordinary_client_is_served_beside_slow_ones(
    served: Served, service: Service, tell: Tell, tmp_path: Path, kind: str
) -> None:
    program = shutil.which("slowhttptest")
    if program is None:
        missing("slowhttptest is not installed: apt-get install slowhttptest")
    await asked(served)
    before = Held(served)
    path = "flood?10485760" if kind == "slow read" else "sink" if kind == "slow body" else "small"
    words = [*KINDS[kind], "-c", "500", "-r", "200", "-l", str(SECONDS), "-p", "10"]
    words += ["-u", f"http://127.0.0.1:{served.port}/services/a/{path}"]
    attack = await asyncio.create_subprocess_exec(
        str(program),
        *words,
        cwd=tmp_path,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    took, most = [], 0
    try:
        while attack.returncode is None:
            took.append(await asked(served))
            most = max(most, Held(served).descriptors)
            await asyncio.sleep(0.05)
    finally:
        if attack.returncode is None:
            attack.kill()
        await attack.wait()
    tell(f"{len(took)} requests, p99 {p99(took) * 1000:.0f} ms, {most} descriptors at most")
    assert len(took) > 20
    await eventually(
        lambda: Held(served).descriptors <= before.descriptors + 1,
        lambda: f"{Held(served).descriptors} descriptors to be {before.descriptors}",
        timeout=120,
    )
